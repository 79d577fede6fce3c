// The class BatchSocket { memory, bind, adopt, descriptor, port, lost, send, stopReceiving, close } for JavaScript. It has no thread: Node's event loop
// watches the socket. It ends with close(), or with the JavaScript environment.
#include "node/batch-binding.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "batch/batch.h"
#include "node/loop.h"
#include "node/napi.h"

namespace {

using starlane::Address;
using starlane::Batch;
using starlane::BatchSocket;
using starlane::kBatch;
using starlane::kReadable;
using starlane::kWritable;
using starlane::method;

// Batches in one turn of the loop, so that a flood of questions does not starve the rest of the process.
constexpr int kRounds = 4;

class Handle {
 public:
  Handle(napi_env env, napi_ref memory, napi_ref onBatch, napi_async_context context, Batch& batch)
      : env_(env), memory_(memory), onBatch_(onBatch), context_(context), socket_(batch) {}

  ~Handle() {
    napi_delete_reference(env_, memory_);
    napi_delete_reference(env_, onBatch_);
    napi_async_destroy(env_, context_);
  }

  // 0, or an errno. After it the object lives until close().
  int bind(napi_value self, const Address& address, int receiveBytes) {
    if (poll_ != nullptr) return EALREADY;
    if (const int error = socket_.bind(address, receiveBytes)) return error;
    return begin(self);
  }

  // The same with a socket of another process.
  int adopt(napi_value self, int fd) {
    if (poll_ != nullptr) return EALREADY;
    if (const int error = socket_.adopt(fd)) return error;
    return begin(self);
  }

 private:
  int begin(napi_value self) {
    uv_loop_s* loop;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return ENOTSUP;
    auto* poll = static_cast<uv_poll_s*>(calloc(1, uv_handle_size(starlane::kPollHandle)));
    if (poll == nullptr) return ENOMEM;
    if (const int error = uv_poll_init(loop, poll, socket_.fd())) {
      free(poll);
      socket_.close();
      return -error;
    }
    poll_ = poll;
    uv_handle_set_data(reinterpret_cast<uv_handle_s*>(poll), this);
    napi_create_reference(env_, self, 1, &self_);
    napi_add_async_cleanup_hook(env_, atExit, this, &hook_);
    receiving_ = true;
    watch();
    return 0;
  }

 public:
  void send(const Batch::Peer& to, const uint8_t* bytes, size_t size) {
    if (poll_ == nullptr) return;
    socket_.send(to, bytes, size);
    watch();
  }

  void stopReceiving() {
    receiving_ = false;
    if (poll_ != nullptr) watch();
  }

  // Calls `onClosed` when all answers are sent and the address is free.
  void close(napi_ref onClosed) {
    onClosed_ = onClosed;
    closing_ = true;
    receiving_ = false;
    if (poll_ != nullptr && socket_.waiting()) watch();
    else finish();
  }

  bool closing() const { return closing_; }
  const BatchSocket& socket() const { return socket_; }

 private:
  void watch() {
    const int events = socket_.waiting() ? kWritable : receiving_ ? kReadable : 0;
    if (events == watched_) return;
    watched_ = events;
    if (events == 0) uv_poll_stop(poll_);
    else uv_poll_start(poll_, events, onReady);
  }

  static void onReady(uv_poll_s* poll, int status, int) {
    auto* self = static_cast<Handle*>(uv_handle_get_data(reinterpret_cast<uv_handle_s*>(poll)));
    if (status < 0) self->recover();
    self->ready();
  }

  // libuv stops watching a socket with an error. Errors here concern one datagram only, so it is watched again.
  void recover() {
    socket_.clearError();
    watched_ = 0;
  }

  void ready() {
    if (socket_.waiting() && !socket_.flush()) return watch();
    for (int round = 0; round < kRounds && receiving_; round++) {
      const int count = socket_.receive();
      if (count == 0) break;
      call(onBatch_, count);
      if (poll_ == nullptr) return;
      if (!socket_.reply(count) || count < kBatch) break;
    }
    if (closing_ && !socket_.waiting()) finish();
    else watch();
  }

  void call(napi_ref reference, int32_t number) {
    napi_handle_scope scope;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    napi_value argument;
    napi_create_int32(env_, number, &argument);
    starlane::callFromLoop(env_, context_, reference, 1, &argument);
    napi_close_handle_scope(env_, scope);
  }

  void finish() {
    const napi_ref self = std::exchange(self_, nullptr);
    release();
    call(onClosed_, 0);
    napi_delete_reference(env_, std::exchange(onClosed_, nullptr));
    // After this the object may be collected.
    if (self != nullptr) napi_delete_reference(env_, self);
  }

  // libuv closes the handle later. The environment waits for that; this object does not.
  void release() {
    if (poll_ == nullptr) return;
    uv_handle_set_data(reinterpret_cast<uv_handle_s*>(poll_), hook_);
    uv_close(reinterpret_cast<uv_handle_s*>(poll_), [](uv_handle_s* handle) {
      napi_remove_async_cleanup_hook(static_cast<napi_async_cleanup_hook_handle>(uv_handle_get_data(handle)));
      free(handle);
    });
    poll_ = nullptr;
    socket_.close();
  }

  static void atExit(napi_async_cleanup_hook_handle, void* handle) {
    auto* self = static_cast<Handle*>(handle);
    self->receiving_ = false;
    self->release();
  }

