// What HTTP/2 reports, and what it asks for.
#include "tunnel/session.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "serving/server-callbacks.h"
#include "time/clock.h"
#include "tunnel/tunnels.h"

namespace starlane {

namespace {

constexpr uint32_t kMaxFrameSize = 1 << 20;
constexpr uint32_t kMaxAnswerBytes = 16 << 10;
constexpr uint32_t kMaxRequestBytes = 64 << 10;
constexpr uint32_t kStreamsBeforeSettings = 100;
constexpr size_t kMostReason = 1024;
// Bytes of a stream after which the others have their turn.
constexpr size_t kStreamTurn = 32 << 10;

Tunnel& tunnelOf(void* user) { return *static_cast<Tunnel*>(user); }

double milliseconds() { return static_cast<double>(monotonicNs()) / 1e6; }

}  // namespace

int SessionCallbacks::onFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  Tunnel& tunnel = tunnelOf(user);
  const nghttp2_frame_hd& head = frame->hd;
  if (head.type == h2::kHeaders || head.type == h2::kData) {
    Stream* stream = streamOf(session, head.stream_id);
    if (stream == nullptr) return 0;
    if (head.type == h2::kHeaders) tunnel.all.answer(*stream);
    if (head.flags & h2::kEndStream) tunnel.all.ended(*stream);
    return 0;
  }
  tunnel.all.frame(tunnel, *frame);
  return 0;
}

int SessionCallbacks::onHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t nameLength,
                    const uint8_t* value, size_t valueLength, uint8_t, void*) {
  Stream* stream = streamOf(session, frame->hd.stream_id);
  if (stream == nullptr) return 0;
  const std::string_view field(reinterpret_cast<const char*>(name), nameLength);
  const std::string text(reinterpret_cast<const char*>(value), valueLength);
  if (field == ":status") stream->status = atoi(text.c_str());
  if (field != "proxy-status" || stream->reason.size() + text.size() > kMostReason) return 0;
  if (!stream->reason.empty()) stream->reason += ", ";
  stream->reason += text;
  return 0;
}

int SessionCallbacks::onData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes, size_t length, void* user) {
  // What one stream does not take holds up no other: the session's window is larger than that of a stream.
  nghttp2_session_consume_connection(session, length);
  Stream* stream = streamOf(session, id);
  if (stream != nullptr) tunnelOf(user).all.arrived(*stream, bytes, length);
  return 0;
}

int SessionCallbacks::onClose(nghttp2_session* session, int32_t id, uint32_t code, void* user) {
  Stream* stream = streamOf(session, id);
  if (stream != nullptr) tunnelOf(user).all.closed(*stream, code);
  return 0;
}

ssize_t SessionCallbacks::onSend(nghttp2_session*, int32_t, uint8_t* into, size_t room, uint32_t* flags, nghttp2_data_source* source,
                      void* user) {
  Stream& stream = *static_cast<Stream*>(source->ptr);
  // Streams of one urgency are served one after the other, each to its end (RFC 9218, 10): so that none waits for a long transfer, each
  // has a turn and rests.
  if (stream.sentInTurn >= kStreamTurn) {
    stream.sentInTurn = 0;
    tunnelOf(user).resting.push_back(stream.id);
    return h2::kDeferred;
  }
  bool last = false;
  const size_t put = stream.taken() ? tunnelOf(user).all.owner_.take(stream, into, room, last) : 0;
  if (last) *flags |= h2::kEof;
  stream.sentInTurn = put > 0 ? stream.sentInTurn + put : 0;
  if (put > 0 || last) return static_cast<ssize_t>(put);
  stream.waits = true;
  return h2::kDeferred;
}

nghttp2_session* newSession(nghttp2_session_callbacks*& callbacks, nghttp2_option*& option, Tunnel& tunnel) {
  if (callbacks == nullptr) {
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, SessionCallbacks::onFrame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, SessionCallbacks::onHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, SessionCallbacks::onData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, SessionCallbacks::onClose);
    if (tunnel.isServer) addServerCallbacks(callbacks);
  }
  if (option == nullptr) {
    if (nghttp2_option_new(&option) != 0) return nullptr;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_peer_max_concurrent_streams(option, kStreamsBeforeSettings);
  }
  nghttp2_session* session = nullptr;
  const auto create = tunnel.isServer ? nghttp2_session_server_new2 : nghttp2_session_client_new2;
  if (create(&session, callbacks, &tunnel, option) != 0) return nullptr;
  const auto window = static_cast<uint32_t>(tunnel.windows.stream);
  const nghttp2_settings_entry client[] = {
      {h2::kEnablePush, 0},
      {h2::kInitialWindow, window},
      {h2::kMaxFrame, kMaxFrameSize},
      {h2::kMaxHeaderList, kMaxAnswerBytes},
  };
  const nghttp2_settings_entry server[] = {
      {h2::kMaxStreams, tunnel.streams},
      {h2::kInitialWindow, window},
      {h2::kMaxFrame, kMaxFrameSize},
      {h2::kMaxHeaderList, kMaxRequestBytes},
      {h2::kConnectProtocol, 1},
  };
  const bool isSet = tunnel.isServer ? nghttp2_submit_settings(session, 0, server, sizeof server / sizeof *server) == 0
                                     : nghttp2_submit_settings(session, 0, client, sizeof client / sizeof *client) == 0;
  if (isSet && nghttp2_session_set_local_window_size(session, 0, 0, tunnel.windows.session) == 0) return session;
  nghttp2_session_del(session);
  return nullptr;
}

