// How many descriptors flows may hold, so that a dial, and the rest of the process, finds one when it needs it. TypeScript
// sets the limit at each sweep. Pipes and listeners count as the rest of the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starlane {

struct Budget {
  size_t most = SIZE_MAX;
  size_t held = 0;  // sockets of connections and of UDP sessions

  bool allows(size_t further) const { return held + further <= most; }
};

}  // namespace starlane
