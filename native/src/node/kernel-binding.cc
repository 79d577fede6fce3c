// The object `kernel` for JavaScript: bpf(2), sock_diag(7) and the object of steering.bpf.c. Each call returns a number, -errno when it
// fails. Keys and values are Buffers of the size that their map has.
#include "node/kernel-binding.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "node/napi.h"
#include "socket/descriptor.h"
#include "socket/socket.h"
#include "steering/kernel.h"
#include "steering/sockets.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

// native/build.js gives the path of the object, or the reason why there is none.
#ifdef STARLANE_STEERING
extern "C" {
__attribute__((visibility("hidden"))) extern const unsigned char starlaneSteering[];
__attribute__((visibility("hidden"))) extern const unsigned char starlaneSteeringEnd[];
}
__asm__(
    ".section .rodata\n"
    ".balign 16\n"
    ".global starlaneSteering\n"
    ".hidden starlaneSteering\n"
    "starlaneSteering:\n"
    ".incbin \"" STARLANE_STEERING
    "\"\n"
    ".global starlaneSteeringEnd\n"
    ".hidden starlaneSteeringEnd\n"
    "starlaneSteeringEnd:\n"
    ".byte 0\n"
    ".previous\n");
#endif
#ifndef STARLANE_STEERING_WHY
#define STARLANE_STEERING_WHY ""
#endif

namespace {

using starlane::Address;
using starlane::Descriptor;
using starlane::method;
namespace kernel = starlane::kernel;

napi_value number(napi_env env, int64_t value) {
  napi_value result;
  CHECK(napi_create_int64(env, value, &result));
  return result;
}

std::string textOf(napi_env env, napi_value value) {
  size_t length = 0;
  std::string text;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return text;
  text.resize(length);
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return text;
}

int32_t intOf(napi_env env, napi_value value) {
  int32_t number = -1;
  napi_get_value_int32(env, value, &number);
  return number;
}

// Null for what is no Buffer.
void* bytesOf(napi_env env, napi_value value, size_t* size = nullptr) {
  bool is = false;
  void* bytes = nullptr;
  size_t length = 0;
  if (napi_is_buffer(env, value, &is) == napi_ok && is) napi_get_buffer_info(env, value, &bytes, &length);
  if (size != nullptr) *size = length;
  return bytes;
}

constexpr size_t kMost = 6;

struct Arguments {
  napi_value values[kMost];
  explicit Arguments(napi_env env, napi_callback_info info) {
    size_t count = kMost;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  napi_value operator[](size_t i) const { return values[i]; }
};

// map(name: string, type: number, keySize: number, valueSize: number, entries: number, flags: number)
napi_value map(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  const auto size = [&](size_t i) { return static_cast<uint32_t>(intOf(env, given[i])); };
  kernel::allowLockedMemory();
  return number(env, kernel::createMap(size(1), size(2), size(3), size(4), size(5), textOf(env, given[0]).c_str()));
}

// put(map: number, key: Buffer, value: Buffer)
napi_value put(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::put(intOf(env, given[0]), bytesOf(env, given[1]), bytesOf(env, given[2])));
}

// drop(map: number, key: Buffer)
napi_value drop(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::drop(intOf(env, given[0]), bytesOf(env, given[1])));
}

// get(map: number, key: Buffer, value: Buffer): writes into value
napi_value get(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::get(intOf(env, given[0]), bytesOf(env, given[1]), bytesOf(env, given[2])));
}

// next(map: number, key: Buffer | undefined, into: Buffer): writes the following key
napi_value next(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::next(intOf(env, given[0]), bytesOf(env, given[1]), bytesOf(env, given[2])));
}

// program(instructions: Buffer, attach: number, license: string)
napi_value program(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  size_t size;
  const void* bytes = bytesOf(env, given[0], &size);
  const auto attach = static_cast<uint32_t>(intOf(env, given[1]));
  return number(env, kernel::loadProgram(bytes, size, attach, textOf(env, given[2]).c_str(), nullptr));
}

