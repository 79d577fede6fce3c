// Pacing within this machine. BBR has a timer for every few packets, so that none waits in a queue of the path. Where the peer is on this
// machine there is no path, and the timers take longer than the packets: such a socket gets a congestion control without them. Any
// other keeps what the operator has chosen.
#pragma once

namespace starlane {

// A socket that is connected. Four system calls where it is paced, else one.
void sendUnpacedWithin(int fd);
// Any socket; those that a listening one accepts inherit it.
void sendUnpaced(int fd);

}  // namespace starlane
