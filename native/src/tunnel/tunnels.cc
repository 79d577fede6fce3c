// The table of tunnels and streams: what TypeScript asks for, and the ends.
#include "tunnel/tunnels.h"

#include <sys/epoll.h>

#include "tunnel/session.h"

namespace starlane {

Tunnels::Tunnels(Outbox& outbox, const Descriptor& epoll, StreamOwner& owner)
    : outbox_(outbox), epoll_(epoll), owner_(owner), buffer_(new uint8_t[kRecord]) {}

Tunnels::~Tunnels() {
  for (const Opening& opening : openings_) SSL_free(opening.ssl);
  // Callbacks and options are copied by each session.
  for (nghttp2_session_callbacks* callbacks : {callbacks_, serverCallbacks_}) {
    if (callbacks != nullptr) nghttp2_session_callbacks_del(callbacks);
  }
  if (option_ != nullptr) nghttp2_option_del(option_);
}

void Tunnels::open(int32_t id, bool isServer, Descriptor fd, ssl_st* ssl, TunnelWindows windows) {
  const std::lock_guard<std::mutex> lock(newLock_);
  openings_.push_back({id, isServer, std::move(fd), ssl, windows});
  haveNew_.store(true);
}

void Tunnels::request(int32_t tunnel, int32_t token, std::string fields) {
  const std::lock_guard<std::mutex> lock(newLock_);
  requests_.push_back({tunnel, token, std::move(fields)});
  haveNew_.store(true);
}

std::string Tunnels::details(int32_t id) {
  const std::lock_guard<std::mutex> lock(sharedLock_);
  const auto found = details_.find(id);
  if (found == details_.end()) return {};
  std::string text = std::move(found->second);
  details_.erase(found);
  return text;
}

bool Tunnels::count(int32_t id, double& received, double& sent) {
  const std::lock_guard<std::mutex> lock(sharedLock_);
  const auto found = counters_.find(id);
  if (found == counters_.end()) return false;
  received = static_cast<double>(found->second->received.load(std::memory_order_relaxed));
  sent = static_cast<double>(found->second->sent.load(std::memory_order_relaxed));
  return true;
}

void Tunnels::takeNew() {
  if (!haveNew_.load()) return;
  std::vector<Opening> openings;
  std::vector<Request> requests;
  std::vector<Answer> answers;
  std::vector<Leaving> leavings;
  {
    const std::lock_guard<std::mutex> lock(newLock_);
    openings.swap(openings_);
    requests.swap(requests_);
    answers.swap(answers_);
    leavings.swap(leavings_);
    haveNew_.store(false);
  }
  for (Opening& opening : openings) {
    auto tunnel = std::make_unique<Tunnel>(*this, opening.id, opening.isServer, std::move(opening.fd), opening.ssl);
    tunnel->windows = opening.windows;
    {
      const std::lock_guard<std::mutex> lock(sharedLock_);
      counters_[opening.id] = tunnel->counters;
    }
    Tunnel& one = *(tunnels_[opening.id] = std::move(tunnel));
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = kTag | static_cast<uint32_t>(opening.id);
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, one.socket.fd(), &event) != 0) fail(one, "its socket cannot be watched");
    else shake(one);
  }
  for (const Request& request : requests) ask(request.tunnel, request.token, request.fields);
  for (const Answer& answer : answers) respond(answer.token, answer.last, answer.fields);
  for (const Leaving& leaving : leavings) {
    if (Tunnel* tunnel = find(leaving.id)) sayFarewell(*tunnel, leaving.farewell);
  }
}

// The certificate of the other end is accepted.
void Tunnels::start(int32_t id, uint32_t streams) {
  Tunnel* tunnel = find(id);
  if (tunnel == nullptr || tunnel->state != Tunnel::State::Secured) return;
  tunnel->streams = streams;
  tunnel->session = newSession(tunnel->isServer ? serverCallbacks_ : callbacks_, option_, *tunnel);
  if (tunnel->session == nullptr) return fail(*tunnel, "no memory for a session");
  tunnel->state = Tunnel::State::Started;
  touch(*tunnel);
  if (tunnel->farewell) sayFarewell(*tunnel, *tunnel->farewell);
  read(*tunnel);
}

void Tunnels::close(int32_t id, uint32_t code) {
  const auto found = tunnels_.find(id);
  if (found == tunnels_.end() || found->second->state == Tunnel::State::Over) return;
  Tunnel& tunnel = *found->second;
  if (tunnel.state == Tunnel::State::Started && !tunnel.blocked) {
    tunnel.lingers = tunnel.isServer;
    nghttp2_session_terminate_session(tunnel.session, code);
    write(tunnel);
    if (tunnel.state == Tunnel::State::Lingering) return;
  }
  fail(tunnel, "");
}

