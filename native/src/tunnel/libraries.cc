// The addon is built once, and loaded by any version of Node: what it needs is checked when it is loaded.
#include "tunnel/libraries.h"

#include "tunnel/nghttp2.h"
#include "tunnel/openssl.h"

namespace starlane {

namespace {

constexpr unsigned long kMajor = 3;

// The youngest function of those in openssl.h and in nghttp2.h, and one of each part of them.
bool isComplete() {
  return OpenSSL_version_num && SSL_CTX_set_ciphersuites && PEM_read_bio_X509 && SSL_read &&
         nghttp2_session_mem_recv && nghttp2_session_mem_send && nghttp2_submit_request &&
         SSL_get1_peer_certificate && SSL_CTX_set_num_tickets && nghttp2_session_server_new2 && nghttp2_submit_response;
}

}  // namespace

const char* whyNoTunnels() {
  if (!isComplete()) return "this Node does not export OpenSSL and nghttp2 to addons";
  if (OpenSSL_version_num() >> 28 != kMajor) return "this Node has another major version of OpenSSL than 3";
  return nullptr;
}

}  // namespace starlane
