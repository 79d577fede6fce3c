// The pump without Node, so that a sanitizer sees both sides of the rings: clients and backends that misbehave in every way,
// and a controller in TypeScript's place that answers, refuses, hangs up, cuts and takes clients over at random, often too late,
// and now and then passes its listener and its frontend on, as to another process. At the end every connection has had exactly
// one last event, every echo was right, and every descriptor is closed.
//
//     npm run stress:native -- --connections=20000
//
// With one pump, and with three: then clients are on their way between pumps while all of that happens.
// With a certificate and its key, half of the connections go through tunnels to a gateway, which are closed and opened again at random.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "pump/pump.h"
#include "batches.h"
#include "gateway.h"

using namespace starlane;

namespace {

constexpr int kClients = 6;
constexpr int kBulk = 700 * 1024;
const uint8_t kLoopback[4] = {127, 0, 0, 1};

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "stress: %s\n", what.c_str());
  exit(1);
}

int openDescriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) count++;
  closedir(folder);
  return count;
}

int bound(int& port, bool listening, int type = SOCK_STREAM) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof any;
  if (bind(fd, reinterpret_cast<sockaddr*>(&any), length) != 0) fail("no port");
  getsockname(fd, reinterpret_cast<sockaddr*>(&any), &length);
  port = ntohs(any.sin_port);
  if (listening && listen(fd, 1024) != 0) fail("cannot listen");
  return fd;
}

bool sendAll(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t put = send(fd, bytes, size, MSG_NOSIGNAL);
    if (put <= 0) return false;
    bytes += put;
    size -= static_cast<size_t>(put);
  }
  return true;
}

constexpr int kHeader = 28;  // of the PROXY protocol, with addresses of IPv4

// What a backend is told of the client and the frontend has to be there whole before the first byte, and to name both.
void readHeader(int fd, int frontend) {
  uint8_t header[kHeader];
  const ssize_t got = recv(fd, header, sizeof header, MSG_WAITALL);
  if (got >= 0 && got < kHeader) return;  // the connection has ended before
  const bool isWhole = memcmp(header, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16) == 0;
  const bool isOfBoth = memcmp(header + 16, kLoopback, 4) == 0 && memcmp(header + 20, kLoopback, 4) == 0;
  if (got == kHeader && (!isWhole || !isOfBoth || (header[26] << 8 | header[27]) != frontend)) fail("a wrong PROXY header");
}

// Echoes until the end; a connection whose first byte is R is reset in the middle.
void serve(int fd, int frontend) {
  char buffer[16384];
  char begin = 0;
  if (recv(fd, &begin, 1, MSG_PEEK) == 1 && begin == '\r') readHeader(fd, frontend);
  bool rude = false, first = true;
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
    if (first) rude = buffer[0] == 'R';
    first = false;
    if (!sendAll(fd, buffer, static_cast<size_t>(got)) || rude) break;
  }
  if (rude) resetOnClose(fd);
  close(fd);
}

struct Totals {
  std::atomic<int> whole{0}, broken{0}, wrong{0}, chats{0};
};

// One connection of a client: what comes back must be a prefix of what was sent.
void visit(int port, std::mt19937& random, Totals& totals) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const Address to = addressOf(4, kLoopback, port);
  if (connect(fd, to.get(), to.length) != 0) {
    close(fd);
    return;
  }
  const timeval patience{5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const unsigned mood = random() % 12;
  if (mood == 0) resetOnClose(fd);
  if (mood <= 1) {
    close(fd);
    return;
  }
  std::string said(mood == 2 ? kBulk : 1 + random() % 2000, '\0');
  for (size_t i = 0; i < said.size(); i++) said[i] = static_cast<char>('a' + (i * 7 + mood) % 25);
  if (mood == 3) said[0] = 'R';
  std::string heard;
  std::thread speaker([&] {
    if (sendAll(fd, said.data(), said.size())) shutdown(fd, SHUT_WR);
  });
  char buffer[65536];
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
    heard.append(buffer, static_cast<size_t>(got));
    if (mood == 4) break;
  }
  if (mood == 4) resetOnClose(fd);
  shutdown(fd, SHUT_RDWR);
  speaker.join();
  close(fd);
  if (said.compare(0, heard.size(), heard) != 0) totals.wrong++;
  else if (heard.size() == said.size()) totals.whole++;
  else totals.broken++;
}

