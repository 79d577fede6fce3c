// Calls a function of JavaScript when another thread asks for it. A thread-safe function of Node-API does that too, with a queue
// under a lock; the thread that was woken then waits for the one that is still inside, at every call.
#pragma once

#include "node/loop.h"
#include "node/napi.h"

namespace starlane {

class Wake {
 public:
  // Null, with an exception pending in JavaScript, where there is no event loop. Does not keep the process alive.
  static Wake* create(napi_env env, napi_value callback);

  // From any thread, until close(). Calls that come before the function has run are one.
  void send() { uv_async_send(async_); }
  // Whether it keeps the process alive.
  void hold(bool alive);
  // There is no call after this. The object deletes itself once libuv has let go of it, for which the environment waits.
  void close();

 private:
  Wake(napi_env env, uv_async_s* async) : env_(env), async_(async) {}
  static void onAsync(uv_async_s* async);
  static void onClosed(uv_handle_s* handle);
  static void atExit(napi_async_cleanup_hook_handle, void* wake) { static_cast<Wake*>(wake)->close(); }

  uv_handle_s* handle() { return reinterpret_cast<uv_handle_s*>(async_); }

  const napi_env env_;
  uv_async_s* const async_;
  napi_ref callback_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool closed_ = false;
};

}  // namespace starlane
