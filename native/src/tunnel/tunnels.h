// The tunnels of a pump and their streams. TypeScript decides: which gateway, whether its certificate is accepted, when a tunnel is
// given up. Here are TLS and HTTP/2, by OpenSSL and nghttp2, and the way of the bytes from and to the pump's connections.
//
//     client ─▶ connection ── take ─▶ HTTP/2 ─▶ TLS ─▶ gateway         read from the client when HTTP/2 may send
//            ◀─            ◀─ give ──        ◀─     ◀─                  kept, and not acknowledged, while the client takes nothing
#pragma once

#include <mutex>
#include <unordered_map>
#include <vector>

#include "pump/outbox.h"
#include "socket/descriptor.h"
#include "tunnel/secure-context.h"
#include "tunnel/tunnel.h"

namespace starlane {

class Tunnels {
 public:
  Tunnels(Outbox& outbox, const Descriptor& epoll, StreamOwner& owner);
  ~Tunnels();

  // From any thread. Both come to the pump with its next turn, before the commands that follow.
  void open(int32_t id, bool isServer, Descriptor fd, ssl_st* ssl, TunnelWindows windows);
  // `fields`: names and values, each ended by a zero.
  void request(int32_t tunnel, int32_t token, std::string fields);
  // Answers a request of the other end. `last`: without a body, and nothing more of the request is read.
  void answer(int32_t token, bool last, std::string fields);
  // Sends a GOAWAY. With a code the session ends, and otherwise once its streams have ended.
  void leave(int32_t id, uint32_t code, std::string text);
  // Of an event; once.
  std::string details(int32_t id);
  // False when there is no such tunnel.
  bool count(int32_t id, double& received, double& sent);

  // On the pump's thread.
  bool haveNew() const { return haveNew_.load(); }
  void takeNew();
  // `streams`: how many the other end may have, of a server.
  void start(int32_t id, uint32_t streams);
  // Of a server that lingers: at once.
  void close(int32_t id, uint32_t code);
  void ping(int32_t id);
  void setWindow(int32_t id, int32_t window);
  void reset(int32_t token, uint32_t code);
  void onSocket(uint64_t tag, uint32_t events);
  // Sends what has come together in this turn, and ends what is over.
  void endTurn();
  bool unfinished() const { return !unfinished_.empty() || !dirty_.empty(); }
  void closeAll();

  // A stream whose answer was 200 and that nobody has taken; null when there is none.
  Stream* answered(int32_t token);
  // One that the other end has asked for; null when it has ended.
  Stream* asked(int32_t token);
  // The connection has something to send, or its end.
  void resume(Stream& stream);
  // The connection has taken so much of what was kept.
  void consumed(Stream& stream, size_t bytes);
  // The connection has ended. The stream is gone with this call.
  void leave(Stream& stream, bool reset);

  // Reading gives a record of TLS at most.
  static constexpr size_t kRecord = 16 * 1024;
  static constexpr uint64_t kTag = uint64_t{1} << 62;
  static bool has(uint64_t tag) { return tag >> 62 == 1; }

 private:
  friend struct SessionCallbacks;
  friend struct ServerCallbacks;

  Tunnel* find(int32_t id);
  void ask(int32_t tunnel, int32_t token, const std::string& fields);
  void shake(Tunnel& tunnel);
  void read(Tunnel& tunnel);
  void write(Tunnel& tunnel);
  bool flush(Tunnel& tunnel);
  bool gather(Tunnel& tunnel);
  bool endRest(Tunnel& tunnel);
  void touch(Tunnel& tunnel);
  void list(Tunnel& tunnel);
  void fail(Tunnel& tunnel, const std::string& why);
  void endStreams(Tunnel& tunnel);
  void end(Tunnel& tunnel);
  void erase(Stream& stream);
  int32_t keep(std::string details);

  // native/src/serving
  void respond(int32_t token, bool last, const std::string& fields);
  void sayFarewell(Tunnel& tunnel, const Farewell& farewell);
  void linger(Tunnel& tunnel);
  void drain(Tunnel& tunnel);
  Stream* newRequest(Tunnel& tunnel, int32_t id);
  void complete(Tunnel& tunnel, Stream& stream);

  // What HTTP/2 calls.
  void answer(Stream& stream);
  void arrived(Stream& stream, const uint8_t* bytes, size_t length);
  void ended(Stream& stream);
  void closed(Stream& stream, uint32_t code);
  void frame(Tunnel& tunnel, const nghttp2_frame& frame);

  Outbox& outbox_;
  const Descriptor& epoll_;
  StreamOwner& owner_;
  nghttp2_session_callbacks* callbacks_ = nullptr;
  nghttp2_session_callbacks* serverCallbacks_ = nullptr;
  nghttp2_option* option_ = nullptr;

  struct Opening {
    int32_t id;
    bool isServer;
    Descriptor fd;
    ssl_st* ssl;
    TunnelWindows windows;
  };
  struct Request {
    int32_t tunnel;
    int32_t token;
    std::string fields;
  };
  struct Answer {
    int32_t token;
    bool last;
    std::string fields;
  };
  struct Leaving {
    int32_t id;
    Farewell farewell;
  };
  std::mutex newLock_;
  std::vector<Opening> openings_;
  std::vector<Request> requests_;
  std::vector<Answer> answers_;
  std::vector<Leaving> leavings_;
  std::atomic<bool> haveNew_{false};

  std::mutex sharedLock_;
  std::unordered_map<int32_t, std::string> details_;
  std::unordered_map<int32_t, std::shared_ptr<TunnelCounters>> counters_;
  int32_t lastDetails_ = 0;

  std::unordered_map<int32_t, std::unique_ptr<Tunnel>> tunnels_;
  std::unordered_map<int32_t, std::unique_ptr<Stream>> streams_;  // by token
  int32_t lastRequest_ = 0;
  std::vector<int32_t> dirty_;
  std::vector<int32_t> unfinished_;
  std::vector<int32_t> over_;
  std::unique_ptr<uint8_t[]> buffer_;
};

}  // namespace starlane
