// sched_setattr(2) has no function in libc.
#include "pump/scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace starlane {

namespace {

// linux/sched/types.h, version 1.
struct Attributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;  // of ordinary threads, since Linux 6.12: the slice, in nanoseconds
  uint64_t deadline;
  uint64_t period;
  uint32_t utilMin;
  uint32_t utilMax;
};

// The kernel's own is 0.7 ms with one processor, 2.8 ms with eight.
constexpr uint64_t kSliceNs = 500 * 1000;

}  // namespace

// A thread with a shorter slice than the one that runs takes its place at once (EEVDF). It gets no more of the processor by it.
// Needs no privilege; where it is refused, and by older kernels, nothing changes.
void askForShortWaits() {
  Attributes attributes{};
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER || attributes.runtime <= kSliceNs) return;
  attributes.size = sizeof attributes;
  attributes.runtime = kSliceNs;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace starlane
