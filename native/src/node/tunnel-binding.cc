// The object `tunnels` for JavaScript { why, secureContext, pair }. `why` is a text where this Node has no tunnels in the pump.
#include "node/tunnel-binding.h"

#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "tunnel/libraries.h"

namespace starlane {

namespace {

const napi_type_tag kSecureContext = {0x7374617274756e6eULL, 0x656c636f6e746578ULL};

bool textOf(napi_env env, napi_value value, std::string& into) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  into.resize(length);
  return napi_get_value_string_utf8(env, value, into.data(), length + 1, &length) == napi_ok;
}

// secureContext(certificates: string, key: string, roots: string, isServer: boolean): an object for openTunnel; throws what is wrong
// with them
napi_value secureContext(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4], result;
  bool isServer = false;
  CHECK(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  std::string certificates, key, roots, why;
  if (count < 4 || napi_get_value_bool(env, arguments[3], &isServer) != napi_ok || !textOf(env, arguments[0], certificates) || !textOf(env, arguments[1], key) || !textOf(env, arguments[2], roots)) {
    napi_throw_type_error(env, nullptr, "three texts in PEM and the role are expected");
    return nullptr;
  }
  const auto role = isServer ? SecureContext::Role::Server : SecureContext::Role::Client;
  SecureContext* context = whyNoTunnels() != nullptr ? nullptr : SecureContext::create(role, certificates, key, roots, why);
  if (context == nullptr) {
    napi_throw_error(env, nullptr, whyNoTunnels() != nullptr ? whyNoTunnels() : why.c_str());
    return nullptr;
  }
  const auto finalize = [](napi_env, void* context, void*) { delete static_cast<SecureContext*>(context); };
  if (napi_create_external(env, context, finalize, nullptr, &result) != napi_ok) {
    delete context;
    return nullptr;
  }
  CHECK(napi_type_tag_object(env, result, &kSecureContext));
  return result;
}

// pair(): the two descriptors of connected sockets, or -errno
napi_value pair(napi_env env, napi_callback_info) {
  int ends[2];
  napi_value result;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    CHECK(napi_create_int32(env, -errno, &result));
    return result;
  }
  CHECK(napi_create_array_with_length(env, 2, &result));
  for (uint32_t i = 0; i < 2; i++) {
    napi_value end;
    CHECK(napi_create_int32(env, ends[i], &end));
    CHECK(napi_set_element(env, result, i, end));
  }
  return result;
}

}  // namespace

const SecureContext* secureContextOf(napi_env env, napi_value value) {
  bool isOne = false;
  void* context = nullptr;
  if (napi_check_object_type_tag(env, value, &kSecureContext, &isOne) != napi_ok || !isOne ||
      napi_get_value_external(env, value, &context) != napi_ok) {
    napi_throw_type_error(env, nullptr, "not a SecureContext");
    return nullptr;
  }
  return static_cast<const SecureContext*>(context);
}

napi_value defineTunnels(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {method("secureContext", secureContext), method("pair", pair)};
  napi_value tunnels, why;
  CHECK(napi_create_object(env, &tunnels));
  CHECK(napi_define_properties(env, tunnels, sizeof methods / sizeof *methods, methods));
  if (const char* reason = whyNoTunnels()) {
    CHECK(napi_create_string_utf8(env, reason, NAPI_AUTO_LENGTH, &why));
    CHECK(napi_set_named_property(env, tunnels, "why", why));
  }
  CHECK(napi_set_named_property(env, exports, "tunnels", tunnels));
  return exports;
}

}  // namespace starlane