size_t fieldsIn(const std::string& fields, nghttp2_nv (&pairs)[kMostFields]) {
  size_t count = 0;
  const char* at = fields.data();
  const char* end = at + fields.size();
  while (at < end && count < kMostFields) {
    const size_t name = strlen(at);
    const char* value = at + name + 1;
    if (value >= end) break;
    const size_t length = strlen(value);
    // nghttp2 copies both.
    pairs[count++] = {reinterpret_cast<uint8_t*>(const_cast<char*>(at)), reinterpret_cast<uint8_t*>(const_cast<char*>(value)), name,
                      length, 0};
    at = value + length + 1;
  }
  return count;
}

int32_t submitRequest(Tunnel& tunnel, Stream& stream, const std::string& fields) {
  nghttp2_nv pairs[kMostFields];
  const size_t count = fieldsIn(fields, pairs);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = SessionCallbacks::onSend;
  stream.waits = false;
  return nghttp2_submit_request(tunnel.session, nullptr, pairs, count, &provider, &stream);
}

void Tunnels::ping(int32_t id) {
  Tunnel* tunnel = find(id);
  if (tunnel == nullptr || tunnel->session == nullptr) return;
  tunnel->pingedAt = milliseconds();
  nghttp2_submit_ping(tunnel->session, 0, nullptr);
  touch(*tunnel);
}

// An informational answer (1xx) comes before the one that counts.
void Tunnels::answer(Stream& stream) {
  if (stream.answered || stream.left || stream.status < 200) return;
  stream.answered = true;
  Record event = recordOf(Event::StreamAnswered, static_cast<uint32_t>(stream.token), 0);
  event.error = stream.status;
  if (stream.status != 200) event.token = keep(std::move(stream.reason));
  outbox_.send(event);
}

void Tunnels::arrived(Stream& stream, const uint8_t* bytes, size_t length) {
  if (stream.left) return;
  const size_t given = stream.taken() && stream.kept.size() == 0 ? owner_.give(stream, bytes, length) : 0;
  // Giving may have ended the connection.
  if (stream.left) return;
  if (given > 0) nghttp2_session_consume_stream(stream.tunnel->session, stream.id, given);
  if (given < length) stream.kept.push(bytes + given, length - given);
}

void Tunnels::ended(Stream& stream) {
  if (stream.ended) return;
  stream.ended = true;
  if (stream.taken()) owner_.farEnded(stream);
}

// Neither nghttp2 nor the tunnel knows it any more.
void Tunnels::closed(Stream& stream, uint32_t code) {
  stream.tunnel = nullptr;
  if (stream.taken()) return owner_.farClosed(stream, false, code == h2::kNoError);
  if (!stream.left) {
    Record event = recordOf(Event::StreamEnded, static_cast<uint32_t>(stream.token), 0);
    event.error = static_cast<int32_t>(code);
    outbox_.send(event);
  }
  erase(stream);
}

void Tunnels::frame(Tunnel& tunnel, const nghttp2_frame& frame) {
  const nghttp2_frame_hd& head = frame.hd;
  const auto id = static_cast<uint32_t>(tunnel.id);
  if (head.type == h2::kSettings && !(head.flags & h2::kAck) && !tunnel.settled) {
    tunnel.settled = true;
    Record event = recordOf(Event::TunnelReady, id, 0);
    const uint32_t most = nghttp2_session_get_remote_settings(tunnel.session, h2::kMaxStreams);
    event.token = most > INT32_MAX ? INT32_MAX : static_cast<int32_t>(most);
    outbox_.send(event);
  } else if (head.type == h2::kPing && (head.flags & h2::kAck)) {
    Record event = recordOf(Event::TunnelPong, id, 0);
    event.now = milliseconds() - tunnel.pingedAt;
    outbox_.send(event);
  } else if (head.type == h2::kGoaway) {
    Record event = recordOf(Event::TunnelLeaving, id, 0);
    event.error = static_cast<int32_t>(frame.goaway.error_code);
    const size_t length = frame.goaway.opaque_data_len < kMostReason ? frame.goaway.opaque_data_len : kMostReason;
    if (length > 0) event.token = keep(std::string(reinterpret_cast<const char*>(frame.goaway.opaque_data), length));
    outbox_.send(event);
  }
}

}  // namespace starlane
