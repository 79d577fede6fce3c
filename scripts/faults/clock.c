// Loaded before a program (LD_PRELOAD): its wall clock is off by the seconds in the first 8 bytes of the file STARLANE_CLOCK, which may
// change at any time. Its monotonic clock is not touched.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t* off;

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("STARLANE_CLOCK");
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* memory = mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) off = memory;
  close(fd);
}

int clock_gettime(clockid_t id, struct timespec* time) {
  const long result = syscall(SYS_clock_gettime, id, time);
  if (result == 0 && off && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) time->tv_sec += *off;
  return (int)result;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}
