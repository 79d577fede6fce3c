// What is used of nghttp2, which Node's binary exports. Declared here because Node's headers come without it. Its ABI is stable
// within major version 1, of which all have these; nghttp2_version() is not among what Node exports, so TypeScript looks at
// `process.versions`. Weak: an addon in a Node without them loads, and has no tunnels.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

extern "C" {
struct nghttp2_session;
struct nghttp2_session_callbacks;
struct nghttp2_option;

struct nghttp2_nv {
  uint8_t* name;
  uint8_t* value;
  size_t namelen;
  size_t valuelen;
  uint8_t flags;
};

struct nghttp2_settings_entry {
  int32_t settings_id;
  uint32_t value;
};

struct nghttp2_frame_hd {
  size_t length;
  int32_t stream_id;
  uint8_t type;
  uint8_t flags;
  uint8_t reserved;
};

struct nghttp2_ping {
  nghttp2_frame_hd hd;
  uint8_t opaque_data[8];
};

struct nghttp2_goaway {
  nghttp2_frame_hd hd;
  int32_t last_stream_id;
  uint32_t error_code;
  uint8_t* opaque_data;
  size_t opaque_data_len;
  uint8_t reserved;
};

// Has more members; frames are only read, and only those of the kinds below.
union nghttp2_frame {
  nghttp2_frame_hd hd;
  nghttp2_ping ping;
  nghttp2_goaway goaway;
};

union nghttp2_data_source {
  int fd;
  void* ptr;
};

using nghttp2_read_callback = ssize_t (*)(nghttp2_session*, int32_t stream, uint8_t* into, size_t room, uint32_t* flags,
                                          nghttp2_data_source*, void* user);

struct nghttp2_data_provider {
  nghttp2_data_source source;
  nghttp2_read_callback read_callback;
};

#define STARLANE_WEAK __attribute__((weak))

STARLANE_WEAK const char* nghttp2_strerror(int error);

STARLANE_WEAK int nghttp2_session_callbacks_new(nghttp2_session_callbacks**);
STARLANE_WEAK void nghttp2_session_callbacks_del(nghttp2_session_callbacks*);
STARLANE_WEAK void nghttp2_session_callbacks_set_on_frame_recv_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void* user));
STARLANE_WEAK void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, uint8_t flags, int32_t stream, const uint8_t*, size_t, void* user));
STARLANE_WEAK void nghttp2_session_callbacks_set_on_stream_close_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, int32_t stream, uint32_t code, void* user));
STARLANE_WEAK void nghttp2_session_callbacks_set_on_header_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t nameLength,
                                        const uint8_t* value, size_t valueLength, uint8_t flags, void* user));

STARLANE_WEAK void nghttp2_session_callbacks_set_on_begin_headers_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void* user));
STARLANE_WEAK void nghttp2_session_callbacks_set_on_frame_send_callback(
    nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void* user));

STARLANE_WEAK int nghttp2_option_new(nghttp2_option**);
STARLANE_WEAK void nghttp2_option_del(nghttp2_option*);
STARLANE_WEAK void nghttp2_option_set_no_auto_window_update(nghttp2_option*, int);
STARLANE_WEAK void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option*, uint32_t);

STARLANE_WEAK int nghttp2_session_client_new2(nghttp2_session**, const nghttp2_session_callbacks*, void* user, const nghttp2_option*);
STARLANE_WEAK int nghttp2_session_server_new2(nghttp2_session**, const nghttp2_session_callbacks*, void* user, const nghttp2_option*);
STARLANE_WEAK void nghttp2_session_del(nghttp2_session*);
STARLANE_WEAK ssize_t nghttp2_session_mem_recv(nghttp2_session*, const uint8_t*, size_t);
STARLANE_WEAK ssize_t nghttp2_session_mem_send(nghttp2_session*, const uint8_t**);
STARLANE_WEAK int nghttp2_session_want_read(nghttp2_session*);
STARLANE_WEAK int nghttp2_session_want_write(nghttp2_session*);
STARLANE_WEAK int nghttp2_session_resume_data(nghttp2_session*, int32_t stream);
STARLANE_WEAK int nghttp2_session_consume_connection(nghttp2_session*, size_t);
STARLANE_WEAK int nghttp2_session_consume_stream(nghttp2_session*, int32_t stream, size_t);
STARLANE_WEAK int nghttp2_session_set_local_window_size(nghttp2_session*, uint8_t flags, int32_t stream, int32_t bytes);
STARLANE_WEAK uint32_t nghttp2_session_get_remote_settings(nghttp2_session*, int id);
STARLANE_WEAK int32_t nghttp2_session_get_stream_remote_window_size(nghttp2_session*, int32_t stream);
STARLANE_WEAK void* nghttp2_session_get_stream_user_data(nghttp2_session*, int32_t stream);
STARLANE_WEAK int nghttp2_session_set_stream_user_data(nghttp2_session*, int32_t stream, void*);
STARLANE_WEAK int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session*);
STARLANE_WEAK int nghttp2_session_terminate_session(nghttp2_session*, uint32_t code);

STARLANE_WEAK int nghttp2_submit_settings(nghttp2_session*, uint8_t flags, const nghttp2_settings_entry*, size_t);
STARLANE_WEAK int32_t nghttp2_submit_request(nghttp2_session*, const void* priority, const nghttp2_nv*, size_t,
                                             const nghttp2_data_provider*, void* streamUser);
STARLANE_WEAK int nghttp2_submit_response(nghttp2_session*, int32_t stream, const nghttp2_nv*, size_t, const nghttp2_data_provider*);
STARLANE_WEAK int nghttp2_submit_goaway(nghttp2_session*, uint8_t flags, int32_t lastStream, uint32_t code, const uint8_t* text,
                                        size_t length);
STARLANE_WEAK int nghttp2_submit_rst_stream(nghttp2_session*, uint8_t flags, int32_t stream, uint32_t code);
STARLANE_WEAK int nghttp2_submit_ping(nghttp2_session*, uint8_t flags, const uint8_t* opaque);
}

namespace starlane::h2 {

// RFC 9113: types and flags of frames, settings, error codes.
constexpr uint8_t kData = 0, kHeaders = 1, kSettings = 4, kPing = 6, kGoaway = 7;
constexpr uint8_t kEndStream = 1, kAck = 1;
constexpr int32_t kHeaderTableSize = 1, kEnablePush = 2, kMaxStreams = 3, kInitialWindow = 4, kMaxFrame = 5, kMaxHeaderList = 6,
                  kConnectProtocol = 8;
constexpr uint32_t kNoError = 0, kInternalError = 2, kCancel = 8;

// Of nghttp2.
constexpr int kDeferred = -508;
constexpr int kStreamFailed = -521;  // NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE: the stream is reset
constexpr uint32_t kEof = 1;  // NGHTTP2_DATA_FLAG_EOF

}  // namespace starlane::h2
