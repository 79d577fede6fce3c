// TLS 1.3 with the suites of a ztunnel, and HTTP/2 only: as `proxy/tunnel/certificates/credentials.ts` has it for node:tls.
#include "tunnel/secure-context.h"

#include <cstring>
#include <memory>

namespace starlane {

namespace {

const char kSuites[] = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
const unsigned char kProtocols[] = {2, 'h', '2'};
// Several records are read from the socket by one call.
constexpr size_t kReadAhead = 128 * 1024;

struct Free {
  void operator()(bio_st* bio) const { BIO_free(bio); }
  void operator()(x509_st* certificate) const { X509_free(certificate); }
  void operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }
  void operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<bio_st> reading(const std::string& text) { return Owned<bio_st>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// An encrypted key is refused: nobody is there to be asked.
int noPassword(char*, int, int, void*) { return -1; }

bool useCertificates(ssl_ctx_st* context, const std::string& text) {
  const auto bio = reading(text);
  bool isFirst = true;
  while (const auto certificate = Owned<x509_st>(PEM_read_bio_X509(bio.get(), nullptr, noPassword, nullptr))) {
    const bool used = isFirst ? SSL_CTX_use_certificate(context, certificate.get()) == 1
                              : SSL_CTX_ctrl(context, tls::kChainCertificate, 1, certificate.get()) == 1;
    if (!used) return false;
    isFirst = false;
  }
  return !isFirst;
}

bool useKey(ssl_ctx_st* context, const std::string& text) {
  const auto bio = reading(text);
  const Owned<evp_pkey_st> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, noPassword, nullptr));
  return key && SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

bool trust(ssl_ctx_st* context, const std::string& text) {
  const auto bio = reading(text);
  while (const auto root = Owned<x509_st>(PEM_read_bio_X509(bio.get(), nullptr, noPassword, nullptr))) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root.get()) != 1) return false;
  }
  return true;
}

// HTTP/2 if it is among those that the client offers; otherwise the handshake ends.
int selectProtocol(ssl_st*, const unsigned char** chosen, unsigned char* chosenLength, const unsigned char* offered, unsigned int length,
                   void*) {
  for (unsigned int at = 0; at < length; at += 1 + offered[at]) {
    if (length - at < sizeof kProtocols || memcmp(offered + at, kProtocols, sizeof kProtocols) != 0) continue;
    *chosen = offered + at + 1;
    *chosenLength = offered[at];
    return tls::kSelected;
  }
  return tls::kFatal;
}

// A server asks for a certificate, goes on without a good one, and resumes no session: each client shows its own again.
bool configureServer(ssl_ctx_st* context) {
  SSL_CTX_set_verify(context, tls::kVerifyPeer, [](int, x509_store_ctx_st*) { return 1; });
  SSL_CTX_set_alpn_select_cb(context, selectProtocol, nullptr);
  return SSL_CTX_set_num_tickets(context, 0) == 1;
}

bool configure(ssl_ctx_st* context) {
  // What the two ends of a tunnel demand of each other is examined in TypeScript: a failed verification ends no handshake, which is
  // OpenSSL's default for a client.
  SSL_CTX_ctrl(context, tls::kMode, tls::kPartialWrites | tls::kMovingBuffer, nullptr);
  SSL_CTX_ctrl(context, tls::kSessionCache, 0, nullptr);
  SSL_CTX_ctrl(context, tls::kReadAhead, 1, nullptr);
  SSL_CTX_set_default_read_buffer_len(context, kReadAhead);
  return SSL_CTX_ctrl(context, tls::kLeastVersion, tls::kVersion13, nullptr) == 1 &&
         SSL_CTX_ctrl(context, tls::kMostVersion, tls::kVersion13, nullptr) == 1 &&
         SSL_CTX_set_ciphersuites(context, kSuites) == 1 &&
         SSL_CTX_set_alpn_protos(context, kProtocols, sizeof kProtocols) == 0;
}

}  // namespace

SecureContext* SecureContext::create(Role role, const std::string& certificates, const std::string& key, const std::string& roots,
                                     std::string& why) {
  ERR_clear_error();
  Owned<ssl_ctx_st> context(SSL_CTX_new(role == Role::Server ? TLS_server_method() : TLS_client_method()));
  const char* failed = !context                                      ? "TLS"
                       : !configure(context.get())                   ? "TLS 1.3"
                       : role == Role::Server && !configureServer(context.get()) ? "TLS 1.3"
                       : !useCertificates(context.get(), certificates) ? "the certificate"
                       : !useKey(context.get(), key)                 ? "the key"
                       : !trust(context.get(), roots)                ? "a root"
                                                                     : nullptr;
  if (failed != nullptr) {
    why = std::string(failed) + " cannot be used: " + secureError();
    return nullptr;
  }
  ERR_clear_error();  // the end of each text is an error too
  return new SecureContext(context.release(), role);
}

ssl_st* SecureContext::connection() const {
  ssl_st* ssl = SSL_new(context_);
  if (ssl != nullptr) role_ == Role::Server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  return ssl;
}

std::string secureError() {
  const unsigned long code = ERR_get_error();
  if (code == 0) return "no reason is given";
  if (const char* reason = ERR_reason_error_string(code)) return reason;
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

}  // namespace starlane
