// The functions of libuv that watch a descriptor on Node's event loop, or call it from another thread. Declared here because the
// headers of Node-API come without libuv's. All of libuv 1 has them, and uv_handle_size() gives the size of a handle, so no
// layout is assumed.
#pragma once

#include <cstddef>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;
struct uv_async_s;
size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle_s* handle, void* data);
void* uv_handle_get_data(const uv_handle_s* handle);
int uv_poll_init(uv_loop_s* loop, uv_poll_s* handle, int fd);
int uv_poll_start(uv_poll_s* handle, int events, void (*callback)(uv_poll_s* handle, int status, int events));
int uv_poll_stop(uv_poll_s* handle);
int uv_async_init(uv_loop_s* loop, uv_async_s* handle, void (*callback)(uv_async_s* handle));
int uv_async_send(uv_async_s* handle);
void uv_ref(uv_handle_s* handle);
void uv_unref(uv_handle_s* handle);
void uv_close(uv_handle_s* handle, void (*callback)(uv_handle_s* handle));
}

namespace starlane {

constexpr int kAsyncHandle = 1;  // UV_ASYNC
constexpr int kPollHandle = 8;   // UV_POLL
constexpr int kReadable = 1;    // UV_READABLE
constexpr int kWritable = 2;    // UV_WRITABLE

}  // namespace starlane
