/*
 * Load generator and echo server for UDP round trips:
 *
 *     datagrams echo PORT
 *     datagrams ask PORT CLIENTS WINDOW SIZE SECONDS
 *
 * Each client keeps WINDOW datagrams of SIZE bytes in flight from a socket of its own and sends one for each that comes
 * back, in as few system calls as possible. A client that receives nothing for 100 ms fills its window again; datagrams that
 * were in flight then, and those not back 100 ms after the end, count as lost. Prints one line of JSON, with what the least and the
 * most served client got.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common.h"

enum { batch = 64, room = 2048, most_clients = 1024 };

static struct mmsghdr messages[batch];
static struct iovec vectors[batch];
static struct sockaddr_in senders[batch];
static char memory[batch][room];

static int open_socket(void) {
  const int wide = 8 << 20, opened = socket(AF_INET, SOCK_DGRAM, 0);
  if (opened < 0) fail("socket");
  /* SO_RCVBUFFORCE needs root; otherwise net.core.rmem_max limits the buffer. */
  if (setsockopt(opened, SOL_SOCKET, SO_RCVBUFFORCE, &wide, sizeof wide))
    setsockopt(opened, SOL_SOCKET, SO_RCVBUF, &wide, sizeof wide);
  return opened;
}

static void prepare(size_t size, int with_senders) {
  for (int i = 0; i < batch; i++) {
    vectors[i] = (struct iovec){memory[i], size};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    if (with_senders) messages[i].msg_hdr.msg_name = &senders[i];
    if (with_senders) messages[i].msg_hdr.msg_namelen = sizeof senders[i];
  }
}

static void echo(int port) {
  struct sockaddr_in address = loopback(port);
  const int opened = open_socket();
  if (bind(opened, (struct sockaddr *)&address, sizeof address)) fail("bind");
  for (;;) {
    prepare(room, 1);
    const int got = recvmmsg(opened, messages, batch, MSG_WAITFORONE, NULL);
    for (int i = 0; i < got; i++) vectors[i].iov_len = messages[i].msg_len;
    if (got > 0) sendmmsg(opened, messages, got, 0);
  }
}

struct client {
  int socket;
  int in_flight;
  long received, received_before;
};

static void send_some(struct client *client, int count) {
  client->in_flight += count;
  while (count > 0) {
    const int sent = sendmmsg(client->socket, messages, count < batch ? count : batch, 0);
    if (sent <= 0) return; /* counted as lost by the next check */
    count -= sent;
  }
}

static int receive(struct client *client) {
  const int got = recvmmsg(client->socket, messages, batch, MSG_DONTWAIT, NULL);
  if (got <= 0) return 0;
  client->received += got;
  client->in_flight -= got < client->in_flight ? got : client->in_flight;
  return got;
}

static int ask(int port, int client_count, int window, size_t size, double seconds) {
  static struct client clients[most_clients];
  struct sockaddr_in address = loopback(port);
  const int events = epoll_create1(0);
  prepare(size, 0);
  for (int i = 0; i < client_count; i++) {
    struct client *client = &clients[i];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    client->socket = open_socket();
    if (connect(client->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    epoll_ctl(events, EPOLL_CTL_ADD, client->socket, &event);
    send_some(client, window);
  }
  long lost = 0, received = 0;
  const int64_t begun = now(), end = begun + (int64_t)(seconds * second), patience = second / 10;
  int64_t look = begun + patience, at = begun;
  for (; at < end; at = now()) {
    struct epoll_event ready[64];
    const int ready_count = epoll_wait(events, ready, 64, 10);
    for (int i = 0; i < ready_count; i++) send_some(ready[i].data.ptr, receive(ready[i].data.ptr));
    if (at < look) continue;
    look = at + patience;
    for (struct client *client = clients; client < clients + client_count; client++) {
      if (client->received == client->received_before) {
        lost += client->in_flight;
        client->in_flight = 0;
        send_some(client, window);
      }
      client->received_before = client->received;
    }
  }
  long least = clients[0].received, most = 0;
  for (int i = 0; i < client_count; i++) {
    const long each = clients[i].received;
    received += each;
    if (each < least) least = each;
    if (each > most) most = each;
  }
  while (now() < at + patience) {
    struct epoll_event ready[64];
    const int ready_count = epoll_wait(events, ready, 64, 10);
    for (int i = 0; i < ready_count; i++) receive(ready[i].data.ptr);
  }
  for (int i = 0; i < client_count; i++) lost += clients[i].in_flight;
  printf("{\"roundTrips\":%ld,\"least\":%ld,\"most\":%ld,\"lost\":%ld,\"seconds\":%.3f}\n", received, least, most, lost, (double)(at - begun) / second);
  return 0;
}

int main(int count, char **given) {
  if (count == 3 && !strcmp(given[1], "echo")) echo(atoi(given[2]));
  if (count == 7 && !strcmp(given[1], "ask") && atoi(given[3]) <= most_clients && atoi(given[5]) <= room)
    return ask(atoi(given[2]), atoi(given[3]), atoi(given[4]), atoi(given[5]), atof(given[6]));
  fprintf(stderr, "datagrams echo PORT | datagrams ask PORT CLIENTS WINDOW SIZE SECONDS\n");
  return 2;
}
