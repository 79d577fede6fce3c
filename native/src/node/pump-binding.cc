// The addon for JavaScript: `protocol`, and the class Pump { memory, listenTcp, listenUdp, adoptTcp, adoptUdp, kick, hold, stop, refill, openTunnel,
// requestStream, answerStream, leaveTunnel, details, tunnelBytes }. Each Pump has a thread. Those of one engine end together: with stop() of one, with the first
// of the objects, or with the JavaScript environment, and are always joined.
#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "node/batch-binding.h"
#include "node/kernel-binding.h"
#include "node/memory-binding.h"
#include "node/napi.h"
#include "node/passing-binding.h"
#include "node/tunnel-binding.h"
#include "node/wake.h"
#include "pump/pump.h"
#include "pump/scheduling.h"

namespace {

using starlane::Address;
using starlane::Crew;
using starlane::method;
using starlane::Pump;
using starlane::PumpOptions;
using starlane::Shared;
using starlane::Wake;

class Runner {
 public:
  Runner(Wake& wake, Shared& shared, PumpOptions options, std::shared_ptr<Crew> crew)
      : pump_(shared, options, [&wake] { wake.send(); }, std::move(crew)) {}

  void start() {
    // Signals go to Node's main thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] {
      starlane::askForShortWaits();
      pump_.run();
    });
    pthread_setname_np(thread_.native_handle(), "starlane pump");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

  bool running() const { return thread_.joinable(); }
  Pump& pump() { return pump_; }

 private:
  Pump pump_;
  std::thread thread_;
};

// The pumps of one engine, which know each other's rings.
struct Team {
  std::shared_ptr<Crew> crew = std::make_shared<Crew>();
  std::vector<std::unique_ptr<Runner>> runners;

  void stop() {
    for (const auto& runner : runners) runner->pump().stop();
    for (const auto& runner : runners) runner->join();
  }
};

class Handle {
 public:
  // Takes over `wake`.
  Handle(napi_env env, napi_ref memory, Wake& wake, Shared& shared, PumpOptions options, std::shared_ptr<Team> team)
      : env_(env), memory_(memory), wake_(wake), team_(std::move(team)) {
    auto runner = std::make_unique<Runner>(wake, shared, options, team_->crew);
    runner_ = runner.get();
    if (pump().error() == 0) team_->runners.push_back(std::move(runner));
    else failed_ = std::move(runner);
  }

  int start() {
    if (pump().error() != 0) return pump().error();
    runner_->start();
    started_ = true;
    napi_add_env_cleanup_hook(env_, atExit, this);
    return 0;
  }

  // After this only JavaScript uses the shared memory.
  void stop() {
    if (!started_) return;
    started_ = false;
    team_->stop();
    napi_remove_env_cleanup_hook(env_, atExit, this);
    wake_.close();
  }

  ~Handle() {
    if (started_) stop();
    else if (failed_) wake_.close();
    napi_delete_reference(env_, memory_);
  }

  bool running() const { return started_ && runner_->running(); }
  Pump& pump() { return runner_->pump(); }
  Wake& wake() { return wake_; }
  const std::shared_ptr<Team>& team() const { return team_; }

 private:
  static void atExit(void* handle) { static_cast<Handle*>(handle)->stop(); }

  napi_env env_;
  napi_ref memory_;
  Wake& wake_;
  const std::shared_ptr<Team> team_;
  Runner* runner_;  // of the team
  std::unique_ptr<Runner> failed_;
  bool started_ = false;
};

Handle* handleOf(napi_env env, napi_callback_info info, size_t& count, napi_value* arguments) {
  napi_value self;
  void* handle = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, &self, nullptr) == napi_ok) napi_unwrap(env, self, &handle);
  if (handle == nullptr) napi_throw_type_error(env, nullptr, "not a Pump");
  return static_cast<Handle*>(handle);
}

