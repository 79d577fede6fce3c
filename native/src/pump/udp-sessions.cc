// UDP sessions of the pump: admission, links, timeouts; see udp-sessions.h.
#include "pump/udp-sessions.h"

#include <sys/epoll.h>

#include <cerrno>
#include <random>
#include <utility>

namespace starlane {

namespace {

constexpr int kBatch = 32;
constexpr size_t kDatagram = 65536;
// Between the places of two datagrams: an odd number of cache lines, or their beginnings would all fall into the same few sets of the cache.
constexpr size_t kStride = kDatagram + 64;
// A link of which so many reads in a row have found one datagram each is asked for one at a time, by a cheaper call; every eighth
// read asks for more.
constexpr uint8_t kOnes = 4;
constexpr uint8_t kOnesUntilMore = kOnes + 7;
// Batches of one socket in one turn, so that a flood does not starve other sockets.
constexpr int kRounds = 4;
// Free room before a link is read; with less, a burst would be cut into small calls.
constexpr int kMinRoom = 16;
// The most that the kernel takes in one call with UDP_SEGMENT.
constexpr size_t kMostSegmented = 65000;
// What may wait for a decision: datagrams of one session, bytes of all, sessions.
constexpr size_t kMostWaiting = 256;
constexpr size_t kMostWaitingBytes = 16 * 1024 * 1024;
constexpr size_t kMostAsking = 1024;
// What is remembered of datagrams that were sent and may be refused.
constexpr size_t kMostOnlyBytes = 4 * 1024 * 1024;
// Between two reports of the bytes of a session.
constexpr double kReportMs = 1000;

constexpr uint64_t kFrontendTag = UdpSessions::kUdpTag | uint64_t{1} << 62;

uint64_t tagOf(uint32_t slot, uint32_t stamp) {
  return UdpSessions::kUdpTag | static_cast<uint64_t>(slot) << 32 | stamp;
}

// Errors of one datagram, too large or no room just now: it is lost, the session goes on.
bool passes(int error) {
  return error == EMSGSIZE || error == ENOBUFS || error == ENOMEM || error == EAGAIN || error == EINTR;
}

// The datagram has reached no program.
bool refuses(int error) { return error == ECONNREFUSED || error == EHOSTUNREACH; }

uint64_t seed() {
  static const uint64_t value = std::random_device{}() | static_cast<uint64_t>(std::random_device{}()) << 32;
  return value;
}

}  // namespace

// Room for the datagrams of one call, and the structures that the calls take, filled in once.
struct UdpSessions::Batch {
  std::unique_ptr<uint8_t[]> bytes{new uint8_t[kBatch * kStride]};
  mmsghdr in[kBatch];  // with the sender's address
  mmsghdr inKnown[kBatch];  // without
  iovec room[kBatch];
  sockaddr_storage from[kBatch];
  mmsghdr out[kBatch];
  iovec pieces[kBatch];  // the datagrams received
  // The first pieces are replies that wait for the end of the turn.
  int replies = 0;
  int32_t frontend[kBatch];
  Address to[kBatch];

  Batch() {
    for (int i = 0; i < kBatch; i++) {
      room[i] = {bytes.get() + static_cast<size_t>(i) * kStride, kDatagram};
      in[i] = inKnown[i] = out[i] = {};
      in[i].msg_hdr.msg_name = &from[i];
      in[i].msg_hdr.msg_namelen = sizeof from[i];
      in[i].msg_hdr.msg_iov = inKnown[i].msg_hdr.msg_iov = &room[i];
      out[i].msg_hdr.msg_iov = &pieces[i];
      in[i].msg_hdr.msg_iovlen = inKnown[i].msg_hdr.msg_iovlen = out[i].msg_hdr.msg_iovlen = 1;
    }
  }

  // Receives from any sender. The number of datagrams, or -1 with errno.
  int receive(int fd) {
    const int count = recvmmsg(fd, in, kBatch, MSG_DONTWAIT, nullptr);
    for (int i = 0; i < count; i++) pieces[i] = {room[i].iov_base, in[i].msg_len};
    return count;
  }