  napi_env env_;
  napi_ref memory_, onBatch_;
  napi_async_context context_;
  napi_ref self_ = nullptr, onClosed_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_poll_s* poll_ = nullptr;
  int watched_ = 0;
  bool receiving_ = false, closing_ = false;
  BatchSocket socket_;
};

Handle* handleOf(napi_env env, napi_callback_info info, size_t& count, napi_value* arguments, napi_value* self = nullptr) {
  napi_value object;
  void* handle = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, &object, nullptr) == napi_ok) napi_unwrap(env, object, &handle);
  if (handle == nullptr) napi_throw_type_error(env, nullptr, "not a BatchSocket");
  if (self != nullptr) *self = object;
  return static_cast<Handle*>(handle);
}

// new BatchSocket(onBatch: (count: number) => void)
napi_value construct(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value onBatch, self, buffer, name;
  napi_ref memory, callback;
  napi_async_context context;
  void* bytes;
  CHECK(napi_get_cb_info(env, info, &count, &onBatch, &self, nullptr));
  CHECK(napi_create_arraybuffer(env, sizeof(Batch), &bytes, &buffer));
  memset(bytes, 0, sizeof(Batch));
  CHECK(napi_set_named_property(env, self, "memory", buffer));
  CHECK(napi_create_string_utf8(env, "starlane datagrams", NAPI_AUTO_LENGTH, &name));
  CHECK(napi_create_reference(env, onBatch, 1, &callback));
  CHECK(napi_create_reference(env, buffer, 1, &memory));
  CHECK(napi_async_init(env, self, name, &context));
  auto* handle = new Handle(env, memory, callback, context, *static_cast<Batch*>(bytes));
  const auto finalize = [](napi_env, void* handle, void*) { delete static_cast<Handle*>(handle); };
  CHECK(napi_wrap(env, self, handle, finalize, nullptr, nullptr));
  return self;
}

// bind(ip: string, port: number, receiveBytes: number): 0 or an errno
napi_value bind(napi_env env, napi_callback_info info) {
  size_t count = 3, length;
  napi_value arguments[3], self, result;
  Handle* handle = handleOf(env, info, count, arguments, &self);
  if (handle == nullptr) return nullptr;
  int32_t port, receiveBytes;
  char ip[64];
  CHECK(napi_get_value_string_utf8(env, arguments[0], ip, sizeof ip, &length));
  CHECK(napi_get_value_int32(env, arguments[1], &port));
  CHECK(napi_get_value_int32(env, arguments[2], &receiveBytes));
  Address address;
  const int error = starlane::parse(ip, port, address) ? handle->bind(self, address, receiveBytes) : EINVAL;
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// adopt(descriptor: number): 0 or an errno
napi_value adopt(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, self, result;
  Handle* handle = handleOf(env, info, count, &argument, &self);
  if (handle == nullptr) return nullptr;
  int32_t descriptor;
  CHECK(napi_get_value_int32(env, argument, &descriptor));
  CHECK(napi_create_int32(env, handle->adopt(self, descriptor), &result));
  return result;
}

// descriptor(): number
napi_value descriptor(napi_env env, napi_callback_info info) {
  size_t count = 0;
  napi_value result;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle == nullptr) return nullptr;
  CHECK(napi_create_int32(env, handle->socket().fd(), &result));
  return result;
}

// port(): number
napi_value port(napi_env env, napi_callback_info info) {
  size_t count = 0;
  napi_value result;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle == nullptr) return nullptr;
  CHECK(napi_create_int32(env, handle->socket().port(), &result));
  return result;
}

// lost(): number
napi_value lost(napi_env env, napi_callback_info info) {
  size_t count = 0;
  napi_value result;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle == nullptr) return nullptr;
  CHECK(napi_create_uint32(env, handle->socket().lost(), &result));
  return result;
}

// send(answer: Buffer, peer: Buffer): an answer that comes later than its batch, to the peer as it stood in the memory
napi_value send(napi_env env, napi_callback_info info) {
  size_t count = 2, size, peerSize;
  napi_value arguments[2];
  void *bytes, *peerBytes;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  CHECK(napi_get_buffer_info(env, arguments[0], &bytes, &size));
  CHECK(napi_get_buffer_info(env, arguments[1], &peerBytes, &peerSize));
  Batch::Peer peer;
  if (peerSize != sizeof peer) {
    napi_throw_range_error(env, nullptr, "not a peer");
    return nullptr;
  }
  memcpy(&peer, peerBytes, sizeof peer);
  handle->send(peer, static_cast<const uint8_t*>(bytes), size);
  return nullptr;
}

// stopReceiving(): no more batches come
napi_value stopReceiving(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle != nullptr) handle->stopReceiving();
  return nullptr;
}

// close(onClosed: () => void)
napi_value close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value callback;
  napi_ref onClosed;
  Handle* handle = handleOf(env, info, count, &callback);
  if (handle == nullptr) return nullptr;
  if (handle->closing()) {
    napi_throw_error(env, nullptr, "closed already");
    return nullptr;
  }
  CHECK(napi_create_reference(env, callback, 1, &onClosed));
  handle->close(onClosed);
  return nullptr;
}

}  // namespace

namespace starlane {

napi_value defineBatchSocket(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {
      method("bind", bind), method("adopt", adopt),   method("descriptor", descriptor),
      method("port", port), method("lost", lost),
      method("send", send), method("stopReceiving", stopReceiving), method("close", close),
  };
  napi_value batchSocket;
  CHECK(napi_define_class(env, "BatchSocket", NAPI_AUTO_LENGTH, construct, nullptr, sizeof methods / sizeof *methods,
                          methods, &batchSocket));
  CHECK(napi_set_named_property(env, exports, "BatchSocket", batchSocket));
  return exports;
}

}  // namespace starlane
