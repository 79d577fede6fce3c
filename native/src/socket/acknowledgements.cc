// See acknowledgements.h. A file of its own, since linux/tcp.h, which has the whole of tcp_info, excludes netinet/tcp.h.
#include "socket/acknowledgements.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace starlane {

namespace {

// A reader that pauses keeps its window at zero. Kernels and headers before Linux 5.4 do not tell.
template <typename Info>
auto pauses(const Info& info, socklen_t length, int) -> decltype(info.tcpi_snd_wnd == 0) {
  return length >= offsetof(Info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd && info.tcpi_snd_wnd == 0;
}

template <typename Info>
bool pauses(const Info&, socklen_t, long) {
  return false;
}

}  // namespace

Acknowledgements acknowledgementsOf(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return {};
  Acknowledgements known;
  known.outstanding = info.tcpi_unacked > 0;
  known.unsent = info.tcpi_notsent_bytes > 0;
  known.lastMs = info.tcpi_last_ack_recv;
  if (pauses(info, length, 0)) known.outstanding = false;
  return known;
}

}  // namespace starlane
