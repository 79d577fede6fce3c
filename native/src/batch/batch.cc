// Reads and answers UDP datagrams in batches; see batch.h.
#include "batch/batch.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace starlane {

namespace {

// Late answers that may wait for room; further ones are lost, as datagrams may be.
constexpr size_t kMostLate = 1024;

bool samePeer(const sockaddr_storage& a, const sockaddr_storage& b) {
  return memcmp(&a, &b, a.ss_family == AF_INET ? offsetof(sockaddr_in, sin_zero) : sizeof(sockaddr_in6)) == 0;
}

socklen_t lengthOf(const sockaddr_storage& address) {
  return address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

// Sorts datagrams of one client together. Two clients with the same number are harmless: theirs are only less well sorted.
uint32_t numberOf(const sockaddr_storage& peer) {
  uint32_t words[sizeof(sockaddr_in6) / 4];
  memcpy(words, &peer, sizeof words);
  uint32_t number = words[0];
  if (peer.ss_family == AF_INET) number ^= words[1] * 0x9e3779b1u;
  else for (int i = 2; i < 6; i++) number = (number ^ words[i]) * 0x9e3779b1u;
  return number * 0x85ebca6bu;
}

}  // namespace

BatchSocket::BatchSocket(Batch& shared) : shared_(shared) {
  for (int i = 0; i < kBatch; i++) {
    into_[i] = {shared_.questions[i], kQuestion};
    msghdr& message = received_[i].msg_hdr;
    message = {};
    message.msg_name = &from_[i];
    message.msg_iov = &into_[i];
    message.msg_iovlen = 1;
  }
}

int BatchSocket::bind(const Address& address, int receiveBytes) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receiveBytes, sizeof receiveBytes);  // capped at net.core.rmem_max
  if (::bind(fd.get(), address.get(), address.length) != 0) return errno;
  self_.length = sizeof self_.storage;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&self_.storage), &self_.length);
  wildcard_ = isWildcard(address);
  if (wildcard_) askForLocal(fd.get(), address.storage.ss_family);
  fd_ = std::move(fd);
  return 0;
}

int BatchSocket::adopt(int fd) {
  Address address;
  address.length = sizeof address.storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return errno;
  prepare(fd);
  self_ = address;
  wildcard_ = isWildcard(address);
  if (wildcard_) askForLocal(fd, address.storage.ss_family);
  fd_ = Descriptor(fd);
  return 0;
}

int BatchSocket::port() const {
  int32_t family, port;
  uint8_t bytes[16];
  read(self_.storage, family, bytes, port);
  return port;
}

// Nobody listens on port 0, and a datagram that seems to come from this socket would be answered in a loop.
bool BatchSocket::unanswerable(int i) const {
  const Batch::Peer& peer = shared_.peers[i];
  if (peer.port == 0) return true;
  if (!wildcard_) return samePeer(from_[i], self_.storage);
  return peer.port == port() && memcmp(peer.address, peer.local, peer.family == 4 ? 4 : 16) == 0;
}

int BatchSocket::receive() {
  for (int i = 0; i < kBatch; i++) {
    msghdr& message = received_[i].msg_hdr;
    message.msg_namelen = sizeof from_[0];
    if (!wildcard_) continue;
    message.msg_control = asked_[i];
    message.msg_controllen = sizeof asked_[i];
  }
  // An error may be that of an earlier answer, such as an ICMP refusal: the kernel reports it once and keeps the datagrams.
  const int count = recvmmsg(fd_.get(), received_, kBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; i++) {
    Batch::Peer& peer = shared_.peers[i];
    read(from_[i], peer.family, peer.address, peer.port);
    if (peer.family == 6) peer.scope = static_cast<int32_t>(reinterpret_cast<const sockaddr_in6&>(from_[i]).sin6_scope_id);
    if (wildcard_) localOf(received_[i].msg_hdr, peer.local);
    shared_.asked[i] = unanswerable(i) ? -1 : static_cast<int32_t>(received_[i].msg_len);
    shared_.answered[i] = 0;
  }
  return count < 0 ? 0 : count;
}