  // Receives from the peer that the socket is connected to, behind the replies that wait.
  int receiveKnown(int fd) {
    const int count = recvmmsg(fd, inKnown + replies, static_cast<unsigned>(kBatch - replies), MSG_DONTWAIT, nullptr);
    for (int i = replies; i < replies + count; i++) pieces[i] = {room[i].iov_base, inKnown[i].msg_len};
    return count;
  }

  // As receiveKnown, one at most.
  int receiveOne(int fd) {
    const ssize_t size = recv(fd, room[replies].iov_base, kDatagram, MSG_DONTWAIT);
    if (size < 0) return -1;
    pieces[replies] = {room[replies].iov_base, static_cast<size_t>(size)};
    return 1;
  }
};

UdpSessions::UdpSessions(Outbox& outbox, const Descriptor& epoll, Budget& budget)
    : outbox_(outbox), epoll_(epoll), budget_(budget) {}
UdpSessions::~UdpSessions() = default;

// With a seed, so that nobody can choose addresses that collide.
size_t UdpSessions::Hash::operator()(const Client& client) const {
  uint64_t words[2];
  memcpy(words, client.bytes, sizeof words);
  uint64_t hash = seed() ^ client.port;
  for (const uint64_t word : words) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash;
}

uint64_t UdpSessions::tagOfFrontend(int32_t frontend) { return kFrontendTag | static_cast<uint32_t>(frontend); }

void UdpSessions::open(int32_t frontend, Descriptor fd) {
  if (!batch_) batch_ = std::make_unique<Batch>();
  frontends_[frontend].fd = std::move(fd);
}

void UdpSessions::close(int32_t frontend) {
  const auto found = frontends_.find(frontend);
  if (found == frontends_.end()) return;
  std::vector<uint32_t> slots;
  for (const auto& [client, slot] : found->second.sessions) slots.push_back(slot);
  for (const uint32_t slot : slots) drop(slot);
  frontends_.erase(found);
  tellClosed(frontend, -1);
}

void UdpSessions::tellClosed(int32_t frontend, int32_t descriptor) {
  Record event{};
  event.kind = static_cast<int32_t>(Event::FrontendClosed);
  event.frontend = frontend;
  event.descriptor = descriptor;
  outbox_.send(event);
}

void UdpSessions::pause(int32_t frontend) {
  const auto found = frontends_.find(frontend);
  if (found == frontends_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd.get(), nullptr);
  Record event{};
  event.kind = static_cast<int32_t>(Event::FrontendPaused);
  event.frontend = frontend;
  outbox_.send(event);
}

int UdpSessions::resume(int32_t frontend) {
  const auto found = frontends_.find(frontend);
  if (found == frontends_.end()) return 0;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tagOfFrontend(frontend);
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, found->second.fd.get(), &event) == 0 ? 0 : errno;
}

void UdpSessions::pass(int32_t frontend) {
  const auto found = frontends_.find(frontend);
  if (found == frontends_.end()) return;
  std::vector<uint32_t> slots;
  for (const auto& [client, slot] : found->second.sessions) slots.push_back(slot);
  for (const uint32_t slot : slots) {
    Session& session = sessions_[slot];
    if (session.state != State::Linked) {
      drop(slot);
      continue;
    }
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, session.fd.get(), nullptr);
    budget_.held--;
    end(slot, Event::Passed, session.fd.release());
  }
  const int descriptor = found->second.fd.release();
  frontends_.erase(found);
  tellClosed(frontend, descriptor);
}

