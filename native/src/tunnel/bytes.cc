// The bytes of tunnels: from the socket over TLS to HTTP/2, and back.
#include <sys/epoll.h>

#include <cstring>

#include "tunnel/tunnels.h"

namespace starlane {

namespace {

// Bytes after which a tunnel waits until the others have had their turn.
constexpr size_t kTurn = 256 * 1024;
// Frames that are gathered for one write, and what the last of them may have: a frame is sent with 16 KiB at most.
constexpr size_t kGather = 48 * 1024;
constexpr size_t kFrame = 16 * 1024 + 9;

}  // namespace

void Tunnels::onSocket(uint64_t tag, uint32_t events) {
  const auto found = tunnels_.find(static_cast<int32_t>(tag & 0xffffffffu));
  if (found == tunnels_.end() || found->second->state == Tunnel::State::Over) return;
  Tunnel* tunnel = found->second.get();
  if (tunnel->state == Tunnel::State::Lingering) return drain(*tunnel);
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) tunnel->readable = true;
  // OpenSSL may have had to write before it could read on.
  if ((events & EPOLLOUT) && tunnel->blocked) tunnel->readable = true;
  if (events & EPOLLOUT) tunnel->blocked = false;
  if (tunnel->state == Tunnel::State::Handshake) return shake(*tunnel);
  if (tunnel->state != Tunnel::State::Started) return;
  if (tunnel->readable && !tunnel->listed) read(*tunnel);
  touch(*tunnel);
}

void Tunnels::shake(Tunnel& tunnel) {
  switch (tunnel.socket.handshake()) {
    case SecureSocket::Progress::Blocked:
      return;
    case SecureSocket::Progress::Failed:
      return fail(tunnel, tunnel.socket.why());
    case SecureSocket::Progress::Done:
      break;
  }
  if (!tunnel.socket.speaksHttp2()) return fail(tunnel, "it does not speak HTTP/2 (ALPN h2)");
  tunnel.state = Tunnel::State::Secured;
  Record event = recordOf(Event::TunnelSecured, static_cast<uint32_t>(tunnel.id), 0);
  event.error = static_cast<int32_t>(tunnel.socket.verified());
  event.token = keep(tunnel.socket.chain(tunnel.isServer));
  outbox_.send(event);
}

void Tunnels::read(Tunnel& tunnel) {
  size_t moved = 0;
  while (tunnel.readable && tunnel.state == Tunnel::State::Started) {
    if (moved >= kTurn) {
      list(tunnel);
      break;
    }
    const ssize_t got = tunnel.socket.read(buffer_.get(), kRecord);
    if (got == 0) tunnel.readable = false;
    if (got < 0) fail(tunnel, tunnel.socket.why());
    if (got <= 0) break;
    moved += static_cast<size_t>(got);
    tunnel.counters->received.fetch_add(static_cast<uint64_t>(got), std::memory_order_relaxed);
    const ssize_t used = nghttp2_session_mem_recv(tunnel.session, buffer_.get(), static_cast<size_t>(got));
    if (used < 0) fail(tunnel, nghttp2_strerror(static_cast<int>(used)));
  }
  // What has come may be answered, by a window that opens again at least, though nothing more comes in the next turn.
  if (moved > 0) touch(tunnel);
}

// Passes on what HTTP/2 has to send, as far as the socket takes it.
void Tunnels::write(Tunnel& tunnel) {
  size_t moved = 0;
  while (flush(tunnel)) {
    if (moved >= kTurn) {
      touch(tunnel);
      return;
    }
    if (!gather(tunnel)) break;
    moved += tunnel.outEnd;
  }
  const bool isOver = tunnel.state == Tunnel::State::Started && !nghttp2_session_want_read(tunnel.session) &&
                      !nghttp2_session_want_write(tunnel.session);
  if (isOver && tunnel.lingers) linger(tunnel);
  else if (isOver) fail(tunnel, "it closed the session");
}

// True when all that was gathered is sent.
bool Tunnels::flush(Tunnel& tunnel) {
  while (tunnel.outAt < tunnel.outEnd) {
    const ssize_t put = tunnel.socket.write(tunnel.out.get() + tunnel.outAt, tunnel.outEnd - tunnel.outAt);
    if (put < 0) fail(tunnel, tunnel.socket.why());
    if (put == 0) tunnel.blocked = true;
    if (put <= 0) return false;
    tunnel.outAt += static_cast<size_t>(put);
    tunnel.counters->sent.fetch_add(static_cast<uint64_t>(put), std::memory_order_relaxed);
  }
  tunnel.outAt = tunnel.outEnd = 0;
  return true;
}

// False when there is nothing to send.
bool Tunnels::gather(Tunnel& tunnel) {
  if (!tunnel.out) tunnel.out.reset(new uint8_t[kGather + kFrame]);
  while (tunnel.outEnd < kGather) {
    const uint8_t* frame = nullptr;
    const ssize_t length = nghttp2_session_mem_send(tunnel.session, &frame);
    if (length < 0) fail(tunnel, nghttp2_strerror(static_cast<int>(length)));
    if (length == 0 && endRest(tunnel)) continue;
    if (length <= 0) break;
    if (static_cast<size_t>(length) > kGather + kFrame - tunnel.outEnd) {
      fail(tunnel, "a frame is too long");
      return false;
    }
    memcpy(tunnel.out.get() + tunnel.outEnd, frame, static_cast<size_t>(length));
    tunnel.outEnd += static_cast<size_t>(length);
  }
  return tunnel.outEnd > 0 && tunnel.state == Tunnel::State::Started;
}

// The others have had their turns. False when nobody rests.
bool Tunnels::endRest(Tunnel& tunnel) {
  if (tunnel.resting.empty()) return false;
  for (const int32_t id : tunnel.resting) nghttp2_session_resume_data(tunnel.session, id);
  tunnel.resting.clear();
  return true;
}

void Tunnels::touch(Tunnel& tunnel) {
  if (tunnel.dirty) return;
  tunnel.dirty = true;
  dirty_.push_back(tunnel.id);
}

void Tunnels::list(Tunnel& tunnel) {
  if (tunnel.listed) return;
  tunnel.listed = true;
  unfinished_.push_back(tunnel.id);
}

// Those that have more to read or to send than a turn allows go on in the next.
void Tunnels::endTurn() {
  std::vector<int32_t> listed;
  listed.swap(unfinished_);
  for (const int32_t id : listed) {
    Tunnel* tunnel = find(id);
    if (tunnel == nullptr) continue;
    tunnel->listed = false;
    read(*tunnel);
  }
  std::vector<int32_t> dirty;
  dirty.swap(dirty_);
  for (const int32_t id : dirty) {
    Tunnel* tunnel = find(id);
    if (tunnel == nullptr) continue;
    tunnel->dirty = false;
    if (tunnel->session != nullptr && !tunnel->blocked) write(*tunnel);
  }
  while (!over_.empty()) {
    const int32_t id = over_.back();
    over_.pop_back();
    const auto found = tunnels_.find(id);
    if (found != tunnels_.end()) end(*found->second);
  }
}

}  // namespace starlane
