// Socket options and system calls, without any state; see socket.h.
#include "socket/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "socket/descriptor.h"
#include "socket/pacing.h"

namespace starlane {

namespace {

void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// Of datagrams that wait to be read; the kernel caps it at net.core.rmem_max.
constexpr int kReceiveBuffer = 1024 * 1024;

// In bytes, of a tunnel.
constexpr int kShortQueue = 128 * 1024;

// In milliseconds, of a tunnel: where many packets are lost, the pauses between attempts would double to many seconds. Since Linux 6.15; an
// earlier one has no such option.
constexpr int kLongestPause = 2000;
constexpr int kLongestPauseOption = 44;  // TCP_RTO_MAX_MS

// In milliseconds, of a tunnel. With pauses as short as that, net.ipv4.tcp_retries2 gives up 27 s after the first loss of a series, although bytes
// arrive meanwhile. Whether a tunnel is dead is told by what comes from the other end, in TypeScript.
constexpr int kGiveUp = 300 * 1000;

struct PortRange {
  int first = 1;
  int last = 65535;
};

// The ports that the kernel gives to sockets which connect without one (ip(7), ip_local_port_range), as of the first call. All
// where it cannot be read.
const PortRange& givenOut() {
  static const PortRange range = [] {
    PortRange found;
    FILE* file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (file == nullptr) return found;
    if (fscanf(file, "%d %d", &found.first, &found.last) != 2) found = {};
    fclose(file);
    return found;
  }();
  return range;
}

// Whether a socket that has begun to connect has met itself: its own port, given out by the kernel, is the one that it was to
// reach, and nobody listens there.
bool meetsItself(int fd, const Address& to) {
  int32_t family, ownPort, toPort;
  uint8_t ownBytes[16] = {0}, toBytes[16] = {0};
  read(to.storage, family, toBytes, toPort);
  if (toPort < givenOut().first || toPort > givenOut().last) return false;
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) != 0) return false;
  read(own, family, ownBytes, ownPort);
  return ownPort == toPort && (isWildcard(to) || memcmp(ownBytes, toBytes, sizeof ownBytes) == 0);
}

}  // namespace

Address addressOf(int family, const uint8_t* bytes, int port) {
  Address address;
  if (family == 6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    memcpy(&v6->sin6_addr, bytes, 16);
    address.length = sizeof *v6;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    memcpy(&v4->sin_addr, bytes, 4);
    address.length = sizeof *v4;
  }
  return address;
}

void read(const sockaddr_storage& from, int32_t& family, uint8_t* bytes, int32_t& port) {
  if (from.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&from);
    family = 6;
    port = ntohs(v6->sin6_port);
    memcpy(bytes, &v6->sin6_addr, 16);
  } else {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&from);
    family = 4;
    port = ntohs(v4->sin_port);
    memcpy(bytes, &v4->sin_addr, 4);
  }
}

bool parse(const char* text, int port, Address& into) {
  uint8_t bytes[16];
  for (int family : {4, 6}) {
    if (inet_pton(family == 4 ? AF_INET : AF_INET6, text, bytes) != 1) continue;
    into = addressOf(family, bytes, port);
    return true;
  }
  return false;
}

int listenOn(const Address& address, int backlog) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  // Accepted sockets inherit all, which saves system calls for each.
  set(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd.get(), SOL_SOCKET, SO_OOBINLINE, 1);
  if (isLoopback(address.storage)) sendUnpaced(fd.get());
  if (address.storage.ss_family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind(fd.get(), address.get(), address.length) != 0) return -errno;
  if (listen(fd.get(), backlog) != 0) return -errno;
  return fd.release();
}

int bindTo(const Address& address) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  if (address.storage.ss_family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  set(fd.get(), SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  if (bind(fd.get(), address.get(), address.length) != 0) return -errno;
  return fd.release();
}

int connectTo(const Address& address, bool holdsAck) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  set(fd.get(), SOL_SOCKET, SO_OOBINLINE, 1);
  if (holdsAck) set(fd.get(), IPPROTO_TCP, TCP_QUICKACK, 0);
  if (connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) return -errno;
  if (meetsItself(fd.get(), address)) return -ECONNREFUSED;
  return fd.release();
}

int linkTo(const Address& address) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  // Where no local port is free, connect(2) says EAGAIN for UDP and EADDRNOTAVAIL for TCP.
  if (connect(fd.get(), address.get(), address.length) != 0) return errno == EAGAIN ? -EADDRNOTAVAIL : -errno;
  if (meetsItself(fd.get(), address)) return -ECONNREFUSED;
  set(fd.get(), SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  return fd.release();
}

void prepare(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  int type = 0;
  socklen_t length = sizeof type;
  getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
  if (type != SOCK_STREAM) return;
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  sockaddr_storage own{};
  length = sizeof own;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0 && isLoopback(own)) sendUnpaced(fd);
}

void prepareTunnel(int fd) {
  set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kShortQueue);
  set(fd, IPPROTO_TCP, kLongestPauseOption, kLongestPause);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kGiveUp);
}

void ackAtOnce(int fd) { set(fd, IPPROTO_TCP, TCP_QUICKACK, 1); }

void sendAtOnce(int fd) { set(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void segment(msghdr& message, char* control, size_t bytes) {
  message.msg_control = control;
  message.msg_controllen = kSegmentControl;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  const auto each = static_cast<uint16_t>(bytes);
  memcpy(CMSG_DATA(header), &each, sizeof each);
}

bool isWildcard(const Address& address) {
  const uint8_t zero[16] = {};
  int32_t family, port;
  uint8_t bytes[16] = {};
  read(address.storage, family, bytes, port);
  return memcmp(bytes, zero, sizeof zero) == 0;
}

bool isLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohl(reinterpret_cast<const sockaddr_in*>(&address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr);
}

bool haveSameAddress(const sockaddr_storage& one, const sockaddr_storage& other) {
  int32_t families[2], port;
  uint8_t bytes[2][16] = {};
  read(one, families[0], bytes[0], port);
  read(other, families[1], bytes[1], port);
  return families[0] == families[1] && memcmp(bytes[0], bytes[1], sizeof bytes[0]) == 0;
}

void askForLocal(int fd, int family) {
  if (family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  else set(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

void localOf(msghdr& message, uint8_t* local) {
  memset(local, 0, 16);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      memcpy(&info, CMSG_DATA(header), sizeof info);
      memcpy(local, &info.ipi_spec_dst, 4);
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      memcpy(&info, CMSG_DATA(header), sizeof info);
      if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) memcpy(local, &info.ipi6_addr, 16);
    }
  }
}

void sendFrom(msghdr& message, char* control, int family, const uint8_t* local) {
  const uint8_t zero[16] = {};
  if (memcmp(local, zero, family == 4 ? 4 : 16) == 0) return;
  auto* header = reinterpret_cast<cmsghdr*>(control + message.msg_controllen);
  if (family == 6) {
    in6_pktinfo info{};
    memcpy(&info.ipi6_addr, local, 16);
    header->cmsg_level = IPPROTO_IPV6;
    header->cmsg_type = IPV6_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(header), &info, sizeof info);
    message.msg_controllen += CMSG_SPACE(sizeof info);
  } else {
    in_pktinfo info{};
    memcpy(&info.ipi_spec_dst, local, 4);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(header), &info, sizeof info);
    message.msg_controllen += CMSG_SPACE(sizeof info);
  }
  message.msg_control = control;
}

void resetOnClose(int fd) {
  const linger none{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void keepAlive(int fd, int idleSeconds) {
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
}

}  // namespace starlane
