/* A static client: resolves argv[1], connects to port argv[2], and prints the peer's address and what comes. argv[3]: udp, or half to end its side first. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *mode = argc > 3 ? argv[3] : "";
  int udp = strcmp(mode, "udp") == 0;
  struct addrinfo hints, *found;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = AF_INET;
  hints.ai_socktype = udp ? SOCK_DGRAM : SOCK_STREAM;
  int failed = getaddrinfo(argv[1], argv[2], &hints, &found);
  if (failed) return fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(failed)), 1;
  int s = socket(found->ai_family, found->ai_socktype, 0);
  if (connect(s, found->ai_addr, found->ai_addrlen)) return perror(argv[1]), 1;
  char text[512], address[64];
  inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, address, sizeof address);
  if (write(s, "hello\n", 6) != 6) return perror("write"), 1;
  if (strcmp(mode, "half") == 0) shutdown(s, SHUT_WR);
  printf("%s ", address);
  for (;;) {
    ssize_t got = read(s, text, sizeof text);
    if (got < 0) return perror("read"), 1;
    fwrite(text, 1, (size_t)got, stdout);
    if (got == 0 || udp) return 0;
  }
}
