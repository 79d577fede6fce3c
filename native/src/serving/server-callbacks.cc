// The requests of other ends, as HTTP/2 reports them.
#include "serving/server-callbacks.h"

#include <string_view>

#include "tunnel/session.h"
#include "tunnel/tunnels.h"

namespace starlane {

namespace {

// Of the fields that are kept of one request.
constexpr size_t kMostRequest = 8 << 10;

Tunnel& tunnelOf(void* user) { return *static_cast<Tunnel*>(user); }

// TypeScript decides by these alone; the others are not kept.
bool isOfUse(std::string_view name) { return (!name.empty() && name[0] == ':') || name == "forwarded"; }

}  // namespace

struct ServerCallbacks {
  static int onBegin(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const int32_t id = frame->hd.stream_id;
    // Trailers are of a stream that is known.
    if (frame->hd.type != h2::kHeaders || SessionCallbacks::streamOf(session, id) != nullptr) return 0;
    Tunnel& tunnel = tunnelOf(user);
    nghttp2_session_set_stream_user_data(session, id, tunnel.all.newRequest(tunnel, id));
    return 0;
  }

  static int onHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t nameLength, const uint8_t* value,
                      size_t valueLength, uint8_t, void*) {
    Stream* stream = SessionCallbacks::streamOf(session, frame->hd.stream_id);
    const std::string_view field(reinterpret_cast<const char*>(name), nameLength);
    if (stream == nullptr || stream->answered || !isOfUse(field)) return 0;
    if (stream->fields.size() + nameLength + valueLength > kMostRequest) return h2::kStreamFailed;
    stream->fields.append(field).push_back('\0');
    stream->fields.append(reinterpret_cast<const char*>(value), valueLength).push_back('\0');
    return 0;
  }

  static int onFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const nghttp2_frame_hd& head = frame->hd;
    Tunnel& tunnel = tunnelOf(user);
    if (head.type != h2::kHeaders && head.type != h2::kData) {
      tunnel.all.frame(tunnel, *frame);
      return 0;
    }
    Stream* stream = SessionCallbacks::streamOf(session, head.stream_id);
    if (stream == nullptr) return 0;
    if (head.type == h2::kHeaders) tunnel.all.complete(tunnel, *stream);
    if (head.flags & h2::kEndStream) tunnel.all.ended(*stream);
    return 0;
  }

  // The other end need not end a request that was refused (RFC 9113, 8.1). A reset that is submitted earlier overtakes the answer.
  static int onSent(nghttp2_session* session, const nghttp2_frame* frame, void*) {
    const nghttp2_frame_hd& head = frame->hd;
    if (head.type != h2::kHeaders || !(head.flags & h2::kEndStream)) return 0;
    const Stream* stream = SessionCallbacks::streamOf(session, head.stream_id);
    if (stream != nullptr && !stream->ended) nghttp2_submit_rst_stream(session, 0, head.stream_id, h2::kNoError);
    return 0;
  }
};

void addServerCallbacks(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, ServerCallbacks::onBegin);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, ServerCallbacks::onHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, ServerCallbacks::onFrame);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, ServerCallbacks::onSent);
}

}  // namespace starlane
