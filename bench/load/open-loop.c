/*
 * Load generator for HTTP requests at a fixed rate, independent of the answers:
 *
 *     open-loop PORT PATH CONNECTIONS RATE SECONDS
 *
 * Request number i is due at start + i / RATE. It goes out on any connection that is free; while none is, it waits, and its
 * latency counts from when it was due and not from when it could be sent. A stall of the server therefore counts
 * against every request it delays, which a closed loop misses ("coordinated omission"). The first half second is not
 * counted. Prints one line of JSON; latencies are in microseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common.h"

enum { answer_room = 8192, most_connections = 4096 };
static const int64_t warm_up = 500000000, grace = 2000000000;

struct connection {
  int socket;
  int64_t due;
  size_t filled;
  char answer[answer_room];
};

static struct connection *connections;
static struct connection *idle[most_connections];
static int idle_count, open_count;
static char request[512];
static size_t request_length;
static uint32_t *latencies;
static long answered, failed;
static int64_t start;

static void open_connection(struct connection *connection, int port) {
  const struct sockaddr_in address = loopback(port);
  const int on = 1;
  connection->socket = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connection->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
  setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(connection->socket, F_SETFL, O_NONBLOCK);
  idle[idle_count++] = connection;
  open_count++;
}

static void drop(struct connection *connection) {
  close(connection->socket);
  open_count--;
  failed++;
}

static void ask(struct connection *connection, int64_t due) {
  connection->due = due;
  connection->filled = 0;
  if (send(connection->socket, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) drop(connection);
}

/* The length of the answer once its head is complete, 0 before. */
static size_t answer_length(const struct connection *connection) {
  const char *end = memmem(connection->answer, connection->filled, "\r\n\r\n", 4);
  if (!end) return 0;
  const size_t head = end + 4 - connection->answer;
  const char *length = memmem(connection->answer, head, "Content-Length: ", 16);
  return head + (length ? strtoul(length + 16, NULL, 10) : 0);
}

static void read_answer(struct connection *connection) {
  const ssize_t got =
      recv(connection->socket, connection->answer + connection->filled, answer_room - 1 - connection->filled, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return drop(connection);
  connection->filled += got;
  connection->answer[connection->filled] = 0;
  const size_t length = answer_length(connection);
  if (length >= answer_room) return drop(connection); /* larger than the buffer */
  if (length == 0 || connection->filled < length) return;
  if (connection->due >= start + warm_up) {
    if (memcmp(connection->answer, "HTTP/1.1 200", 12)) failed++;
    else latencies[answered++] = (now() - connection->due) / 1000;
  }
  idle[idle_count++] = connection;
}

int main(int count, char **given) {
  if (count != 6) return fprintf(stderr, "open-loop PORT PATH CONNECTIONS RATE SECONDS\n"), 2;
  const int port = atoi(given[1]), connection_count = atoi(given[3]);
  const double rate = atof(given[4]), seconds = atof(given[5]);
  if (connection_count < 1 || connection_count > most_connections || rate <= 0) return fprintf(stderr, "bad numbers\n"), 2;
  request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", given[2]);

  const long wanted = rate * (seconds + (double)warm_up / second);
  latencies = malloc((wanted + 1) * sizeof *latencies);
  connections = calloc(connection_count, sizeof *connections);
  const int events = epoll_create1(0);
  for (int i = 0; i < connection_count; i++) {
    open_connection(&connections[i], port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
    epoll_ctl(events, EPOLL_CTL_ADD, connections[i].socket, &event);
  }
  prctl(PR_SET_TIMERSLACK, 1); /* nanosecond: wake when a request is due, not up to 50 us later */

  start = now();
  const int64_t end = start + wanted / rate * second + grace;
  for (long next = 0; open_count > 0 && now() < end;) {
    int64_t due = start + next / rate * second;
    for (int64_t at = now(); next < wanted && idle_count > 0 && due <= at; due = start + ++next / rate * second) {
      ask(idle[--idle_count], due);
    }
    if (next == wanted && idle_count == open_count) break;
    int64_t left = next < wanted && idle_count > 0 ? due - now() : second / 10;
    if (left < 0) left = 0;
    const struct timespec timeout = {left / second, left % second};
    struct epoll_event ready[64];
    const int ready_count = epoll_pwait2(events, ready, 64, &timeout, NULL);
    for (int i = 0; i < ready_count; i++) read_answer(ready[i].data.ptr);
  }

  failed += open_count - idle_count; /* never answered */
  qsort(latencies, answered, sizeof *latencies, ascending);
  printf("{\"requests\":%ld,\"failed\":%ld,\"p50Us\":%u,\"p99Us\":%u,\"p999Us\":%u}\n", answered, failed, quantile(latencies, answered, 0.5),
         quantile(latencies, answered, 0.99), quantile(latencies, answered, 0.999));
}