void UdpSessions::adopt(const Record& command) {
  Descriptor link(command.descriptor);
  Record event{};
  event.kind = static_cast<int32_t>(Event::Adopted);
  event.slot = -1;
  event.token = command.slot;
  const auto found = frontends_.find(command.frontend);
  Client client{};
  memcpy(client.bytes, command.address, sizeof client.bytes);
  client.port = static_cast<uint16_t>(command.port);
  client.family = static_cast<uint8_t>(command.family);
  if (found == frontends_.end() || found->second.sessions.count(client) > 0) return outbox_.send(event);
  const uint32_t slot = newSlot();
  Session& session = sessions_[slot];
  epoll_event watched{};
  watched.events = EPOLLIN;
  watched.data.u64 = tagOf(slot, ++session.stamp);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, link.get(), &watched) != 0) {
    freeSlots_.push_back(slot);
    return outbox_.send(event);
  }
  session.state = State::Linked;
  session.frontend = command.frontend;
  session.client = client;
  session.address = addressOf(command.family, command.address, command.port);
  session.moved = true;
  session.fd = std::move(link);
  budget_.held++;
  found->second.sessions.emplace(client, slot);
  event.slot = static_cast<int32_t>(slot);
  event.generation = session.generation;
  outbox_.send(event);
}

uint32_t UdpSessions::newSlot() {
  if (freeSlots_.empty()) {
    sessions_.emplace_back();
    return static_cast<uint32_t>(sessions_.size() - 1);
  }
  const uint32_t slot = freeSlots_.back();
  freeSlots_.pop_back();
  return slot;
}

void UdpSessions::closeAll() {
  std::vector<int32_t> frontends;
  for (const auto& [frontend, rest] : frontends_) frontends.push_back(frontend);
  for (const int32_t frontend : frontends) close(frontend);
}

void UdpSessions::onSocket(uint64_t tag) {
  if ((tag & kFrontendTag) == kFrontendTag) return onFrontend(static_cast<int32_t>(tag & 0x7fffffffu));
  const auto slot = static_cast<uint32_t>((tag & ~kUdpTag) >> 32);
  const Session& session = sessions_[slot];
  if (session.state == State::Linked && session.stamp == static_cast<uint32_t>(tag)) onLink(slot);
}

// Datagrams of clients. Consecutive ones of one session are sent on together.
void UdpSessions::onFrontend(int32_t id) {
  const auto found = frontends_.find(id);
  if (found == frontends_.end()) return;
  UdpFrontend& frontend = found->second;
  sendReplies();
  for (int round = 0; round < kRounds; round++) {
    const int count = batch_->receive(frontend.fd.get());
    if (count <= 0) return;
    constexpr uint32_t nobody = UINT32_MAX;
    uint32_t slot = nobody;
    int first = 0;
    for (int i = 0; i <= count; i++) {
      const uint32_t next =
          i < count ? sessionOf(id, frontend, batch_->from[i], batch_->in[i].msg_hdr.msg_namelen) : nobody;
      if (i > 0 && next == slot && i < count) continue;
      if (slot != nobody && i > first) sendToBackend(slot, first, i - first);
      slot = next;
      first = i;
    }
    // The kernel has overwritten them with the length of each address.
    for (int i = 0; i < count; i++) batch_->in[i].msg_hdr.msg_namelen = sizeof batch_->from[i];
    if (count < kBatch) return;
  }
}

// Datagrams of a backend. A single one waits for those of other sessions in this turn, so that one call sends them all.
void UdpSessions::onLink(uint32_t slot) {
  Session& session = sessions_[slot];
  for (int round = 0; round < kRounds; round++) {
    if (kBatch - batch_->replies < kMinRoom) sendReplies();
    const int first = batch_->replies;
    const bool one = session.ones >= kOnes;
    const int most = one ? 2 : kBatch - first;
    const int count = one ? batch_->receiveOne(session.fd.get()) : batch_->receiveKnown(session.fd.get());
    if (count < 0 && !passes(errno)) return linkFailed(slot, errno);
    if (count <= 0) return;
    session.ones = count > 1 ? 0 : static_cast<uint8_t>(session.ones == kOnesUntilMore ? kOnes - 1 : session.ones + 1);
    if (!session.answered) {
      session.answered = true;
      dropOnly(session);
      tell(Event::Answered, slot);
    }
    session.moved = true;
    for (int i = first; i < first + count; i++) session.received += batch_->pieces[i].iov_len;
    if (count == 1) {
      batch_->frontend[first] = session.frontend;
      batch_->to[first].length = session.address.length;
      memcpy(&batch_->to[first].storage, &session.address.storage, session.address.length);
      batch_->replies++;
    } else {
      int error, sent;
      sendRun(frontends_.find(session.frontend)->second.fd.get(), &session.address, first, count, error, sent);
    }
    if (count < most) return;
  }
}

