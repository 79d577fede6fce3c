// releaseProgramPages(): bytes, for JavaScript; see memory/program-pages.h.
#include "node/memory-binding.h"

#include "memory/program-pages.h"
#include "node/napi.h"

namespace {

napi_value release(napi_env env, napi_callback_info) {
  napi_value result;
  CHECK(napi_create_int64(env, static_cast<int64_t>(starlane::releaseProgramPages()), &result));
  return result;
}

}  // namespace

napi_value starlane::defineMemory(napi_env env, napi_value exports) {
  napi_value function;
  CHECK(napi_create_function(env, "releaseProgramPages", NAPI_AUTO_LENGTH, release, nullptr, &function));
  CHECK(napi_set_named_property(env, exports, "releaseProgramPages", function));
  return exports;
}
