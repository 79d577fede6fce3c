// Connecting to the backend that TypeScript has chosen.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "socket/proxy-header.h"
#include "pump/pump.h"

namespace starlane {

void Pump::dial(uint32_t slot, Connection& connection, const Record& command) {
  connection.holdsAck = connection.from[kClient].readable || command.frontendPort != 0;
  Descriptor fd(connectTo(addressOf(command.family, command.address, command.port), connection.holdsAck));
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
  own_->held++;
  own_->waiting--;
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

  if (connection.frontendPort != 0) {
    uint8_t header[kLongestProxyHeader];
    const size_t length = proxyHeader(header, connection.fd[kClient].get(), connection.fd[kBackend].get(), connection.frontendAddress, connection.frontendPort);
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
  if (connection.state == State::Open && connection.holdsAck) ackAtOnce(connection.fd[kBackend].get());
  if (connection.state == State::Open) openEvent(slot, connection, kBackend, events);
}

void Pump::dialFailed(uint32_t slot, Connection& connection, int error) {
  if (connection.state == State::Dialling) own_->waiting++;
  if (connection.fd[kBackend]) own_->held--;
  connection.fd[kBackend].close();
  connection.stamp[kBackend]++;
  connection.state = State::Waiting;
  Record event = recordOf(Event::Failed, slot, connection.generation);
  event.error = error;
  outbox_.send(event);
}

}  // namespace starlane
