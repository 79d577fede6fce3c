// The binding of what gives memory back.
#pragma once

#include <node_api.h>

namespace starlane {

// Adds the function `releaseProgramPages` to what the addon exports.
napi_value defineMemory(napi_env env, napi_value exports);

}  // namespace starlane