void UdpSessions::endTurn() {
  if (batch_ && batch_->replies > 0) sendReplies();
}

// Consecutive replies of one frontend go out by one call. What cannot be sent is lost, as UDP may.
void UdpSessions::sendReplies() {
  const int count = std::exchange(batch_->replies, 0);
  for (int i = 0; i < count;) {
    const auto frontend = frontends_.find(batch_->frontend[i]);
    int end = i;
    for (; end < count && batch_->frontend[end] == batch_->frontend[i]; end++) {
      batch_->out[end].msg_hdr.msg_name = const_cast<sockaddr*>(batch_->to[end].get());
      batch_->out[end].msg_hdr.msg_namelen = batch_->to[end].length;
    }
    while (i < end && frontend != frontends_.end()) {
      const int put = sendmmsg(frontend->second.fd.get(), &batch_->out[i], static_cast<unsigned>(end - i),
                               MSG_DONTWAIT | MSG_NOSIGNAL);
      i += put > 0 ? put : 1;
    }
    i = end;
  }
}

// UINT32_MAX when the datagram is to be dropped.
uint32_t UdpSessions::sessionOf(int32_t id, UdpFrontend& frontend, const sockaddr_storage& from, socklen_t length) {
  Client client{};
  int32_t family, port;
  read(from, family, client.bytes, port);
  if (port == 0) return UINT32_MAX;  // RFC 768: no source port, so there is nobody to answer
  client.port = static_cast<uint16_t>(port);
  client.family = static_cast<uint8_t>(family);
  const auto found = frontend.sessions.find(client);
  if (found != frontend.sessions.end()) return found->second;
  if (asking_ >= kMostAsking || !outbox_.room()) return UINT32_MAX;

  const uint32_t slot = newSlot();
  Session& session = sessions_[slot];
  session.state = State::Idle;
  session.frontend = id;
  session.client = client;
  memcpy(&session.address.storage, &from, length);
  session.address.length = length;
  session.moved = true;
  frontend.sessions.emplace(client, slot);
  return slot;
}

void UdpSessions::sendToBackend(uint32_t slot, int first, int count) {
  Session& session = sessions_[slot];
  session.moved = true;
  int sent = 0;
  if (session.state == State::Linked) {
    int error;
    const bool whole = sendRun(session.fd.get(), nullptr, first, count, error, sent);
    if (sent > 0) dropOnly(session);
    for (int i = first; i < first + sent; i++) session.sent += batch_->pieces[i].iov_len;
    if (whole) return;
    cutLink(slot, error);
  }
  // What has not been sent goes to the next backend.
  for (int i = first + sent; i < first + count; i++) {
    keep(session, static_cast<const uint8_t*>(batch_->pieces[i].iov_base), batch_->pieces[i].iov_len);
  }
  if (session.state == State::Idle) ask(slot);
}

void UdpSessions::ask(uint32_t slot) {
  Session& session = sessions_[slot];
  session.state = State::Asking;
  asking_++;
  Record event = recordOf(Event::Asked, slot, session.generation);
  event.frontend = session.frontend;
  event.port = session.client.port;
  event.family = session.client.family;
  memcpy(event.address, session.client.bytes, sizeof session.client.bytes);
  outbox_.send(event);
}

void UdpSessions::keep(Session& session, const uint8_t* bytes, size_t size) {
  if (session.waiting.size() >= kMostWaiting || waitingBytes_ + size > kMostWaitingBytes) return;
  session.waiting.emplace_back(bytes, bytes + size);
  waitingBytes_ += size;
}

void UdpSessions::dropWaiting(Session& session) {
  for (const auto& datagram : session.waiting) waitingBytes_ -= datagram.size();
  session.waiting.clear();
}

