// Finds the sockets that were led to a backend, and closes them: sock_diag(7) with SOCK_DESTROY.
#pragma once

#include <cstdint>

#include "socket/socket.h"

namespace starlane {

// Closes the sockets of one protocol (IPPROTO_TCP or IPPROTO_UDP) that are connected to `backend` and stand in `reverse`, the map of
// steering.bpf.c. `netns` is the path of a network namespace, or null for that of this process. Returns how many were closed, -errno
// when none can be: -EOPNOTSUPP where the kernel lacks CONFIG_INET_DIAG_DESTROY.
int closeSockets(const char* netns, int protocol, const Address& backend, int reverse);

}  // namespace starlane