// new Pump(onEvents: () => void, idleMs: number, halfClosedMs: number, first?: Pump)
napi_value construct(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4], self;
  PumpOptions options{};
  CHECK(napi_get_cb_info(env, info, &count, arguments, &self, nullptr));
  CHECK(napi_get_value_double(env, arguments[1], &options.idleMs));
  CHECK(napi_get_value_double(env, arguments[2], &options.halfClosedMs));

  napi_valuetype kind;
  CHECK(napi_typeof(env, arguments[3], &kind));
  void* first = nullptr;
  if (kind == napi_object) CHECK(napi_unwrap(env, arguments[3], &first));
  auto team = first == nullptr ? std::make_shared<Team>() : static_cast<Handle*>(first)->team();

  void* memory;
  napi_value buffer;
  napi_ref reference;
  CHECK(napi_create_arraybuffer(env, sizeof(Shared), &memory, &buffer));
  CHECK(napi_set_named_property(env, self, "memory", buffer));
  CHECK(napi_create_reference(env, buffer, 1, &reference));
  Wake* wake = Wake::create(env, arguments[0]);
  if (wake == nullptr) return nullptr;

  auto* handle = new Handle(env, reference, *wake, *static_cast<Shared*>(memory), options, std::move(team));
  const auto finalize = [](napi_env, void* handle, void*) { delete static_cast<Handle*>(handle); };
  if (const int error = handle->start()) {
    delete handle;
    napi_throw_error(env, nullptr, strerror(error));
    return nullptr;
  }
  CHECK(napi_wrap(env, self, handle, finalize, nullptr, nullptr));
  return self;
}

// listenTcp(listener: number, ip: string, port: number, backlog: number): 0 or an errno
napi_value listenTcp(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t listener, port, backlog;
  char ip[64];
  size_t length;
  CHECK(napi_get_value_int32(env, arguments[0], &listener));
  CHECK(napi_get_value_string_utf8(env, arguments[1], ip, sizeof ip, &length));
  CHECK(napi_get_value_int32(env, arguments[2], &port));
  CHECK(napi_get_value_int32(env, arguments[3], &backlog));
  Address address;
  int error = EINVAL;
  if (handle->running() && starlane::parse(ip, port, address)) error = -handle->pump().listenTcp(listener, address, backlog);
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// listenUdp(frontend: number, ip: string, port: number): 0 or an errno
napi_value listenUdp(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t frontend, port;
  char ip[64];
  size_t length;
  CHECK(napi_get_value_int32(env, arguments[0], &frontend));
  CHECK(napi_get_value_string_utf8(env, arguments[1], ip, sizeof ip, &length));
  CHECK(napi_get_value_int32(env, arguments[2], &port));
  Address address;
  int error = EINVAL;
  if (handle->running() && starlane::parse(ip, port, address)) error = -handle->pump().listenUdp(frontend, address);
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// adoptTcp(listener: number, descriptor: number): 0 or an errno; the descriptor is the pump's if it is 0
napi_value adoptTcp(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t listener, descriptor;
  CHECK(napi_get_value_int32(env, arguments[0], &listener));
  CHECK(napi_get_value_int32(env, arguments[1], &descriptor));
  const int error = handle->running() ? -handle->pump().adoptTcp(listener, descriptor) : EINVAL;
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// adoptUdp(frontend: number, descriptor: number): 0 or an errno; nothing is read before the command ResumeFrontend
napi_value adoptUdp(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t frontend, descriptor;
  CHECK(napi_get_value_int32(env, arguments[0], &frontend));
  CHECK(napi_get_value_int32(env, arguments[1], &descriptor));
  const int error = handle->running() ? -handle->pump().adoptUdp(frontend, descriptor) : EINVAL;
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// kick(): commands wait and the pump is asleep
napi_value kick(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle != nullptr && handle->running()) handle->pump().kick();
  return nullptr;
}

// hold(alive: boolean): whether the pump keeps the process alive
napi_value hold(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr || !handle->running()) return nullptr;
  bool alive;
  CHECK(napi_get_value_bool(env, arguments[0], &alive));
  handle->wake().hold(alive);
  return nullptr;
}

// stop(): ends the thread and its flows; the reports are in the ring, and more of them after each refill()
napi_value stop(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle != nullptr) handle->stop();
  return nullptr;
}

// refill(): after stop(), moves events into the ring that did not fit into it
napi_value refill(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Handle* handle = handleOf(env, info, count, nullptr);
  if (handle != nullptr && !handle->running()) handle->pump().refill();
  return nullptr;
}

// openTunnel(id: number, descriptor: number, context: SecureContext, streamWindow: number, sessionWindow: number): 0 or an errno. The
// pump has a descriptor of its own for the socket
napi_value openTunnel(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value arguments[5], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t id, descriptor;
  starlane::TunnelWindows windows;
  CHECK(napi_get_value_int32(env, arguments[0], &id));
  CHECK(napi_get_value_int32(env, arguments[1], &descriptor));
  CHECK(napi_get_value_int32(env, arguments[3], &windows.stream));
  CHECK(napi_get_value_int32(env, arguments[4], &windows.session));
  const starlane::SecureContext* context = starlane::secureContextOf(env, arguments[2]);
  if (context == nullptr) return nullptr;
  const int error = handle->running() ? -handle->pump().openTunnel(id, descriptor, *context, windows) : EINVAL;
  CHECK(napi_create_int32(env, error, &result));
  return result;
}

// requestStream(tunnel: number, stream: number, fields: string): names and values, each ended by a zero
napi_value requestStream(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr || !handle->running()) return nullptr;
  int32_t tunnel, stream;
  size_t length;
  CHECK(napi_get_value_int32(env, arguments[0], &tunnel));
  CHECK(napi_get_value_int32(env, arguments[1], &stream));
  CHECK(napi_get_value_string_latin1(env, arguments[2], nullptr, 0, &length));
  std::string fields(length, '\0');
  CHECK(napi_get_value_string_latin1(env, arguments[2], fields.data(), length + 1, &length));
  handle->pump().requestStream(tunnel, stream, std::move(fields));
  return nullptr;
}