void UdpSessions::dropOnly(Session& session) {
  onlyBytes_ -= session.only.size();
  session.only.clear();
}

// Datagrams of one size (the last may be shorter) go as one segmented message, others by one sendmmsg(2).
bool UdpSessions::sendRun(int fd, const Address* to, int first, int count, int& error, int& sent) {
  sent = 0;
  if (count == 1) return sendOne(fd, to, batch_->pieces[first], error, sent);
  const size_t size = batch_->pieces[first].iov_len;
  size_t total = 0;
  bool equal = size > 0;
  for (int i = first; i < first + count; i++) {
    const size_t each = batch_->pieces[i].iov_len;
    total += each;
    if (each == 0 || each > size || (each < size && i < first + count - 1)) equal = false;
  }
  if (equal && total <= kMostSegmented && size <= 1472) {
    msghdr message{};
    alignas(cmsghdr) char control[kSegmentControl] = {};
    if (to) message.msg_name = const_cast<sockaddr*>(to->get()), message.msg_namelen = to->length;
    message.msg_iov = &batch_->pieces[first];
    message.msg_iovlen = static_cast<size_t>(count);
    segment(message, control, size);
    if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
      sent = count;
      return true;
    }
    error = errno;
    // Possibly the error of an earlier datagram, such as a refusal, which the kernel reports once.
    if (error != EINVAL && error != EIO && error != EOPNOTSUPP && !passes(error)) return false;
    // The device or the route cannot segment: send one by one.
  }
  for (int i = first; i < first + count; i++) {
    msghdr& message = batch_->out[i].msg_hdr;
    message.msg_name = to ? const_cast<sockaddr*>(to->get()) : nullptr;
    message.msg_namelen = to ? to->length : 0;
  }
  while (sent < count) {
    const int put = sendmmsg(fd, &batch_->out[first + sent], static_cast<unsigned>(count - sent),
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) {
      sent += put;
    } else if (passes(errno)) {
      sent++;
    } else {
      error = errno;
      return false;
    }
  }
  return true;
}

bool UdpSessions::sendOne(int fd, const Address* to, const iovec& piece, int& error, int& sent) {
  const ssize_t put = sendto(fd, piece.iov_base, piece.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL, to ? to->get() : nullptr,
                             to ? to->length : 0);
  if (put < 0 && !passes(errno)) {
    error = errno;
    return false;
  }
  sent = 1;
  return true;
}

void UdpSessions::link(const Record& command) {
  Session* session = find(command);
  if (session == nullptr || session->state != State::Asking) return;
  const auto slot = static_cast<uint32_t>(command.slot);
  const Address address = addressOf(command.family, command.address, command.port);
  asking_--;
  session->state = State::Linked;
  session->answered = false;
  session->ones = 0;
  session->sent = session->received = session->reported = 0;
  session->stamp++;
  if (!budget_.allows(1)) return linkFailed(slot, EMFILE);
  const int fd = linkTo(address);
  if (fd < 0) return linkFailed(slot, -fd);
  session->fd = Descriptor(fd);
  budget_.held++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tagOf(slot, session->stamp);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return linkFailed(slot, errno);
  flush(slot);
}

