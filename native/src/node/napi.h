// Node-API helpers that several bindings use.
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

// Calls a function of JavaScript from the event loop, and then what it has put off (promises, process.nextTick). What it throws
// is an uncaught exception.
inline void callFromLoop(napi_env env, napi_async_context context, napi_ref function, size_t count, const napi_value* arguments) {
  napi_value global, callback, result, exception;
  napi_get_global(env, &global);
  napi_get_reference_value(env, function, &callback);
  if (napi_make_callback(env, context, global, callback, count, arguments, &result) == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
    napi_fatal_exception(env, exception);
  }
}

}  // namespace starlane
