// What stands in the header, by proc(5) and madvise(2).
#include "memory/program-pages.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace starlane {

namespace {

// A mapping of /proc/self/smaps (proc(5)), as far as it was read.
struct Mapping {
  uintptr_t begin = 0, end = 0;
  bool ofFile = false, writable = true, anonymousKnown = false;
  size_t residentKiB = 0, anonymousKiB = 0;

  // Relocations make private copies of pages, which no file has: such a mapping is left alone.
  bool clean() const { return ofFile && !writable && anonymousKnown && anonymousKiB == 0 && residentKiB > 0; }
};

bool startsWith(const char* line, const char* name) { return strncmp(line, name, strlen(name)) == 0; }

size_t release(const Mapping& mapping) {
  if (!mapping.clean()) return 0;
  void* begin = reinterpret_cast<void*>(mapping.begin);
  return madvise(begin, mapping.end - mapping.begin, MADV_DONTNEED) == 0 ? mapping.residentKiB * 1024 : 0;
}

}  // namespace

size_t releaseProgramPages() {
  size_t released = 0;
  // The list changes while it is read if memory is mapped meanwhile; each line of it is whole, and files of programs stay where they are.
  if (FILE* file = fopen("/proc/self/smaps", "re")) {
    Mapping mapping;
    char line[4096];
    while (fgets(line, sizeof line, file) != nullptr) {
      uintptr_t begin, end;
      char rights[5], path[2];
      const int fields = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %1s", &begin, &end, rights, path);
      if (fields >= 3) {
        released += release(mapping);
        mapping = {};
        mapping.begin = begin;
        mapping.end = end;
        mapping.ofFile = fields == 4 && path[0] == '/';
        mapping.writable = rights[1] == 'w' || rights[3] != 'p';
      } else if (startsWith(line, "Rss:")) {
        sscanf(line, "Rss: %zu", &mapping.residentKiB);
      } else if (startsWith(line, "Anonymous:")) {
        mapping.anonymousKnown = sscanf(line, "Anonymous: %zu", &mapping.anonymousKiB) == 1;
      }
    }
    released += release(mapping);
    fclose(file);
  }
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return released;
}

}  // namespace starlane
