// What one end shows and whom it trusts: certificate, key and roots, as OpenSSL's SSL_CTX. Made once for each set of certificates;
// tunnels hold on to theirs when there is a newer one. May be used from several threads.
#pragma once

#include <string>
#include <utility>

#include "tunnel/openssl.h"

namespace starlane {

class SecureContext {
 public:
  // PEM: the certificate and its intermediates, its key, the roots. Null, and `why` says what is wrong.
  static SecureContext* create(const std::string& certificates, const std::string& key, const std::string& roots, std::string& why);
  ~SecureContext() { SSL_CTX_free(context_); }
  SecureContext(const SecureContext&) = delete;
  SecureContext& operator=(const SecureContext&) = delete;

  // A client's end of a connection; null without memory.
  ssl_st* client() const { return SSL_new(context_); }

 private:
  explicit SecureContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

// OpenSSL's oldest error of this thread.
std::string secureError();

}  // namespace starlane
