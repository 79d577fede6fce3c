// One stream of a tunnel: a request until its answer, then the bytes of one connection. TypeScript has asked for it, or is asked by
// the other end, and owns it until a connection of the pump takes it, or it is reset.
#pragma once

#include <cstdint>
#include <string>

#include "tunnel/byte-queue.h"

namespace starlane {

struct Tunnel;

struct Stream {
  int32_t token = 0;         // TypeScript's name for it; below 0: the other end has asked
  int32_t id = 0;            // HTTP/2's
  Tunnel* tunnel = nullptr;  // null: it has closed
  bool answered = false;     // the status is reported
  bool left = false;         // nobody wants it any more: what comes is dropped
  bool ended = false;        // the other end has sent its last byte
  bool waits = true;         // HTTP/2 waits to be told that there is something to send
  size_t sentInTurn = 0;     // bytes, since the others had theirs
  int32_t slot = -1;         // of the connection that has taken it
  int32_t status = 0;
  std::string reason;        // `proxy-status`, of an answer but 200
  std::string fields;        // of a request of the other end: names and values, each ended by a zero
  std::string first;         // is sent before the client's bytes
  ByteQueue kept;            // has come, and the connection has not taken it yet: a window at most

  bool taken() const { return slot >= 0; }
  bool isServed() const { return token < 0; }
};

// The connections that take streams. Everything is called on the pump's thread, from within HTTP/2's callbacks: it may end the
// connection and leave the stream, and nothing else.
class StreamOwner {
 public:
  // What the connection has for the other end: the number of bytes put into `into`, 0 when there is nothing now. `last`: none follow.
  virtual size_t take(Stream& stream, uint8_t* into, size_t room, bool& last) = 0;
  // Bytes of the other end. How many the connection's socket has taken now.
  virtual size_t give(Stream& stream, const uint8_t* bytes, size_t length) = 0;
  // The other end has sent its last byte.
  virtual void farEnded(Stream& stream) = 0;
  // The stream is no more. `lost`: with its tunnel. `whole`: after both ends had sent their last byte.
  virtual void farClosed(Stream& stream, bool lost, bool whole) = 0;

 protected:
  ~StreamOwner() = default;
};

}  // namespace starlane
