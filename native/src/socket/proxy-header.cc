// Version 2 (haproxy.org, proxy-protocol.txt 2.2). `proxy/model/sockets/proxy-header.ts` writes the same.
#include "socket/proxy-header.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "socket/socket.h"

namespace starlane {

namespace {

constexpr size_t kWithoutAddresses = 16;
constexpr uint8_t kLocal = 0x20;
constexpr uint8_t kProxied = 0x21;

const void* bytesOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return &reinterpret_cast<const sockaddr_in*>(&address)->sin_addr;
  return &reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr;
}

}  // namespace

size_t proxyHeader(uint8_t* out, int client, int way, const uint8_t* frontend, uint16_t port) {
  static const uint8_t kSignature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
  sockaddr_storage peer{}, own{};
  socklen_t length = sizeof peer;
  if (getpeername(client, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return 0;
  length = sizeof own;
  const bool isOwn = isLoopback(peer) && getsockname(way, reinterpret_cast<sockaddr*>(&own), &length) == 0 && !isLoopback(own);
  memcpy(out, kSignature, sizeof kSignature);
  if (isOwn && own.ss_family != peer.ss_family) {
    memset(out + sizeof kSignature, 0, kWithoutAddresses - sizeof kSignature);
    out[12] = kLocal;
    return kWithoutAddresses;
  }

  const bool isV4 = peer.ss_family == AF_INET;
  const size_t size = isV4 ? 4 : 16;
  const uint16_t clientPort =
      isV4 ? reinterpret_cast<const sockaddr_in*>(&peer)->sin_port : reinterpret_cast<const sockaddr_in6*>(&peer)->sin6_port;
  const uint16_t frontendPort = htons(port);
  const uint16_t rest = htons(static_cast<uint16_t>(2 * size + 4));
  out[12] = kProxied;
  out[13] = isV4 ? 0x11 : 0x21;
  memcpy(out + 14, &rest, 2);
  memcpy(out + 16, bytesOf(isOwn ? own : peer), size);
  memcpy(out + 16 + size, frontend, size);
  memcpy(out + 16 + 2 * size, &clientPort, 2);
  memcpy(out + 18 + 2 * size, &frontendPort, 2);
  return 16 + 2 * size + 4;
}

}  // namespace starlane
