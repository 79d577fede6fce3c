// Moving bytes from one side to the other. Both sockets are watched edge-triggered, so each direction remembers whether its
// side may have more. Small messages are copied through one buffer, the cheapest way for them. A side that fills the buffer
// twice in a row is in a large transfer; its bytes are then spliced through a pipe without a copy.
//
// Urgent bytes (MSG_OOB, RFC 6093) travel in their place, without their mark: the sockets have SO_OOBINLINE. A read ends before
// such a byte, and splice(2) never passes it, so a side that has sent one is copied, and read until recv(2) says EAGAIN.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "pump/pump.h"
#include "socket/pacing.h"

namespace starlane {

namespace {

// Bytes after which a direction waits until the others have had their turn.
constexpr size_t kTurn = 128 * 1024;
// Bytes that all directions that wait may move before new events are looked at.
constexpr size_t kTurnOfAll = 256 * 1024;
constexpr int kFullReadsBeforeSplice = 2;
// Bytes after which a direction counts as large: what its splicing begins with.
constexpr uint64_t kLarge = kFullReadsBeforeSplice * kBuffer;
// So many spliced pieces in a row that are smaller than this end the large transfer. A fast sender leaves a small one now and then.
constexpr ssize_t kSmallSplice = 4096;
constexpr int kSmallSplices = 4;
// A message of so many bytes may end with them.
constexpr uint64_t kShortRun = 128 * 1024;
// The first message to a backend needs no TCP_NODELAY if it fits into one packet; Nagle's algorithm would hold back the end of
// a larger one.
constexpr ssize_t kHeldBack = 512;

// Errors of splice(2) that a socket's peer, or the way to it, has caused. Any other is of this machine.
bool isOfPeer(int error) {
  switch (error) {
    case ECONNRESET:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EPIPE:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENOTCONN:
    case EPROTO:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Pump::openEvent(uint32_t slot, Connection& connection, Side side, uint32_t events) {
  Direction& direction = connection.from[side];
  if (events & EPOLLERR) direction.broken = true;
  if (events & (EPOLLRDHUP | EPOLLHUP)) direction.hungUp = true;
  if (events & EPOLLPRI) direction.urgent = true;
  if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) direction.readable = true;

  const Side from = other(side);
  if ((events & EPOLLOUT) && connection.from[from].blocked && flush(slot, connection, from)) proceed(slot, connection, from);
  if (connection.state != State::Open) return;
  // What a failed side has sent is passed on, unless the other side takes no more or this one had ended before.
  if (direction.broken && (direction.blocked || direction.ended)) return sideFailed(slot, connection, side);
  proceed(slot, connection, side);
}

// Small messages pass at once. A large transfer takes its place behind the others.
void Pump::proceed(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  if (direction.listed) return;
  if (direction.pipe && direction.readable) list(slot, connection, from);
  else move(slot, connection, from);
}

void Pump::list(uint32_t slot, Connection& connection, Side from) {
  connection.from[from].listed = true;
  unfinished_.push_back({slot, connection.generation, from});
}

// Each direction that waits has at most one turn before new events are looked at.
void Pump::moveUnfinished() {
  size_t moved = 0;
  for (size_t left = unfinished_.size(); left > 0 && moved < kTurnOfAll; left--) {
    const Unfinished next = unfinished_.front();
    unfinished_.pop_front();
    Connection& connection = connections_[next.slot];
    if (connection.generation != next.generation) continue;
    connection.from[next.from].listed = false;
    if (connection.state == State::Open) moved += move(next.slot, connection, next.from);
  }
}

// One turn of a direction; returns the bytes it has read.
size_t Pump::move(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  size_t moved = 0;
  while (direction.readable && !direction.ended && !direction.blocked) {
    if (moved >= kTurn) {
      list(slot, connection, from);
      break;
    }
    if (!(direction.pipe ? splice(slot, connection, from, moved) : copy(slot, connection, from, moved))) break;
  }
  return moved;
}

// False when this direction can move no more now.
bool Pump::copy(uint32_t slot, Connection& connection, Side from, size_t& moved) {
  Direction& direction = connection.from[from];
  const ssize_t got = recv(connection.fd[from].get(), buffer_.get(), kBuffer, 0);
  if (got == 0) {
    sideEnded(slot, connection, from);
    return false;
  }
  if (got < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) direction.readable = false;
    else sideFailed(slot, connection, from);
    return false;
  }
  connection.progress++;
  connection.run = 0;
  mixed_ = true;
  moved += static_cast<size_t>(got);
  // Without urgent bytes a read that did not fill the buffer has emptied the socket: epoll will report more, and if it has
  // reported a FIN, that is next. Either way another read is not needed. Of an urgent byte that has come since, epoll will too.
  const bool filled = static_cast<size_t>(got) == kBuffer;
  const bool all = !filled && !direction.urgent;
  const bool last = all && direction.hungUp && !direction.broken;
  if (!filled || direction.urgent) direction.full = 0;
  else if (++direction.full >= kFullReadsBeforeSplice && !direction.noSplice && budget_.allows(crew_->waiting() + 2)) direction.pipe = pipes_.take();

  if (from == kClient && !connection.noDelay && (direction.bytes > 0 || got > kHeldBack)) {
    connection.noDelay = true;
    sendAtOnce(connection.fd[kBackend].get());
  }
  // The last bytes wait for the FIN, which is sent right after them, and both leave in one packet.
  const int flags = MSG_NOSIGNAL | (last ? MSG_MORE : 0);
  ssize_t put = send(connection.fd[other(from)].get(), buffer_.get(), static_cast<size_t>(got), flags);
  if (put < 0) {
    if (errno != EAGAIN && errno != EINTR) {
      sideFailed(slot, connection, other(from));
      return false;
    }
    put = 0;
  }
  direction.bytes += static_cast<uint64_t>(put);
  lookForLarge(connection, from);
  if (put < got) {
    const auto left = static_cast<size_t>(got - put);
    direction.kept.reset(new uint8_t[left]);
    memcpy(direction.kept.get(), buffer_.get() + put, left);
    direction.keptAt = 0;
    direction.keptEnd = static_cast<uint32_t>(left);
    direction.blocked = true;
  }
  if (last) {
    sideEnded(slot, connection, from);
    return false;
  }
  if (all && !direction.broken) direction.readable = false;
  return true;
}

// Once for each direction of a connection.
void Pump::lookForLarge(Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  if (direction.large || direction.bytes < kLarge) return;
  direction.large = true;
  sendUnpacedWithin(connection.fd[other(from)].get());
}

// Reads into an empty pipe only, so that EAGAIN always means that the socket has nothing, or nothing before an urgent byte.
bool Pump::splice(uint32_t slot, Connection& connection, Side from, size_t& moved) {
  Direction& direction = connection.from[from];
  if (direction.urgent) return endSplicing(direction);
  // As much as the pipe takes only where nobody waits for the next turn.
  const size_t most = alone_ && unfinished_.empty() ? direction.pipe->size : Pipes::kSize;
  const ssize_t got = ::splice(connection.fd[from].get(), nullptr, direction.pipe->in.get(), nullptr, most,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got == 0) return endSplicing(direction);  // the end, or an urgent byte before it: recv(2) knows
  if (got < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN && !isOfPeer(errno)) {
      direction.noSplice = true;
      return endSplicing(direction);
    }
    if (errno == EAGAIN) direction.readable = false;
    else sideFailed(slot, connection, from);
    return false;
  }
  connection.progress++;
  moved += static_cast<size_t>(got);
  direction.pipe->held += static_cast<size_t>(got);
  countPiece(connection, from, static_cast<size_t>(got));
  if (!flush(slot, connection, from)) return false;
  if (got >= kSmallSplice) direction.small = 0;
  else if (++direction.small >= kSmallSplices) return endSplicing(direction);
  return true;
}

// For gather(). What begins, and what answers the other side, does not wait.
void Pump::countPiece(Connection& connection, Side from, size_t bytes) {
  pieces_++;
  pieceBytes_ += bytes;
  if (connection.runFrom != from) connection.run = 0;
  connection.runFrom = from;
  connection.run += bytes;
  if (connection.run <= kShortRun) mixed_ = true;
}

// The pipe is empty. What comes next is copied.
bool Pump::endSplicing(Direction& direction) {
  pipes_.give(std::move(direction.pipe));
  direction.full = 0;
  direction.small = 0;
  return true;
}

// Passes on what is queued. True when all of it is sent and more may come.
bool Pump::flush(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  if (direction.kept && !flushKept(slot, connection, from)) return false;
  if (direction.pipe && !flushPipe(slot, connection, from)) return false;
  direction.blocked = false;
  if (!direction.ended) return true;
  passEnd(slot, connection, from);
  return false;
}

bool Pump::flushKept(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  while (direction.keptAt < direction.keptEnd) {
    const ssize_t put = send(connection.fd[other(from)].get(), direction.kept.get() + direction.keptAt, direction.keptEnd - direction.keptAt,
                             MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (errno == EAGAIN) direction.blocked = true;
      else sideFailed(slot, connection, other(from));
      return false;
    }
    connection.progress++;
    direction.bytes += static_cast<uint64_t>(put);
    direction.keptAt += static_cast<uint32_t>(put);
  }
  direction.kept.reset();
  return true;
}

bool Pump::flushPipe(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  while (direction.pipe->held > 0) {
    const ssize_t put = ::splice(direction.pipe->out.get(), nullptr, connection.fd[other(from)].get(), nullptr, direction.pipe->held,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno != EAGAIN && isOfPeer(errno)) {
      sideFailed(slot, connection, other(from));
      return false;
    }
    if (put < 0 && errno == EAGAIN) {
      direction.blocked = true;
      return false;
    }
    if (put <= 0) return copyFromPipe(direction) && flushKept(slot, connection, from);
    connection.progress++;
    direction.bytes += static_cast<uint64_t>(put);
    direction.pipe->held -= static_cast<size_t>(put);
  }
  return true;
}

// Takes out of the pipe what splice(2) cannot send; it goes on by copying. Reading from a pipe that holds bytes does not fail.
bool Pump::copyFromPipe(Direction& direction) {
  const size_t held = direction.pipe->held;
  direction.noSplice = true;
  direction.kept.reset(new uint8_t[held]);
  direction.keptAt = 0;
  direction.keptEnd = 0;
  while (direction.keptEnd < held) {
    const ssize_t got = ::read(direction.pipe->out.get(), direction.kept.get() + direction.keptEnd, held - direction.keptEnd);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    direction.keptEnd += static_cast<uint32_t>(got);
  }
  direction.pipe->held = held - direction.keptEnd;
  return endSplicing(direction);
}

void Pump::sideEnded(uint32_t slot, Connection& connection, Side side) {
  Direction& direction = connection.from[side];
  // Epoll has reported the error once; the reads after it look like a regular end.
  if (direction.broken) return sideFailed(slot, connection, side);
  direction.ended = true;
  connection.progress++;
  if (!direction.queued()) passEnd(slot, connection, side);
}

void Pump::passEnd(uint32_t slot, Connection& connection, Side from) {
  Direction& direction = connection.from[from];
  const Direction& back = connection.from[other(from)];
  if (direction.passed) return;
  direction.passed = true;
  if (back.ended && !back.queued()) return end(slot, connection, Reason::Done, false);
  shutdown(connection.fd[other(from)].get(), SHUT_WR);  // epoll reports a failure of that side
}

void Pump::sideFailed(uint32_t slot, Connection& connection, Side side) {
  end(slot, connection, side == kClient ? Reason::ClientReset : Reason::BackendReset, true);
}

}  // namespace starlane
