// The header of the PROXY protocol, with which a connection to a backend begins if its service asks for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starlane {

constexpr size_t kLongestProxyHeader = 16 + 2 * 16 + 4;

// Names the client of a socket and the frontend that it has connected to. Returns the length; 0 if the client is gone. A client at a
// loopback address is this machine: it is named by the address that `way` comes from, a socket towards the backend, since its own would be
// the backend's machine there; if `way` is of another family, by none, and the backend takes that of the connection.
size_t proxyHeader(uint8_t* out, int client, int way, const uint8_t* frontend, uint16_t port);

}  // namespace starlane
