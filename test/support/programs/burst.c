/*
 * Datagrams in bursts, which Node cannot send or read:
 *
 *   burst serve HOST                                 sends back what it gets, whole bursts at a time; prints its port
 *   burst ask HOST PORT ROUNDS COUNT SIZE LAST       sends ROUNDS times COUNT datagrams of SIZE bytes, the last one of LAST, and
 *                                                    waits up to 3 s for the answers to each; prints how many were answered and
 *                                                    how many answers were not what was sent
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { most = 64, longest = 9000 };
static uint8_t bytes[most][longest];
static struct iovec pieces[most];
static struct sockaddr_in peers[most];
static struct mmsghdr messages[most];

/* The datagram of a number is known by its length and its bytes. */
static void fill(uint8_t *into, uint32_t number, int size) {
  for (int i = 0; i < size; i++) into[i] = (uint8_t)(number * 31 + (uint32_t)i * 7);
  if (size >= 4) memcpy(into, &number, 4);
}

static void prepare(int i, size_t size, int with_peer) {
  pieces[i] = (struct iovec){bytes[i], size};
  messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
  if (with_peer) messages[i].msg_hdr.msg_name = &peers[i], messages[i].msg_hdr.msg_namelen = sizeof peers[i];
}

static int serve(int fd) {
  struct sockaddr_in own;
  socklen_t length = sizeof own;
  getsockname(fd, (struct sockaddr *)&own, &length);
  printf("%d\n", ntohs(own.sin_port));
  fflush(stdout);
  for (;;) {
    struct pollfd ready = {fd, POLLIN, 0};
    poll(&ready, 1, -1);
    usleep(2000); /* the rest of the burst arrives */
    for (int i = 0; i < most; i++) prepare(i, longest, 1);
    const int count = recvmmsg(fd, messages, most, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
      const size_t size = messages[i].msg_len;
      const socklen_t peer = messages[i].msg_hdr.msg_namelen;
      prepare(i, size, 1);
      messages[i].msg_hdr.msg_namelen = peer;
    }
    for (int sent = 0; sent < count;) {
      const int put = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
      sent += put > 0 ? put : 1;
    }
  }
}

static int ask(int fd, int rounds, int count, int size, int last) {
  int answered = 0, wrong = 0;
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < count; i++) {
      prepare(i, (size_t)(i == count - 1 ? last : size), 0);
      fill(bytes[i], (uint32_t)(round * count + i), (int)pieces[i].iov_len);
    }
    for (int sent = 0; sent < count;) {
      const int put = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
      sent += put > 0 ? put : 1;
    }
    for (int heard = 0; heard < count; heard++) {
      struct pollfd ready = {fd, POLLIN, 0};
      uint8_t got[longest], expected[longest];
      if (poll(&ready, 1, 3000) <= 0) break;
      const ssize_t length = recv(fd, got, sizeof got, 0);
      if (length < 0) break;
      uint32_t number = (uint32_t)(round * count + count - 1);
      if (length >= 4) memcpy(&number, got, 4);
      fill(expected, number, (int)length);
      const int whole = length == ((int)number % count == count - 1 ? last : size);
      if (whole && memcmp(got, expected, (size_t)length) == 0) answered++;
      else wrong++;
    }
  }
  printf("{\"sent\":%d,\"answered\":%d,\"wrong\":%d}\n", rounds * count, answered, wrong);
  return 0;
}

int main(int count, char **given) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const int room = 4 << 20;
  struct sockaddr_in address = {.sin_family = AF_INET};
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (count == 3 && !strcmp(given[1], "serve") && inet_pton(AF_INET, given[2], &address.sin_addr) == 1) {
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return serve(fd);
  } else if (count == 8 && !strcmp(given[1], "ask") && inet_pton(AF_INET, given[2], &address.sin_addr) == 1) {
    address.sin_port = htons((uint16_t)atoi(given[3]));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
      return ask(fd, atoi(given[4]), atoi(given[5]), atoi(given[6]), atoi(given[7]));
  }
  perror("burst");
  return 1;
}
