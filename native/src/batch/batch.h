// A UDP socket whose datagrams JavaScript gets, and answers, a batch at a time: one recvmmsg(2) puts questions into memory that
// both sides see, JavaScript writes answers beside them, one sendmmsg(2) takes those away. Nothing is allocated on the way.
//
//   receive() -> JavaScript looks at questions[i] and fills answers[i] -> reply()
//
// Answers of one size to one client go out as one segmented datagram. While the kernel has no room for an answer nothing more
// is received, so what waits here is bounded: one batch, and some answers that came late.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "socket/descriptor.h"
#include "socket/socket.h"

namespace starlane {

constexpr int kBatch = 64;
constexpr size_t kQuestion = 4096;  // what is longer is cut
constexpr size_t kAnswer = 1232;

// What JavaScript sees; `proxy/dns/server/udp-batch.ts` is the other end and has the same numbers.
struct Batch {
  struct Peer {
    int32_t family;  // 4 or 6
    int32_t port;
    uint8_t address[16];
    int32_t scope;  // of a link-local address
    int32_t unused;
  };
  int32_t asked[kBatch];     // length of the question; -1: it is not to be answered
  int32_t answered[kBatch];  // length of the answer; 0: there is none
  Peer peers[kBatch];
  // An odd number of cache lines each, or all of them would fall into the same few sets of the cache.
  uint8_t questions[kBatch][kQuestion + 64];
  uint8_t answers[kBatch][kAnswer + 48];
};
static_assert(sizeof(Batch::Peer) == 32, "eight words of an Int32Array");

class BatchSocket {
 public:
  explicit BatchSocket(Batch& shared);

  // 0, or an errno. At an IPv6 wildcard IPv4 clients are heard too, as node:dgram has it.
  int bind(const Address& address, int receiveBytes);
  int fd() const { return fd_.get(); }
  int port() const;

  // How many have come, at most kBatch.
  int receive();
  // The answers to what came last. False when the kernel has no room for some: flush() when the socket is writable.
  bool reply(int count);
  // An answer that took its time.
  void send(const Batch::Peer& to, const uint8_t* bytes, size_t size);
  bool flush();

  bool waiting() const { return next_ < messages_ || !late_.empty(); }
  // Answers that could not be sent: no route to the client, or it was too slow.
  uint32_t lost() const { return lost_; }
  void clearError();
  void close() { fd_.close(); }

 private:
  struct Late {
    Address to;
    std::vector<uint8_t> bytes;
  };
  bool unanswerable(const sockaddr_storage& from) const;
  void arrange(int first, bool segmented);
  bool sendBatch();
  bool sendLate();

  Batch& shared_;
  Descriptor fd_;
  Address self_;
  uint32_t lost_ = 0;

  sockaddr_storage from_[kBatch];
  iovec into_[kBatch];
  mmsghdr received_[kBatch];

  // Answers in the order of sending, and the messages that they make up.
  int answers_ = 0, messages_ = 0, next_ = 0;
  uint8_t order_[kBatch];
  iovec pieces_[kBatch];
  mmsghdr outgoing_[kBatch];
  alignas(cmsghdr) char segment_[kBatch][kSegmentControl];

  std::deque<Late> late_;
};

}  // namespace starlane
