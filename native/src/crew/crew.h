// The pumps of an engine. The first accepts for all of them, and hands each client to the one with the fewest open connections;
// from then on that one carries it. So no address is bound twice, and each table of UDP sessions is in one pump.
//
// Every count has one writer, so that none costs a locked instruction. Who needs a total adds them up, and may see what is on its
// way from one pump to another twice, but never misses it.
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "pump/ring.h"
#include "socket/descriptor.h"

namespace starlane {

// Written by one thread, or under one lock; read by any.
class Count {
 public:
  operator size_t() const { return value_.load(std::memory_order_acquire); }
  void operator++(int) { value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  void operator--(int) { value_.store(value_.load(std::memory_order_relaxed) - 1, std::memory_order_release); }

 private:
  std::atomic<size_t> value_{0};
};

// What one pump leaves to another, which takes it in the same order.
struct Left {
  enum class What {
    Client,    // fd, and the event Accepted without its slot
    Joining,   // fd, and the command Join: a client that has been accepted, whose tunnel is in the other pump; fd none: it has gone
    Listener,  // the event ListenerClosed: no client of the listener follows
  } what;
  Descriptor fd;
  Record record;
};

// What a pump shows the others, and where they leave it clients.
class Member {
 public:
  Member(Shared& ring, Descriptor wakeup) : ring_(ring), wakeup_(std::move(wakeup)) {}

  // Written by the pump's own thread.
  alignas(64) Count open;  // connections in any state
  Count waiting;           // those without a backend's socket
  Count held;              // descriptors of connections and of UDP sessions
  Count taken;             // clients of those that were left here

  // From the thread of any pump. The caller wakes this one.
  void leave(Left left) {
    const std::lock_guard<std::mutex> lock(lock_);
    if (left.fd) given_++;
    left_.push_back(std::move(left));
    haveNew_.store(true);
  }
  bool haveNew() const { return haveNew_.load(); }
  std::vector<Left> take() {
    std::vector<Left> all;
    if (!haveNew_.load()) return all;
    const std::lock_guard<std::mutex> lock(lock_);
    all.swap(left_);
    haveNew_.store(false);
    return all;
  }

  // Clients that were left and not taken yet.
  size_t onTheWay() const {
    const size_t taken = this->taken;  // first: what comes meanwhile counts
    return given_ - taken;
  }

  // Whether JavaScript keeps up with its events: as Outbox::room(), from another thread.
  bool hasRoom() const { return used(load(ring_.eventHead), load(ring_.eventTail)) < kRecords / 2; }

  // As JavaScript wakes a pump: only who gets the flag makes the call.
  void wake() {
    if (exchange(ring_.pumpAsleep, 0) == 1) kick();
  }
  void kick() {
    const uint64_t one = 1;
    // Epoll tells each write once (EPOLLET), and nobody reads the counter, which 2^64 - 1 of them would fill.
    [[maybe_unused]] const ssize_t written = write(wakeup_.get(), &one, sizeof one);
  }
  const Descriptor& wakeup() const { return wakeup_; }

 private:
  Shared& ring_;
  const Descriptor wakeup_;
  alignas(64) std::mutex lock_;
  std::vector<Left> left_;
  Count given_;  // under the lock
  std::atomic<bool> haveNew_{false};
};

class Crew {
 public:
  static constexpr size_t kMost = 64;

  // From JavaScript's thread, before the first pump listens. False when there are kMost.
  bool add(std::shared_ptr<Member> member) {
    const size_t size = size_.load();
    if (size == kMost) return false;
    members_[size] = std::move(member);
    size_.store(size + 1);
    return true;
  }

  size_t size() const { return size_.load(std::memory_order_acquire); }
  Member& at(size_t index) { return *members_[index]; }

  size_t waiting() const {
    return sum([](const Member& member) -> size_t { return member.waiting; });
  }
  size_t held() const {
    return sum([](const Member& member) -> size_t { return member.held; });
  }

  // The pump for the next client: with the fewest open connections, in turn among equals. Only the first pump asks.
  size_t lightest() const {
    const size_t all = size();
    size_t best = 0, fewest = SIZE_MAX;
    for (size_t i = 0, index = turn_; i < all && fewest > 0; i++, index++) {
      if (index >= all) index = 0;
      const size_t onTheWay = members_[index]->onTheWay();
      const size_t open = members_[index]->open + onTheWay;
      if (open >= fewest) continue;
      fewest = open;
      best = index;
    }
    return best;
  }
  // It gets the client.
  void given(size_t pump) { turn_ = pump + 1 < size() ? pump + 1 : 0; }

  // The first pump waits for a descriptor: whoever frees one wakes it.
  std::atomic<bool> isShort{false};

 private:
  // With a client that is on its way counted as one.
  template <typename Of>
  size_t sum(Of of) const {
    size_t total = 0;
    const size_t all = size();
    for (size_t i = 0; i < all; i++) {
      const size_t onTheWay = members_[i]->onTheWay();
      total += of(*members_[i]) + onTheWay;
    }
    return total;
  }

  std::array<std::shared_ptr<Member>, kMost> members_;
  std::atomic<size_t> size_{0};
  size_t turn_ = 0;
};

}  // namespace starlane
