// Takes BBR, and its timers, from sockets whose peers are on this machine; see pacing.h.
#include "socket/pacing.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "socket/socket.h"

namespace starlane {

namespace {

// TCP_CA_NAME_MAX of the kernel.
constexpr size_t kLongestName = 16;
// All versions of it: bbr, bbr2, bbr3.
constexpr char kPaced[] = "bbr";
// Every kernel has it, and unless an administrator says otherwise every process may choose it (tcp(7), tcp_allowed_congestion_control).
constexpr char kUnpaced[] = "reno";

bool isPaced(int fd) {
  char name[kLongestName] = {};
  socklen_t length = sizeof name;
  return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 && strncmp(name, kPaced, strlen(kPaced)) == 0;
}

// A client of an address that is only routed here comes from that address itself.
bool isWithin(int fd) {
  sockaddr_storage own{}, peer{};
  socklen_t ownLength = sizeof own, peerLength = sizeof peer;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &ownLength) != 0) return false;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peerLength) != 0) return false;
  return isLoopback(peer) || haveSameAddress(own, peer);
}

void takeUnpaced(int fd) { setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kUnpaced, strlen(kUnpaced)); }

}  // namespace

void sendUnpacedWithin(int fd) {
  if (isPaced(fd) && isWithin(fd)) takeUnpaced(fd);
}

void sendUnpaced(int fd) {
  if (isPaced(fd)) takeUnpaced(fd);
}

}  // namespace starlane
