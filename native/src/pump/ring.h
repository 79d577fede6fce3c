// The memory shared by the pump's thread and TypeScript: two rings of 64-byte records, one for events towards TypeScript, one
// for commands from it. Each ring has one writer and one reader, so it needs no lock, only ordered access to its two counters.
//
// `proxy/dataplane/native/rings.ts` is the other side. `test/proxy/dataplane/native/shared-memory.test.ts` reads this file and fails
// where a name, a number or an offset differs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starlane {

// Raise it with every change of what the two sides send each other: an addon built from older sources is then refused.
constexpr int32_t kProtocol = 16;

enum class Event : int32_t {
  Accepted = 1,          // slot, generation, listener, port, family, address
  Connected = 2,         // slot, generation
  Failed = 3,            // slot, generation, error: the dial failed, the client waits
  Gone = 4,              // slot, generation, reason, sent, received: the last event of this connection
  Fault = 5,             // error, of accept(2)
  ListenerClosed = 6,    // listener, descriptor: its address is free; or the socket was passed, and is TypeScript's now; from each pump
  // Of UDP sessions:
  Asked = 7,             // slot, generation, frontend, port, family, address: datagrams wait for a backend
  Answered = 8,          // slot, generation: the backend's first datagram
  Unlinked = 9,          // slot, generation, error or 0, sent, received: the link ended
  Quiet = 10,            // slot, generation: idle for too long
  Dropped = 11,          // slot, generation, sent, received: the last event of this session
  FrontendClosed = 12,   // frontend, descriptor: as ListenerClosed
  Carried = 13,          // slot, generation, sent, received: bytes of the connection were passed on since its last report
  TurnedAway = 14,       // listener, port, family, address: reset, since no descriptor is left for a dial
  HandedOver = 15,       // slot, generation, error: no errno but the client's descriptor, which is TypeScript's now; the last event
  FrontendPaused = 16,   // frontend: nothing is read from it any more
  Passed = 17,           // slot, generation, descriptor, sent, received: the last event of a session whose link is TypeScript's now
  Adopted = 18,          // slot, generation, token: the answer to Adopt; slot -1: the client has a session already
  Moved = 19,            // slot, generation, sent, received: datagrams of the UDP session were passed on since its last report
  Mute = 20,             // slot, generation: the client has asked, and the backend has sent no byte for firstByteMs; once
  // Of tunnels, whose id is in `slot`, and of their streams, whose token is:
  TunnelSecured = 21,   // slot, error: 0 or OpenSSL's code of the verification, details: the certificates; waits for StartTunnel
  TunnelReady = 22,     // slot, streams: how many the other end takes
  TunnelPong = 23,      // slot, now: the round trip in milliseconds
  TunnelLeaving = 24,   // slot, error: the code of its GOAWAY, details: its text
  TunnelEnded = 25,     // slot, details: why; the last event of this tunnel, after those of its streams
  StreamAnswered = 26,  // slot, error: the status, details: `proxy-status`
  StreamEnded = 27,     // slot, error: the code of RST_STREAM; the last event of a stream that no connection has taken
  // Of streams that the other end has asked for; their tokens are below 0:
  StreamAsked = 28,    // slot, tunnel, details: names and values of the request, each ended by a zero
  StreamCarried = 29,  // slot, halfClosed, sent, received: bytes were passed on since its last report; `sent` to the backend
  StreamGone = 30,     // slot, reason, sent, received: the last event of a stream that a socket of TypeScript's has taken
  // Of several pumps:
  Arrived = 32,  // slot, generation, token: of the stream; a connection of another pump, by its new name
};

