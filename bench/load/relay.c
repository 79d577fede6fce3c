/*
 * A relay that does nothing else: no names, choice, limits, timeouts, health or metrics. It is the floor for a proxy that copies bytes through
 * user space with these system calls.
 *
 *     relay tcp PORT BACKEND...
 *     relay udp PORT BACKEND...
 *
 * Listens on 127.0.0.1 and takes its backends, ports of 127.0.0.1, in turn. For small messages: a TCP socket that takes no more stops everything
 * until it does, and a datagram is at most 2048 bytes. A UDP session never ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { most_events = 256, most_sockets = 1 << 16, backlog = 4096 };

static int listener, events;
static struct sockaddr_in backends[64];
static int backend_count;

static void watch(int fd, uint32_t what, uint32_t data) {
  struct epoll_event event = {.events = what, .data.u32 = data};
  if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static int connected(int type) {
  static int next;
  const struct sockaddr_in *backend = &backends[next++ % backend_count];
  const int fd = socket(AF_INET, type, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr *)backend, sizeof *backend)) fail("connect");
  return fd;
}

/* TCP: by descriptor, the other side; 0 where there is none. */
static int other[most_sockets];
static char ended[most_sockets];

static void accept_all(void) {
  const int on = 1;
  for (int client; (client = accept(listener, NULL, NULL)) >= 0;) {
    const int backend = connected(SOCK_STREAM);
    if (client >= most_sockets || backend >= most_sockets) fail("descriptors");
    setsockopt(backend, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    other[client] = backend;
    other[backend] = client;
    ended[client] = ended[backend] = 0;
    watch(client, EPOLLIN | EPOLLRDHUP | EPOLLET, client);
    watch(backend, EPOLLIN | EPOLLRDHUP | EPOLLET, backend);
  }
}

static void close_both(int fd) {
  const int far = other[fd];
  other[fd] = other[far] = 0;
  close(fd);
  close(far);
}

/* False where the socket takes nothing any more. */
static int send_all(int fd, const char *bytes, ssize_t length) {
  while (length > 0) {
    const ssize_t put = send(fd, bytes, length, MSG_NOSIGNAL);
    if (put < 0) return 0;
    bytes += put;
    length -= put;
  }
  return 1;
}

static void carry(int fd, uint32_t what) {
  static char bytes[65536];
  if (!other[fd] || ended[fd]) return;
  for (;;) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0 || (got > 0 && !send_all(other[fd], bytes, got))) return close_both(fd);
    if (got == 0) break;
    if (got < (ssize_t)sizeof bytes && !(what & EPOLLRDHUP)) return;
  }
  ended[fd] = 1;
  if (ended[other[fd]]) return close_both(fd);
  shutdown(other[fd], SHUT_WR);
}

static void tcp(void) {
  const int on = 1;
  /* Accepted sockets inherit it. */
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (listen(listener, backlog)) fail("listen");
  watch(listener, EPOLLIN, listener);
  for (;;) {
    struct epoll_event ready[most_events];
    const int count = epoll_wait(events, ready, most_events, -1);
    for (int i = 0; i < count; i++) {
      const int fd = (int)ready[i].data.u32;
      if (fd == listener) accept_all();
      else carry(fd, ready[i].events);
    }
  }
}

/* UDP: sessions by the port of their client. */
enum { batch = 32, room = 2048, rounds = 4, wide = 8 << 20, ones = 4, ones_until_more = 11 };

static struct session {
  int link, ones;
  struct sockaddr_in client;
} sessions[1 << 16];

static struct mmsghdr messages[batch];
static struct iovec pieces[batch];
static struct sockaddr_in senders[batch];
static char memory[batch][room + 64];

