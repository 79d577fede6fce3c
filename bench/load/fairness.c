/*
 * An echo beside bulk transfers, through one proxy:
 *
 *     fairness serve PORT
 *     fairness load PORT FLOWS SECONDS
 *
 * The first byte of a connection says what the server does: `e` sends everything back, `d` sends without end, `u` discards.
 * The load has FLOWS bulk connections, downloads and uploads in turn, and one connection on which a message of 64 bytes goes
 * there and back, again and again. The first half second is not counted. Prints one line of JSON: times of a round trip in
 * microseconds, and the throughput of the bulk connections.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { message = 64, piece = 256 * 1024, most_samples = 1 << 22 };
static const int64_t warm_up = 500000000;
static atomic_long moved;
static struct sockaddr_in address;

static void *send_without_end(int fd) {
  char *bytes = calloc(1, piece);
  while (send(fd, bytes, piece, MSG_NOSIGNAL) > 0) continue;
  free(bytes);
  return NULL;
}

static void *receive_all(int fd) {
  char *bytes = malloc(piece);
  for (ssize_t got; (got = recv(fd, bytes, piece, 0)) > 0;) moved += got;
  free(bytes);
  return NULL;
}

static void *serve(void *given) {
  const int fd = (int)(intptr_t)given;
  char bytes[4096];
  ssize_t got = recv(fd, bytes, 1, 0);
  if (got == 1 && bytes[0] == 'd') send_without_end(fd);
  else if (got == 1 && bytes[0] == 'u') receive_all(fd);
  else if (got == 1) {
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0 && send(fd, bytes, got, MSG_NOSIGNAL) == got) continue;
  }
  close(fd);
  return NULL;
}

static void run_thread(void *(*body)(void *), intptr_t given) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, (void *)given)) fail("pthread_create");
  pthread_detach(thread);
}

static int listening(void) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 64)) fail("listen");
  return fd;
}

static int connected(char kind) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (send(fd, &kind, 1, MSG_NOSIGNAL) != 1) fail("send");
  return fd;
}

static void *download(void *fd) { return receive_all((int)(intptr_t)fd); }

static void *upload(void *given) {
  const int fd = (int)(intptr_t)given;
  char *bytes = calloc(1, piece);
  for (ssize_t put; (put = send(fd, bytes, piece, MSG_NOSIGNAL)) > 0;) moved += put;
  return NULL;
}

int main(int count, char **given) {
  if (count < 3) return fprintf(stderr, "fairness serve PORT | load PORT FLOWS SECONDS\n"), 2;
  address = loopback(atoi(given[2]));
  if (!strcmp(given[1], "serve")) {
    for (const int fd = listening();;) run_thread(serve, accept(fd, NULL, NULL));
  }
  if (count != 5) return 2;
  const int flows = atoi(given[3]);
  const double seconds = atof(given[4]);
  for (int i = 0; i < flows; i++) {
    if (i % 2) run_thread(upload, connected('u'));
    else run_thread(download, connected('d'));
  }
  const int echo = connected('e');
  uint32_t *times = malloc(most_samples * sizeof *times);
  long taken = 0, moved_before = 0;
  char bytes[message] = {0};
  const int64_t begin = now() + warm_up, end = begin + seconds * second;
  for (int64_t before = now(); before < end && taken < most_samples;) {
    if (send(echo, bytes, message, MSG_NOSIGNAL) != message) fail("send");
    for (ssize_t got = 0, more; got < message; got += more) {
      more = recv(echo, bytes, message - got, 0);
      if (more <= 0) fail("recv");
    }
    const int64_t after = now();
    if (before < begin) moved_before = moved;
    else times[taken++] = (after - before) / 1000;
    before = after;
  }
  const double gbits = (moved - moved_before) * 8 / seconds / 1e9;
  if (taken == 0) return fprintf(stderr, "no round trip\n"), 1;
  qsort(times, taken, sizeof *times, ascending);
  printf("{\"echoes\":%ld,\"p50Us\":%u,\"p99Us\":%u,\"gbits\":%.2f}\n", taken, quantile(times, taken, 0.5),
         quantile(times, taken, 0.99), gbits);
}
