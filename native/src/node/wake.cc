// The life of the uv_async_t behind a Wake, and its call.
#include "node/wake.h"

#include <cstdlib>

namespace starlane {

Wake* Wake::create(napi_env env, napi_value callback) {
  uv_loop_s* loop;
  CHECK(napi_get_uv_event_loop(env, &loop));
  auto* async = static_cast<uv_async_s*>(calloc(1, uv_handle_size(kAsyncHandle)));
  if (async == nullptr || uv_async_init(loop, async, onAsync) != 0) {
    free(async);
    napi_throw_error(env, nullptr, "no handle on the event loop");
    return nullptr;
  }
  auto* wake = new Wake(env, async);
  uv_handle_set_data(wake->handle(), wake);
  wake->hold(false);
  napi_value name;
  if (napi_create_reference(env, callback, 1, &wake->callback_) != napi_ok ||
      napi_create_string_utf8(env, "starlane pump", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, nullptr, name, &wake->context_) != napi_ok ||
      napi_add_async_cleanup_hook(env, atExit, wake, &wake->hook_) != napi_ok) {
    wake->close();
    napi_throw_error(env, nullptr, "no callback on the event loop");
    return nullptr;
  }
  return wake;
}

void Wake::hold(bool alive) {
  if (alive) uv_ref(handle());
  else uv_unref(handle());
}

void Wake::close() {
  if (closed_) return;
  closed_ = true;
  if (callback_ != nullptr) napi_delete_reference(env_, callback_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
  uv_close(handle(), onClosed);
}

void Wake::onAsync(uv_async_s* async) {
  auto* wake = static_cast<Wake*>(uv_handle_get_data(reinterpret_cast<uv_handle_s*>(async)));
  if (wake->closed_) return;
  napi_handle_scope scope;
  if (napi_open_handle_scope(wake->env_, &scope) != napi_ok) return;
  const napi_env env = wake->env_;
  callFromLoop(env, wake->context_, wake->callback_, 0, nullptr);
  napi_close_handle_scope(env, scope);
}

void Wake::onClosed(uv_handle_s* handle) {
  auto* wake = static_cast<Wake*>(uv_handle_get_data(handle));
  if (wake->hook_ != nullptr) napi_remove_async_cleanup_hook(wake->hook_);
  free(handle);
  delete wake;
}

}  // namespace starlane
