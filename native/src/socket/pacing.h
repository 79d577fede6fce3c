// Pacing of large transfers within this machine.
#pragma once

namespace starlane {

// BBR has a timer for every few packets, so that none waits in a queue of the path. Where the peer is on this machine there is no path, and
// the timers take longer than the packets; the socket gets a congestion control without them. Any other keeps what the operator has chosen.
void sendUnpaced(int fd);

}  // namespace starlane
