// bpf(2) without libraries: maps, programs for cgroups, links and their names in bpffs. Functions return a descriptor or 0, and
// -errno when they fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace starlane::kernel {

int createMap(uint32_t type, uint32_t keySize, uint32_t valueSize, uint32_t entries, uint32_t flags, const char* name);
int put(int map, const void* key, const void* value);
int drop(int map, const void* key);
int get(int map, const void* key, void* value);
// Writes the key after `key` into `next`; the first one where `key` is null. -ENOENT after the last.
int next(int map, const void* key, void* next);

// `attach` is a number of enum bpf_attach_type. With `log`, the verifier's words are written into it.
int loadProgram(const void* instructions, size_t bytes, uint32_t attach, const char* license, std::string* log);
// A link, which is detached when its last descriptor and name are gone. Other programs of the cgroup stay.
int attach(int program, int cgroup, uint32_t attach);
// Puts another program in place of the link's, in one step.
int replace(int link, int program);

int pin(int fd, const char* path);
int open(const char* path);

// Kernels before 5.11 count maps as locked memory.
void allowLockedMemory();

}  // namespace starlane::kernel
