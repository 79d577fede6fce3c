// The clock of the pump's own waits and of round trips. Times of flows are TypeScript's.
#pragma once

#include <cstdint>
#include <ctime>

namespace starlane {

inline int64_t monotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace starlane
