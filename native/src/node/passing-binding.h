// The binding of the calls that pass descriptors between processes.
#pragma once

#include <node_api.h>

namespace starlane {

// Adds the object `passing` to what the addon exports.
napi_value definePassing(napi_env env, napi_value exports);

}  // namespace starlane