// Sends bursts of datagrams, and checks that what comes back was sent; UDP may lose some.
void chat(int port, std::mt19937& random, Totals& totals) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const Address to = addressOf(4, kLoopback, port);
  const timeval patience{0, 20000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, to.get(), to.length) != 0) fail("no UDP");
  const size_t size = random() % 4 == 0 ? random() % 60000 : random() % 1400;
  const unsigned burst = 1 + random() % 40;
  std::string said(size, static_cast<char>('a' + random() % 25));
  for (unsigned i = 0; i < burst; i++) send(fd, said.data(), said.size(), 0);
  static thread_local char buffer[65536];
  bool any = false;
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) >= 0;) {
    any = true;
    if (std::string(buffer, static_cast<size_t>(got)) != said) totals.wrong++;
  }
  if (any) totals.chats++;
  close(fd);
}

// An event and the pump that has sent it.
struct Seen : Record {
  int pump = 0;
};
// A slot or a session of a pump.
using Place = std::pair<int, int32_t>;

// Takes TypeScript's place.
class Controller {
 public:
  // `serve` gets the clients that are taken over.
  Controller(int pumps, int backend, int refusing, int gateway, const SecureContext* context, std::function<void(int)> serve)
      : gateway_(gateway), context_(context), backend_(backend), refusing_(refusing), serve_(std::move(serve)) {
    const auto crew = std::make_shared<Crew>();
    for (int i = 0; i < pumps; i++) {
      lanes_.push_back(std::make_unique<Lane>());
      Lane& lane = *lanes_.back();
      lane.pump = std::make_unique<Pump>(lane.shared, PumpOptions{50, 20}, [this] { wake(); }, crew);
      if (lane.pump->error() != 0) fail("no pump");
      store(lane.shared.scriptAsleep, 1);
    }
  }

  void run(std::atomic<bool>& done, int port, int frontend) {
    for (const auto& lane : lanes_) lane->thread = std::thread([pump = lane->pump.get()] { pump->run(); });
    port_ = port;
    if (first().listenTcp(listener_, addressOf(4, kLoopback, port), 1024) != 0) fail("cannot listen for the pump");
    if (pumpOf(udp()).listenUdp(frontend_, addressOf(4, kLoopback, frontend)) != 0) fail("no frontend");
    for (double now = 0; !done.load(); now += 7) {
      readAll();
      const bool few = random_() % 8 == 0;
      for (int pump = 0; pump < pumps(); pump++) {
        Record& sweep = begin(pump, Command::Sweep);
        sweep.now = now;
        sweep.limitMs = 30;
        sweep.descriptors = few ? 6 : -1;  // now and then too few
        sweep.reportMoved = random_() % 2;
        end(pump);
        if (random_() % 16 == 0) {
          Record& configure = begin(pump, Command::Configure);
          configure.idle = {50.0 + random_() % 50, 20};
          end(pump);
        }
      }
      if (random_() % 8 == 0 && !passingListener_) {
        passingListener_ = true;
        begin(0, Command::PassListener).listener = listener_;
        end(0);
      }
      if (random_() % 8 == 0 && !passingFrontend_) {
        passingFrontend_ = true;
        begin(udp(), Command::PauseFrontend).frontend = frontend_;
        end(udp());
      }
      if (context_ != nullptr) tendTunnels();
      if (random_() % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a busy JavaScript thread
      sleep();
    }
    for (const auto& [token, client] : std::map<int32_t, Seen>(asking_)) command(Command::Refuse, client);
    // One that is being passed on is no longer the pump's, and is closed when its event is read.
    over_ = true;
    begin(0, Command::CloseListener).listener = listener_;
    end(0);
    begin(udp(), Command::CloseFrontend).frontend = frontend_;
    end(udp());
    for (const auto& lane : lanes_) lane->pump->stop();
    for (const auto& lane : lanes_) lane->thread.join();
    for (int pump = 0; pump < pumps(); pump++) {
      do {
        readAll(pump);
        pumpOf(pump).refill();
      } while (load(ring(pump).eventHead) != ring(pump).eventTail.value);
    }
    if (!moving_.empty()) fail("a client has not arrived");
    if (!asking_.empty()) fail("a stream has had no last event");
    if (!tunnels_.empty()) fail("a tunnel has had no last event");
    if (!adopting_.empty()) fail("a session that was adopted has had no answer");
    for (const auto& [place, session] : talking_) fail("session " + std::to_string(place.second) + " has had no last event");
    for (const auto& [place, generation] : alive_) fail("slot " + std::to_string(place.second) + " has had no last event");
  }

  int accepted = 0, connected = 0, gone = 0, sessions = 0, handedOver = 0, listenersPassed = 0, sessionsPassed = 0, moved = 0;
  int tunnels = 0, streams = 0, joined = 0, refused = 0, arrived = 0;

 private:
  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
    condition_.notify_one();
  }

