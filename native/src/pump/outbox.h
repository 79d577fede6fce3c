// Events for TypeScript. The ring may be full while JavaScript is busy; further events wait here, in order, so that the
// pump's thread never blocks. Bounded, since the pump stops accepting while decisions are pending.
#pragma once

#include <deque>

#include "pump/ring.h"

namespace starlane {

class Outbox {
 public:
  explicit Outbox(Shared& shared) : shared_(shared) {}

  void send(const Record& record) {
    if (!waiting_.empty() || !put(record)) waiting_.push_back(record);
  }

  // Moves waiting events into the ring as far as there is room.
  void refill() {
    while (!waiting_.empty() && put(waiting_.front())) waiting_.pop_front();
  }

  // Whether there is room for events that can be delayed or dropped.
  bool room() const {
    return waiting_.empty() && used(shared_.eventHead.value, load(shared_.eventTail)) < kRecords / 2;
  }

  // Whether there is room for reports of open flows. They leave the rest to new flows, which are turned away without room().
  bool roomForReports() const {
    return waiting_.empty() && used(shared_.eventHead.value, load(shared_.eventTail)) < kRecords / 4;
  }

  bool waiting() const { return !waiting_.empty(); }
  bool unread() const { return shared_.eventHead.value != load(shared_.eventTail); }

 private:
  bool put(const Record& record) {
    const int32_t head = shared_.eventHead.value;  // only this thread writes it
    if (used(head, load(shared_.eventTail)) >= kRecords) return false;
    at(shared_.events, head) = record;
    store(shared_.eventHead, next(head));
    return true;
  }

  Shared& shared_;
  std::deque<Record> waiting_;
};

}  // namespace starlane
