// Connections whose backend is behind a tunnel: a stream stands in the place of the backend's socket. HTTP/2 reads from the client
// when it may send, so nothing is kept on that way; what the client does not take is kept in the stream, a window at most.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "socket/proxy-header.h"
#include "pump/pump.h"

namespace starlane {

int Pump::openTunnel(int32_t id, int descriptor, const SecureContext& context, TunnelWindows windows) {
  Descriptor fd(fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  if (!fd) return -errno;
  ssl_st* ssl = context.connection();
  if (ssl == nullptr) return -ENOMEM;
  prepare(fd.get());
  prepareTunnel(fd.get());
  tunnels_.open(id, context.isServer(), std::move(fd), ssl, windows);
  kick();
  return 0;
}

void Pump::requestStream(int32_t tunnel, int32_t token, std::string fields) {
  tunnels_.request(tunnel, token, std::move(fields));
}

// The stream has been answered, and TypeScript takes the connection for open.
void Pump::join(uint32_t slot, Connection& connection, const Record& command) {
  Stream* stream = tunnels_.answered(command.token);
  if (stream == nullptr) return end(slot, connection, Reason::BackendReset, true);
  if (command.frontendPort != 0) {
    uint8_t header[kLongestProxyHeader];
    const auto port = static_cast<uint16_t>(command.frontendPort);
    const int way = stream->tunnel == nullptr ? -1 : stream->tunnel->socket.fd();
    stream->first.assign(reinterpret_cast<char*>(header), proxyHeader(header, connection.fd[kClient].get(), way, command.frontendAddress, port));
  }
  own_->waiting--;
  take(slot, connection, *stream);
}

void Pump::attach(const Record& command) {
  Descriptor fd(command.descriptor);
  const bool isAsked = command.slot < 0;
  Stream* stream = isAsked ? tunnels_.asked(command.slot) : tunnels_.answered(command.slot);
  if (stream == nullptr || stream->taken()) return isAsked ? resetOnClose(fd.get()) : void();
  const uint32_t slot = newSlot();
  Connection& connection = connections_[slot];
  if (!watch(epoll_, fd.get(), tagOf(slot, kClient, connection.stamp[kClient]), kSocketEvents)) {
    fault(errno);
    freeSlots_.push_back(slot);
    tunnels_.reset(command.slot, h2::kCancel);
    return isAsked ? reportServed(connection, command.slot, Reason::ClientReset) : void();
  }
  connection.fd[kClient] = std::move(fd);
  connection.attached = true;
  connection.served = command.served != 0;
  own_->open++;
  own_->held++;
  take(slot, connection, *stream);
}

void Pump::take(uint32_t slot, Connection& connection, Stream& stream) {
  connection.state = State::Open;
  connection.seen = connection.progress - 1;  // the next sweep sees progress
  connection.stream = &stream;
  stream.slot = static_cast<int32_t>(slot);
  if (connection.from[kClient].readable || !stream.first.empty()) tunnels_.resume(stream);
  if (stream.kept.size() > 0 && !flushKept(slot, connection, stream)) return;
  if (stream.ended) passFarEnd(slot, connection);
}

void Pump::tunnelledEvent(uint32_t slot, Connection& connection, uint32_t events) {
  Direction& direction = connection.from[kClient];
  Stream& stream = *connection.stream;
  // What a failed client has sent is passed on, unless the tunnel takes no more or the client had ended before.
  if (events & EPOLLERR) {
    if (direction.ended || !stream.waits) return sideFailed(slot, connection, kClient);
    direction.broken = true;
  }
  // TypeScript has given up its socket; one that it has only ended is still read.
  const bool isGivenUp = (events & EPOLLHUP) && !connection.from[kBackend].passed;
  if (connection.attached && !connection.served && isGivenUp) return sideFailed(slot, connection, kClient);
  if (events & (EPOLLRDHUP | EPOLLHUP)) direction.hungUp = true;
  if (events & EPOLLPRI) direction.urgent = true;
  if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) direction.readable = true;
  if ((events & EPOLLOUT) && stream.kept.size() > 0 && flushKept(slot, connection, stream) && stream.ended) passFarEnd(slot, connection);
  if (connection.state == State::Open && direction.readable && !direction.ended) tunnels_.resume(stream);
}

// True when nothing is left, and the connection is still there.
bool Pump::flushKept(uint32_t slot, Connection& connection, Stream& stream) {
  size_t taken = 0;
  while (stream.kept.size() > 0) {
    size_t length;
    const uint8_t* bytes = stream.kept.front(length);
    const ssize_t put = send(connection.fd[kClient].get(), bytes, length, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) break;
    if (put < 0) {
      connection.timedOut = errno == ETIMEDOUT;
      sideFailed(slot, connection, kClient);
      return false;
    }
    stream.kept.pop(static_cast<size_t>(put));
    taken += static_cast<size_t>(put);
  }
  if (taken > 0) {
    connection.progress++;
    connection.from[kBackend].bytes += taken;
    lookForLarge(connection, kBackend);
    tunnels_.consumed(stream, taken);
  }
  return stream.kept.size() == 0;
}

size_t Pump::take(Stream& stream, uint8_t* into, size_t room, bool& last) {
  const auto slot = static_cast<uint32_t>(stream.slot);
  Connection& connection = connections_[slot];
  Direction& direction = connection.from[kClient];
  if (!stream.first.empty()) {
    const size_t length = stream.first.size() < room ? stream.first.size() : room;
    memcpy(into, stream.first.data(), length);
    stream.first.erase(0, length);
    return length;
  }
  while (direction.readable && !direction.ended) {
    const ssize_t got = recv(connection.fd[kClient].get(), into, room, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      direction.readable = false;
      return 0;
    }
    if (got < 0 || (got == 0 && direction.broken)) {
      connection.timedOut = got < 0 && errno == ETIMEDOUT;
      sideFailed(slot, connection, kClient);
      return 0;
    }
    connection.progress++;
    direction.bytes += static_cast<uint64_t>(got);
    // As in Pump::copy(): a read that did not fill the room has emptied the socket, and a FIN that epoll has reported is next.
    const bool all = static_cast<size_t>(got) < room && !direction.urgent && !direction.broken;
    if (all) direction.readable = direction.hungUp;
    last = got == 0 || (all && direction.hungUp);
    if (last) {
      direction.ended = direction.passed = true;
      if (connection.from[kBackend].passed) end(slot, connection, Reason::Done, false);
    }
    return static_cast<size_t>(got);
  }
  return 0;
}

size_t Pump::give(Stream& stream, const uint8_t* bytes, size_t length) {
  const auto slot = static_cast<uint32_t>(stream.slot);
  Connection& connection = connections_[slot];
  for (;;) {
    const ssize_t put = send(connection.fd[kClient].get(), bytes, length, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return 0;
    if (put < 0) {
      connection.timedOut = errno == ETIMEDOUT;
      sideFailed(slot, connection, kClient);
      return 0;
    }
    connection.progress++;
    connection.from[kBackend].bytes += static_cast<uint64_t>(put);
    lookForLarge(connection, kBackend);
    return static_cast<size_t>(put);
  }
}

void Pump::farEnded(Stream& stream) {
  const auto slot = static_cast<uint32_t>(stream.slot);
  if (stream.kept.size() == 0) passFarEnd(slot, connections_[slot]);
}

void Pump::passFarEnd(uint32_t slot, Connection& connection) {
  Direction& direction = connection.from[kBackend];
  if (direction.passed) return;
  direction.ended = direction.passed = true;
  connection.progress++;
  if (connection.from[kClient].ended) return end(slot, connection, Reason::Done, false);
  shutdown(connection.fd[kClient].get(), SHUT_WR);  // epoll reports a failure of the client
}

// A stream that is closed before both ends have sent their last byte is a reset; otherwise what is kept still goes to the client.
void Pump::farClosed(Stream& stream, bool lost, bool whole) {
  const auto slot = static_cast<uint32_t>(stream.slot);
  Connection& connection = connections_[slot];
  if (lost) return end(slot, connection, Reason::BackendLost, true);
  if (!whole || !stream.ended || !connection.from[kClient].ended) return sideFailed(slot, connection, kBackend);
  if (stream.kept.size() == 0) end(slot, connection, Reason::Done, false);
}

}  // namespace starlane
