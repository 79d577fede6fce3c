// The calls of OpenSSL that move bytes, and what their results mean.
#include "tunnel/secure-socket.h"

#include <cerrno>
#include <cstring>

#include "tunnel/secure-context.h"

namespace starlane {

SecureSocket::Progress SecureSocket::handshake() {
  ERR_clear_error();
  const ssize_t done = result(SSL_do_handshake(ssl_));
  return done > 0 ? Progress::Done : done == 0 ? Progress::Blocked : Progress::Failed;
}

// The queue of errors of this thread is empty before each call: every error leaves by here, and is taken out.
ssize_t SecureSocket::result(int done) {
  if (done > 0) return done;
  const int error = errno;
  switch (SSL_get_error(ssl_, done)) {
    case tls::kWantsRead:
    case tls::kWantsWrite:
      return 0;
    case tls::kEnded:
      why_ = "it closed the connection";
      break;
    case tls::kSystemCall:
      why_ = error == 0 ? "it closed the connection" : strerror(error);
      break;
    default:
      why_ = secureError();
      if (why_ == "unexpected eof while reading") why_ = "it closed the connection";
      break;
  }
  failed_ = true;
  ERR_clear_error();
  return -1;
}

void SecureSocket::finish() {
  if (!failed_) SSL_shutdown(ssl_);
  ERR_clear_error();
}

bool SecureSocket::speaksHttp2() const {
  const unsigned char* name = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(ssl_, &name, &length);
  return length == 2 && memcmp(name, "h2", 2) == 0;
}

namespace {

void append(std::string& all, x509_st* certificate) {
  const int length = i2d_X509(certificate, nullptr);
  if (length <= 0) return;
  const auto size = static_cast<uint32_t>(length);
  all.append(reinterpret_cast<const char*>(&size), sizeof size);
  const size_t start = all.size();
  all.resize(start + size);
  auto* der = reinterpret_cast<unsigned char*>(&all[start]);
  i2d_X509(certificate, &der);
}

}  // namespace

std::string SecureSocket::chain(bool asServer) const {
  std::string all;
  // On a server's side the chain does not have the client's own certificate.
  if (x509_st* own = asServer ? SSL_get1_peer_certificate(ssl_) : nullptr) {
    append(all, own);
    X509_free(own);
  }
  const stack_st* certificates = SSL_get_peer_cert_chain(ssl_);
  const int count = certificates == nullptr ? 0 : OPENSSL_sk_num(certificates);
  for (int i = 0; i < count; i++) append(all, static_cast<x509_st*>(OPENSSL_sk_value(certificates, i)));
  return all;
}

}  // namespace starlane
