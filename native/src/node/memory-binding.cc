// For JavaScript: releaseProgramPages(), which promises bytes (memory/program-pages.h), and textOf(ArrayBuffer), a string whose characters are
// the bytes of the buffer, which are not copied. The buffer's memory must stay as it is until the process ends.
#include "node/memory-binding.h"

#include <memory>

#include "memory/program-pages.h"
#include "node/napi.h"

// Node-API 10: Node 22.14, 23.6 and 24. Absent in an older one.
extern "C" __attribute__((weak)) napi_status NAPI_CDECL node_api_create_external_string_latin1(
    napi_env env, char* str, size_t length, napi_finalize finalize, void* hint, napi_value* result, bool* copied);

namespace {

napi_value textOf(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value buffer, result;
  CHECK(napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr));
  void* bytes;
  size_t length;
  CHECK(napi_get_arraybuffer_info(env, buffer, &bytes, &length));
  if (&node_api_create_external_string_latin1 == nullptr) {
    CHECK(napi_create_string_latin1(env, static_cast<char*>(bytes), length, &result));
    return result;
  }
  bool copied;
  CHECK(node_api_create_external_string_latin1(env, static_cast<char*>(bytes), length, nullptr, nullptr, &result, &copied));
  return result;
}

// The kernel walks all of the process's pages for it: on a thread of Node's.
struct Release {
  napi_async_work work = nullptr;
  napi_deferred promise = nullptr;
  size_t bytes = 0;
};

void work(napi_env, void* data) { static_cast<Release*>(data)->bytes = starlane::releaseProgramPages(); }

void done(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Release> release(static_cast<Release*>(data));
  napi_value bytes;
  napi_create_int64(env, static_cast<int64_t>(release->bytes), &bytes);
  napi_resolve_deferred(env, release->promise, bytes);
  napi_delete_async_work(env, release->work);
}

napi_value release(napi_env env, napi_callback_info) {
  napi_value name, result;
  auto release = std::make_unique<Release>();
  CHECK(napi_create_string_utf8(env, "starlane.release", NAPI_AUTO_LENGTH, &name));
  CHECK(napi_create_async_work(env, nullptr, name, work, done, release.get(), &release->work));
  CHECK(napi_create_promise(env, &release->promise, &result));
  CHECK(napi_queue_async_work(env, release->work));
  release.release();
  return result;
}

}  // namespace

napi_value starlane::defineMemory(napi_env env, napi_value exports) {
  napi_value function;
  CHECK(napi_create_function(env, "releaseProgramPages", NAPI_AUTO_LENGTH, release, nullptr, &function));
  CHECK(napi_set_named_property(env, exports, "releaseProgramPages", function));
  CHECK(napi_create_function(env, "textOf", NAPI_AUTO_LENGTH, textOf, nullptr, &function));
  CHECK(napi_set_named_property(env, exports, "textOf", function));
  return exports;
}
