/*
 * For LD_PRELOAD: splice(2) fails with EINVAL where NO_SPLICE says, `in` from sockets into pipes or `out` from pipes into sockets,
 * as on a kernel or file system that cannot do it. Each third call of `out` still works, so that some bytes have gone that way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned flags) {
  static int calls;
  const char *where = getenv("NO_SPLICE");
  struct stat from;
  const int from_socket = fstat(in, &from) == 0 && S_ISSOCK(from.st_mode);
  if (where && (!strcmp(where, "in") ? from_socket : !from_socket && ++calls % 3)) {
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_splice, in, in_offset, out, out_offset, length, flags);
}
