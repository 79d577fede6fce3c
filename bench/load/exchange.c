/*
 * Messages that are asked and answered, one after the other on each connection, as a database or an RPC does:
 *
 *     exchange serve PORT
 *     exchange ask PORT CONNECTIONS ASKED ANSWERED SECONDS
 *
 * A connection begins with the lengths of its messages. A client sends ASKED bytes, waits for ANSWERED bytes, and goes on. Prints one line of
 * JSON: how many exchanges there were, and the time of one in microseconds.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { most_samples = 1 << 20, most_connections = 256 };
static struct sockaddr_in address;

struct lengths {
  uint32_t asked, answered;
};

struct client {
  pthread_t thread;
  struct lengths lengths;
  int64_t end;
  uint32_t *times;
  long taken;
};

static void send_at_once(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* False at the end of the connection. */
static int receive(int fd, char *bytes, size_t length) {
  for (size_t at = 0; at < length;) {
    const ssize_t got = recv(fd, bytes + at, length - at, 0);
    if (got <= 0) return 0;
    at += got;
  }
  return 1;
}

static int send_all(int fd, const char *bytes, size_t length) {
  for (size_t at = 0; at < length;) {
    const ssize_t put = send(fd, bytes + at, length - at, MSG_NOSIGNAL);
    if (put <= 0) return 0;
    at += put;
  }
  return 1;
}

static char *room_for(struct lengths lengths) {
  return calloc(1, lengths.asked > lengths.answered ? lengths.asked : lengths.answered);
}

static void *serve(void *given) {
  const int fd = (int)(intptr_t)given;
  struct lengths lengths;
  send_at_once(fd);
  if (receive(fd, (char *)&lengths, sizeof lengths)) {
    char *bytes = room_for(lengths);
    while (receive(fd, bytes, lengths.asked) && send_all(fd, bytes, lengths.answered)) continue;
    free(bytes);
  }
  close(fd);
  return NULL;
}

static void serve_all(void) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, most_connections)) fail("listen");
  for (;;) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)accept(listener, NULL, NULL))) fail("pthread_create");
    pthread_detach(thread);
  }
}

static void *ask(void *given) {
  struct client *client = given;
  const struct lengths lengths = client->lengths;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
  send_at_once(fd);
  if (!send_all(fd, (const char *)&lengths, sizeof lengths)) fail("send");
  char *bytes = room_for(lengths);
  for (int64_t before = now(); before < client->end && client->taken < most_samples;) {
    if (!send_all(fd, bytes, lengths.asked)) fail("send");
    if (!receive(fd, bytes, lengths.answered)) fail("recv");
    const int64_t after = now();
    client->times[client->taken++] = (after - before) / 1000;
    before = after;
  }
  free(bytes);
  close(fd);
  return NULL;
}

int main(int count, char **given) {
  if (count < 3) return fprintf(stderr, "exchange serve PORT | ask PORT CONNECTIONS ASKED ANSWERED SECONDS\n"), 2;
  address = loopback(atoi(given[2]));
  if (!strcmp(given[1], "serve")) serve_all();
  if (count != 7 || atoi(given[3]) > most_connections) return 2;
  const int connections = atoi(given[3]);
  const double seconds = atof(given[6]);
  const int64_t end = now() + seconds * second;
  static struct client clients[most_connections];
  for (int i = 0; i < connections; i++) {
    clients[i] = (struct client){.lengths = {atoi(given[4]), atoi(given[5])}, .end = end};
    clients[i].times = malloc(most_samples * sizeof(uint32_t));
    if (pthread_create(&clients[i].thread, NULL, ask, &clients[i])) fail("pthread_create");
  }
  long taken = 0;
  uint32_t *times = malloc(sizeof(uint32_t) * most_samples * connections);
  for (int i = 0; i < connections; i++) {
    pthread_join(clients[i].thread, NULL);
    memcpy(times + taken, clients[i].times, clients[i].taken * sizeof(uint32_t));
    taken += clients[i].taken;
  }
  if (taken == 0) return fprintf(stderr, "no exchange\n"), 1;
  qsort(times, taken, sizeof *times, ascending);
  printf("{\"exchanges\":%ld,\"p50Us\":%u,\"p99Us\":%u}\n", taken, quantile(times, taken, 0.5),
         quantile(times, taken, 0.99));
}
