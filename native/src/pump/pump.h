// One thread that carries flows of an engine: epoll, connect, bytes, datagrams, and nothing that blocks. The first of an engine
// accepts for all (crew.h). TypeScript chooses the backend, once for each attempt, over the rings.
//
//   turn:  epoll_wait -> commands -> socket events -> some of the large transfers -> wake TypeScript -> close the dead
//
// Commands come before socket events, so that a sweep does not see bytes that are newer than its time. TypeScript is woken
// before dead connections are closed: when a peer sees the end of its connection, the report is already under way, unless many
// more events wait.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "crew/budget.h"
#include "crew/crew.h"
#include "pump/connection.h"
#include "pump/outbox.h"
#include "pump/ring.h"
#include "pump/udp-sessions.h"
#include "socket/socket.h"
#include "tunnel/tunnels.h"

namespace starlane {

struct PumpOptions {
  double idleMs;  // 0: never
  double halfClosedMs;
  double firstByteMs = 0;  // 0: not looked at
};

class Pump : private StreamOwner {
 public:
  // `wake` is called on the pump's thread when there are events and JavaScript is asleep.
  // It becomes the next of the crew.
  Pump(Shared& shared, PumpOptions options, std::function<void()> wake, std::shared_ptr<Crew> crew = std::make_shared<Crew>());

  // 0, or an errno when there was no descriptor left.
  int error() const { return error_; }
  // The body of the thread; returns after stop(), with everything closed and reported.
  void run();

  // From any thread. Only the first pump listens on TCP.
  int listenTcp(int32_t listener, const Address& address, int backlog);
  int listenUdp(int32_t frontend, const Address& address);
  // A socket that another process has bound. It is the pump's from then on, unless an error is returned.
  int adoptTcp(int32_t listener, int descriptor);
  // Nothing is read from it before Command::ResumeFrontend: sessions may come first, by Command::Adopt.
  int adoptUdp(int32_t frontend, int descriptor);
  void kick() { own_->kick(); }
  void stop();
  // A connection to or from a gateway: TLS is to begin on it, by a descriptor of the pump's own.
  int openTunnel(int32_t id, int descriptor, const SecureContext& context, TunnelWindows windows);
  // `fields`: names and values, each ended by a zero. The caller wakes the pump.
  void requestStream(int32_t tunnel, int32_t token, std::string fields);
  // Of a request of the other end, as in Tunnels. The caller wakes the pump.
  void answerStream(int32_t token, bool last, std::string fields);
  void leaveTunnel(int32_t id, uint32_t code, std::string text);
  // The text of an event of a tunnel; once.
  std::string details(int32_t id) { return tunnels_.details(id); }
  // Bytes of a tunnel; false when there is no such tunnel.
  bool countTunnel(int32_t id, double& received, double& sent) { return tunnels_.count(id, received, sent); }

  // Only after the threads of all pumps have ended.
  void refill();

 private:
  // turn.cc
  int beginToListen();
  void turn();
  void takeListeners();
  void takeCommands();
  void execute(const Record& command);
  void executeOn(Command kind, const Record& command);
  void executeOnTunnel(Command kind, const Record& command);
  void noteReadable(const epoll_event* events, int count);
  void onSocket(uint64_t tag, uint32_t events);
  void report(int count);
  bool mayWait();
  void closeDead();
  void gather();
  void pauseAfter(size_t pieces, size_t bytes);
  void sweep(double now);
  void reportCarried();
  void lookForFirstByte(uint32_t slot, Connection& connection, double now);
  bool backendIsLost(Connection& connection, double now);
  static bool watch(const Descriptor& epoll, int fd, uint64_t tag, uint32_t events);

  // accept.cc
  void acceptAll();
  void acceptOf(int32_t listener);
  bool acceptOne(int32_t listener, int fd, size_t pump);
  void admit(Descriptor fd, Record event);
  void refuseWithoutDescriptor(int listener);
  bool roomForClient() const;
  void lookForRoom();
  void turnAway(int32_t listener, int fd);
  void fault(int error);
  void closeListener(int32_t listener, bool pass);
  void setAccepting(bool accepting);
  void pauseAccepting();
  void resumeAccepting();
  void lookForDescriptor();
  uint32_t newSlot();

  // handing.cc
  void takeLeft();
  void wakeOthers();
  void giveUpStream(const Record& join);
  void handTo(size_t pump, uint32_t slot, Connection& connection, const Record& command);
  void arrive(Descriptor fd, const Record& command);
  void tellFreed(size_t heldBefore);

  // dial.cc
  void dial(uint32_t slot, Connection& connection, const Record& command);
  void waitingClientEvent(uint32_t slot, Connection& connection, uint32_t events);
  void dialEvent(uint32_t slot, Connection& connection, uint32_t events);
  void dialFailed(uint32_t slot, Connection& connection, int error);

