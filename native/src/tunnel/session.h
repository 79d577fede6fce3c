// The session of HTTP/2 in a tunnel, set up as `proxy/tunnel/wire/settings.ts` says.
#pragma once

#include <sys/types.h>

#include <string>

#include "tunnel/tunnel.h"

namespace starlane {

// What HTTP/2 calls at both ends; a server has more (serving/server-callbacks.h).
struct SessionCallbacks {
  static Stream* streamOf(nghttp2_session* session, int32_t id) {
    return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }
  static int onFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user);
  static int onHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t nameLength, const uint8_t* value,
                      size_t valueLength, uint8_t flags, void* user);
  static int onData(nghttp2_session* session, uint8_t flags, int32_t id, const uint8_t* bytes, size_t length, void* user);
  static int onClose(nghttp2_session* session, int32_t id, uint32_t code, void* user);
  static ssize_t onSend(nghttp2_session* session, int32_t id, uint8_t* into, size_t room, uint32_t* flags, nghttp2_data_source* source,
                        void* user);
};

// As many as there are of `fields`, which are names and values, each ended by a zero; they point into it.
constexpr size_t kMostFields = 16;
size_t fieldsIn(const std::string& fields, nghttp2_nv (&pairs)[kMostFields]);

// A session of the tunnel's end; null without memory. `callbacks` and `option` are made at the first call, and are the caller's.
nghttp2_session* newSession(nghttp2_session_callbacks*& callbacks, nghttp2_option*& option, Tunnel& tunnel);

// The id of the stream; below 0 when there is none. `fields`: names and values, each ended by a zero.
int32_t submitRequest(Tunnel& tunnel, Stream& stream, const std::string& fields);

}  // namespace starlane
