// Asks the kernel for sockets over netlink, one network namespace at a time.
#include "steering/sockets.h"

#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "socket/descriptor.h"
#include "steering/kernel.h"

namespace starlane {

namespace {

// As in steering.bpf.c.
struct Place {
  uint8_t address[16];
  uint16_t port;
  uint8_t protocol, spare;
};

struct ReverseKey {
  uint64_t cookie;
  Place backend;
  uint32_t spare;
};

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

Place placeOf(int protocol, const Address& backend) {
  Place place{};
  place.protocol = static_cast<uint8_t>(protocol);
  if (backend.storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(backend.storage);
    place.address[10] = place.address[11] = 0xff;
    memcpy(place.address + 12, &in.sin_addr, 4);
    place.port = in.sin_port;
  } else {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(backend.storage);
    memcpy(place.address, &in.sin6_addr, 16);
    place.port = in.sin6_port;
  }
  return place;
}

// An IPv6 socket that is connected to an IPv4 address has it as ::ffff:a.b.c.d.
bool isAt(const inet_diag_msg& socket, const Place& place) {
  if (socket.id.idiag_dport != place.port) return false;
  if (socket.idiag_family == AF_INET6) return memcmp(socket.id.idiag_dst, place.address, 16) == 0;
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(place.address, mapped, 12) == 0 && memcmp(socket.id.idiag_dst, place.address + 12, 4) == 0;
}

int ask(int netlink, uint16_t type, uint16_t flags, const inet_diag_req_v2& body) {
  Request request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  request.body = body;
  return send(netlink, &request, sizeof request, 0) < 0 ? -errno : 0;
}

// Appends the sockets of one family that are led to `place`.
int find(int netlink, int family, const Place& place, int reverse, std::vector<inet_diag_msg>& found) {
  inet_diag_req_v2 body{};
  body.sdiag_family = static_cast<uint8_t>(family);
  body.sdiag_protocol = place.protocol;
  body.idiag_states = ~0u;
  if (const int error = ask(netlink, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body)) return error;
  alignas(nlmsghdr) char buffer[1 << 15];
  for (;;) {
    const ssize_t got = recv(netlink, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    auto left = static_cast<unsigned>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return 0;
      if (header->nlmsg_type == NLMSG_ERROR) return static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
      const auto& socket = *static_cast<inet_diag_msg*>(NLMSG_DATA(header));
      if (!isAt(socket, place)) continue;
      ReverseKey key{};
      key.cookie = socket.id.idiag_cookie[0] | static_cast<uint64_t>(socket.id.idiag_cookie[1]) << 32;
      key.backend = place;
      Place frontend;
      if (kernel::get(reverse, &key, &frontend) == 0) found.push_back(socket);
    }
  }
}

int destroy(int netlink, int protocol, const inet_diag_msg& socket) {
  inet_diag_req_v2 body{};
  body.sdiag_family = socket.idiag_family;
  body.sdiag_protocol = static_cast<uint8_t>(protocol);
  body.idiag_states = ~0u;
  body.id = socket.id;
  if (const int error = ask(netlink, SOCK_DESTROY, NLM_F_ACK, body)) return error;
  alignas(nlmsghdr) char buffer[4096];
  const ssize_t got = recv(netlink, buffer, sizeof buffer, 0);
  if (got < 0) return -errno;
  const auto* header = reinterpret_cast<nlmsghdr*>(buffer);
  return header->nlmsg_type == NLMSG_ERROR ? static_cast<nlmsgerr*>(NLMSG_DATA(header))->error : 0;
}

int closeHere(int protocol, const Address& backend, int reverse) {
  const Descriptor netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return -errno;
  const Place place = placeOf(protocol, backend);
  std::vector<inet_diag_msg> found;
  for (const int family : {AF_INET, AF_INET6}) {
    if (family == AF_INET && backend.storage.ss_family == AF_INET6) continue;
    const int error = find(netlink.get(), family, place, reverse, found);
    if (error == -ENOENT && family == AF_INET6) continue;  // a kernel without IPv6
    if (error != 0) return error;
  }
  int closed = 0;
  for (const inet_diag_msg& each : found) {
    const int error = destroy(netlink.get(), protocol, each);
    if (error == 0) closed++;
    else if (error != -ENOENT) return error;  // ENOENT: it has ended meanwhile
  }
  return closed;
}

}  // namespace

int closeSockets(const char* netns, int protocol, const Address& backend, int reverse) {
  if (netns == nullptr) return closeHere(protocol, backend, reverse);
  int result = 0;
  // A thread may be in another network namespace than its process.
  std::thread([&] {
    const Descriptor there(open(netns, O_RDONLY | O_CLOEXEC));
    if (!there || setns(there.get(), CLONE_NEWNET) != 0) result = -errno;
    else result = closeHere(protocol, backend, reverse);
  }).join();
  return result;
}

}  // namespace starlane
