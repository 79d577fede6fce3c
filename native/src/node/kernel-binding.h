// The binding of what `proxy.offload: ebpf` asks of the kernel.
#pragma once

#include <node_api.h>

namespace starlane {

// Adds the object `kernel` to what the addon exports.
napi_value defineKernel(napi_env env, napi_value exports);

}  // namespace starlane