bool BatchSocket::reply(int count) {
  // Sorted by client, then the longest first: equal sizes are adjacent, and a shorter one may end a segmented send.
  uint64_t keys[kBatch];
  answers_ = 0;
  for (int i = 0; i < count; i++) {
    const int32_t size = shared_.answered[i];
    if (size <= 0 || size > static_cast<int32_t>(kAnswer)) continue;
    keys[answers_++] = static_cast<uint64_t>(numberOf(from_[i])) << 32 | static_cast<uint64_t>(0xffff - size) << 8 | static_cast<uint64_t>(i);
  }
  std::sort(keys, keys + answers_);
  for (int i = 0; i < answers_; i++) order_[i] = static_cast<uint8_t>(keys[i]);
  arrange(0, true);
  return flush();
}

// Whether two questions of a batch came from one client to one address.
bool BatchSocket::sameFlow(int a, int b) const {
  if (!samePeer(from_[a], from_[b])) return false;
  return !wildcard_ || memcmp(shared_.peers[a].local, shared_.peers[b].local, sizeof shared_.peers[a].local) == 0;
}

// Builds messages from the answers from `first` on.
void BatchSocket::arrange(int first, bool segmented) {
  messages_ = next_ = 0;
  for (int i = first; i < answers_; i++) {
    const uint8_t slot = order_[i];
    pieces_[i] = {shared_.answers[slot], static_cast<size_t>(shared_.answered[slot])};
  }
  for (int i = first; i < answers_;) {
    const sockaddr_storage& to = from_[order_[i]];
    const size_t size = pieces_[i].iov_len;
    int end = i + 1;
    while (segmented && end < answers_ && pieces_[end - 1].iov_len == size && pieces_[end].iov_len <= size &&
           sameFlow(order_[end], order_[i])) {
      end++;
    }
    msghdr& message = outgoing_[messages_].msg_hdr;
    message = {};
    message.msg_name = const_cast<sockaddr_storage*>(&to);
    message.msg_namelen = lengthOf(to);
    message.msg_iov = &pieces_[i];
    message.msg_iovlen = static_cast<size_t>(end - i);
    if (end - i > 1) segment(message, control_[messages_], size);
    if (wildcard_) sendFrom(message, control_[messages_], shared_.peers[order_[i]].family, shared_.peers[order_[i]].local);
    messages_++;
    i = end;
  }
}

bool BatchSocket::flush() { return sendBatch() && sendLate(); }

bool BatchSocket::sendBatch() {
  while (next_ < messages_) {
    const int put = sendmmsg(fd_.get(), &outgoing_[next_], static_cast<unsigned>(messages_ - next_), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) {
      next_ += put;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return false;
    const msghdr& failed = outgoing_[next_].msg_hdr;
    if (failed.msg_iovlen > 1) {
      // The device or the route cannot segment, or it is one of the errors below: send one by one.
      arrange(static_cast<int>(failed.msg_iov - pieces_), false);
    } else {
      lost_++;
      next_++;
    }
  }
  return true;
}

void BatchSocket::send(const Batch::Peer& to, const uint8_t* bytes, size_t size) {
  if (late_.size() >= kMostLate) {
    lost_++;
    return;
  }
  const bool first = !waiting();
  Late late{addressOf(to.family, to.address, to.port), to, {bytes, bytes + size}};
  if (to.family == 6) reinterpret_cast<sockaddr_in6&>(late.to.storage).sin6_scope_id = static_cast<uint32_t>(to.scope);
  late_.push_back(std::move(late));
  if (first) sendLate();
}

bool BatchSocket::sendLate() {
  while (!late_.empty()) {
    Late& late = late_.front();
    alignas(cmsghdr) char control[kLocalControl];
    iovec piece{late.bytes.data(), late.bytes.size()};
    msghdr message{};
    message.msg_name = &late.to.storage;
    message.msg_namelen = late.to.length;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (wildcard_) sendFrom(message, control, late.peer.family, late.peer.local);
    const ssize_t put = sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return false;
    if (put < 0) lost_++;
    late_.pop_front();
  }
  return true;
}

void BatchSocket::clearError() {
  int error;
  socklen_t length = sizeof error;
  getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
}

}  // namespace starlane