void UdpSessions::flush(uint32_t slot) {
  Session& session = sessions_[slot];
  int error = 0;
  const bool single = session.waiting.size() == 1;
  auto next = session.waiting.begin();
  for (; next != session.waiting.end() && error == 0; ++next) {
    if (send(session.fd.get(), next->data(), next->size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) session.sent += next->size();
    else if (!passes(errno)) error = errno;
    if (error != 0) break;
    waitingBytes_ -= next->size();
  }
  if (single && error == 0 && onlyBytes_ + session.waiting[0].size() <= kMostOnlyBytes) {
    session.only = std::move(session.waiting[0]);
    onlyBytes_ += session.only.size();
  }
  session.waiting.erase(session.waiting.begin(), next);
  if (error != 0) linkFailed(slot, error);
}

void UdpSessions::unlink(const Record& command) {
  Session* session = find(command);
  if (session != nullptr && session->state == State::Linked) linkFailed(static_cast<uint32_t>(command.slot), command.error);
}

void UdpSessions::forget(const Record& command) {
  if (find(command) != nullptr) drop(static_cast<uint32_t>(command.slot));
}

void UdpSessions::linkFailed(uint32_t slot, int error) {
  cutLink(slot, error);
  if (!sessions_[slot].waiting.empty()) ask(slot);
}

void UdpSessions::cutLink(uint32_t slot, int error) {
  Session& session = sessions_[slot];
  if (session.fd) budget_.held--;
  session.fd.close();
  session.stamp++;
  session.state = State::Idle;
  if (refuses(error) && !session.only.empty()) {
    waitingBytes_ += session.only.size();
    session.waiting.insert(session.waiting.begin(), session.only);
  }
  dropOnly(session);
  tell(Event::Unlinked, slot, error);
}

// Ends a session and reports it for the last time.
void UdpSessions::drop(uint32_t slot) {
  Session& session = sessions_[slot];
  if (session.state == State::Asking) asking_--;
  if (session.fd) budget_.held--;
  end(slot, Event::Dropped, -1);
}

void UdpSessions::end(uint32_t slot, Event kind, int32_t descriptor) {
  Session& session = sessions_[slot];
  tell(kind, slot, 0, descriptor);
  dropWaiting(session);
  dropOnly(session);
  const auto frontend = frontends_.find(session.frontend);
  if (frontend != frontends_.end()) frontend->second.sessions.erase(session.client);
  const int32_t generation = session.generation;
  const uint32_t stamp = session.stamp;
  session = Session{};
  session.generation = generation + 1;
  session.stamp = stamp + 1;
  freeSlots_.push_back(slot);
}

// Without room a report is left to the next sweep, which begins there.
void UdpSessions::sweep(double now, double limitMs, bool reportMoved) {
  const size_t count = sessions_.size();
  const size_t first = sweepNext_ < count ? sweepNext_ : 0;
  bool isFull = false;
  for (size_t i = 0; i < count; i++) {
    const auto slot = static_cast<uint32_t>((first + i) % count);
    Session& session = sessions_[slot];
    if (session.state == State::Free) continue;
    const bool moved = std::exchange(session.moved, false);
    if (moved) session.quietSince = now;
    const bool quiet = !moved && limitMs > 0 && now - session.quietSince >= limitMs;
    const bool wanted = (moved && reportMoved && session.state == State::Linked) || wantsReport(session, now);
    if (!quiet && !wanted) continue;
    if (quiet ? !outbox_.room() : !outbox_.roomForReports()) {
      if (!isFull) sweepNext_ = slot;
      isFull = true;
      continue;
    }
    if (quiet) {
      tell(Event::Quiet, slot);
      continue;
    }
    session.reportedAt = now;
    session.reported = session.sent + session.received;
    tell(Event::Moved, slot);
  }
}

// Sessions that end within a second are never reported before, nor those that no backend has answered.
bool UdpSessions::wantsReport(Session& session, double now) const {
  if (session.state != State::Linked || !session.answered) return false;
  if (session.reportedAt < 0) session.reportedAt = now;
  return session.sent + session.received != session.reported && now - session.reportedAt >= kReportMs;
}

void UdpSessions::tell(Event kind, uint32_t slot, int32_t error, int32_t descriptor) {
  const Session& session = sessions_[slot];
  Record event{};
  event.kind = static_cast<int32_t>(kind);
  event.slot = static_cast<int32_t>(slot);
  event.generation = session.generation;
  event.error = error;
  event.descriptor = descriptor;
  event.totals.sent = static_cast<double>(session.sent);
  event.totals.received = static_cast<double>(session.received);
  outbox_.send(event);
}

UdpSessions::Session* UdpSessions::find(const Record& command) {
  const auto slot = static_cast<uint32_t>(command.slot);
  if (slot >= sessions_.size()) return nullptr;
  Session& session = sessions_[slot];
  return session.state == State::Free || session.generation != command.generation ? nullptr : &session;
}

}  // namespace starlane
