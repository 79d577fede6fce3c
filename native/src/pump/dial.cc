// Connecting to the backend that TypeScript has chosen.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "pump/pump.h"

namespace starlane {

namespace {

constexpr size_t kLongestHeader = 16 + 2 * 16 + 4;

// The header of the PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt 2.2): the client and the frontend that it has
// connected to. Returns its length; 0 if the client is gone. `proxy/dataplane/flow/proxy-header.ts` writes the same.
size_t proxyHeader(uint8_t* out, int client, const uint8_t* frontend, uint16_t port) {
  static const uint8_t kSignature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  if (getpeername(client, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return 0;
  const bool isV4 = peer.ss_family == AF_INET;
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer);
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&peer);
  const size_t size = isV4 ? 4 : 16;
  const uint16_t clientPort = isV4 ? v4->sin_port : v6->sin6_port;
  const uint16_t frontendPort = htons(port);
  const uint16_t rest = htons(static_cast<uint16_t>(2 * size + 4));
  memcpy(out, kSignature, sizeof kSignature);
  out[12] = 0x21;
  out[13] = isV4 ? 0x11 : 0x21;
  memcpy(out + 14, &rest, 2);
  memcpy(out + 16, isV4 ? static_cast<const void*>(&v4->sin_addr) : static_cast<const void*>(&v6->sin6_addr), size);
  memcpy(out + 16 + size, frontend, size);
  memcpy(out + 16 + 2 * size, &clientPort, 2);
  memcpy(out + 18 + 2 * size, &frontendPort, 2);
  return 16 + 2 * size + 4;
}

}  // namespace

void Pump::dial(uint32_t slot, Connection& connection, const Record& command) {
  Descriptor fd(connectTo(addressOf(command.family, command.address, command.port)));
  if (fd.get() < 0) {
    const int error = -fd.release();
    return dialFailed(slot, connection, error);
  }
  const uint32_t stamp = ++connection.stamp[kBackend];
  if (!watch(epoll_, fd.get(), tagOf(slot, kBackend, stamp), kSocketEvents))
    return dialFailed(slot, connection, errno);
  connection.fd[kBackend] = std::move(fd);
  connection.frontendPort = static_cast<uint16_t>(command.frontendPort);
  memcpy(connection.frontendAddress, command.frontendAddress, sizeof connection.frontendAddress);
  connection.state = State::Dialling;
  waiting_--;
  budget_.held++;
}

// Nothing is read from a client that waits for a backend: its bytes stay in the kernel, which limits them.
void Pump::waitingClientEvent(uint32_t slot, Connection& connection, uint32_t events) {
  if (events & (EPOLLERR | EPOLLHUP)) return end(slot, connection, Reason::ClientReset, false);
  Direction& direction = connection.from[kClient];
  if (events & EPOLLRDHUP) direction.hungUp = true;
  if (events & EPOLLPRI) direction.urgent = true;
  if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP)) direction.readable = true;
}

void Pump::dialEvent(uint32_t slot, Connection& connection, uint32_t events) {
  if (events & (EPOLLERR | EPOLLHUP)) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection.fd[kBackend].get(), SOL_SOCKET, SO_ERROR, &error, &length);
    return dialFailed(slot, connection, error ? error : ECONNRESET);
  }
  if (!(events & EPOLLOUT)) return;
  if (meetsItself(connection.fd[kBackend].get())) return dialFailed(slot, connection, ECONNREFUSED);

  if (connection.frontendPort != 0) {
    uint8_t header[kLongestHeader];
    const size_t length = proxyHeader(header, connection.fd[kClient].get(), connection.frontendAddress, connection.frontendPort);
    if (length == 0) return end(slot, connection, Reason::ClientReset, true);
    // Nagle's algorithm would hold back what follows until the header is acknowledged.
    connection.noDelay = true;
    sendAtOnce(connection.fd[kBackend].get());
    // An empty send buffer takes it whole.
    const ssize_t put = send(connection.fd[kBackend].get(), header, length, MSG_NOSIGNAL);
    if (put != static_cast<ssize_t>(length)) return dialFailed(slot, connection, put < 0 ? errno : ECONNRESET);
  }

  connection.state = State::Open;
  connection.seen = connection.progress - 1;  // the next sweep sees progress
  Record event = recordOf(Event::Connected, slot, connection.generation);
  outbox_.send(event);

  if (connection.from[kClient].readable) move(slot, connection, kClient);
  if (connection.state == State::Open) openEvent(slot, connection, kBackend, events);
}

void Pump::dialFailed(uint32_t slot, Connection& connection, int error) {
  if (connection.fd[kBackend]) budget_.held--;
  connection.fd[kBackend].close();
  connection.stamp[kBackend]++;
  if (connection.state == State::Dialling) waiting_++;
  connection.state = State::Waiting;
  Record event = recordOf(Event::Failed, slot, connection.generation);
  event.error = error;
  outbox_.send(event);
}

}  // namespace starlane
