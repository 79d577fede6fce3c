// The end of a connection, exactly once: reported at once, its descriptors closed after TypeScript has been woken.
#include <sys/epoll.h>

#include "pump/pump.h"

namespace starlane {

// An end that is not the peers' own: never a FIN, which each would take for the other's.
void Pump::cut(uint32_t slot, Connection& connection, Reason reason) { end(slot, connection, reason, true); }

// A reset tells a peer that the stream is not complete.
void Pump::end(uint32_t slot, Connection& connection, Reason reason, bool reset) {
  if (reset) {
    for (const Descriptor& fd : connection.fd) {
      if (fd) resetOnClose(fd.get());
    }
  }
  if (connection.state == State::Waiting) own_->waiting--;
  connection.state = State::Dead;
  dead_.push_back(slot);
  const int32_t token = connection.stream == nullptr ? 0 : connection.stream->token;
  if (connection.stream != nullptr) tunnels_.leave(*std::exchange(connection.stream, nullptr), reset);
  if (token < 0) return reportServed(connection, token, reason);

  Record event = recordOf(Event::Gone, slot, connection.generation);
  event.reason = static_cast<int32_t>(reason);
  event.totals.sent = static_cast<double>(connection.from[kClient].bytes);
  event.totals.received = static_cast<double>(connection.from[kBackend].bytes);
  outbox_.send(event);
}

// The connection goes on elsewhere, with all bytes that its client has sent: none has been read.
void Pump::handOver(uint32_t slot, Connection& connection) {
  const int fd = connection.fd[kClient].release();
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  own_->held--;
  own_->waiting--;
  connection.state = State::Dead;
  dead_.push_back(slot);

  Record event = recordOf(Event::HandedOver, slot, connection.generation);
  event.error = fd;
  outbox_.send(event);
}

void Pump::endAll() {
  takeListeners();
  takeLeft();
  listeners_.clear();
  sessions_.closeAll();
  for (uint32_t slot = 0; slot < connections_.size(); slot++) {
    Connection& connection = connections_[slot];
    if (connection.state == State::Free || connection.state == State::Dead) continue;
    cut(slot, connection, Reason::Cut);
  }
  tunnels_.closeAll();
}

}  // namespace starlane
