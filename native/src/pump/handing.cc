// Clients on their way from one pump to another: those that the first has accepted, and those whose tunnel is another's.
#include <sys/epoll.h>

#include <cerrno>

#include "pump/pump.h"

namespace starlane {

void Pump::takeLeft() {
  if (!own_->haveNew()) return;
  for (Left& left : own_->take()) {
    const bool isClient = static_cast<bool>(left.fd);
    switch (left.what) {
      case Left::What::Client:
        admit(std::move(left.fd), left.record);
        break;
      case Left::What::Joining:
        arrive(std::move(left.fd), left.record);
        break;
      case Left::What::Listener:
        outbox_.send(left.record);
        break;
    }
    if (isClient) own_->taken++;  // last: until it is counted here, it is on its way
  }
}

// Once for all that was left to a pump in this turn.
void Pump::wakeOthers() {
  for (size_t pump = 0; pump < crew_->size(); pump++) {
    if (pump != index_ && crew_->at(pump).haveNew()) crew_->at(pump).wake();
  }
}

// The client of a stream has gone meanwhile: nobody takes it.
void Pump::giveUpStream(const Record& join) {
  const auto pump = static_cast<size_t>(join.pump);
  if (pump == index_) return tunnels_.reset(join.token, h2::kCancel);
  crew_->at(pump).leave({Left::What::Joining, Descriptor(), join});
  crew_->at(pump).wake();
}

// A client that waits goes on in the pump that has its stream, with all bytes that it has sent: none has been read. It has no last
// event here.
void Pump::handTo(size_t pump, uint32_t slot, Connection& connection, const Record& command) {
  Descriptor fd = std::move(connection.fd[kClient]);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  crew_->at(pump).leave({Left::What::Joining, std::move(fd), command});
  crew_->at(pump).wake();
  own_->held--;
  own_->waiting--;
  connection.state = State::Dead;
  dead_.push_back(slot);
}

void Pump::arrive(Descriptor fd, const Record& command) {
  if (!fd) return tunnels_.reset(command.token, h2::kCancel);
  const uint32_t slot = newSlot();
  Connection& connection = connections_[slot];
  const bool isWatched = watch(epoll_, fd.get(), tagOf(slot, kClient, connection.stamp[kClient]), kSocketEvents);
  if (!isWatched) fault(errno);
  connection.fd[kClient] = std::move(fd);
  connection.state = State::Waiting;
  own_->open++;
  own_->waiting++;
  own_->held++;
  Record event = recordOf(Event::Arrived, slot, connection.generation);
  event.token = command.token;
  outbox_.send(event);
  if (isWatched) return join(slot, connection, command);
  tunnels_.reset(command.token, h2::kCancel);
  end(slot, connection, Reason::BackendReset, true);
}

void Pump::tellFreed(size_t heldBefore) {
  if (index_ == 0 || own_->held >= heldBefore) return;
  if (crew_->isShort.load() && crew_->isShort.exchange(false)) crew_->at(0).kick();
}

// What was left to a pump after its end has a last event too.
void Pump::refill() {
  if (own_->haveNew()) {
    endAll();
    closeDead();
  }
  outbox_.refill();
}

}  // namespace starlane
