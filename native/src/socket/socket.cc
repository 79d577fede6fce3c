// Socket options and system calls, without any state; see socket.h.
#include "socket/socket.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "socket/descriptor.h"

namespace starlane {

namespace {

void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

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
  set(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);  // accepted sockets inherit it, which saves a system call for each
  if (address.storage.ss_family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind(fd.get(), address.get(), address.length) != 0) return -errno;
  if (listen(fd.get(), backlog) != 0) return -errno;
  return fd.release();
}

int bindTo(const Address& address) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  if (address.storage.ss_family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  set(fd.get(), SOL_SOCKET, SO_RCVBUF, 1024 * 1024);  // the kernel caps it at net.core.rmem_max
  if (bind(fd.get(), address.get(), address.length) != 0) return -errno;
  return fd.release();
}

int connectTo(const Address& address) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return -errno;
  if (connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) return -errno;
  return fd.release();
}

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

void resetOnClose(int fd) {
  const linger none{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void keepAlive(int fd, int idleSeconds) {
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
}

}  // namespace starlane
