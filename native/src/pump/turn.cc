// The pump's loop: waiting, commands, socket events, reports, sweeps.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "pump/pump.h"
#include "socket/acknowledgements.h"
#include "time/clock.h"

namespace starlane {

namespace {

constexpr int kEvents = 256;
constexpr int kKeepAliveSeconds = 180;
// A backend that owes an ACK for so long is gone.
constexpr double kLostMs = 15000;
// How soon to look again whether JavaScript has made room in the ring, of which there is no signal.
constexpr int kRetryMs = 2;
// Events of one connection in a turn: one for each side.
constexpr int kOfConnection = 2;
// A turn with so many events of sockets is followed by another one at once; JavaScript is woken for both. Each time it is woken
// costs as much as several decisions.
constexpr int kBusy = 4;
// After the turn that brought them, events wait for so long at most.
constexpr int64_t kMostUntoldNs = 500'000;

// How long large transfers gather bytes, and the pieces that are large enough without that; the kernel's timers add 50 us.
struct Gathering {
  int64_t ns;
  size_t enough;
};
constexpr Gathering kOfSeveral{50'000, 128 * 1024};
constexpr Gathering kOfOne{100'000, 512 * 1024};
constexpr Gathering kOfLongOne{200'000, 512 * 1024};
// Where turns follow each other so soon, it pays; where the thread sleeps longer between two pieces, it would be one more wake-up for each.
constexpr int64_t kSoonNs = 200'000;
// Both directions of one connection.
constexpr size_t kFewPipes = 2;
// Bytes of one alone, with nothing else between them, after which it is taken for one that goes on, and for one that nobody else is beside.
constexpr size_t kGoesOn = 4 * 1024 * 1024;
constexpr size_t kLong = 16 * 1024 * 1024;

// Those of the wakeup and the listeners have the bit of UDP too.
bool isOfConnection(uint64_t tag) { return !(tag & UdpSessions::kUdpTag) && !Tunnels::has(tag); }

}  // namespace

Pump::Pump(Shared& shared, PumpOptions options, std::function<void()> wake, std::shared_ptr<Crew> crew)
    : shared_(shared),
      options_(options),
      wake_(std::move(wake)),
      crew_(std::move(crew)),
      index_(crew_->size()),
      own_(std::make_shared<Member>(shared, Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)))),
      outbox_(shared),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      budget_{*crew_, own_->held},
      buffer_(new uint8_t[kBuffer]),
      sessions_(outbox_, epoll_, budget_),
      tunnels_(outbox_, epoll_, *this) {
  if (!epoll_ || !own_->wakeup() || !watch(epoll_, own_->wakeup().get(), kWakeup, EPOLLIN | EPOLLET)) error_ = errno;
  else if (index_ == 0) error_ = beginToListen();
  if (error_ == 0 && !crew_->add(own_)) error_ = EINVAL;
}

// Only the first pump of a crew.
int Pump::beginToListen() {
  spare_ = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
  listening_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  return listening_ && watch(epoll_, listening_.get(), kListeners, EPOLLIN) ? 0 : errno;
}

void Pump::run() {
  while (!stopping_.load()) turn();
  takeCommands();
  endAll();
  report(0);
  closeDead();
}

int Pump::listenTcp(int32_t listener, const Address& address, int backlog) {
  Descriptor fd(listenOn(address, backlog));
  if (fd.get() < 0) return fd.release();
  // An event before the thread has taken the listener comes again.
  if (!watch(listening_, fd.get(), static_cast<uint32_t>(listener), EPOLLIN)) return -errno;
  {
    const std::lock_guard<std::mutex> lock(newListenersLock_);
    newListeners_.emplace_back(listener, std::move(fd));
    haveNewListeners_.store(true);
  }
  kick();
  return 0;
}

int Pump::listenUdp(int32_t frontend, const Address& address) {
  Descriptor fd(bindTo(address));
  if (fd.get() < 0) return fd.release();
  if (!watch(epoll_, fd.get(), UdpSessions::tagOfFrontend(frontend), EPOLLIN)) return -errno;
  {
    const std::lock_guard<std::mutex> lock(newListenersLock_);
    newFrontends_.emplace_back(frontend, std::move(fd));
    haveNewListeners_.store(true);
  }
  kick();
  return 0;
}

int Pump::adoptTcp(int32_t listener, int descriptor) {
  prepare(descriptor);
  if (!watch(listening_, descriptor, static_cast<uint32_t>(listener), EPOLLIN)) return -errno;
  {
    const std::lock_guard<std::mutex> lock(newListenersLock_);
    newListeners_.emplace_back(listener, Descriptor(descriptor));
    haveNewListeners_.store(true);
  }
  kick();
  return 0;
}

int Pump::adoptUdp(int32_t frontend, int descriptor) {
  prepare(descriptor);
  const std::lock_guard<std::mutex> lock(newListenersLock_);
  newFrontends_.emplace_back(frontend, Descriptor(descriptor));
  haveNewListeners_.store(true);
  return 0;
}

void Pump::stop() {
  stopping_.store(true);
  kick();
}

void Pump::turn() {
  epoll_event events[kEvents];
  store(shared_.pumpAsleep, 1);
  // TypeScript writes a command and then reads pumpAsleep; we set pumpAsleep and then look for commands. One of us sees it.
  const bool busy = load(shared_.commandHead) != shared_.commandTail.value || untoldSince_ > 0 || !unfinished_.empty() || tunnels_.unfinished() || tunnels_.haveNew() || own_->haveNew() || stopping_.load();
  const int timeoutMs = busy ? 0 : outbox_.waiting() || (!accepting_ && !short_) ? kRetryMs : -1;
  const int count = epoll_wait(epoll_.get(), events, kEvents, timeoutMs);
  store(shared_.pumpAsleep, 0);

  faultReported_ = false;
  alone_ = count <= kOfConnection;
  const size_t heldBefore = own_->held;
  takeListeners();
  tunnels_.takeNew();
  takeLeft();
  noteReadable(events, count);
  takeCommands();
  for (int i = 0; i < count; i++) onSocket(events[i].data.u64, events[i].events);
  moveUnfinished();
  sessions_.endTurn();
  tunnels_.endTurn();
  if (toReport_ > 0) reportCarried();
  report(count);
  closeDead();
  if (short_) lookForDescriptor();
  tellFreed(heldBefore);
  gather();
}

// The bytes of large transfers come in pieces, small ones where their sender is paced, and to be woken for each, and wake their receiver, is
// half of what they cost: after a short pause there are more of them, and the threads that send and read them have had a processor; so also
// where some wait already. Not while anybody else has work for this thread, nor where one side answers the other, which would wait, nor for
// one transfer that may soon be over: its end would.
void Pump::gather() {
  const size_t pieces = std::exchange(pieces_, 0), bytes = std::exchange(pieceBytes_, 0);
  if (std::exchange(mixed_, false)) gathered_ = 0;
  else if (pieces > 0) pauseAfter(pieces, bytes);
}

void Pump::pauseAfter(size_t pieces, size_t bytes) {
  const int64_t before = std::exchange(gatheredAt_, monotonicNs());
  gathered_ += bytes;
  const bool several = pipes_.used() > kFewPipes;
  const Gathering& gathering = several ? kOfSeveral : gathered_ < kLong ? kOfOne : kOfLongOne;
  if (gatheredAt_ - before > kSoonNs || (!several && gathered_ < kGoesOn) || bytes / pieces >= gathering.enough) return;
  // A client that comes ends the pause.
  pollfd listening{listening_.get(), POLLIN, 0};
  const timespec pause{0, gathering.ns};
  ppoll(&listening, 1, &pause, nullptr);
  gatheredAt_ = monotonicNs();
}

void Pump::takeListeners() {
  if (!haveNewListeners_.load()) return;
  std::vector<std::pair<int32_t, Descriptor>> taken, frontends;
  {
    const std::lock_guard<std::mutex> lock(newListenersLock_);
    taken.swap(newListeners_);
    frontends.swap(newFrontends_);
    haveNewListeners_.store(false);
  }
  for (auto& [listener, fd] : taken) listeners_[listener] = std::move(fd);
  for (auto& [frontend, fd] : frontends) sessions_.open(frontend, std::move(fd));
}

// Only the commands that were there at the beginning. A command that answers an event of this turn is executed in the next,
// when no event of a socket that is closed can be left.
void Pump::takeCommands() {
  const int32_t head = load(shared_.commandHead);
  int32_t tail = shared_.commandTail.value;
  while (tail != head) {
    execute(at(shared_.commands, tail));
    tail = next(tail);
    store(shared_.commandTail, tail);
  }
}

void Pump::execute(const Record& command) {
  const auto kind = static_cast<Command>(command.kind);
  switch (kind) {
    case Command::Sweep:
      budget_.most = command.descriptors < 0 ? SIZE_MAX : static_cast<size_t>(command.descriptors);
      sessions_.sweep(command.now, command.limitMs, command.reportMoved != 0);
      return sweep(command.now);
    case Command::Configure:
      options_ = {command.idle.idleMs, command.idle.halfClosedMs, static_cast<double>(command.firstByteMs)};
      return;
    case Command::CloseListener:
      return closeListener(command.listener, false);
    case Command::PassListener:
      return closeListener(command.listener, true);
    case Command::PauseFrontend:
      takeListeners();
      return sessions_.pause(command.frontend);
    case Command::PassFrontend:
      return sessions_.pass(command.frontend);
    case Command::Adopt:
      takeListeners();
      return sessions_.adopt(command);
    case Command::ResumeFrontend:
      takeListeners();
      if (const int error = sessions_.resume(command.frontend)) fault(error);
      return;
    case Command::Link:
      return sessions_.link(command);
    case Command::Unlink:
      return sessions_.unlink(command);
    case Command::Forget:
      return sessions_.forget(command);
    case Command::CloseFrontend:
      takeListeners();
      return sessions_.close(command.frontend);
    case Command::StartTunnel:
    case Command::CloseTunnel:
    case Command::PingTunnel:
    case Command::SetTunnelWindow:
    case Command::ResetStream:
    case Command::Attach:
      return executeOnTunnel(kind, command);
    default:
      return executeOn(kind, command);
  }
}

// What came before the command from another side than the ring comes first.
void Pump::executeOnTunnel(Command kind, const Record& command) {
  tunnels_.takeNew();
  switch (kind) {
    case Command::StartTunnel:
      return tunnels_.start(command.slot, static_cast<uint32_t>(command.streams));
    case Command::CloseTunnel:
      return tunnels_.close(command.slot, static_cast<uint32_t>(command.error));
    case Command::PingTunnel:
      return tunnels_.ping(command.slot);
    case Command::SetTunnelWindow:
      return tunnels_.setWindow(command.slot, command.window);
    case Command::ResetStream:
      return resetStream(command);
    case Command::Attach:
      return attach(command);
    default:
      return;
  }
}

void Pump::executeOn(Command kind, const Record& command) {
  const auto slot = static_cast<uint32_t>(command.slot);
  const bool isThere = slot < connections_.size() && connections_[slot].generation == command.generation &&
                       connections_[slot].state != State::Free && connections_[slot].state != State::Dead;
  // Nobody takes the stream of a client that has gone meanwhile.
  if (!isThere && kind == Command::Join) return giveUpStream(command);
  if (!isThere) return;
  Connection& connection = connections_[slot];
  switch (kind) {
    case Command::Connect:
      if (connection.state == State::Waiting) dial(slot, connection, command);
      break;
    case Command::Join:
      if (connection.state != State::Waiting) break;
      if (static_cast<size_t>(command.pump) == index_) join(slot, connection, command);
      else handTo(static_cast<size_t>(command.pump), slot, connection, command);
      break;
    case Command::HangUp:
      if (connection.state == State::Dialling) dialFailed(slot, connection, ECANCELED);
      break;
    case Command::Refuse:
      end(slot, connection, Reason::Refused, true);
      break;
    case Command::HandOver:
      if (connection.state == State::Waiting) handOver(slot, connection);
      break;
    case Command::Cut:
      cut(slot, connection, Reason::Cut);
      break;
    default:
      break;
  }
}

// Whether a client has sent something is known to the dials of this turn.
void Pump::noteReadable(const epoll_event* events, int count) {
  if (load(shared_.commandHead) == shared_.commandTail.value) return;
  for (int i = 0; i < count; i++) {
    const uint64_t tag = events[i].data.u64;
    if (!(events[i].events & EPOLLIN) || !isOfConnection(tag) || (tag & 1) != kClient) continue;
    Connection& connection = connections_[tag >> 32];
    if (connection.state == State::Waiting && isOf(connection, tag)) connection.from[kClient].readable = true;
  }
}

void Pump::onSocket(uint64_t tag, uint32_t events) {
  if (tag == kWakeup) return;
  if (!isOfConnection(tag)) mixed_ = true;
  if (tag == kListeners) return acceptAll();
  if (tag & UdpSessions::kUdpTag) return sessions_.onSocket(tag);
  if (Tunnels::has(tag)) return tunnels_.onSocket(tag, events);
  const auto slot = static_cast<uint32_t>(tag >> 32);
  const auto side = static_cast<Side>(tag & 1);
  Connection& connection = connections_[slot];
  if (!isOf(connection, tag)) return;
  if (connection.state != State::Open || connection.stream != nullptr) mixed_ = true;
  switch (connection.state) {
    case State::Waiting:
    case State::Dialling:
      if (side == kClient) waitingClientEvent(slot, connection, events);
      else if (connection.state == State::Dialling) dialEvent(slot, connection, events);
      break;
    case State::Open:
      if (connection.stream != nullptr) tunnelledEvent(slot, connection, events);
      else openEvent(slot, connection, side, events);
      break;
    case State::Free:
    case State::Dead:
      break;
  }
}

// Wakes JavaScript if it sleeps. If it is awake, it reads all events before it sleeps. `count`: events of sockets in this turn.
void Pump::report(int count) {
  outbox_.refill();
  resumeAccepting();
  const bool due = outbox_.unread() && load(shared_.scriptAsleep) == 1;
  if (due && count >= kBusy && mayWait()) return;
  untoldSince_ = 0;
  if (due && exchange(shared_.scriptAsleep, 0) == 1) wake_();
}

bool Pump::mayWait() {
  const int64_t now = monotonicNs();
  if (untoldSince_ == 0) untoldSince_ = now;
  return now - untoldSince_ < kMostUntoldNs;
}

void Pump::closeDead() {
  for (const uint32_t slot : dead_) {
    Connection& connection = connections_[slot];
    const int32_t generation = connection.generation;
    for (const Descriptor& fd : connection.fd) {
      if (fd) own_->held--;
    }
    own_->open--;
    const uint32_t stamps[2] = {connection.stamp[kClient] + 1, connection.stamp[kBackend] + 1};
    for (Direction& direction : connection.from) pipes_.give(std::move(direction.pipe));
    connection = Connection{};
    connection.generation = generation + 1;
    connection.stamp[kClient] = stamps[kClient];
    connection.stamp[kBackend] = stamps[kBackend];
    freeSlots_.push_back(slot);
  }
  dead_.clear();
}

// `now` is TypeScript's, which the times of flows are compared with.
void Pump::sweep(double now) {
  paused_ = false;
  lookForRoom();
  for (uint32_t slot = 0; slot < connections_.size(); slot++) {
    Connection& connection = connections_[slot];
    if (connection.state != State::Open || connection.attached) continue;
    if (connection.stream == nullptr && backendIsLost(connection, now)) {
      cut(slot, connection, Reason::BackendLost);
      continue;
    }
    if (options_.firstByteMs > 0 && !connection.mute) lookForFirstByte(slot, connection, now);
    if (connection.progress != connection.seen) {
      connection.seen = connection.progress;
      connection.quietSince = now;
      continue;
    }
    for (Direction& direction : connection.from) {
      if (direction.pipe && direction.pipe->held == 0) pipes_.give(std::move(direction.pipe));
    }
    if (!connection.keptAlive) {
      connection.keptAlive = true;
      for (const Descriptor& fd : connection.fd) {
        if (fd) keepAlive(fd.get(), kKeepAliveSeconds);
      }
    }
    const bool half = connection.halfClosed();
    const double limit = half ? options_.halfClosedMs : options_.idleMs;
    if (limit > 0 && now - connection.quietSince >= limit)
      cut(slot, connection, half ? Reason::HalfClosed : Reason::Idle);
  }
  toReport_ = connections_.size();
  reportCarried();
}

// A round goes once over all connections. Without room it goes on in a later turn, and the next round where this one was.
void Pump::reportCarried() {
  for (; toReport_ > 0; toReport_--, reportNext_++) {
    if (reportNext_ >= connections_.size()) reportNext_ = 0;
    Connection& connection = connections_[reportNext_];
    if (connection.state == State::Open && connection.served && !reportServedBytes(connection)) return;
    if (connection.state != State::Open || connection.attached) continue;
    const uint64_t sent = connection.from[kClient].bytes;
    const uint64_t received = connection.from[kBackend].bytes;
    if (sent + received == connection.reported) continue;
    if (!outbox_.roomForReports()) return;
    connection.reported = sent + received;
    Record record = recordOf(Event::Carried, static_cast<uint32_t>(reportNext_), connection.generation);
    record.totals.sent = static_cast<double>(sent);
    record.totals.received = static_cast<double>(received);
    outbox_.send(record);
  }
}

// A backend whose process stands still accepts, since its kernel does, and never answers. Nothing is cut for that.
void Pump::lookForFirstByte(uint32_t slot, Connection& connection, double now) {
  if (connection.from[kBackend].bytes > 0 || connection.from[kClient].bytes == 0) return;
  if (connection.askedSince < 0) connection.askedSince = now;
  if (now - connection.askedSince < options_.firstByteMs || !outbox_.room()) return;
  connection.mute = true;
  outbox_.send(recordOf(Event::Mute, slot, connection.generation));
}

// A host that has died or is cut off acknowledges nothing, and the kernel would go on sending for a quarter of an hour. Asks the
// kernel only after bytes were sent and none has come back.
bool Pump::backendIsLost(Connection& connection, double now) {
  const uint64_t sent = connection.from[kClient].bytes;
  const uint64_t received = connection.from[kBackend].bytes;
  if (std::exchange(connection.sentSeen, sent) != sent && !connection.owesAck) {
    connection.owesAck = true;
    connection.silentSince = now;
  }
  if (std::exchange(connection.receivedSeen, received) != received) connection.silentSince = now;
  if (!connection.owesAck) return false;
  const Acknowledgements known = acknowledgementsOf(connection.fd[kBackend].get());
  if (known.outstanding) return known.lastMs >= kLostMs && now - connection.silentSince >= kLostMs;
  connection.silentSince = now;
  connection.owesAck = known.unsent;
  return false;
}

bool Pump::watch(const Descriptor& epoll, int fd, uint64_t tag, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace starlane
