// A UDP socket whose datagrams JavaScript receives and answers in batches: one recvmmsg(2) puts questions into shared memory,
// JavaScript writes answers beside them, one sendmmsg(2) sends those. Nothing is allocated per question.
//
//   receive() -> JavaScript reads questions[i] and writes answers[i] -> reply()
//
// Answers of equal size to one client are sent as one segmented datagram. While the kernel has no room for an answer nothing
// more is received, so what waits here is bounded: one batch, and a number of late answers.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "socket/descriptor.h"
#include "socket/socket.h"

namespace starlane {

constexpr int kBatch = 64;
constexpr size_t kQuestion = 4096;  // longer ones are cut
constexpr size_t kAnswer = 1232;

// The shared memory. `proxy/dns/server/udp-batch.ts` is the other side; a test compares the names, numbers and offsets.
struct Batch {
  struct Peer {
    int32_t family;  // 4 or 6
    int32_t port;
    uint8_t address[16];
    uint8_t local[16];  // the address that was asked, at a wildcard; else zero: the socket has only one
    int32_t scope;      // of a link-local address
    int32_t unused;
  };
  int32_t asked[kBatch];     // length of the question; -1: do not answer
  int32_t answered[kBatch];  // length of the answer; 0: none
  Peer peers[kBatch];
  // Each is an odd number of cache lines; otherwise all would fall into the same few sets of the cache.
  uint8_t questions[kBatch][kQuestion + 64];
  uint8_t answers[kBatch][kAnswer + 48];
};
static_assert(sizeof(Batch::Peer) == 48, "twelve words of an Int32Array");

class BatchSocket {
 public:
  explicit BatchSocket(Batch& shared);

  // 0, or an errno. An IPv6 wildcard serves IPv4 clients too, as with node:dgram. At a wildcard an answer leaves from the
  // address that was asked, as clients expect; the kernel would choose one by its routes.
  int bind(const Address& address, int receiveBytes);
  // A socket that another process has bound. 0, or an errno; then the descriptor is the caller's still.
  int adopt(int fd);
  int fd() const { return fd_.get(); }
  int port() const;

  // The number of questions received, at most kBatch.
  int receive();
  // Sends the answers to the last batch. False when the kernel has no room for some: flush() when the socket is writable.
  bool reply(int count);
  // Sends an answer later than its batch.
  void send(const Batch::Peer& to, const uint8_t* bytes, size_t size);
  bool flush();

  bool waiting() const { return next_ < messages_ || !late_.empty(); }
  // Answers that could not be sent: no route to the client, or too many waited.
  uint32_t lost() const { return lost_; }
  void clearError();
  void close() { fd_.close(); }

 private:
  struct Late {
    Address to;
    Batch::Peer peer;
    std::vector<uint8_t> bytes;
  };
  bool unanswerable(int i) const;
  bool sameFlow(int a, int b) const;
  void arrange(int first, bool segmented);
  bool sendBatch();
  bool sendLate();

  Batch& shared_;
  Descriptor fd_;
  Address self_;
  bool wildcard_ = false;
  uint32_t lost_ = 0;

  sockaddr_storage from_[kBatch];
  iovec into_[kBatch];
  mmsghdr received_[kBatch];
  alignas(cmsghdr) char asked_[kBatch][kLocalControl];

  // Answers in the order of sending, and the messages that they make up.
  int answers_ = 0, messages_ = 0, next_ = 0;
  uint8_t order_[kBatch];
  iovec pieces_[kBatch];
  mmsghdr outgoing_[kBatch];
  alignas(cmsghdr) char control_[kBatch][kSegmentControl + kLocalControl];

  std::deque<Late> late_;
};

}  // namespace starlane
