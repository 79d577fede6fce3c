// What the kernel knows of a TCP socket's peer.
#pragma once

#include <cstdint>

namespace starlane {

struct Acknowledgements {
  bool outstanding = false;  // bytes were sent that the peer has not acknowledged, although its window is open
  bool unsent = false;       // bytes wait for the window to open
  double lastMs = 0;         // time since the peer's last ACK
};

Acknowledgements acknowledgementsOf(int fd);

}  // namespace starlane