void Tunnels::setWindow(int32_t id, int32_t window) {
  Tunnel* tunnel = find(id);
  if (tunnel == nullptr || tunnel->session == nullptr) return;
  const nghttp2_settings_entry entry{h2::kInitialWindow, static_cast<uint32_t>(window)};
  nghttp2_submit_settings(tunnel->session, 0, &entry, 1);
  touch(*tunnel);
}

void Tunnels::reset(int32_t token, uint32_t code) {
  const auto found = streams_.find(token);
  if (found == streams_.end() || found->second->taken() || found->second->left) return;
  Stream& stream = *found->second;
  stream.left = true;
  stream.kept.clear();
  nghttp2_submit_rst_stream(stream.tunnel->session, 0, stream.id, code);
  touch(*stream.tunnel);
}

void Tunnels::ask(int32_t id, int32_t token, const std::string& fields) {
  Tunnel* tunnel = find(id);
  const bool isOpen = tunnel != nullptr && tunnel->session != nullptr && tunnel->state == Tunnel::State::Started;
  auto stream = std::make_unique<Stream>();
  stream->token = token;
  stream->tunnel = tunnel;
  stream->id = isOpen ? submitRequest(*tunnel, *stream, fields) : -1;
  if (stream->id < 0) {
    Record event = recordOf(Event::StreamEnded, static_cast<uint32_t>(token), 0);
    event.error = static_cast<int32_t>(h2::kCancel);
    return outbox_.send(event);
  }
  streams_[token] = std::move(stream);
  touch(*tunnel);
}

Stream* Tunnels::answered(int32_t token) {
  const auto found = streams_.find(token);
  if (found == streams_.end()) return nullptr;
  Stream& stream = *found->second;
  return stream.answered && stream.status == 200 && !stream.taken() && !stream.left ? &stream : nullptr;
}

void Tunnels::resume(Stream& stream) {
  if (stream.tunnel == nullptr || !stream.waits) return;
  stream.waits = false;
  nghttp2_session_resume_data(stream.tunnel->session, stream.id);
  touch(*stream.tunnel);
}

void Tunnels::consumed(Stream& stream, size_t bytes) {
  if (stream.tunnel == nullptr) return;
  nghttp2_session_consume_stream(stream.tunnel->session, stream.id, bytes);
  touch(*stream.tunnel);
}

void Tunnels::leave(Stream& stream, bool reset) {
  stream.slot = -1;
  stream.left = true;
  stream.kept.clear();
  if (stream.tunnel == nullptr) return erase(stream);
  if (!reset) return;
  nghttp2_submit_rst_stream(stream.tunnel->session, 0, stream.id, h2::kInternalError);
  touch(*stream.tunnel);
}

void Tunnels::closeAll() {
  takeNew();
  for (const auto& [id, tunnel] : tunnels_) {
    close(id, tunnel->isServer ? h2::kNoError : h2::kCancel);
    fail(*tunnel, "");
  }
  endTurn();
}

Tunnel* Tunnels::find(int32_t id) {
  const auto found = tunnels_.find(id);
  const bool isThere = found != tunnels_.end() && found->second->state < Tunnel::State::Lingering;
  return isThere ? found->second.get() : nullptr;
}

// Its streams end when no callback of HTTP/2 can be under way.
void Tunnels::fail(Tunnel& tunnel, const std::string& why) {
  if (tunnel.state == Tunnel::State::Over) return;
  tunnel.state = Tunnel::State::Over;
  tunnel.why = why;
  over_.push_back(tunnel.id);
}

void Tunnels::endStreams(Tunnel& tunnel) {
  std::vector<Stream*> streams;
  for (const auto& [token, stream] : streams_) {
    if (stream->tunnel == &tunnel) streams.push_back(stream.get());
  }
  for (Stream* stream : streams) {
    stream->tunnel = nullptr;
    if (stream->taken()) {
      owner_.farClosed(*stream, true, false);
      continue;
    }
    if (!stream->left) {
      Record event = recordOf(Event::StreamEnded, static_cast<uint32_t>(stream->token), 0);
      event.error = static_cast<int32_t>(h2::kCancel);
      outbox_.send(event);
    }
    erase(*stream);
  }
}

void Tunnels::end(Tunnel& tunnel) {
  endStreams(tunnel);
  tunnel.socket.finish();
  Record event = recordOf(Event::TunnelEnded, static_cast<uint32_t>(tunnel.id), 0);
  event.token = keep(tunnel.why);
  outbox_.send(event);
  {
    const std::lock_guard<std::mutex> lock(sharedLock_);
    counters_.erase(tunnel.id);
  }
  tunnels_.erase(tunnel.id);
}

void Tunnels::erase(Stream& stream) { streams_.erase(stream.token); }

// 0 for none.
int32_t Tunnels::keep(std::string details) {
  if (details.empty()) return 0;
  const std::lock_guard<std::mutex> lock(sharedLock_);
  lastDetails_ = lastDetails_ == INT32_MAX ? 1 : lastDetails_ + 1;
  details_[lastDetails_] = std::move(details);
  return lastDetails_;
}

}  // namespace starlane