// answerStream(stream: number, last: boolean, fields: string): as in requestStream
napi_value answerStream(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr || !handle->running()) return nullptr;
  int32_t stream;
  bool last;
  size_t length;
  CHECK(napi_get_value_int32(env, arguments[0], &stream));
  CHECK(napi_get_value_bool(env, arguments[1], &last));
  CHECK(napi_get_value_string_latin1(env, arguments[2], nullptr, 0, &length));
  std::string fields(length, '\0');
  CHECK(napi_get_value_string_latin1(env, arguments[2], fields.data(), length + 1, &length));
  handle->pump().answerStream(stream, last, std::move(fields));
  return nullptr;
}

// leaveTunnel(tunnel: number, code: number, text: string): a GOAWAY; without a code streams in progress go on
napi_value leaveTunnel(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr || !handle->running()) return nullptr;
  int32_t tunnel;
  uint32_t code;
  size_t length;
  CHECK(napi_get_value_int32(env, arguments[0], &tunnel));
  CHECK(napi_get_value_uint32(env, arguments[1], &code));
  CHECK(napi_get_value_string_utf8(env, arguments[2], nullptr, 0, &length));
  std::string text(length, '\0');
  CHECK(napi_get_value_string_utf8(env, arguments[2], text.data(), length + 1, &length));
  handle->pump().leaveTunnel(tunnel, code, std::move(text));
  return nullptr;
}

// details(id: number): a Buffer, of an event of a tunnel; once
napi_value details(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1], result;
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t id;
  CHECK(napi_get_value_int32(env, arguments[0], &id));
  const std::string text = handle->pump().details(id);
  CHECK(napi_create_buffer_copy(env, text.size(), text.data(), nullptr, &result));
  return result;
}

// tunnelBytes(id: number, into: Float64Array): received and sent; left as it is where there is no such tunnel
napi_value tunnelBytes(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  Handle* handle = handleOf(env, info, count, arguments);
  if (handle == nullptr) return nullptr;
  int32_t id;
  napi_typedarray_type type;
  size_t length;
  void* into;
  CHECK(napi_get_value_int32(env, arguments[0], &id));
  CHECK(napi_get_typedarray_info(env, arguments[1], &type, &length, &into, nullptr, nullptr));
  double received, sent;
  if (type != napi_float64_array || length < 2 || !handle->pump().countTunnel(id, received, sent)) return nullptr;
  static_cast<double*>(into)[0] = received;
  static_cast<double*>(into)[1] = sent;
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  const napi_property_descriptor methods[] = {
      method("listenTcp", listenTcp), method("listenUdp", listenUdp), method("adoptTcp", adoptTcp),
      method("adoptUdp", adoptUdp),   method("kick", kick),           method("hold", hold),
      method("stop", stop),           method("refill", refill),       method("openTunnel", openTunnel),
      method("details", details),     method("requestStream", requestStream),
      method("answerStream", answerStream), method("leaveTunnel", leaveTunnel),
      method("tunnelBytes", tunnelBytes),
  };
  napi_value pump, protocol;
  CHECK(napi_create_int32(env, starlane::kProtocol, &protocol));
  CHECK(napi_set_named_property(env, exports, "protocol", protocol));
  CHECK(napi_define_class(env, "Pump", NAPI_AUTO_LENGTH, construct, nullptr, sizeof methods / sizeof *methods, methods,
                          &pump));
  CHECK(napi_set_named_property(env, exports, "Pump", pump));
  if (starlane::definePassing(env, exports) == nullptr) return nullptr;
  if (starlane::defineTunnels(env, exports) == nullptr) return nullptr;
  if (starlane::defineKernel(env, exports) == nullptr) return nullptr;
  if (starlane::defineMemory(env, exports) == nullptr) return nullptr;
  return starlane::defineBatchSocket(env, exports);
}
