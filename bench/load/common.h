/* What the load generators share: addresses, the time, failures, and the order of samples. */
#pragma once
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static const int64_t second = 1000000000;

/* Nanoseconds. */
static inline int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second + time.tv_nsec;
}

static inline void fail(const char *what) {
  perror(what);
  exit(1);
}

static inline int ascending(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Of sorted samples; 0 without any. `share`: 0.5 for the median. */
static inline uint32_t quantile(const uint32_t *sorted, long count, double share) {
  return count > 0 ? sorted[(long)(share * (count - 1) + 0.5)] : 0;
}
