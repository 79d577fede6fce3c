// Requests of other ends, from their headers to TypeScript's answer, and the last words of a session.
#include <sys/socket.h>

#include <cerrno>

#include "tunnel/session.h"
#include "tunnel/tunnels.h"

namespace starlane {

void Tunnels::answer(int32_t token, bool last, std::string fields) {
  const std::lock_guard<std::mutex> lock(newLock_);
  answers_.push_back({token, last, std::move(fields)});
  haveNew_.store(true);
}

void Tunnels::leave(int32_t id, uint32_t code, std::string text) {
  const std::lock_guard<std::mutex> lock(newLock_);
  leavings_.push_back({id, {code, std::move(text)}});
  haveNew_.store(true);
}

Stream* Tunnels::newRequest(Tunnel& tunnel, int32_t id) {
  do lastRequest_ = lastRequest_ == INT32_MIN ? -1 : lastRequest_ - 1;
  while (streams_.count(lastRequest_) > 0);
  auto stream = std::make_unique<Stream>();
  stream->token = lastRequest_;
  stream->tunnel = &tunnel;
  stream->id = id;
  return (streams_[lastRequest_] = std::move(stream)).get();
}

// All its headers have come; those that come later are trailers.
void Tunnels::complete(Tunnel& tunnel, Stream& stream) {
  if (stream.answered) return;
  stream.answered = true;
  Record event = recordOf(Event::StreamAsked, static_cast<uint32_t>(stream.token), 0);
  event.tunnel = tunnel.id;
  event.details = keep(std::move(stream.fields));
  outbox_.send(event);
}

void Tunnels::respond(int32_t token, bool last, const std::string& fields) {
  Stream* stream = asked(token);
  if (stream == nullptr || stream->tunnel == nullptr) return;
  nghttp2_nv pairs[kMostFields];
  const size_t count = fieldsIn(fields, pairs);
  nghttp2_data_provider provider{};
  provider.source.ptr = stream;
  provider.read_callback = SessionCallbacks::onSend;
  stream->waits = false;
  if (last) {
    stream->left = true;
    stream->kept.clear();
  }
  nghttp2_submit_response(stream->tunnel->session, stream->id, pairs, count, last ? nullptr : &provider);
  touch(*stream->tunnel);
}

Stream* Tunnels::asked(int32_t token) {
  const auto found = streams_.find(token);
  return found == streams_.end() || found->second->left ? nullptr : found->second.get();
}

void Tunnels::sayFarewell(Tunnel& tunnel, const Farewell& farewell) {
  if (tunnel.session == nullptr) {
    tunnel.farewell = std::make_unique<Farewell>(farewell);
    return;
  }
  const auto& [code, text] = farewell;
  tunnel.lingers = true;
  nghttp2_submit_goaway(tunnel.session, 0, nghttp2_session_get_last_proc_stream_id(tunnel.session), code,
                        reinterpret_cast<const uint8_t*>(text.data()), text.size());
  touch(tunnel);
}

// What the other end has sent is read until it closes too, or TypeScript does not wait any longer.
void Tunnels::linger(Tunnel& tunnel) {
  tunnel.state = Tunnel::State::Lingering;
  endStreams(tunnel);
  tunnel.socket.finish();
  shutdown(tunnel.socket.fd(), SHUT_WR);
  drain(tunnel);
}

void Tunnels::drain(Tunnel& tunnel) {
  for (;;) {
    const ssize_t got = recv(tunnel.socket.fd(), buffer_.get(), kRecord, 0);
    if (got > 0 || (got < 0 && errno == EINTR)) continue;
    if (got == 0 || errno != EAGAIN) fail(tunnel, "");
    return;
  }
}

}  // namespace starlane
