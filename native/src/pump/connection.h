// The state of one TCP connection. Its slot is used again by another connection under a new generation, so that a late
// command cannot reach the wrong one.
#pragma once

#include <cstdint>
#include <memory>

#include "socket/descriptor.h"
#include "pump/pipes.h"
#include "tunnel/stream.h"

namespace starlane {

enum Side : int { kClient = 0, kBackend = 1 };
inline Side other(Side side) { return side == kClient ? kBackend : kClient; }

// The bytes from one side to the other.
struct Direction {
  bool readable = false;  // epoll has reported it, and no read has returned EAGAIN since
  bool hungUp = false;    // the side's FIN has arrived; what came before it may still be unread
  bool broken = false;    // the side's socket has failed
  bool urgent = false;    // the side has sent an urgent byte: reads end before it although more is there
  bool ended = false;     // the side's last byte is read
  bool passed = false;    // its FIN is passed on
  bool blocked = false;   // the other side takes no more now
  bool noSplice = false;  // splice(2) does not work between its sockets
  bool listed = false;    // has used its turn and waits for the next: in `unfinished_`, once
  bool large = false;     // has passed on so much that the pacing of the other side's socket was looked at
  uint8_t full = 0;       // reads in a row that filled the buffer
  uint8_t small = 0;      // spliced pieces in a row that were small
  uint64_t bytes = 0;     // passed on
  std::unique_ptr<uint8_t[]> kept;  // read, and not yet taken by the other side
  uint32_t keptAt = 0;
  uint32_t keptEnd = 0;
  std::unique_ptr<Pipe> pipe;  // while splicing

  bool queued() const { return kept != nullptr || (pipe && pipe->held > 0); }
};

enum class State : uint8_t {
  Free,
  Waiting,  // for a backend: TypeScript chooses
  Dialling,
  Open,
  Dead,  // reported; its descriptors are closed at the end of the turn
};

struct Connection {
  State state = State::Free;
  bool keptAlive = false;
  bool holdsAck = false;  // the backend's socket sends no ACK before the first bytes
  bool noDelay = false;  // TCP_NODELAY is set on the backend's socket
  uint16_t frontendPort = 0;  // not 0: the backend is told the client and this frontend first
  uint8_t frontendAddress[16] = {};
  int32_t generation = 0;
  uint32_t stamp[2] = {0, 0};  // distinguishes events of a side's socket from those of an earlier one
  Descriptor fd[2];
  Direction from[2];
  uint32_t progress = 0;  // grows with every byte moved
  uint64_t run = 0;       // bytes spliced one after another from one side
  Side runFrom = kClient;
  uint32_t seen = 0;      // progress at the last sweep
  uint64_t reported = 0;  // bytes of both directions in the last report
  double askedSince = -1;  // the first sweep that saw bytes of the client and none of the backend
  bool mute = false;       // Event::Mute was sent
  double quietSince = 0;
  // For Pump::backendIsLost: bytes at its last look, whether the backend may owe an ACK, and since when nothing has come from it.
  uint64_t sentSeen = 0;
  uint64_t receivedSeen = 0;
  bool owesAck = false;
  double silentSince = 0;

  Stream* stream = nullptr;  // of a tunnel, in the place of the backend's socket
  bool attached = false;     // its socket came from TypeScript, which looks at its idleness
  bool served = false;       // and is that of a backend (serving/served.cc)
  bool halfReported = false;
  bool timedOut = false;     // the socket has failed because nothing came for too long

  bool queued() const { return from[kClient].queued() || from[kBackend].queued() || (stream != nullptr && stream->kept.size() > 0); }
  bool halfClosed() const { return (from[kClient].ended || from[kBackend].ended) && !queued(); }
};

}  // namespace starlane
