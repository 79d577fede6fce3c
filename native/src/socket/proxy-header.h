// The header of the PROXY protocol, with which a connection to a backend begins if its service asks for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starlane {

constexpr size_t kLongestProxyHeader = 16 + 2 * 16 + 4;

// Names the client of a socket and the frontend that it has connected to. Returns the length; 0 if the client is gone.
size_t proxyHeader(uint8_t* out, int client, const uint8_t* frontend, uint16_t port);

}  // namespace starlane
