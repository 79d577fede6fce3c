// A service manager for one service, as systemd is to it: NOTIFY_SOCKET, a store of descriptors, LISTEN_FDS.
//
//     manager SOCKET PROGRAM ARGUMENT…
//
// Starts the program, and prints a line of JSON for each datagram that it sends and for its end. A line on standard input: "restart"
// stops it (SIGTERM) and starts it again with what is stored; "stop" stops it and ends. Ends with its input.
//
// MAINPID= makes another process the one that is stopped. As systemd does, it waits for the end of its own children alone ("child"):
// any other one is killed at once.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMost = 256 };
static int stored[kMost];
static int count;
static pid_t child;
static int isOwn = 1;

static pid_t parentOf(pid_t pid) {
  char path[32], line[64];
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE* file = fopen(path, "r");
  int parent = 0;
  while (file && fgets(line, sizeof line, file)) if (sscanf(line, "PPid: %d", &parent) == 1) break;
  if (file) fclose(file);
  return parent;
}

static pid_t start(const char* path, char** command) {
  isOwn = 1;
  const pid_t forked = fork();
  if (forked != 0) return forked;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  // They are above 600, so 3 and on are free.
  for (int i = 0; i < count; i++) dup2(stored[i], 3 + i);
  char number[16];
  snprintf(number, sizeof number, "%d", (int)getpid());
  setenv("LISTEN_PID", number, 1);
  snprintf(number, sizeof number, "%d", count);
  setenv("LISTEN_FDS", number, 1);
  setenv("NOTIFY_SOCKET", path, 1);
  execvp(command[0], command);
  _exit(127);
}

static void keep(int descriptor) {
  if (count < kMost) stored[count++] = fcntl(descriptor, F_DUPFD_CLOEXEC, 600);
  close(descriptor);
}

static void hear(int notified) {
  char text[4096];
  char control[CMSG_SPACE(253 * sizeof(int))];
  struct iovec piece = {text, sizeof text - 1};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  const ssize_t size = recvmsg(notified, &message, MSG_CMSG_CLOEXEC);
  if (size < 0) return;
  text[size] = 0;
  int passed = 0;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    passed = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < passed; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
      if (strstr(text, "FDSTORE=1")) keep(descriptor);
      else close(descriptor);
    }
  }
  if (strstr(text, "FDSTOREREMOVE=1")) while (count > 0) close(stored[--count]);
  const char* main = strstr(text, "MAINPID=");
  if (main && atoi(main + 8) != child) {
    child = atoi(main + 8);
    isOwn = parentOf(child) == getpid();
  }
  for (char* at = text; *at; at++) if (*at == '\n') *at = ' ';
  printf("{\"event\":\"notify\",\"text\":\"%s\",\"descriptors\":%d,\"stored\":%d,\"child\":%s}\n", text, passed, count, isOwn ? "true" : "false");
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  const int notified = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (bind(notified, (struct sockaddr*)&address, sizeof address) != 0) return 1;
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  const int ended = signalfd(-1, &ends, SFD_CLOEXEC);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  child = start(argv[1], argv + 2);
  int again = 0, last = 0;
  struct pollfd watched[] = {{notified, POLLIN, 0}, {ended, POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 3, -1) < 0 && errno != EINTR) return 1;
    if (watched[0].revents) hear(notified);
    if (watched[1].revents & POLLIN) {
      struct signalfd_siginfo info;
      if (read(ended, &info, sizeof info) != sizeof info) return 1;
      int status;
      for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != child) {
          printf("{\"event\":\"exited\",\"replaced\":true}\n");
          continue;
        }
        // What it has sent before its end comes first.
        struct pollfd rest = {notified, POLLIN, 0};
        while (poll(&rest, 1, 0) > 0) hear(notified);
        printf("{\"event\":\"exited\",\"code\":%d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
        if (last) return 0;
        if (again) child = start(argv[1], argv + 2);
        again = 0;
      }
    }
    if (watched[2].revents) {
      char line[64];
      const ssize_t size = read(0, line, sizeof line - 1);
      if (size <= 0) {
        kill(child, SIGKILL);
        return 0;
      }
      line[size] = 0;
      again = !strncmp(line, "restart", 7);
      last = !again;
      // It may have handed over and ended.
      if (kill(child, SIGTERM) != 0 && last) return 0;
      if (!isOwn) kill(child, SIGKILL);
    }
  }
}