enum class Command : int32_t {
  Connect = 1,        // slot, generation, port, family, address, frontendPort, frontendAddress
  HangUp = 2,         // slot, generation: ends a dial; answered by Failed(ECANCELED) unless it has connected before
  Refuse = 3,         // slot, generation: resets the client
  Cut = 4,            // slot, generation: resets both sides
  Sweep = 5,          // now, limitMs of UDP sessions, descriptors, reportMoved: ends or reports what has been idle for too long
  CloseListener = 6,  // listener
  // Of UDP sessions:
  Link = 7,            // slot, generation, port, family, address: the answer to Asked
  Unlink = 8,          // slot, generation, error or 0: answered by Unlinked, unless the link has ended before
  Forget = 9,          // slot, generation: answered by Dropped
  CloseFrontend = 10,  // frontend
  Configure = 11,      // idleMs, halfClosedMs, firstByteMs (0: not looked at) of TCP connections
  HandOver = 12,       // slot, generation: gives up a client that waits; answered by HandedOver, unless it has ended before
  // Sockets between processes:
  PassListener = 13,    // listener: answered by ListenerClosed
  PauseFrontend = 14,   // frontend: answered by FrontendPaused, after every Asked that came before
  PassFrontend = 15,    // frontend: answered by Passed for each linked session, Dropped for the others, then FrontendClosed
  Adopt = 16,           // slot as a token, frontend, port, family, address of the client, descriptor of its link
  ResumeFrontend = 17,  // frontend
  // Of tunnels, whose id is in `slot`, and of their streams, whose token is:
  StartTunnel = 18,      // slot, streams: its certificate is accepted; how many the other end may have, where it is the client
  CloseTunnel = 19,      // slot, error: the code of GOAWAY
  PingTunnel = 20,       // slot: answered by TunnelPong
  SetTunnelWindow = 21,  // slot, window: of each stream, in bytes
  ResetStream = 22,      // slot, error: the code; of a stream that no connection has taken, or of one that the other end has asked for
  Join = 23,             // slot, generation, token: of the stream, pump: that has it, frontendPort, frontendAddress; in the place of Connect
  Attach = 24,           // slot, descriptor, served: a socket of TypeScript's takes the stream in the place of a client; 1: a backend's
};

enum class Reason : int32_t { Done = 0, ClientReset = 1, BackendReset = 2, Idle = 3, HalfClosed = 4, Cut = 5, Refused = 6, BackendLost = 7 };

struct Record {
  int32_t kind;
  int32_t slot;
  int32_t generation;
  // What it holds depends on the kind, as noted above. `error` is an errno.
  union {
    int32_t listener;
    int32_t frontend;
    int32_t error;
    int32_t reason;
    int32_t limitMs;
    int32_t window;
    int32_t tunnel;
    int32_t firstByteMs;
  };
  union {
    int32_t port;
    int32_t descriptors;  // that flows may hold; negative: no limit
    int32_t token;
    int32_t details;  // for Pump::details(); 0: none
    int32_t streams;
  };
  union {
    int32_t family;
    int32_t served;
    int32_t halfClosed;
    int32_t reportMoved;  // 1: each UDP session that was in use sends Moved; 0: at most once a second
  };
  union {
    int32_t descriptor;  // negative: none
    int32_t pump;        // the first is 0
  };
  int32_t frontendPort;  // 0: the backend is not told of the client
  union {
    uint8_t address[16];
    double now;
    struct {
      double sent;
      double received;
    } totals;
    struct {
      double idleMs;
      double halfClosedMs;
    } idle;
  };
  uint8_t frontendAddress[16];
};
static_assert(sizeof(Record) == 64, "one cache line, and sixteen words of an Int32Array");

constexpr int32_t kRecords = 4096;  // of each ring; a power of two

// Each counter has a cache line of its own; otherwise the two threads would slow each other down.
struct Shared {
  struct Line {
    int32_t value;
    int32_t padding[15];
  };
  Line eventHead;
  Line eventTail;
  Line scriptAsleep;  // TypeScript sleeps and wants to be called when there are events
  Line commandHead;
  Line commandTail;
  Line pumpAsleep;
  Record events[kRecords];
  Record commands[kRecords];
};

// An event of one flow.
inline Record recordOf(Event kind, uint32_t slot, int32_t generation) {
  Record record{};
  record.kind = static_cast<int32_t>(kind);
  record.slot = static_cast<int32_t>(slot);
  record.generation = generation;
  return record;
}

// Builtins rather than std::atomic: the memory belongs to an ArrayBuffer, and JavaScript uses Atomics on it.
inline int32_t load(const Shared::Line& line) { return __atomic_load_n(&line.value, __ATOMIC_SEQ_CST); }
inline void store(Shared::Line& line, int32_t value) { __atomic_store_n(&line.value, value, __ATOMIC_SEQ_CST); }
inline int32_t exchange(Shared::Line& line, int32_t value) {
  return __atomic_exchange_n(&line.value, value, __ATOMIC_SEQ_CST);
}

// Counters wrap around, so they are subtracted as unsigned numbers.
inline int32_t next(int32_t counter) { return static_cast<int32_t>(static_cast<uint32_t>(counter) + 1); }
inline int32_t used(int32_t head, int32_t tail) {
  return static_cast<int32_t>(static_cast<uint32_t>(head) - static_cast<uint32_t>(tail));
}
inline Record& at(Record* ring, int32_t counter) { return ring[static_cast<uint32_t>(counter) & (kRecords - 1)]; }

}  // namespace starlane