// complaint(instructions: Buffer, attach: number, license: string): string. What the verifier has against it.
napi_value complaint(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  size_t size;
  const void* bytes = bytesOf(env, given[0], &size);
  std::string log;
  const auto attach = static_cast<uint32_t>(intOf(env, given[1]));
  const int fd = kernel::loadProgram(bytes, size, attach, textOf(env, given[2]).c_str(), &log);
  if (fd >= 0) close(fd);
  napi_value text;
  CHECK(napi_create_string_utf8(env, log.c_str(), log.size(), &text));
  return text;
}

// attach(program: number, cgroup: number, attach: number): a link
napi_value attach(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::attach(intOf(env, given[0]), intOf(env, given[1]), static_cast<uint32_t>(intOf(env, given[2]))));
}

// replace(link: number, program: number)
napi_value replace(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::replace(intOf(env, given[0]), intOf(env, given[1])));
}

// pin(fd: number, path: string)
napi_value pin(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::pin(intOf(env, given[0]), textOf(env, given[1]).c_str()));
}

// open(path: string): what is pinned there
napi_value open(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  return number(env, kernel::open(textOf(env, given[0]).c_str()));
}

// folder(path: string): a descriptor of a folder, as cgroups are named
napi_value folder(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  const int fd = ::open(textOf(env, given[0]).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return number(env, fd < 0 ? -errno : fd);
}

// netns(into: Buffer): the cookie of this network namespace, 8 bytes
napi_value netns(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  size_t size;
  void* into = bytesOf(env, given[0], &size);
  const Descriptor probe(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return number(env, -errno);
  socklen_t length = 8;
  if (into == nullptr || size != length) return number(env, -EINVAL);
  return number(env, getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, into, &length) != 0 ? -errno : 0);
}

// probe(into: Buffer): a UDP socket, and its cookie, 8 bytes
napi_value probe(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  size_t size;
  void* into = bytesOf(env, given[0], &size);
  Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return number(env, -errno);
  socklen_t length = 8;
  if (into == nullptr || size != length) return number(env, -EINVAL);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_COOKIE, into, &length) != 0) return number(env, -errno);
  return number(env, fd.release());
}

// connect(fd: number, ip: string, port: number): of a probe; sends nothing
napi_value connectProbe(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  Address address;
  if (!starlane::parse(textOf(env, given[1]).c_str(), intOf(env, given[2]), address)) return number(env, -EINVAL);
  return number(env, ::connect(intOf(env, given[0]), address.get(), address.length) != 0 ? -errno : 0);
}

// closeSockets(netns: string, protocol: number, ip: string, port: number, reverse: number): how many; netns '' is the own one
napi_value cut(napi_env env, napi_callback_info info) {
  const Arguments given(env, info);
  const std::string netns = textOf(env, given[0]);
  Address address;
  if (!starlane::parse(textOf(env, given[2]).c_str(), intOf(env, given[3]), address)) return number(env, -EINVAL);
  const char* path = netns.empty() ? nullptr : netns.c_str();
  return number(env, starlane::closeSockets(path, intOf(env, given[1]), address, intOf(env, given[4])));
}

}  // namespace

namespace starlane {

napi_value defineKernel(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {
      method("map", map),       method("put", put),         method("drop", drop),
      method("get", get),       method("next", next),       method("program", program),
      method("attach", attach), method("replace", replace), method("complaint", complaint),
      method("pin", pin),       method("open", open),       method("folder", folder),
      method("netns", netns),   method("probe", probe),     method("connect", connectProbe),
      method("closeSockets", cut),
  };
  napi_value kernel, why;
  CHECK(napi_create_object(env, &kernel));
  CHECK(napi_define_properties(env, kernel, sizeof methods / sizeof *methods, methods));
#ifdef STARLANE_STEERING
  napi_value object;
  const auto size = static_cast<size_t>(starlaneSteeringEnd - starlaneSteering);
  CHECK(napi_create_buffer_copy(env, size, starlaneSteering, nullptr, &object));
  CHECK(napi_set_named_property(env, kernel, "object", object));
#endif
  CHECK(napi_create_string_utf8(env, STARLANE_STEERING_WHY, NAPI_AUTO_LENGTH, &why));
  CHECK(napi_set_named_property(env, kernel, "why", why));
  CHECK(napi_set_named_property(env, exports, "kernel", kernel));
  return exports;
}

}  // namespace starlane
