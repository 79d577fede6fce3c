// Bytes from one side to the other. Both sockets are watched edge-triggered, so a way remembers whether its side may have
// more. Small messages are copied through one buffer, which is cheapest for them; a side that fills it twice in a row is in
// the middle of something large, and from then on its bytes are spliced through a pipe without being copied at all.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "pump/pump.h"

namespace starlane {

namespace {

// What one way may move before the others have their turn.
constexpr size_t kTurn = 512 * 1024;
constexpr int kFullReadsBeforeSplice = 2;
// A spliced piece smaller than this says that the large transfer is over.
constexpr ssize_t kSmallSplice = 4096;
// The first message to a backend is sent as it is, if it fits into one packet; larger ones have an end that Nagle's rule would
// hold back.
constexpr ssize_t kHeldBack = 512;

}  // namespace

void Pump::openEvent(uint32_t slot, Connection& connection, Side side, uint32_t events) {
  Way& way = connection.from[side];
  if (events & EPOLLERR) way.broken = true;
  if (events & (EPOLLRDHUP | EPOLLHUP)) way.hungUp = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) way.readable = true;

  const Side from = other(side);
  if ((events & EPOLLOUT) && connection.from[from].blocked && flush(slot, connection, from)) move(slot, connection, from);
  if (connection.state != State::Open) return;
  // What a failed side still has to say is passed on, unless nobody takes it or it had finished before.
  if (way.broken && (way.blocked || way.ended)) return sideFailed(slot, connection, side);
  move(slot, connection, side);
}

void Pump::move(uint32_t slot, Connection& connection, Side from) {
  Way& way = connection.from[from];
  size_t moved = 0;
  while (way.readable && !way.ended && !way.blocked) {
    if (moved >= kTurn) {
      unfinished_.emplace_back(slot, from);
      return;
    }
    if (!(way.pipe ? splice(slot, connection, from, moved) : copy(slot, connection, from, moved))) return;
  }
}

// False when this way can do no more now.
bool Pump::copy(uint32_t slot, Connection& connection, Side from, size_t& moved) {
  Way& way = connection.from[from];
  const ssize_t got = recv(connection.fd[from].get(), buffer_.get(), kBuffer, 0);
  if (got == 0) {
    sideEnded(slot, connection, from);
    return false;
  }
  if (got < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) way.readable = false;
    else sideFailed(slot, connection, from);
    return false;
  }
  connection.progress++;
  moved += static_cast<size_t>(got);
  // A read that did not fill the buffer has emptied the socket: the next edge tells of more, and a FIN that has been
  // announced is what comes next. Both spare a read that would say nothing new.
  const bool all = static_cast<size_t>(got) < kBuffer;
  const bool last = all && way.hungUp && !way.broken;
  if (all) way.full = 0;
  else if (++way.full >= kFullReadsBeforeSplice) way.pipe = pipes_.take();

  if (from == kClient && !connection.prompt && (way.bytes > 0 || got > kHeldBack)) {
    connection.prompt = true;
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
  way.bytes += static_cast<uint64_t>(put);
  if (put < got) {
    const auto left = static_cast<size_t>(got - put);
    way.kept.reset(new uint8_t[left]);
    memcpy(way.kept.get(), buffer_.get() + put, left);
    way.keptAt = 0;
    way.keptEnd = static_cast<uint32_t>(left);
    way.blocked = true;
  }
  if (last) {
    sideEnded(slot, connection, from);
    return false;
  }
  if (all && !way.broken) way.readable = false;
  return true;
}

// Reads into an empty pipe only, so that EAGAIN can but mean that the socket has nothing.
bool Pump::splice(uint32_t slot, Connection& connection, Side from, size_t& moved) {
  Way& way = connection.from[from];
  const ssize_t got = ::splice(connection.fd[from].get(), nullptr, way.pipe->in.get(), nullptr, Pipes::kSize,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got == 0) {
    sideEnded(slot, connection, from);
    return false;
  }
  if (got < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) way.readable = false;
    else sideFailed(slot, connection, from);
    return false;
  }
  connection.progress++;
  moved += static_cast<size_t>(got);
  way.pipe->held += static_cast<size_t>(got);
  if (!flush(slot, connection, from)) return false;
  if (got < kSmallSplice) {
    pipes_.give(std::move(way.pipe));
    way.full = 0;
  }
  return true;
}

// Passes on what is queued. True when all of it is gone and more may come.
bool Pump::flush(uint32_t slot, Connection& connection, Side from) {
  Way& way = connection.from[from];
  if (way.kept && !flushKept(slot, connection, from)) return false;
  if (way.pipe && !flushPipe(slot, connection, from)) return false;
  way.blocked = false;
  if (!way.ended) return true;
  passEnd(slot, connection, from);
  return false;
}

bool Pump::flushKept(uint32_t slot, Connection& connection, Side from) {
  Way& way = connection.from[from];
  while (way.keptAt < way.keptEnd) {
    const ssize_t put = send(connection.fd[other(from)].get(), way.kept.get() + way.keptAt, way.keptEnd - way.keptAt,
                             MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (errno == EAGAIN) way.blocked = true;
      else sideFailed(slot, connection, other(from));
      return false;
    }
    connection.progress++;
    way.bytes += static_cast<uint64_t>(put);
    way.keptAt += static_cast<uint32_t>(put);
  }
  way.kept.reset();
  return true;
}

bool Pump::flushPipe(uint32_t slot, Connection& connection, Side from) {
  Way& way = connection.from[from];
  while (way.pipe->held > 0) {
    const ssize_t put = ::splice(way.pipe->out.get(), nullptr, connection.fd[other(from)].get(), nullptr, way.pipe->held,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      if (put < 0 && errno == EAGAIN) way.blocked = true;
      else sideFailed(slot, connection, other(from));
      return false;
    }
    connection.progress++;
    way.bytes += static_cast<uint64_t>(put);
    way.pipe->held -= static_cast<size_t>(put);
  }
  return true;
}

void Pump::sideEnded(uint32_t slot, Connection& connection, Side side) {
  Way& way = connection.from[side];
  // The error was told once, by epoll; the reads after it look like a regular end.
  if (way.broken) return sideFailed(slot, connection, side);
  way.ended = true;
  connection.progress++;
  if (!way.queued()) passEnd(slot, connection, side);
}

void Pump::passEnd(uint32_t slot, Connection& connection, Side from) {
  Way& way = connection.from[from];
  const Way& back = connection.from[other(from)];
  if (way.passed) return;
  way.passed = true;
  if (back.ended && !back.queued()) return end(slot, connection, Reason::Done, false);
  shutdown(connection.fd[other(from)].get(), SHUT_WR);  // a failure of that side is told by epoll
}

void Pump::sideFailed(uint32_t slot, Connection& connection, Side side) {
  end(slot, connection, side == kClient ? Reason::ClientReset : Reason::BackendReset, true);
}

}  // namespace starlane
