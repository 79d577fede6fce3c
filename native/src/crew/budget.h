// How many descriptors flows may hold, so that a dial, and the rest of the process, finds one when it needs it. TypeScript
// sets the limit at each sweep. Pipes and listeners count as the rest of the process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crew/crew.h"

namespace starlane {

struct Budget {
  const Crew& crew;
  Count& held;  // by this pump
  size_t most = SIZE_MAX;

  // Each of the other pumps may take one more at the same moment, so that many are left to them.
  bool allows(size_t further) const {
    return most == SIZE_MAX || crew.held() + further + crew.size() - 1 <= most;
  }
};

}  // namespace starlane
