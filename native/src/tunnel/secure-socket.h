// TLS on a socket that does not block. All of TLS is OpenSSL's.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "socket/descriptor.h"
#include "tunnel/openssl.h"

namespace starlane {

class SecureSocket {
 public:
  enum class Progress { Done, Blocked, Failed };

  // Takes both.
  SecureSocket(Descriptor fd, ssl_st* ssl) : fd_(std::move(fd)), ssl_(ssl) { SSL_set_fd(ssl_, fd_.get()); }
  ~SecureSocket() { SSL_free(ssl_); }
  SecureSocket(const SecureSocket&) = delete;
  SecureSocket& operator=(const SecureSocket&) = delete;

  int fd() const { return fd_.get(); }
  Progress handshake();
  // The number of bytes; 0: nothing now; below 0: it has ended or failed, see why().
  ssize_t read(uint8_t* into, size_t room) { return result(SSL_read(ssl_, into, static_cast<int>(room))); }
  // The number of bytes taken; 0: none now; below 0: it has failed. OpenSSL keeps what it has taken until the socket takes it.
  ssize_t write(const uint8_t* bytes, size_t length) { return result(SSL_write(ssl_, bytes, static_cast<int>(length))); }
  // Tells the other end that nothing follows.
  void finish();

  // How the verification of the other end's certificate went: 0, or OpenSSL's code.
  long verified() const { return SSL_get_verify_result(ssl_); }
  bool speaksHttp2() const;
  // The certificates of the other end, its own first: for each its length, 4 bytes in the order of this machine, and its DER.
  std::string chain(bool asServer) const;
  const std::string& why() const { return why_; }

 private:
  ssize_t result(int done);

  Descriptor fd_;
  ssl_st* ssl_;
  std::string why_;
  bool failed_ = false;
};

}  // namespace starlane
