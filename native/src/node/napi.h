// What both classes that JavaScript sees are made with.
#pragma once

#include <node_api.h>

// Of a call that returns napi_status, within a function that JavaScript has called: its failure is an exception there.
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
