// One tunnel: a session of HTTP/2 over TLS, of a client with a gateway or of a gateway with a client.
//
//     handshake ─▶ secured ─▶ started ─▶ (lingering ─▶) over
//
// After the handshake TypeScript examines the certificate of the other end, and only then the session starts. A gateway lingers after
// its last words, until the client has closed: a connection closed before it has read all would be reset, and the words be lost.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "tunnel/nghttp2.h"
#include "tunnel/secure-socket.h"
#include "tunnel/stream.h"

namespace starlane {

// What TypeScript looks at from its own thread.
struct TunnelCounters {
  std::atomic<uint64_t> received{0};
  std::atomic<uint64_t> sent{0};
};

struct TunnelWindows {
  int32_t stream = 65535;
  int32_t session = 65535;
};

// A GOAWAY.
struct Farewell {
  uint32_t code;  // 0: streams in progress go on
  std::string text;
};

class Tunnels;

struct Tunnel {
  enum class State : uint8_t { Handshake, Secured, Started, Lingering, Over };

  Tunnel(Tunnels& all, int32_t id, bool isServer, Descriptor fd, ssl_st* ssl)
      : all(all), id(id), isServer(isServer), socket(std::move(fd), ssl) {}
  ~Tunnel() {
    if (session != nullptr) nghttp2_session_del(session);
  }

  Tunnels& all;
  const int32_t id;
  const bool isServer;
  SecureSocket socket;
  nghttp2_session* session = nullptr;
  State state = State::Handshake;
  bool settled = false;   // the other end's settings have come
  bool readable = true;   // epoll has reported it, and no read has found nothing since
  bool blocked = false;   // the socket takes no more now
  bool dirty = false;     // in `dirty_`: HTTP/2 may have something to send
  bool listed = false;    // in `unfinished_`: has used its turn
  bool lingers = false;   // after its GOAWAY
  std::vector<int32_t> resting;  // HTTP/2's ids of streams that have used their turn, and have more to send
  TunnelWindows windows;
  uint32_t streams = 0;   // of a server: how many it takes
  std::unique_ptr<Farewell> farewell;  // for when it has started
  std::string why;        // it is over
  std::shared_ptr<TunnelCounters> counters = std::make_shared<TunnelCounters>();
  double pingedAt = 0;
  // Frames on their way into the socket.
  std::unique_ptr<uint8_t[]> out;
  size_t outAt = 0;
  size_t outEnd = 0;
};

}  // namespace starlane
