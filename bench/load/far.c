/*
 * A long path between two network namespaces, for kernels without netem: passes the packets of a TUN device here to one in the
 * namespace of a process, and back, each after a delay:
 *
 *     far PID MILLISECONDS HERE THERE
 *
 * HERE and THERE are the IPv4 addresses of the two ends. Both devices are named far. Prints a line when both are up, and runs until
 * it is stopped. Packets are lost only where more than 32,768 wait in one direction.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { room = 32768, longest = 2048 };

struct packet {
  int64_t due;
  int length;
  char bytes[longest];
};

struct way {
  int from, to;
  struct packet *packets;
  unsigned first, count;
};

static void fail(const char *what) {
  fprintf(stderr, "far: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

/* In the namespace that this thread is in. */
static int device(const char *own, const char *peer) {
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (tun < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "far");
  if (ioctl(tun, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  char command[256];
  snprintf(command, sizeof command,
           "ip addr add %s peer %s dev far && ip link set far mtu 1500 txqueuelen 20000 up", own, peer);
  if (system(command) != 0) fail(command);
  return tun;
}

static void read_all(struct way *way, int64_t delay) {
  while (way->count < room) {
    struct packet *packet = &way->packets[(way->first + way->count) % room];
    packet->length = (int)read(way->from, packet->bytes, longest);
    if (packet->length <= 0) return;
    packet->due = now() + delay;
    way->count++;
  }
  char lost[longest];
  while (read(way->from, lost, longest) > 0) {
  }
}

static void write_due(struct way *way) {
  int64_t at = now();
  for (; way->count > 0 && way->packets[way->first].due <= at; way->count--) {
    struct packet *packet = &way->packets[way->first];
    if (write(way->to, packet->bytes, (size_t)packet->length) < 0 && errno == EAGAIN) return;
    way->first = (way->first + 1) % room;
  }
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: far PID MILLISECONDS HERE THERE\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int64_t delay = atoi(argv[2]) * INT64_C(1000000);
  int here = device(argv[3], argv[4]);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", atoi(argv[1]));
  int namespace = open(path, O_RDONLY);
  if (namespace < 0) fail(path);
  if (setns(namespace, CLONE_NEWNET) < 0) fail("setns");
  int there = device(argv[4], argv[3]);
  struct way ways[2] = {{here, there, calloc(room, sizeof(struct packet)), 0, 0},
                        {there, here, calloc(room, sizeof(struct packet)), 0, 0}};
  if (!ways[0].packets || !ways[1].packets) fail("memory");
  puts("up");
  fflush(stdout);
  for (;;) {
    int64_t next = now() + 1000000000;
    for (int i = 0; i < 2; i++) {
      if (ways[i].count > 0 && ways[i].packets[ways[i].first].due < next) next = ways[i].packets[ways[i].first].due;
    }
    int64_t wait = next - now();
    struct timespec limit = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
    struct pollfd ends[2] = {{here, POLLIN, 0}, {there, POLLIN, 0}};
    if (ppoll(ends, 2, &limit, NULL) < 0 && errno != EINTR) fail("poll");
    for (int i = 0; i < 2; i++) {
      read_all(&ways[i], delay);
      write_due(&ways[i]);
    }
  }
}