static int receive(int fd, struct sockaddr_in *from) {
  for (int i = 0; i < batch; i++) {
    pieces[i] = (struct iovec){memory[i], room};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    if (from) messages[i].msg_hdr.msg_name = &from[i], messages[i].msg_hdr.msg_namelen = sizeof *from;
  }
  const int count = recvmmsg(fd, messages, batch, MSG_DONTWAIT, NULL);
  for (int i = 0; i < count; i++) pieces[i].iov_len = messages[i].msg_len;
  return count;
}

/* Datagrams of one length as one message that the kernel cuts (udp(7), UDP_SEGMENT). */
static void send_run(int fd, struct sockaddr_in *to, int first, int count) {
  const socklen_t length = to ? sizeof *to : 0;
  if (count == 1) {
    sendto(fd, pieces[first].iov_base, pieces[first].iov_len, MSG_DONTWAIT, (struct sockaddr *)to, length);
    return;
  }
  char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
  struct msghdr message = {.msg_name = to, .msg_namelen = length, .msg_iov = &pieces[first], .msg_iovlen = count};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  const uint16_t each = pieces[first].iov_len;
  memcpy(CMSG_DATA(header), &each, sizeof each);
  sendmsg(fd, &message, MSG_DONTWAIT);
}

static void to_backends(void) {
  for (int round = 0; round < rounds; round++) {
    const int count = receive(listener, senders);
    for (int i = 0, end; i < count; i = end) {
      const uint16_t port = senders[i].sin_port;
      for (end = i + 1; end < count && senders[end].sin_port == port && pieces[end].iov_len == pieces[i].iov_len;) end++;
      struct session *session = &sessions[port];
      if (!session->link) {
        session->link = connected(SOCK_DGRAM);
        session->client = senders[i];
        setsockopt(session->link, SOL_SOCKET, SO_RCVBUF, &(int){wide}, sizeof(int));
        watch(session->link, EPOLLIN, port);
      }
      send_run(session->link, NULL, i, end - i);
    }
    if (count < batch) return;
  }
}

/* Where only single datagrams came lately, a call that takes one is cheaper. */
static void to_client(struct session *session) {
  if (session->ones >= ones) {
    const ssize_t got = recv(session->link, memory[0], room, MSG_DONTWAIT);
    if (got < 0) return;
    pieces[0] = (struct iovec){memory[0], got};
    send_run(listener, &session->client, 0, 1);
    session->ones = session->ones == ones_until_more ? ones - 1 : session->ones + 1;
    return;
  }
  for (int round = 0; round < rounds; round++) {
    const int count = receive(session->link, NULL);
    session->ones = count == 1 ? session->ones + 1 : 0;
    for (int i = 0, end; i < count; i = end) {
      for (end = i + 1; end < count && pieces[end].iov_len == pieces[i].iov_len;) end++;
      send_run(listener, &session->client, i, end - i);
    }
    if (count < batch) return;
  }
}

static void udp(void) {
  setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &(int){wide}, sizeof(int));
  watch(listener, EPOLLIN, 0);
  for (;;) {
    struct epoll_event ready[most_events];
    const int count = epoll_wait(events, ready, most_events, -1);
    for (int i = 0; i < count; i++) {
      if (ready[i].data.u32 == 0) to_backends();
      else to_client(&sessions[ready[i].data.u32]);
    }
  }
}

int main(int count, char **given) {
  const int most = (int)(sizeof backends / sizeof *backends);
  const int is_tcp = count > 1 && !strcmp(given[1], "tcp"), is_udp = count > 1 && !strcmp(given[1], "udp");
  if (count < 4 || count - 3 > most || !(is_tcp || is_udp)) {
    fprintf(stderr, "relay tcp|udp PORT BACKEND...\n");
    return 2;
  }
  for (int i = 3; i < count; i++) backends[backend_count++] = loopback(atoi(given[i]));
  const struct sockaddr_in own = loopback(atoi(given[2]));
  listener = socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
  events = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){is_tcp}, sizeof(int));
  if (bind(listener, (const struct sockaddr *)&own, sizeof own)) fail("bind");
  if (is_tcp) tcp();
  else udp();
}
