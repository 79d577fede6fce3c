// A BatchSocket without Node: clients of all kinds, and in TypeScript's place a server that echoes at once, late, or not at
// all, and sometimes gives impossible lengths. Every answer that a client receives must be its own and whole.
#include "batches.h"

#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "batch/batch.h"

using namespace starlane;

namespace {

constexpr int kClients = 4;
// A client's port is used again only when no datagram to its earlier user can still be under way.
constexpr int kFirstPort = 20000, kPortsEach = 2000;

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "stress: batches: %s\n", what.c_str());
  exit(1);
}

Address loopback(int family, int port) {
  Address address;
  if (!parse(family == 4 ? "127.0.0.1" : "::1", port, address)) fail("no loopback");
  return address;
}

class Server {
 public:
  // Dual: one socket for both families.
  explicit Server(bool dual) : batch_(new Batch()), socket_(*batch_) {
    Address address;
    if (!parse(dual ? "::" : "127.0.0.1", 0, address)) fail("no address");
    if (const int error = socket_.bind(address, 4 << 20)) fail(std::string("bind: ") + strerror(error));
  }

  int port() const { return socket_.port(); }

  void run(const std::atomic<bool>& done) {
    while (!done.load() || socket_.waiting()) {
      pollfd ready{socket_.fd(), static_cast<short>(socket_.waiting() ? POLLOUT : POLLIN), 0};
      if (poll(&ready, 1, 5) > 0) turn();
      if (random_() % 64 == 0) sendLate();
      if (random_() % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));  // JavaScript is busy
    }
    socket_.close();
  }

  long asked = 0, unanswerable = 0, batches = 0;

 private:
  void turn() {
    if (socket_.waiting() && !socket_.flush()) return;
    const int count = socket_.receive();
    if (count < 0 || count > kBatch) fail("a batch of " + std::to_string(count));
    if (count > 0) batches++;
    for (int i = 0; i < count; i++) answer(i);
    socket_.reply(count);
  }

  void answer(int i) {
    const int32_t length = batch_->asked[i];
    if (length < 0) {
      unanswerable++;
      return;
    }
    if (length > static_cast<int32_t>(kQuestion)) fail("a question is too long");
    asked++;
    const auto size = std::min<size_t>(static_cast<size_t>(length), kAnswer);
    switch (random_() % 16) {
      case 0:
        return;
      case 1:
        late_.push_back({batch_->peers[i], {batch_->questions[i], batch_->questions[i] + size}});
        return;
      case 2:
        batch_->answered[i] = static_cast<int32_t>(kAnswer + 1 + random_() % 100000);
        return;
      case 3:
        batch_->answered[i] = -static_cast<int32_t>(random_() % 100000);
        return;
      default:
        memcpy(batch_->answers[i], batch_->questions[i], size);
        batch_->answered[i] = static_cast<int32_t>(size);
    }
  }

  void sendLate() {
    std::shuffle(late_.begin(), late_.end(), random_);
    for (const auto& [to, bytes] : late_) socket_.send(to, bytes.data(), bytes.size());
    late_.clear();
  }

  std::unique_ptr<Batch> batch_;
  BatchSocket socket_;
  std::mt19937 random_{11};
  std::vector<std::pair<Batch::Peer, std::vector<uint8_t>>> late_;
};

struct Totals {
  std::atomic<long> sent{0}, heard{0};
};

// Sends and receives; what comes back must have an allowed length and be this client's own bytes.
void chat(int family, int port, int datagrams, int client, Totals& totals) {
  std::mt19937 random(static_cast<unsigned>(client));
  int from = 0;
  std::vector<uint8_t> said(9000), heard(65536);
  for (int left = datagrams; left > 0;) {
    const int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const Address to = loopback(family, port), self = loopback(family, kFirstPort + client * kPortsEach + from++ % kPortsEach);
    if (bind(fd, self.get(), self.length) != 0) {
      close(fd);  // the port is taken
      continue;
    }
    if (connect(fd, to.get(), to.length) != 0) fail("no UDP");
    // Of one size, or of any size: some longer than the memory for them, some empty.
    const bool equal = random() % 2 == 0;
    const bool leaves = random() % 8 == 0;
    const auto mark = static_cast<uint8_t>(random());
    const size_t common = random() % 10 == 0 ? random() % said.size() : random() % 200;
    for (unsigned burst = 1 + random() % 90; burst > 0 && left > 0; burst--, left--) {
      const size_t size = equal ? common : random() % (random() % 10 == 0 ? said.size() : 300);
      memset(said.data(), mark, size);
      if (send(fd, said.data(), size, 0) >= 0) totals.sent++;
    }
    // Answers to a client that has left come back as ICMP.
    pollfd ready{fd, POLLIN, 0};
    while (!leaves && poll(&ready, 1, 2) > 0) {
      const ssize_t got = recv(fd, heard.data(), heard.size(), MSG_DONTWAIT);
      if (got < 0) break;
      if (got > static_cast<ssize_t>(kAnswer)) fail("an answer is too long");
      for (ssize_t i = 0; i < got; i++) if (heard[static_cast<size_t>(i)] != mark) fail("an answer is another client's");
      if (equal && got != static_cast<ssize_t>(std::min(common, kAnswer))) fail("an answer is not whole");
      totals.heard++;
    }
    close(fd);
  }
}

// Datagrams from port 0 and from the socket itself; needs the right to open raw sockets.
bool forge(int port) {
  const Descriptor raw(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!raw) return false;
  for (const int from : {0, port}) {
    struct {
      iphdr ip;
      udphdr udp;
      uint8_t bytes[20];
    } packet{};
    packet.ip.version = 4;
    packet.ip.ihl = 5;
    packet.ip.ttl = 64;
    packet.ip.protocol = IPPROTO_UDP;
    packet.ip.saddr = packet.ip.daddr = htonl(INADDR_LOOPBACK);
    packet.udp.source = htons(static_cast<uint16_t>(from));
    packet.udp.dest = htons(static_cast<uint16_t>(port));
    packet.udp.len = htons(sizeof packet.udp + sizeof packet.bytes);
    const Address to = loopback(4, 0);
    sendto(raw.get(), &packet, sizeof packet, 0, to.get(), to.length);
  }
  return true;
}

void noDescriptors() {
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const auto batch = std::make_unique<Batch>();
  BatchSocket socket(*batch);
  if (socket.bind(loopback(4, 0), 1) != EMFILE) fail("bound without a descriptor");
  if (socket.receive() != 0) fail("received without a descriptor");
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace

void stressBatches(int datagrams) {
  noDescriptors();
  for (const bool dual : {false, true}) {
    Server server(dual);
    Totals totals;
    std::atomic<bool> done{false};
    std::thread serving([&] { server.run(done); });
    const bool forged = !dual && forge(server.port());
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; i++) {
      const int family = dual && i % 2 == 1 ? 6 : 4;
      clients.emplace_back([&, i, family] { chat(family, server.port(), datagrams / kClients / 2, i, totals); });
    }
    for (auto& client : clients) client.join();
    done = true;
    serving.join();
    printf("stress: %ld datagrams sent, %ld came in %ld batches, %ld answers heard\n", totals.sent.load(), server.asked, server.batches,
           totals.heard.load());
    if (totals.heard.load() == 0 || server.asked <= server.batches) fail("nothing was answered, or no two at once");
    if (server.unanswerable != (forged ? 2 : 0)) fail("datagrams from nowhere were handed on");
  }
}
