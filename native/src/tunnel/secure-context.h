// What one end shows and whom it trusts: certificate, key and roots, as OpenSSL's SSL_CTX. Made once for each set of certificates;
// tunnels hold on to theirs when there is a newer one. May be used from several threads.
#pragma once

#include <string>
#include <utility>

#include "tunnel/openssl.h"

namespace starlane {

class SecureContext {
 public:
  enum class Role { Client, Server };

  // PEM: the certificate and its intermediates, its key, the roots. Null, and `why` says what is wrong.
  static SecureContext* create(Role role, const std::string& certificates, const std::string& key, const std::string& roots,
                               std::string& why);
  ~SecureContext() { SSL_CTX_free(context_); }
  SecureContext(const SecureContext&) = delete;
  SecureContext& operator=(const SecureContext&) = delete;

  // An end of a connection; null without memory.
  ssl_st* connection() const;
  bool isServer() const { return role_ == Role::Server; }

 private:
  SecureContext(ssl_ctx_st* context, Role role) : context_(context), role_(role) {}
  ssl_ctx_st* context_;
  Role role_;
};

// OpenSSL's oldest error of this thread.
std::string secureError();

}  // namespace starlane
