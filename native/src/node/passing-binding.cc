// The object `passing` for JavaScript { duplicate, peerUser, send, receive, sendTo, notify }: what node:net lacks to hand sockets to
// another process. Each call returns a number, -errno when it fails.
#include "node/passing-binding.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "node/napi.h"
#include "socket/descriptor.h"
#include "socket/socket.h"

namespace {

using starlane::Address;
using starlane::Descriptor;
using starlane::method;

// The kernel takes 253 in one message.
constexpr size_t kMost = 200;

napi_value number(napi_env env, int64_t value) {
  napi_value result;
  CHECK(napi_create_int64(env, value, &result));
  return result;
}

bool textOf(napi_env env, napi_value value, std::string& into) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  into.resize(length);
  return napi_get_value_string_utf8(env, value, into.data(), length + 1, &length) == napi_ok;
}

// 0 when the path is too long. One that begins with @ is in the abstract namespace.
socklen_t unixAddress(const std::string& path, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return 0;
  memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = 0;
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1));
}

// The first of an array, as many as go into one message. False when it is no array of numbers.
bool descriptorsOf(napi_env env, napi_value array, std::vector<int>& into) {
  uint32_t length;
  if (napi_get_array_length(env, array, &length) != napi_ok) return false;
  into.resize(length < kMost ? length : kMost);
  for (size_t i = 0; i < into.size(); i++) {
    napi_value element;
    if (napi_get_element(env, array, static_cast<uint32_t>(i), &element) != napi_ok) return false;
    if (napi_get_value_int32(env, element, &into[i]) != napi_ok) return false;
  }
  return true;
}

// Descriptors that go along with the message; `control` is memory for them.
void attach(msghdr& message, std::vector<char>& control, const std::vector<int>& descriptors) {
  const size_t size = descriptors.size() * sizeof(int);
  control.resize(CMSG_SPACE(size));
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(header), descriptors.data(), size);
}

// duplicate(fd: number): a descriptor of the same socket
napi_value duplicate(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t fd;
  CHECK(napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr));
  CHECK(napi_get_value_int32(env, argument, &fd));
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return number(env, copy < 0 ? -errno : copy);
}

// peerUser(fd: number): the user of the process at the other end of a unix socket
napi_value peerUser(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t fd;
  CHECK(napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr));
  CHECK(napi_get_value_int32(env, argument, &fd));
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return number(env, -errno);
  return number(env, peer.uid);
}

// send(fd: number, descriptors: number[]): how many of the first were sent, over a unix socket that does not block
napi_value send(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t fd;
  std::vector<int> descriptors;
  CHECK(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  CHECK(napi_get_value_int32(env, arguments[0], &fd));
  if (!descriptorsOf(env, arguments[1], descriptors)) return number(env, -EINVAL);
  if (descriptors.empty()) return number(env, 0);
  char byte = 0;
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  std::vector<char> control;
  attach(message, control, descriptors);
  if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return number(env, -errno);
  return number(env, static_cast<int64_t>(descriptors.size()));
}

// Appends the descriptors of one message. 0, or an errno.
int receiveSome(int fd, std::vector<Descriptor>& into) {
  char byte;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(kMost * sizeof(int))];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return errno;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int one;
      memcpy(&one, CMSG_DATA(header) + i * sizeof(int), sizeof one);
      into.emplace_back(one);
    }
  }
  if (got == 0) return ECONNRESET;
  return message.msg_flags & MSG_CTRUNC ? EMFILE : 0;
}

// receive(path: string, greeting: string, count: number, timeoutMs: number): number[] | -errno. Connects, says who it is, and waits
// for so many descriptors. Blocks: the caller has nothing else to do.
napi_value receive(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4], list;
  std::string path, greeting;
  int32_t wanted, timeoutMs;
  CHECK(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  if (!textOf(env, arguments[0], path) || !textOf(env, arguments[1], greeting)) return number(env, -EINVAL);
  CHECK(napi_get_value_int32(env, arguments[2], &wanted));
  CHECK(napi_get_value_int32(env, arguments[3], &timeoutMs));
  sockaddr_un address;
  const socklen_t length = unixAddress(path, address);
  if (length == 0) return number(env, -ENAMETOOLONG);
  const Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return number(env, -errno);
  const timeval limit{timeoutMs / 1000, timeoutMs % 1000 * 1000};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return number(env, -errno);
  if (::send(fd.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(greeting.size()))
    return number(env, -EIO);
  std::vector<Descriptor> received;
  while (received.size() < static_cast<size_t>(wanted)) {
    const int error = receiveSome(fd.get(), received);
    if (error != 0 && error != EINTR) return number(env, -error);
  }
  CHECK(napi_create_array_with_length(env, received.size(), &list));
  for (size_t i = 0; i < received.size(); i++) {
    napi_value element;
    CHECK(napi_create_int32(env, received[i].get(), &element));
    CHECK(napi_set_element(env, list, static_cast<uint32_t>(i), element));
  }
  for (Descriptor& each : received) each.release();
  return list;
}

// sendTo(fd: number, bytes: Buffer, ip: string, port: number): 0, by a UDP socket that nobody reads here any more
napi_value sendTo(napi_env env, napi_callback_info info) {
  size_t count = 4, size;
  napi_value arguments[4];
  int32_t fd, port;
  void* bytes;
  std::string ip;
  Address address;
  CHECK(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  CHECK(napi_get_value_int32(env, arguments[0], &fd));
  CHECK(napi_get_buffer_info(env, arguments[1], &bytes, &size));
  CHECK(napi_get_value_int32(env, arguments[3], &port));
  if (!textOf(env, arguments[2], ip) || !starlane::parse(ip.c_str(), port, address)) return number(env, -EINVAL);
  const ssize_t sent = sendto(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL, address.get(), address.length);
  return number(env, sent < 0 ? -errno : 0);
}

// notify(path: string, text: string, descriptors: number[]): 0. One datagram to the service manager, with the descriptors, of which there
// may be none (sd_notify(3), sd_pid_notify_with_fds(3)).
napi_value notify(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  std::string path, text;
  std::vector<int> descriptors;
  CHECK(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  if (!textOf(env, arguments[0], path) || !textOf(env, arguments[1], text)) return number(env, -EINVAL);
  if (!descriptorsOf(env, arguments[2], descriptors)) return number(env, -EINVAL);
  sockaddr_un address;
  const socklen_t length = unixAddress(path, address);
  if (length == 0) return number(env, -ENAMETOOLONG);
  const Descriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return number(env, -errno);
  iovec piece{text.data(), text.size()};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = length;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  std::vector<char> control;
  if (!descriptors.empty()) attach(message, control, descriptors);
  const ssize_t sent = sendmsg(fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return number(env, sent < 0 ? -errno : 0);
}

}  // namespace

namespace starlane {

napi_value definePassing(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {
      method("duplicate", duplicate), method("peerUser", peerUser), method("send", send),
      method("receive", receive),     method("sendTo", sendTo),     method("notify", notify),
  };
  napi_value passing;
  CHECK(napi_create_object(env, &passing));
  CHECK(napi_define_properties(env, passing, sizeof methods / sizeof *methods, methods));
  CHECK(napi_set_named_property(env, exports, "passing", passing));
  return exports;
}

}  // namespace starlane
