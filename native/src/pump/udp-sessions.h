// UDP. A frontend has one bound socket. A session is one client at one frontend, with a connected socket (its link) towards
// the backend that TypeScript has chosen. Datagrams of a linked session stay on this thread; of one without a link a limited
// number waits while TypeScript chooses.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "socket/descriptor.h"
#include "crew/budget.h"
#include "pump/outbox.h"
#include "pump/ring.h"
#include "socket/socket.h"

namespace starlane {

class UdpSessions {
 public:
  UdpSessions(Outbox& outbox, const Descriptor& epoll, Budget& budget);
  ~UdpSessions();

  // Its socket is watched already, under tagOfFrontend().
  void open(int32_t frontend, Descriptor fd);
  void close(int32_t frontend);
  void closeAll();
  // Between processes. A paused frontend reads nothing; what clients send waits in the kernel.
  void pause(int32_t frontend);
  // Returns an errno if datagrams cannot be waited for: the frontend would be deaf.
  int resume(int32_t frontend);
  void pass(int32_t frontend);
  void adopt(const Record& command);

  // Epoll's user data has this bit set for sockets of this class.
  static constexpr uint64_t kUdpTag = uint64_t{1} << 63;
  static uint64_t tagOfFrontend(int32_t frontend);
  void onSocket(uint64_t tag);
  // Sends the replies gathered in this turn.
  void endTurn();

  // Commands. They have no effect on a session that has ended or changed its state meanwhile.
  void link(const Record& command);
  void unlink(const Record& command);
  void forget(const Record& command);
  // Reports the sessions in which nothing has moved for `limitMs`; 0: none. Also those in which something has: with `reportMoved`
  // each time, else a second after their last report.
  void sweep(double now, double limitMs, bool reportMoved);

 private:
  struct Client {
    uint8_t bytes[16];
    uint16_t port;
    uint8_t family;

    bool operator==(const Client& other) const {
      return port == other.port && family == other.family && memcmp(bytes, other.bytes, sizeof bytes) == 0;
    }
  };
  struct Hash {
    size_t operator()(const Client& client) const;
  };
  struct UdpFrontend {
    Descriptor fd;
    std::unordered_map<Client, uint32_t, Hash> sessions;
  };

  enum class State : uint8_t { Free, Idle, Asking, Linked };
  struct Session {
    State state = State::Free;
    bool answered = false;
    bool moved = false;
    uint8_t ones = 0;  // reads of the link in a row that found one datagram
    int32_t generation = 0;
    int32_t frontend = 0;
    uint32_t stamp = 0;  // distinguishes events of a link from those of an earlier one
    Client client{};
    Address address;
    Descriptor fd;
    uint64_t sent = 0;
    uint64_t received = 0;
    double quietSince = 0;
    double reportedAt = -1;  // the last report of its bytes; the first sweep counts as one
    uint64_t reported = 0;   // bytes of both directions in it
    std::vector<std::vector<uint8_t>> waiting;
    // The only datagram that the link has sent, until it has an answer: where it is refused, it goes to the next backend.
    std::vector<uint8_t> only;
  };
  // Filled by recvmmsg(2), sent by sendmmsg(2).
  struct Batch;

  void onFrontend(int32_t frontend);
  void onLink(uint32_t slot);
  uint32_t sessionOf(int32_t id, UdpFrontend& frontend, const sockaddr_storage& from, socklen_t length);
  void ask(uint32_t slot);
  void keep(Session& session, const uint8_t* bytes, size_t size);
  void dropWaiting(Session& session);
  void dropOnly(Session& session);
  // False when the link has failed; `sent` is how many were sent, or lost as UDP may.
  bool sendRun(int fd, const Address* to, int from, int count, int& error, int& sent);
  bool sendOne(int fd, const Address* to, const iovec& piece, int& error, int& sent);
  void sendReplies();
  void sendToBackend(uint32_t slot, int from, int count);
  void flush(uint32_t slot);
  void linkFailed(uint32_t slot, int error);
  void cutLink(uint32_t slot, int error);
  void drop(uint32_t slot);
  void end(uint32_t slot, Event kind, int32_t descriptor);
  uint32_t newSlot();
  bool wantsReport(Session& session, double now) const;
  void tell(Event event, uint32_t slot, int32_t error = 0, int32_t descriptor = -1);
  void tellClosed(int32_t frontend, int32_t descriptor);
  Session* find(const Record& command);

  Outbox& outbox_;
  const Descriptor& epoll_;
  Budget& budget_;
  std::unordered_map<int32_t, UdpFrontend> frontends_;
  std::deque<Session> sessions_;
  std::vector<uint32_t> freeSlots_;
  std::unique_ptr<Batch> batch_;
  size_t waitingBytes_ = 0;
  size_t onlyBytes_ = 0;
  size_t asking_ = 0;
  size_t sweepNext_ = 0;  // the first session that the last sweep had no room to report
};

}  // namespace starlane
