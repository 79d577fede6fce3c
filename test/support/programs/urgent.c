/*
 * A peer that sends urgent bytes (MSG_OOB), which Node cannot:
 *
 *     urgent connect|listen ADDRESS PORT BYTES EVERY at-once|after-fin|hang-up
 *
 * Sends BYTES bytes of at most 0x7f, and after every EVERY of them an urgent one, 0xff. Then it ends its side and reads to the
 * end, or with hang-up closes its socket without reading. With after-fin it begins when its peer has ended. Prints its port
 * and a newline when it listens, then what it receives.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int peer;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void *read_all(void *unused) {
  static uint8_t buffer[65536];
  ssize_t length;
  while ((length = recv(peer, buffer, sizeof buffer, 0)) > 0) fwrite(buffer, 1, length, stdout);
  return unused;
}

static void send_all(const uint8_t *bytes, long length, int flags) {
  while (length > 0) {
    const ssize_t put = send(peer, bytes, length, flags | MSG_NOSIGNAL);
    if (put < 0) fail("send");
    bytes += put;
    length -= put;
  }
}

int main(int count, char **given) {
  if (count != 7) return fprintf(stderr, "urgent connect|listen ADDRESS PORT BYTES EVERY at-once|after-fin|hang-up\n"), 2;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(given[3]))};
  inet_pton(AF_INET, given[2], &address.sin_addr);
  const long bytes = atol(given[4]), every = atol(given[5]);
  const int on = 1;

  peer = socket(AF_INET, SOCK_STREAM, 0);
  /* Before the first byte can come; an accepted socket inherits it. */
  setsockopt(peer, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
  if (!strcmp(given[1], "listen")) {
    socklen_t length = sizeof address;
    const int listening = peer;
    if (bind(listening, (struct sockaddr *)&address, length) || listen(listening, 16)) fail("listen");
    getsockname(listening, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    peer = accept(listening, NULL, NULL);
    if (peer < 0) fail("accept");
  } else if (connect(peer, (struct sockaddr *)&address, sizeof address)) {
    fail("connect");
  }
  setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

  pthread_t reader;
  if (!strcmp(given[6], "after-fin")) read_all(NULL);
  if (!strcmp(given[6], "at-once")) pthread_create(&reader, NULL, read_all, NULL);

  uint8_t *data = malloc(bytes);
  uint32_t state = 1;
  for (long i = 0; i < bytes; i++) {
    state = state * 1664525u + 1013904223u;
    data[i] = state >> 25;
  }
  for (long at = 0; at < bytes; at += every) {
    const uint8_t urgent = 0xff;
    send_all(data + at, bytes - at < every ? bytes - at : every, 0);
    send_all(&urgent, 1, MSG_OOB);
  }
  if (!strcmp(given[6], "at-once")) {
    shutdown(peer, SHUT_WR);
    pthread_join(reader, NULL);
  }
  close(peer);
  return fflush(stdout);
}
