/* A client that connects, or sends requests, to several targets in turn, and a server for it; prints the median of nanoseconds for each.
 *
 *     connects serve IP PORT
 *     connects tcp|short|keepalive|udp MILLISECONDS IP PORT [IP PORT ...]
 *
 * tcp: the call connect() of TCP. short: connect, a request and its answer, close. keepalive: a request on an open connection. udp:
 * connect() of UDP, which sends nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { kTargets = 8, kMost = 1 << 20 };

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static struct sockaddr_in at(const char *ip, const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) fail(ip);
  return address;
}

static int serve(struct sockaddr_in address) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, set = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) fail("listen");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[64];
  epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
  puts("ready");
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(set, ready, 64, -1);
    for (int i = 0; i < count; i++) {
      int fd = ready[i].data.fd;
      if (fd == listener) {
        int client = accept4(listener, 0, 0, SOCK_NONBLOCK);
        if (client < 0) continue;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event.data.fd = client;
        epoll_ctl(set, EPOLL_CTL_ADD, client, &event);
        continue;
      }
      char buffer[256];
      ssize_t got = read(fd, buffer, sizeof buffer);
      if (got <= 0 || write(fd, buffer, got) < 0) close(fd);
    }
  }
}

/* Ends with a reset, so that no port waits (TIME_WAIT). */
static void drop(int fd) {
  struct linger linger = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(fd);
}

static int reach(int type, const struct sockaddr_in *address, double *took) {
  int fd = socket(AF_INET, type, 0), one = 1;
  double since = now();
  if (fd < 0 || connect(fd, (const void *)address, sizeof *address)) fail("connect");
  *took = now() - since;
  if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void ask(int fd) {
  char buffer[100] = {0};
  if (write(fd, buffer, sizeof buffer) != sizeof buffer) fail("write");
  for (size_t got = 0; got < sizeof buffer;) {
    ssize_t more = read(fd, buffer, sizeof buffer);
    if (more <= 0) fail("read");
    got += more;
  }
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

int main(int count, char **arguments) {
  if (count < 4) return 2;
  const char *shape = arguments[1];
  if (!strcmp(shape, "serve")) return serve(at(arguments[2], arguments[3]));
  int targets = (count - 3) / 2, keepalive = !strcmp(shape, "keepalive"), udp = !strcmp(shape, "udp");
  int whole = !strcmp(shape, "short");
  if (targets < 1 || targets > kTargets) return 2;
  struct sockaddr_in address[kTargets];
  int kept[kTargets];
  float *taken[kTargets];
  double took;
  for (int i = 0; i < targets; i++) {
    address[i] = at(arguments[3 + 2 * i], arguments[4 + 2 * i]);
    kept[i] = keepalive ? reach(SOCK_STREAM, &address[i], &took) : -1;
    taken[i] = malloc(kMost * sizeof(float));
  }
  double end = now() + atof(arguments[2]) * 1e6;
  long rounds = 0;
  for (; rounds < kMost && now() < end; rounds++) {
    for (int i = 0; i < targets; i++) {
      /* Another one is first each time. */
      int target = (i + rounds) % targets;
      double since = now();
      if (keepalive) {
        ask(kept[target]);
        took = now() - since;
      } else {
        int fd = reach(udp ? SOCK_DGRAM : SOCK_STREAM, &address[target], &took);
        if (whole) ask(fd);
        drop(fd);
        if (whole) took = now() - since;
      }
      taken[target][rounds] = took;
    }
  }
  for (int i = 0; i < targets; i++) {
    qsort(taken[i], rounds, sizeof(float), compare);
    printf("%.0f ", taken[i][rounds / 2]);
  }
  printf("%ld\n", rounds);
  return 0;
}
