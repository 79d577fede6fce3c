// The session of HTTP/2 in a tunnel, set up as `proxy/tunnel/wire/settings.ts` says.
#pragma once

#include <string>

#include "tunnel/tunnel.h"

namespace starlane {

// A client's session; null without memory. `callbacks` and `option` are made at the first call, and are the caller's.
nghttp2_session* newSession(nghttp2_session_callbacks*& callbacks, nghttp2_option*& option, Tunnel& tunnel);

// The id of the stream; below 0 when there is none. `fields`: names and values, each ended by a zero.
int32_t submitRequest(Tunnel& tunnel, Stream& stream, const std::string& fields);

}  // namespace starlane
