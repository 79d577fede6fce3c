// See gateway.h. `:authority` begins with what to do: `echo`, `reset` (after the first bytes), `refuse` (401), `mute` (no answer).
#include "gateway.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "tunnel/nghttp2.h"
#include "tunnel/openssl.h"

// Of servers, which the pump is not.
extern "C" {
const ssl_method_st* TLS_server_method();
void SSL_set_accept_state(ssl_st*);
void SSL_CTX_set_alpn_select_cb(ssl_ctx_st*, int (*)(ssl_st*, const unsigned char**, unsigned char*, const unsigned char*, unsigned, void*), void*);
int nghttp2_session_server_new(nghttp2_session**, const nghttp2_session_callbacks*, void*);
int nghttp2_submit_response(nghttp2_session*, int32_t, const nghttp2_nv*, size_t, const nghttp2_data_provider*);
}

namespace {

[[noreturn]] void fail(const char* what) {
  fprintf(stderr, "stress: gateway: %s\n", what);
  exit(1);
}

struct Echo {
  std::string kind, waiting;
  bool ended = false;
};

struct Peer {
  std::unordered_map<int32_t, Echo> streams;
};

int chooseHttp2(ssl_st*, const unsigned char** out, unsigned char* length, const unsigned char*, unsigned, void*) {
  *out = reinterpret_cast<const unsigned char*>("h2");
  *length = 2;
  return 0;
}

ssize_t give(nghttp2_session*, int32_t id, uint8_t* into, size_t room, uint32_t* flags, nghttp2_data_source*, void* user) {
  Echo& echo = static_cast<Peer*>(user)->streams[id];
  const size_t length = echo.waiting.size() < room ? echo.waiting.size() : room;
  memcpy(into, echo.waiting.data(), length);
  echo.waiting.erase(0, length);
  if (echo.waiting.empty() && echo.ended) *flags |= starlane::h2::kEof;
  return length > 0 || echo.ended ? static_cast<ssize_t>(length) : starlane::h2::kDeferred;
}

int onHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t length, const uint8_t* value, size_t size, uint8_t,
             void* user) {
  if (std::string(reinterpret_cast<const char*>(name), length) == ":authority")
    static_cast<Peer*>(user)->streams[frame->hd.stream_id].kind = std::string(reinterpret_cast<const char*>(value), size);
  return 0;
}

void respond(nghttp2_session* session, int32_t id, const char* status) {
  nghttp2_nv field{reinterpret_cast<uint8_t*>(const_cast<char*>(":status")), reinterpret_cast<uint8_t*>(const_cast<char*>(status)), 7, 3, 0};
  nghttp2_data_provider provider{};
  provider.read_callback = give;
  nghttp2_submit_response(session, id, &field, 1, strcmp(status, "200") == 0 ? &provider : nullptr);
}

int onFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  const int32_t id = frame->hd.stream_id;
  if (frame->hd.type > starlane::h2::kHeaders || id == 0) return 0;
  Echo& echo = static_cast<Peer*>(user)->streams[id];
  if (frame->hd.type == starlane::h2::kHeaders && echo.kind != "mute") respond(session, id, echo.kind == "refuse" ? "401" : "200");
  if (frame->hd.flags & starlane::h2::kEndStream) {
    echo.ended = true;
    nghttp2_session_resume_data(session, id);
  }
  return 0;
}

int onData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes, size_t length, void* user) {
  Echo& echo = static_cast<Peer*>(user)->streams[id];
  echo.waiting.append(reinterpret_cast<const char*>(bytes), length);
  if (echo.kind == "reset") nghttp2_submit_rst_stream(session, 0, id, starlane::h2::kInternalError);
  nghttp2_session_resume_data(session, id);
  return 0;
}

int onClose(nghttp2_session*, int32_t id, uint32_t, void* user) {
  static_cast<Peer*>(user)->streams.erase(id);
  return 0;
}

}  // namespace

StressGateway::StressGateway(const std::string& certificate, const std::string& key) : context_(SSL_CTX_new(TLS_server_method())) {
  bio_st* bio = BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size()));
  x509_st* own = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bio = BIO_new_mem_buf(key.data(), static_cast<int>(key.size()));
  evp_pkey_st* secret = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  if (SSL_CTX_use_certificate(context_, own) != 1 || SSL_CTX_use_PrivateKey(context_, secret) != 1) fail("no certificate");
  X509_free(own);
  EVP_PKEY_free(secret);
  SSL_CTX_set_alpn_select_cb(context_, chooseHttp2, nullptr);
  SSL_CTX_ctrl(context_, starlane::tls::kMode, starlane::tls::kPartialWrites | starlane::tls::kMovingBuffer, nullptr);
  listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof any;
  if (bind(listening_, reinterpret_cast<sockaddr*>(&any), length) != 0 || listen(listening_, 64) != 0) fail("cannot listen");
  getsockname(listening_, reinterpret_cast<sockaddr*>(&any), &length);
  port_ = ntohs(any.sin_port);
  accepting_ = std::thread([this] { accept(); });
}

StressGateway::~StressGateway() {
  over_ = true;
  accepting_.join();
  for (auto& thread : serving_) thread.join();
  close(listening_);
  SSL_CTX_free(context_);
}

void StressGateway::accept() {
  while (!over_.load()) {
    pollfd waiting{listening_, POLLIN, 0};
    if (poll(&waiting, 1, 20) <= 0) continue;
    const int fd = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) serving_.emplace_back([this, fd] { serve(fd); });
  }
}

void StressGateway::serve(int fd) {
  Peer peer;
  ssl_st* ssl = SSL_new(context_);
  SSL_set_fd(ssl, fd);
  SSL_set_accept_state(ssl);
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, onFrame);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, onData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onClose);
  nghttp2_session* session;
  nghttp2_session_server_new(&session, callbacks, &peer);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session, 0, nullptr, 0);
  std::string out;
  static thread_local uint8_t buffer[16384];
  while (!over_.load()) {
    pollfd ready{fd, static_cast<short>(POLLIN | (out.empty() ? 0 : POLLOUT)), 0};
    poll(&ready, 1, 5);
    int got;
    while ((got = SSL_read(ssl, buffer, sizeof buffer)) > 0) {
      if (nghttp2_session_mem_recv(session, buffer, static_cast<size_t>(got)) < 0) goto end;
    }
    if (SSL_get_error(ssl, got) != starlane::tls::kWantsRead) break;
    const uint8_t* frame;
    for (ssize_t length; out.size() < sizeof buffer && (length = nghttp2_session_mem_send(session, &frame)) > 0;)
      out.append(reinterpret_cast<const char*>(frame), static_cast<size_t>(length));
    while (!out.empty()) {
      const int put = SSL_write(ssl, out.data(), static_cast<int>(out.size()));
      if (put <= 0) break;
      out.erase(0, static_cast<size_t>(put));
    }
    if (!nghttp2_session_want_read(session) && !nghttp2_session_want_write(session)) break;
  }
end:
  nghttp2_session_del(session);
  SSL_free(ssl);
  ERR_clear_error();
  close(fd);
}
