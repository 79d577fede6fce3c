// What is used of OpenSSL, which Node's binary exports: functions only, no layouts. Declared here because the headers of Node-API
// come without it. Its ABI is stable within major version 3; libraries.h checks it. Weak: an addon in a Node without them loads, and
// has no tunnels.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
struct ssl_ctx_st;
struct ssl_st;
struct ssl_method_st;
struct x509_st;
struct x509_store_st;
struct x509_store_ctx_st;
struct evp_pkey_st;
struct bio_st;
struct stack_st;

#define STARLANE_WEAK __attribute__((weak))

STARLANE_WEAK unsigned long OpenSSL_version_num();
STARLANE_WEAK unsigned long ERR_get_error();
STARLANE_WEAK void ERR_clear_error();
STARLANE_WEAK void ERR_error_string_n(unsigned long, char*, size_t);
STARLANE_WEAK const char* ERR_reason_error_string(unsigned long);

STARLANE_WEAK bio_st* BIO_new_mem_buf(const void*, int);
STARLANE_WEAK int BIO_free(bio_st*);
STARLANE_WEAK x509_st* PEM_read_bio_X509(bio_st*, x509_st**, int (*password)(char*, int, int, void*), void*);
STARLANE_WEAK evp_pkey_st* PEM_read_bio_PrivateKey(bio_st*, evp_pkey_st**, int (*password)(char*, int, int, void*), void*);
STARLANE_WEAK int i2d_X509(x509_st*, unsigned char**);
STARLANE_WEAK void X509_free(x509_st*);
STARLANE_WEAK void EVP_PKEY_free(evp_pkey_st*);
STARLANE_WEAK int X509_STORE_add_cert(x509_store_st*, x509_st*);
STARLANE_WEAK const char* X509_verify_cert_error_string(long);
STARLANE_WEAK int OPENSSL_sk_num(const stack_st*);
STARLANE_WEAK void* OPENSSL_sk_value(const stack_st*, int);

STARLANE_WEAK const ssl_method_st* TLS_client_method();
STARLANE_WEAK const ssl_method_st* TLS_server_method();
STARLANE_WEAK ssl_ctx_st* SSL_CTX_new(const ssl_method_st*);
STARLANE_WEAK void SSL_CTX_free(ssl_ctx_st*);
STARLANE_WEAK long SSL_CTX_ctrl(ssl_ctx_st*, int, long, void*);
STARLANE_WEAK int SSL_CTX_set_ciphersuites(ssl_ctx_st*, const char*);
STARLANE_WEAK int SSL_CTX_set_alpn_protos(ssl_ctx_st*, const unsigned char*, unsigned int);
STARLANE_WEAK void SSL_CTX_set_alpn_select_cb(ssl_ctx_st*,
                                              int (*)(ssl_st*, const unsigned char** chosen, unsigned char* chosenLength,
                                                      const unsigned char* offered, unsigned int offeredLength, void*),
                                              void*);
STARLANE_WEAK void SSL_CTX_set_verify(ssl_ctx_st*, int mode, int (*)(int verified, x509_store_ctx_st*));
STARLANE_WEAK int SSL_CTX_set_num_tickets(ssl_ctx_st*, size_t);
STARLANE_WEAK void SSL_CTX_set_default_read_buffer_len(ssl_ctx_st*, size_t);
STARLANE_WEAK int SSL_CTX_use_certificate(ssl_ctx_st*, x509_st*);
STARLANE_WEAK int SSL_CTX_use_PrivateKey(ssl_ctx_st*, evp_pkey_st*);
STARLANE_WEAK x509_store_st* SSL_CTX_get_cert_store(const ssl_ctx_st*);
STARLANE_WEAK ssl_st* SSL_new(ssl_ctx_st*);
STARLANE_WEAK void SSL_free(ssl_st*);
STARLANE_WEAK int SSL_set_fd(ssl_st*, int);
STARLANE_WEAK void SSL_set_connect_state(ssl_st*);
STARLANE_WEAK void SSL_set_accept_state(ssl_st*);
STARLANE_WEAK int SSL_do_handshake(ssl_st*);
STARLANE_WEAK int SSL_read(ssl_st*, void*, int);
STARLANE_WEAK int SSL_write(ssl_st*, const void*, int);
STARLANE_WEAK int SSL_shutdown(ssl_st*);
STARLANE_WEAK int SSL_get_error(const ssl_st*, int);
STARLANE_WEAK long SSL_get_verify_result(const ssl_st*);
STARLANE_WEAK x509_st* SSL_get1_peer_certificate(const ssl_st*);
STARLANE_WEAK stack_st* SSL_get_peer_cert_chain(const ssl_st*);
STARLANE_WEAK void SSL_get0_alpn_selected(const ssl_st*, const unsigned char**, unsigned int*);
}

namespace starlane::tls {

// The commands of SSL_CTX_ctrl, and their arguments.
constexpr int kMode = 33, kReadAhead = 41, kSessionCache = 44, kChainCertificate = 89, kLeastVersion = 123, kMostVersion = 124;
constexpr long kPartialWrites = 1, kMovingBuffer = 2, kVersion13 = 0x0304;

constexpr int kVerifyPeer = 1;

// Of the callback that selects a protocol (ALPN).
constexpr int kSelected = 0, kFatal = 2;

// What SSL_get_error says.
constexpr int kWantsRead = 2, kWantsWrite = 3, kSystemCall = 5, kEnded = 6;

}  // namespace starlane::tls