  // bytes.cc
  void openEvent(uint32_t slot, Connection& connection, Side side, uint32_t events);
  void proceed(uint32_t slot, Connection& connection, Side from);
  void list(uint32_t slot, Connection& connection, Side from);
  void moveUnfinished();
  size_t move(uint32_t slot, Connection& connection, Side from);
  bool copy(uint32_t slot, Connection& connection, Side from, size_t& moved);
  bool splice(uint32_t slot, Connection& connection, Side from, size_t& moved);
  void countPiece(Connection& connection, Side from, size_t bytes);
  bool endSplicing(Direction& direction);
  bool flush(uint32_t slot, Connection& connection, Side from);
  bool flushKept(uint32_t slot, Connection& connection, Side from);
  void lookForLarge(Connection& connection, Side from);
  bool copyFromPipe(Direction& direction);
  bool flushPipe(uint32_t slot, Connection& connection, Side from);
  void sideEnded(uint32_t slot, Connection& connection, Side side);
  void passEnd(uint32_t slot, Connection& connection, Side from);
  void sideFailed(uint32_t slot, Connection& connection, Side side);

  // tunnelled.cc
  void join(uint32_t slot, Connection& connection, const Record& command);
  void attach(const Record& command);
  void take(uint32_t slot, Connection& connection, Stream& stream);
  void tunnelledEvent(uint32_t slot, Connection& connection, uint32_t events);
  bool flushKept(uint32_t slot, Connection& connection, Stream& stream);
  void passFarEnd(uint32_t slot, Connection& connection);
  size_t take(Stream& stream, uint8_t* into, size_t room, bool& last) override;
  size_t give(Stream& stream, const uint8_t* bytes, size_t length) override;
  void farEnded(Stream& stream) override;
  void farClosed(Stream& stream, bool lost, bool whole) override;

  // native/src/serving
  void resetStream(const Record& command);
  void reportServed(const Connection& connection, int32_t token, Reason reason);
  bool reportServedBytes(Connection& connection);

  // end.cc
  void cut(uint32_t slot, Connection& connection, Reason reason);
  void end(uint32_t slot, Connection& connection, Reason reason, bool reset);
  void endAll();
  void handOver(uint32_t slot, Connection& connection);

  Shared& shared_;
  PumpOptions options_;
  const std::function<void()> wake_;
  const std::shared_ptr<Crew> crew_;
  const size_t index_;  // in the crew
  const std::shared_ptr<Member> own_;
  int error_ = 0;
  Outbox outbox_;
  Descriptor epoll_;
  Descriptor listening_;  // an epoll of the listeners inside the other, so that one call stops accepting from all
  Descriptor spare_;  // closed for a moment to refuse a client when there are no descriptors
  std::atomic<bool> stopping_{false};

  std::mutex newListenersLock_;
  std::vector<std::pair<int32_t, Descriptor>> newListeners_;
  std::vector<std::pair<int32_t, Descriptor>> newFrontends_;
  std::atomic<bool> haveNewListeners_{false};

  std::unordered_map<int32_t, Descriptor> listeners_;
  bool accepting_ = true;
  bool paused_ = false;  // accept(2) failed: no accepting before the next sweep
  bool short_ = false;   // no accepting before a descriptor is free for a dial
  bool wasShort_ = false;  // at the last sweep
  bool faultReported_ = false;  // in this turn
  bool alone_ = false;  // this turn has events of one connection at most

  std::deque<Connection> connections_;  // by slot; a deque, so that references stay valid
  std::vector<uint32_t> freeSlots_;
  std::vector<uint32_t> dead_;
  // Of this turn: pieces of large transfers and their bytes, and whether there was anything else.
  size_t pieces_ = 0;
  size_t pieceBytes_ = 0;
  bool mixed_ = false;
  int64_t gatheredAt_ = 0;   // the last turn with pieces alone
  size_t gathered_ = 0;      // bytes of such turns since there was anything else
  int64_t untoldSince_ = 0;  // JavaScript is to be woken, and several turns share it; 0: no
  size_t toReport_ = 0;     // connections that the current round of reports has not come to
  size_t reportNext_ = 0;   // where it goes on
  struct Unfinished {
    uint32_t slot;
    int32_t generation;
    Side from;
  };
  std::deque<Unfinished> unfinished_;  // have more to move than a turn allows; the first has waited longest
  Budget budget_;
  Pipes pipes_;
  std::unique_ptr<uint8_t[]> buffer_;
  UdpSessions sessions_;
  Tunnels tunnels_;
};

// Epoll's user data: a connection's slot, side and stamp, the listeners, or the wakeup.
inline uint64_t tagOf(uint32_t slot, Side side, uint32_t stamp) {
  return static_cast<uint64_t>(slot) << 32 | static_cast<uint64_t>(stamp & 0x7fffffffu) << 1 | side;
}
// False for an event of a socket that the connection, or an earlier one of the slot, has closed.
inline bool isOf(const Connection& connection, uint64_t tag) {
  return (connection.stamp[tag & 1] & 0x7fffffffu) == ((tag >> 1) & 0x7fffffffu);
}
// What is watched of a connection's sockets.
constexpr uint32_t kSocketEvents = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr uint64_t kWakeup = ~uint64_t{0};
constexpr uint64_t kListeners = kWakeup - 1;

constexpr size_t kBuffer = 64 * 1024;

}  // namespace starlane
