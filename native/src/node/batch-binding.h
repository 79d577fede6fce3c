// The binding of BatchSocket.
#pragma once

#include <node_api.h>

namespace starlane {

// Adds the class BatchSocket to what the addon exports.
napi_value defineBatchSocket(napi_env env, napi_value exports);

}  // namespace starlane
