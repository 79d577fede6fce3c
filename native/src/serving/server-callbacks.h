// What HTTP/2 calls at a gateway's end, besides what it calls at both.
#pragma once

#include "tunnel/nghttp2.h"

namespace starlane {

// Replaces those that read the headers of answers.
void addServerCallbacks(nghttp2_session_callbacks* callbacks);

}  // namespace starlane