  void sleep() {
    for (const auto& lane : lanes_) {
      Shared& shared = lane->shared;
      store(shared.scriptAsleep, 1);
      if (load(shared.eventHead) != shared.eventTail.value && exchange(shared.scriptAsleep, 0) == 1) return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    condition_.wait_for(lock, std::chrono::milliseconds(2), [this] { return woken_; });
    woken_ = false;
  }

  void readAll() {
    for (int pump = 0; pump < pumps(); pump++) readAll(pump);
  }

  void readAll(int pump) {
    Shared& shared = ring(pump);
    while (load(shared.eventHead) != shared.eventTail.value) {
      Seen event;
      static_cast<Record&>(event) = at(shared.events, shared.eventTail.value);
      event.pump = pump;
      store(shared.eventTail, next(shared.eventTail.value));
      take(event);
    }
  }

  void take(const Seen& event) {
    const Place place{event.pump, event.slot};
    switch (static_cast<Event>(event.kind)) {
      case Event::Accepted:
        accepted++;
        alive(event);
        if (random_() % 20 == 0) command(Command::HandOver, event);  // and sometimes an answer that comes too late
        else return answer(event);
        if (random_() % 4 == 0) answer(event);
        return;
      case Event::Arrived: {
        arrived++;
        const auto from = moving_.find(event.token);
        if (from == moving_.end()) fail("a client arrived that was not sent");
        // Its slot in the other pump may be another's by now.
        const auto before = alive_.find({from->second.pump, from->second.slot});
        if (before != alive_.end() && before->second == from->second.generation) alive_.erase(before);
        moving_.erase(from);
        alive(event);
        if (random_() % 20 == 0) command(Command::Cut, event);
        return;
      }
      case Event::HandedOver:
        handedOver++;
        notSent(event);
        if (alive_.erase(place) == 0) fail("a client was handed over twice");
        return serve_(event.error);
      case Event::ListenerClosed:
        return listenerClosed(event.descriptor);
      case Event::Failed:
        return answer(event);
      case Event::Connected:
        connected++;
        if (random_() % 20 == 0) command(Command::HangUp, event);
        if (random_() % 20 == 0) command(Command::Cut, event);
        return;
      case Event::Gone:
        gone++;
        notSent(event);
        if (alive_.erase(place) == 0) fail("a second last event");
        if (random_() % 4 == 0) command(Command::Cut, event);  // too late
        return;
      case Event::Asked:
        if (talking_.emplace(place, event).second) sessions++;
        else if (talking_[place].generation != event.generation) fail("a session's slot was given twice");
        if (random_() % 20 == 0) return command(Command::Forget, event);
        toBackend(Command::Link, event);
        if (random_() % 10 == 0) command(Command::Unlink, event);
        return;
      case Event::Answered:
        if (random_() % 10 == 0) command(Command::Unlink, event);
        return;
      case Event::Unlinked:
        if (random_() % 10 == 0) command(Command::Unlink, event);  // too late
        return;
      case Event::Quiet:
        return command(Command::Forget, event);
      case Event::Dropped:
        if (talking_.erase(place) == 0) fail("a session's second last event");
        if (random_() % 4 == 0) command(Command::Forget, event);  // too late
        return;
      case Event::Moved:
        moved++;
        if (talking_.count(place) == 0) fail("a session moved that there is not");
        return;
      case Event::FrontendPaused:
        begin(event.pump, Command::PassFrontend).frontend = event.frontend;
        return end(event.pump);
      case Event::Passed: {
        const auto found = talking_.find(place);
        if (found == talking_.end()) fail("a session was passed that there is not");
        passed_.push_back(found->second);
        passed_.back().descriptor = event.descriptor;
        talking_.erase(found);
        return;
      }
      case Event::FrontendClosed:
        return frontendClosed(event.descriptor);
      case Event::Adopted:
        return adopted(event);
      case Event::TunnelSecured:
        if (pumpOf(event.pump).details(event.details).empty()) fail("a tunnel without a certificate");
        if (tunnels_.count(event.slot) == 0) return;
        if (random_() % 20 != 0) tellTunnel(Command::StartTunnel, event.slot);
        else tellTunnel(Command::CloseTunnel, event.slot);
        return;
      case Event::TunnelReady:
        tunnels++;
        open_.push_back(event.slot);
        return;
      case Event::TunnelEnded:
        pumpOf(event.pump).details(event.details);
        if (tunnels_.erase(event.slot) == 0) fail("a tunnel's second last event");
        open_.erase(std::remove(open_.begin(), open_.end(), event.slot), open_.end());
        return;
      case Event::TunnelLeaving:
        pumpOf(event.pump).details(event.details);
        return;
      case Event::StreamAnswered:
        return streamAnswered(event);
      case Event::StreamEnded: {
        const auto asked = asking_.find(event.slot);
        if (asked == asking_.end()) return;  // one that we have reset or joined meanwhile
        const Seen client = asked->second;
        asking_.erase(asked);
        const Place at{client.pump, client.slot};
        if (alive_.count(at) != 0 && alive_[at] == client.generation) toBackend(Command::Connect, client);
        return;
      }
      default:
        return;
    }
  }

  // Two tunnels; one is closed now and then.
  void tendTunnels() {
    while (tunnels_.size() < 2) {
      const int id = ++token_;
      const int fd = connectTo(addressOf(4, kLoopback, gateway_));
      if (fd < 0) return;
      pollfd waiting{fd, POLLOUT, 0};
      poll(&waiting, 1, 1000);
      const int pump = id % pumps();
      if (pumpOf(pump).openTunnel(id, fd, *context_, {1 << 16, 1 << 20}) != 0) fail("no tunnel");
      close(fd);
      tunnels_[id] = pump;
    }
    double received, sent;
    for (const int id : open_) pumpOf(tunnels_[id]).countTunnel(id, received, sent);
    if (open_.empty()) return;
    const int one = open_[random_() % open_.size()];
    if (random_() % 4 == 0) tellTunnel(Command::PingTunnel, one);
    if (random_() % 40 == 0) tellTunnel(Command::CloseTunnel, one);
    if (random_() % 16 == 0) {
      Record& command = begin(tunnels_[one], Command::SetTunnelWindow);
      command.slot = one;
      command.window = 1 << (14 + random_() % 6);
      end(tunnels_[one]);
    }
  }

  void tellTunnel(Command kind, int id) {
    begin(tunnels_[id], kind).slot = id;
    end(tunnels_[id]);
  }

  void throughTunnel(const Seen& client) {
    const int token = ++token_;
    static const char* kKinds[] = {"echo", "echo", "echo", "echo", "echo", "echo", "reset", "refuse", "mute"};
    std::string fields(":method\0CONNECT\0:authority\0", 27);
    fields += kKinds[random_() % 9];
    fields += '\0';
    const int tunnel = open_[random_() % open_.size()];
    const int pump = tunnels_[tunnel];
    pumpOf(pump).requestStream(tunnel, token, fields);
    if (exchange(ring(pump).pumpAsleep, 0) == 1) pumpOf(pump).kick();
    streams++;
    asking_[token] = client;
    pumpOfStream_[token] = pump;
    if (random_() % 20 == 0) giveUp(token);
  }

  // The client is still to be served.
  void giveUp(int token) {
    const Seen client = asking_[token];
    asking_.erase(token);
    const int pump = pumpOfStream_[token];
    Record& reset = begin(pump, Command::ResetStream);
    reset.slot = token;
    reset.error = 8;
    end(pump);
    toBackend(Command::Connect, client);
  }

  void streamAnswered(const Seen& event) {
    pumpOf(event.pump).details(event.details);
    if (asking_.count(event.slot) == 0) return;
    if (event.error != 200) {
      refused++;
      return giveUp(event.slot);
    }
    const Seen client = asking_[event.slot];
    asking_.erase(event.slot);
    joined++;
    const auto there = alive_.find({client.pump, client.slot});
    if (event.pump != client.pump && there != alive_.end() && there->second == client.generation) moving_[event.slot] = client;
    Record& join = begin(client.pump, Command::Join);
    join.slot = client.slot;
    join.generation = client.generation;
    join.token = event.slot;
    join.pump = event.pump;
    end(client.pump);
    if (random_() % 20 == 0) command(Command::Cut, client);
  }

  // Adopts it again, as another process would.
  void listenerClosed(int descriptor) {
    if (descriptor >= 0) listenerDescriptor_ = descriptor;
    if (++listenerAnswers_ < pumps()) return;
    listenerAnswers_ = 0;
    descriptor = std::exchange(listenerDescriptor_, -1);
    if (descriptor < 0) return;
    passingListener_ = false;
    listenersPassed++;
    if (over_) close(descriptor);
    else if (first().adoptTcp(++listener_, descriptor) != 0) fail("cannot adopt the listener");
  }

  void frontendClosed(int descriptor) {
    if (descriptor < 0) return;
    passingFrontend_ = false;
    std::vector<Seen> sessions;
    sessions.swap(passed_);
    if (over_) {
      close(descriptor);
      for (const Seen& session : sessions) close(session.descriptor);
      return;
    }
    frontend_++;
    if (pumpOf(udp()).adoptUdp(frontend_, descriptor) != 0) fail("cannot adopt the frontend");
    for (const Seen& session : sessions) {
      sessionsPassed++;
      Record& adopt = begin(udp(), Command::Adopt);
      adopt.slot = ++token_;
      adopt.frontend = frontend_;
      adopt.port = session.port;
      adopt.family = session.family;
      adopt.descriptor = session.descriptor;
      memcpy(adopt.address, session.address, sizeof adopt.address);
      adopting_[token_] = session;
      end(udp());
    }
    begin(udp(), Command::ResumeFrontend).frontend = frontend_;
    end(udp());
  }

  void adopted(const Seen& event) {
    const auto found = adopting_.find(event.token);
    if (found == adopting_.end()) fail("an answer for a session that was not adopted");
    Seen session = found->second;
    adopting_.erase(found);
    if (event.slot < 0) return;
    session.generation = event.generation;
    session.pump = event.pump;
    if (!talking_.emplace(Place{event.pump, event.slot}, session).second) fail("an adopted session's slot was given twice");
  }

  // Its last event in this pump came before it could go to another.
  void notSent(const Seen& event) {
    for (auto one = moving_.begin(); one != moving_.end();) {
      if (one->second.pump == event.pump && one->second.slot == event.slot && one->second.generation == event.generation) one = moving_.erase(one);
      else ++one;
    }
  }

  void alive(const Seen& event) {
    const auto [found, isNew] = alive_.emplace(Place{event.pump, event.slot}, event.generation);
    // The one before has gone to another pump, and has not been heard of there.
    for (const auto& [token, client] : moving_) {
      if (client.pump == event.pump && client.slot == event.slot && client.generation == found->second) found->second = event.generation;
    }
    if (!isNew && found->second != event.generation) fail("a slot was given twice");
  }

  void answer(const Seen& event) {
    if (random_() % 20 == 0) return command(Command::Refuse, event);
    if (!open_.empty() && random_() % 2 == 0) return throughTunnel(event);
    toBackend(Command::Connect, event);
    if (random_() % 10 == 0) command(Command::HangUp, event);
  }

  void toBackend(Command kind, const Seen& event) {
    Record& connect = begin(event.pump, kind);
    connect.slot = event.slot;
    connect.generation = event.generation;
    connect.family = 4;
    connect.port = random_() % 10 == 0 ? refusing_ : backend_;
    memcpy(connect.address, kLoopback, 4);
    if (kind == Command::Connect && random_() % 4 == 0) {
      connect.frontendPort = port_;
      memcpy(connect.frontendAddress, kLoopback, 4);
    }
    end(event.pump);
  }

  void command(Command kind, const Seen& event) {
    Record& record = begin(event.pump, kind);
    record.slot = event.slot;
    record.generation = event.generation;
    end(event.pump);
  }

  Record& begin(int pump, Command kind) {
    Shared& shared = ring(pump);
    while (used(shared.commandHead.value, load(shared.commandTail)) >= kRecords) pumpOf(pump).kick();
    Record& record = at(shared.commands, shared.commandHead.value);
    record = Record{};
    record.kind = static_cast<int32_t>(kind);
    return record;
  }

  void end(int pump) {
    Shared& shared = ring(pump);
    store(shared.commandHead, next(shared.commandHead.value));
    if (exchange(shared.pumpAsleep, 0) == 1) pumpOf(pump).kick();
  }

  struct Lane {
    Shared shared{};
    std::unique_ptr<Pump> pump;
    std::thread thread;
  };

  int pumps() const { return static_cast<int>(lanes_.size()); }
  Shared& ring(int pump) { return lanes_[static_cast<size_t>(pump)]->shared; }
  Pump& pumpOf(int pump) { return *lanes_[static_cast<size_t>(pump)]->pump; }
  Pump& first() { return pumpOf(0); }
  // The pump of the UDP frontend: the last.
  int udp() const { return pumps() - 1; }

  std::vector<std::unique_ptr<Lane>> lanes_;
  int backend_, refusing_, port_ = 0;
  const std::function<void(int)> serve_;
  std::mt19937 random_{7};
  std::map<Place, int32_t> alive_;      // and the generation
  std::map<Place, Seen> talking_;       // with the client's address
  std::vector<Seen> passed_;            // by the frontend that is being passed on
  std::map<int32_t, Seen> adopting_;    // by token
  std::map<int32_t, Seen> moving_;      // clients on their way to the pump of their stream, by its token
  std::map<int32_t, int> pumpOfStream_;
  int gateway_;
  const SecureContext* context_;        // null: no tunnels
  std::map<int32_t, int> tunnels_;      // that have not ended, and their pump
  std::vector<int32_t> open_;           // of these, those that are ready
  std::map<int32_t, Seen> asking_;      // clients by the token of their stream
  int32_t listener_ = 1, frontend_ = 1, token_ = 0;
  bool passingListener_ = false, passingFrontend_ = false, over_ = false;
  int listenerDescriptor_ = -1, listenerAnswers_ = 0;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool woken_ = false;
};

std::string contentOf(const char* file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

}  // namespace

int main(int count, char** arguments) {
  const int connections = atoi(arguments[1]);
  const int pumps = atoi(arguments[2]);
  std::unique_ptr<SecureContext> context;
  std::string certificate, key, why;
  if (count > 4) {
    certificate = contentOf(arguments[3]);
    key = contentOf(arguments[4]);
    context.reset(SecureContext::create(SecureContext::Role::Client, certificate, key, certificate, why));
    if (!context) fail(why);
  }
  signal(SIGPIPE, SIG_IGN);
  stressBatches(connections * 20);
  const int before = openDescriptors();
  int backendPort, refusingPort, proxyPort, frontendPort;
  const int listening = bound(backendPort, true);
  const int refusing = bound(refusingPort, false);
  close(bound(proxyPort, false));
  close(bound(frontendPort, false, SOCK_DGRAM));
  // UDP backends have the same two ports: one echoes, the other is not bound.
  const int echoing = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const Address echoAt = addressOf(4, kLoopback, backendPort);
  if (bind(echoing, echoAt.get(), echoAt.length) != 0) fail("no UDP backend");

  std::atomic<bool> done{false}, over{false};
  std::atomic<int> serving{0};
  const auto serveAlone = [&serving, proxyPort](int fd) {
    serving++;
    std::thread([fd, proxyPort, &serving] {
      serve(fd, proxyPort);
      serving--;
    }).detach();
  };
  std::thread backend([&] {
    while (!over.load()) {
      pollfd waiting{listening, POLLIN, 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      const int fd = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      serveAlone(fd);
    }
  });

  std::thread echo([&] {
    static char buffer[65536];
    while (!over.load()) {
      pollfd waiting{echoing, POLLIN, 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      sockaddr_storage from;
      socklen_t length = sizeof from;
      const ssize_t got = recvfrom(echoing, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
      if (got >= 0) sendto(echoing, buffer, static_cast<size_t>(got), 0, reinterpret_cast<sockaddr*>(&from), length);
    }
  });

  Totals totals;
  {
    std::unique_ptr<StressGateway> gateway;
    if (context) gateway = std::make_unique<StressGateway>(certificate, key);
    Controller controller(pumps, backendPort, refusingPort, gateway ? gateway->port() : 0, context.get(), [&](int fd) {
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
      serveAlone(fd);
    });
    std::thread control([&] { controller.run(done, proxyPort, frontendPort); });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; i++) {
      clients.emplace_back([&, i] {
        std::mt19937 random(static_cast<unsigned>(i));
        for (int visits = connections / kClients; visits > 0; visits--) {
          visit(proxyPort, random, totals);
          if (visits % 8 == 0) chat(frontendPort, random, totals);
        }
      });
    }
    for (auto& client : clients) client.join();
    done = true;
    control.join();
    printf("stress: %d accepted, %d connected, %d gone; %d echoes whole, %d broken off, %d wrong\n", controller.accepted,
           controller.connected, controller.gone, totals.whole.load(), totals.broken.load(), totals.wrong.load());
    if (pumps > 1) printf("stress: %d pumps, %d clients went from one to another\n", pumps, controller.arrived);
    if (pumps > 1 && context && controller.arrived == 0) fail("no client went to another pump");
    printf("stress: %d sessions, %d moved, %d chats answered\n", controller.sessions, controller.moved, totals.chats.load());
    printf("stress: %d tunnels, %d streams, %d joined, %d refused\n", controller.tunnels, controller.streams, controller.joined,
           controller.refused);
    if (context && (controller.tunnels == 0 || controller.joined == 0 || controller.refused == 0)) fail("no tunnel has carried anything");
    printf("stress: %d clients handed over, %d listeners and %d sessions passed on\n", controller.handedOver,
           controller.listenersPassed, controller.sessionsPassed);
    if (controller.accepted == 0 || totals.whole == 0 || totals.chats == 0) fail("nothing was carried");
    if (controller.handedOver == 0 || controller.listenersPassed == 0 || controller.sessionsPassed == 0 || controller.moved == 0)
      fail("nothing was passed on");
  }
  over = true;
  backend.join();
  echo.join();
  while (serving.load() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  close(listening);
  close(refusing);
  close(echoing);
  if (totals.wrong > 0) fail("bytes were wrong");
  if (const int left = openDescriptors() - before) fail(std::to_string(left) + " descriptors are left");
}
