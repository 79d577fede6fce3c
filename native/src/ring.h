// The memory that the pump's thread and TypeScript share: two rings of 64-byte records, one for events towards TypeScript,
// one for commands from it. Each ring has one writer and one reader, so it needs no lock, only an order of its two counters.
// `proxy/dataplane/native/rings.ts` is the other end and has the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starlane {

// Grows with every change of what the two ends say to each other, so that an addon from before it is not mistaken for one.
constexpr int32_t kProtocol = 2;

enum class Event : int32_t {
  Accepted = 1,   // slot, generation, number = listener, port, family, address
  Connected = 2,  // slot, generation
  Failed = 3,     // slot, generation, number = errno: the dial has ended, the client waits
  Gone = 4,       // slot, generation, number = Reason, sent, received: the last word on this connection
  Fault = 5,      // number = errno of accept(2)
  Unlistened = 6, // slot = listener: its address is free
  // Of UDP sessions:
  Asked = 7,      // slot, generation, number = door, port, family, address: datagrams wait for a backend
  Answered = 8,   // slot, generation: the backend's first datagram
  Unlinked = 9,   // slot, generation, number = errno or 0, sent, received: the link has ended
  Quiet = 10,     // slot, generation: idle for too long
  Dropped = 11,   // slot, generation, sent, received: the last word on this session
  DoorClosed = 12,  // slot = door
};

enum class Command : int32_t {
  Connect = 1,   // slot, generation, port, family, address
  HangUp = 2,    // slot, generation: ends a dial; answered by Failed(ECANCELED) unless it has connected before
  Refuse = 3,    // slot, generation: resets the client
  Cut = 4,       // slot, generation, now: with a FIN when nothing is under way, with a reset otherwise
  Sweep = 5,     // now, number = limit of UDP sessions in ms: looks for what has been silent for too long
  Unlisten = 6,  // slot = listener
  // Of UDP sessions:
  Link = 7,       // slot, generation, port, family, address: an answer to Asked
  Unlink = 8,     // slot, generation: answered by Unlinked, unless the link has ended before
  Forget = 9,     // slot, generation: answered by Dropped
  CloseDoor = 10,  // slot = door
};

enum class Reason : int32_t { Done = 0, ClientReset = 1, BackendReset = 2, Idle = 3, HalfClosed = 4, Cut = 5, Refused = 6 };

struct Record {
  int32_t kind;
  int32_t slot;
  int32_t generation;
  int32_t number;
  int32_t port;
  int32_t family;
  int32_t unused[2];
  union {
    uint8_t address[16];
    double now;
    struct {
      double sent;
      double received;
    } totals;
  };
  int32_t rest[4];
};
static_assert(sizeof(Record) == 64, "one cache line, and sixteen words of an Int32Array");

constexpr int32_t kRecords = 4096;  // of each ring; a power of two

// Each counter has a cache line of its own, or the two threads would slow each other down.
struct Shared {
  struct Line {
    int32_t value;
    int32_t padding[15];
  };
  Line eventHead, eventTail, listenerAsleep, commandHead, commandTail, pumpAsleep;
  Record events[kRecords];
  Record commands[kRecords];
};

// The builtins rather than std::atomic: the memory belongs to an ArrayBuffer, whose other user is JavaScript's Atomics.
inline int32_t load(const Shared::Line& line) { return __atomic_load_n(&line.value, __ATOMIC_SEQ_CST); }
inline void store(Shared::Line& line, int32_t value) { __atomic_store_n(&line.value, value, __ATOMIC_SEQ_CST); }
inline int32_t exchange(Shared::Line& line, int32_t value) {
  return __atomic_exchange_n(&line.value, value, __ATOMIC_SEQ_CST);
}

// Counters wrap around; their difference as an unsigned number does not care.
inline int32_t next(int32_t counter) { return static_cast<int32_t>(static_cast<uint32_t>(counter) + 1); }
inline int32_t used(int32_t head, int32_t tail) {
  return static_cast<int32_t>(static_cast<uint32_t>(head) - static_cast<uint32_t>(tail));
}
inline Record& at(Record* ring, int32_t counter) { return ring[static_cast<uint32_t>(counter) & (kRecords - 1)]; }

}  // namespace starlane
