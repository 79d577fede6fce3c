// Accepting clients, and when not to.
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

#include "pump/pump.h"

namespace starlane {

namespace {

// Clients of one listener in one turn, so that accepting does not starve open connections.
constexpr int kBatch = 64;
constexpr int kMostListeners = 64;
// Clients that may wait for a decision. Further ones stay in the kernel's backlog: there they cost no memory while JavaScript
// is busy, and do not take the descriptors that the dials of earlier clients need.
constexpr size_t kMostWaiting = 128;
constexpr size_t kResumeWaiting = 64;

}  // namespace

void Pump::acceptAll() {
  epoll_event events[kMostListeners];
  const int count = epoll_wait(listening_.get(), events, kMostListeners, 0);
  for (int i = 0; i < count; i++) acceptOf(static_cast<int32_t>(events[i].data.u64));
  wakeOthers();
}

void Pump::acceptOf(int32_t listener) {
  const auto found = listeners_.find(listener);
  if (found == listeners_.end()) return;
  for (int i = 0; i < kBatch && accepting_; i++) {
    const size_t pump = crew_->lightest();
    if (crew_->waiting() >= kMostWaiting || !(pump == index_ ? outbox_.room() : crew_->at(pump).hasRoom())) return setAccepting(false);
    if (!roomForClient()) {
      short_ = true;
      return setAccepting(false);
    }
    if (!acceptOne(listener, found->second.get(), pump)) return;
  }
}

// False when there is no client to accept.
bool Pump::acceptOne(int32_t listener, int listening, size_t pump) {
  sockaddr_storage peer;
  socklen_t length = sizeof peer;
  Descriptor fd(accept4(listening, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) {
    switch (errno) {
      case EAGAIN:
        return false;
      case EINTR:
      case ECONNABORTED:
        return true;
      case EMFILE:
      case ENFILE:
        fault(errno);
        refuseWithoutDescriptor(listening);
        return false;
      default:
        // The socket stays readable, so trying again at once would be a busy loop; the next sweep tries again.
        fault(errno);
        pauseAccepting();
        return false;
    }
  }
  crew_->given(pump);
  Record event{};
  event.kind = static_cast<int32_t>(Event::Accepted);
  event.listener = listener;
  read(peer, event.family, event.address, event.port);
  if (pump == index_) admit(std::move(fd), event);
  else crew_->at(pump).leave({Left::What::Client, std::move(fd), event});
  return true;
}

// A client is this pump's from now on.
void Pump::admit(Descriptor fd, Record event) {
  const uint32_t slot = newSlot();
  Connection& connection = connections_[slot];
  if (!watch(epoll_, fd.get(), tagOf(slot, kClient, connection.stamp[kClient]), kSocketEvents)) {
    fault(errno);
    freeSlots_.push_back(slot);
    return;
  }
  connection.fd[kClient] = std::move(fd);
  connection.state = State::Waiting;
  own_->open++;
  own_->waiting++;
  own_->held++;
  event.slot = static_cast<int32_t>(slot);
  event.generation = connection.generation;
  outbox_.send(event);
}

// A client needs a descriptor for itself and one for its backend, and so do those that wait for theirs.
bool Pump::roomForClient() const { return budget_.allows(crew_->waiting() + 2); }

// Clients wait in the backlog until a descriptor is free, which is soon where flows are short. Those that have waited for one
// sweep are turned away, so that they learn that they have to go elsewhere.
void Pump::lookForRoom() {
  if (short_ && wasShort_ && !roomForClient()) {
    for (const auto& [listener, fd] : listeners_) turnAway(listener, fd.get());
  }
  wasShort_ = short_;
}

void Pump::turnAway(int32_t listener, int listening) {
  while (outbox_.room()) {
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    const Descriptor client(accept4(listening, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!client) return;
    resetOnClose(client.get());
    Record event{};
    event.kind = static_cast<int32_t>(Event::TurnedAway);
    event.listener = listener;
    read(peer, event.family, event.address, event.port);
    outbox_.send(event);
  }
}

// A client left in the backlog would wait until it gives up; this way it learns at once that it has to go elsewhere.
void Pump::refuseWithoutDescriptor(int listening) {
  spare_.close();
  {
    const Descriptor client(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client) resetOnClose(client.get());
    else pauseAccepting();
  }
  spare_ = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

// At most one event per turn, so that faults do not flood TypeScript, which counts and logs them.
void Pump::fault(int error) {
  if (faultReported_ || !outbox_.room()) return;
  faultReported_ = true;
  Record event{};
  event.kind = static_cast<int32_t>(Event::Fault);
  event.error = error;
  outbox_.send(event);
}

// With `pass` the socket stays open, and its descriptor is TypeScript's: clients wait in its backlog.
void Pump::closeListener(int32_t listener, bool pass) {
  takeListeners();
  const auto found = listeners_.find(listener);
  if (found == listeners_.end()) return;
  Record event{};
  event.kind = static_cast<int32_t>(Event::ListenerClosed);
  event.listener = listener;
  event.descriptor = -1;
  if (pass) {
    epoll_ctl(listening_.get(), EPOLL_CTL_DEL, found->second.get(), nullptr);
    event.descriptor = found->second.release();
  }
  listeners_.erase(found);
  outbox_.send(event);
  // From each pump after the last client that it was handed.
  event.descriptor = -1;
  for (size_t pump = 0; pump < crew_->size(); pump++) {
    if (pump != index_) crew_->at(pump).leave({Left::What::Listener, Descriptor(), event});
  }
  wakeOthers();
}

void Pump::setAccepting(bool accepting) {
  if (accepting == accepting_) return;
  accepting_ = accepting;
  epoll_event event{};
  event.events = accepting ? uint32_t{EPOLLIN} : 0;
  event.data.u64 = kListeners;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listening_.get(), &event) != 0) fault(errno);
}

void Pump::pauseAccepting() {
  paused_ = true;
  setAccepting(false);
}

void Pump::resumeAccepting() {
  if (accepting_ || paused_ || crew_->waiting() > kResumeWaiting || !outbox_.room() || !roomForClient()) return;
  short_ = false;
  setAccepting(true);
}

// Other pumps free descriptors too. The flag stands before the look, so that none is missed.
void Pump::lookForDescriptor() {
  if (crew_->size() > 1) crew_->isShort.store(true);
  resumeAccepting();
}

uint32_t Pump::newSlot() {
  if (!freeSlots_.empty()) {
    const uint32_t slot = freeSlots_.back();
    freeSlots_.pop_back();
    return slot;
  }
  connections_.emplace_back();
  return static_cast<uint32_t>(connections_.size() - 1);
}

}  // namespace starlane
