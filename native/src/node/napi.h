// Node-API helpers that both bindings use.
#pragma once

#include <node_api.h>

// For calls that return napi_status, in a function called by JavaScript: a failure throws there.
#define CHECK(call) \
  do { \
    if ((call) != napi_ok) { \
      napi_throw_error(env, nullptr, #call " failed"); \
      return nullptr; \
    } \
  } while (0)

namespace starlane {

inline napi_property_descriptor method(const char* name, napi_callback callback) {
  return {name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, nullptr};
}

}  // namespace starlane
