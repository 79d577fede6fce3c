// Version 2 (haproxy.org, proxy-protocol.txt 2.2). `proxy/dataplane/flow/proxy-header.ts` writes the same.
#include "socket/proxy-header.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace starlane {

size_t proxyHeader(uint8_t* out, int client, const uint8_t* frontend, uint16_t port) {
  static const uint8_t kSignature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  if (getpeername(client, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return 0;
  const bool isV4 = peer.ss_family == AF_INET;
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer);
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&peer);
  const size_t size = isV4 ? 4 : 16;
  const uint16_t clientPort = isV4 ? v4->sin_port : v6->sin6_port;
  const uint16_t frontendPort = htons(port);
  const uint16_t rest = htons(static_cast<uint16_t>(2 * size + 4));
  memcpy(out, kSignature, sizeof kSignature);
  out[12] = 0x21;
  out[13] = isV4 ? 0x11 : 0x21;
  memcpy(out + 14, &rest, 2);
  memcpy(out + 16, isV4 ? static_cast<const void*>(&v4->sin_addr) : static_cast<const void*>(&v6->sin6_addr), size);
  memcpy(out + 16 + size, frontend, size);
  memcpy(out + 16 + 2 * size, &clientPort, 2);
  memcpy(out + 18 + 2 * size, &frontendPort, 2);
  return 16 + 2 * size + 4;
}

}  // namespace starlane
