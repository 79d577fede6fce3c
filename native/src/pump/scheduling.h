// How soon a thread that has been woken runs.
#pragma once

namespace starlane {

// Asks the kernel to let the calling thread run soon after it has been woken, also where all processors are busy; see engines.md.
void askForShortWaits();

}  // namespace starlane
