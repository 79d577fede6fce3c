// The object `tunnels` for JavaScript: what tunnels of a pump need besides the pump.
#pragma once

#include "node/napi.h"
#include "tunnel/secure-context.h"

namespace starlane {

// The value that the exports have; null when an exception is pending.
napi_value defineTunnels(napi_env env, napi_value exports);

// What `secureContext` has returned; null, with an exception pending, for anything else.
const SecureContext* secureContextOf(napi_env env, napi_value value);

}  // namespace starlane
