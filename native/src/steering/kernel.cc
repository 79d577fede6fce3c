// The calls of bpf(2), with the parts of its argument that they use, as in linux/bpf.h.
#include "steering/kernel.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace starlane::kernel {

namespace {

enum Command : int {
  kMapCreate = 0,
  kMapLookup = 1,
  kMapUpdate = 2,
  kMapDelete = 3,
  kMapNext = 4,
  kProgramLoad = 5,
  kPin = 6,
  kOpen = 7,
  kLinkCreate = 28,
  kLinkUpdate = 29,
};

constexpr uint32_t kCgroupSockAddr = 18;
constexpr size_t kLogBytes = 1 << 18;

union Argument {
  struct {
    uint32_t type, keySize, valueSize, entries, flags, inner, node;
    char name[16];
  } map;
  struct {
    uint32_t map, spare;
    uint64_t key, value, flags;
  } element;
  struct {
    uint32_t type, count;
    uint64_t instructions, license;
    uint32_t logLevel, logSize;
    uint64_t log;
    uint32_t kernelVersion, flags;
    char name[16];
    uint32_t interface, expectedAttach;
  } program;
  struct {
    uint64_t path;
    uint32_t fd, flags;
  } object;
  struct {
    uint32_t program, target, attach, flags;
  } link;
  struct {
    uint32_t link, program, flags, old;
  } update;
  char all[128];
};

uint64_t pointer(const void* to) { return reinterpret_cast<uintptr_t>(to); }

int call(Command command, Argument& argument) {
  const long result = syscall(__NR_bpf, command, &argument, sizeof argument);
  return result < 0 ? -errno : static_cast<int>(result);
}

Argument empty() {
  Argument argument;
  memset(&argument, 0, sizeof argument);
  return argument;
}

int element(Command command, int map, const void* key, const void* value) {
  Argument argument = empty();
  argument.element.map = static_cast<uint32_t>(map);
  argument.element.key = pointer(key);
  argument.element.value = pointer(value);
  return call(command, argument);
}

void copyName(char (&into)[16], const char* name) { strncpy(into, name, sizeof into - 1); }

}  // namespace

int createMap(uint32_t type, uint32_t keySize, uint32_t valueSize, uint32_t entries, uint32_t flags, const char* name) {
  Argument argument = empty();
  argument.map.type = type;
  argument.map.keySize = keySize;
  argument.map.valueSize = valueSize;
  argument.map.entries = entries;
  argument.map.flags = flags;
  copyName(argument.map.name, name);
  return call(kMapCreate, argument);
}

int put(int map, const void* key, const void* value) { return element(kMapUpdate, map, key, value); }
int drop(int map, const void* key) { return element(kMapDelete, map, key, nullptr); }
int get(int map, const void* key, void* value) { return element(kMapLookup, map, key, value); }
int next(int map, const void* key, void* next) { return element(kMapNext, map, key, next); }

int loadProgram(const void* instructions, size_t bytes, uint32_t attach, const char* license, std::string* log) {
  Argument argument = empty();
  argument.program.type = kCgroupSockAddr;
  argument.program.count = static_cast<uint32_t>(bytes / 8);
  argument.program.instructions = pointer(instructions);
  argument.program.license = pointer(license);
  argument.program.expectedAttach = attach;
  copyName(argument.program.name, "starlane");
  if (log != nullptr) {
    log->assign(kLogBytes, '\0');
    argument.program.logLevel = 1;
    argument.program.logSize = kLogBytes;
    argument.program.log = pointer(log->data());
  }
  const int result = call(kProgramLoad, argument);
  if (log != nullptr) log->resize(strnlen(log->data(), log->size()));
  return result;
}

int attach(int program, int cgroup, uint32_t attach) {
  Argument argument = empty();
  argument.link.program = static_cast<uint32_t>(program);
  argument.link.target = static_cast<uint32_t>(cgroup);
  argument.link.attach = attach;
  return call(kLinkCreate, argument);
}

int replace(int link, int program) {
  Argument argument = empty();
  argument.update.link = static_cast<uint32_t>(link);
  argument.update.program = static_cast<uint32_t>(program);
  return call(kLinkUpdate, argument);
}

int pin(int fd, const char* path) {
  Argument argument = empty();
  argument.object.path = pointer(path);
  argument.object.fd = static_cast<uint32_t>(fd);
  return call(kPin, argument);
}

int open(const char* path) {
  Argument argument = empty();
  argument.object.path = pointer(path);
  return call(kOpen, argument);
}

void allowLockedMemory() {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

}  // namespace starlane::kernel
