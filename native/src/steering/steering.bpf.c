// The kernel's part of `proxy.offload: ebpf`: programs for cgroups that lead clients of a frontend to its listener, or to a backend.
//
//   connect, sendmsg       a frontend's address becomes that of its listener, or of a backend
//   recvmsg, getpeername   and back, so that a program sees the address that it asked for
//
// Compiled by clang when the addon is built; needs no header. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d, so that the programs for
// IPv6 serve IPv4 as well, which reaches them from sockets of both families. Ports are in network byte order. The maps' layouts are
// those of proxy/dataplane/steering/records.ts.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

// struct bpf_sock_addr of linux/bpf.h, which is a stable interface.
struct context {
  u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol, msg_src_ip4, msg_src_ip6[4];
};

enum { kHash = 1, kArray = 2, kLruHash = 9, kNoPrealloc = 1 };

struct map {
  u32 type, key, value, entries, flags;
};

struct place {
  u32 address[4];
  u16 port;
  u8 protocol, spare;
};

// A frontend. With `count` its flows go to one of so many slots of `list`, and to `listener` where that fails.
struct frontend {
  struct place listener;
  u32 id, list, count;
};

struct slot_key {
  u32 list, slot;
};

// Walker's alias method: the first takes `own` of 2^32 of the slot, the second the rest. 0: the first takes all.
struct slot {
  struct place first, second;
  u32 own;
};

// A backend of a frontend, by the id of the frontend.
struct member_key {
  u32 id;
  struct place backend;
};

// What a socket was led to, and what it asked for.
struct reverse_key {
  u64 cookie;
  struct place backend;
  u32 spare;
};

// An unconnected UDP socket stays with its backend.
struct session_key {
  u64 cookie;
  struct place frontend;
  u32 spare;
};

struct session {
  struct place backend;
  u32 list;
};

struct settings {
  // Only sockets of this network namespace are led; 0: all.
  u64 netns;
  // The socket by whose connect() the process of Starlane is known, and its number.
  u64 probe;
  u32 self, spare;
};

SECTION("maps") struct map frontends = {kHash, sizeof(struct place), sizeof(struct frontend), 65536, kNoPrealloc};
SECTION("maps") struct map listeners = {kHash, sizeof(struct place), sizeof(struct place), 65536, kNoPrealloc};
SECTION("maps") struct map settings = {kArray, 4, sizeof(struct settings), 1, 0};
SECTION("maps") struct map slots = {kHash, sizeof(struct slot_key), sizeof(struct slot), 524288, kNoPrealloc};
SECTION("maps") struct map members = {kHash, sizeof(struct member_key), 4, 524288, kNoPrealloc};
SECTION("maps") struct map reverse = {kLruHash, sizeof(struct reverse_key), sizeof(struct place), 65536, 0};
SECTION("maps") struct map sessions = {kLruHash, sizeof(struct session_key), sizeof(struct session), 16384, 0};

// Helpers by their numbers in linux/bpf.h.
static void* (*lookup)(void* map, const void* key) = (void*)1;
static long (*update)(void* map, const void* key, const void* value, u64 flags) = (void*)2;
static u32 (*randomBits)(void) = (void*)7;
static u64 (*processAndThread)(void) = (void*)14;
static u64 (*socketCookie)(void* context) = (void*)46;
static u64 (*netnsCookie)(void* context) = (void*)122;

enum { kTcp = 6, kUdp = 17 };

INLINE void read4(struct context* context, struct place* into) {
  into->address[0] = 0;
  into->address[1] = 0;
  into->address[2] = 0xffff0000;
  into->address[3] = context->user_ip4;
}

INLINE void read6(struct context* context, struct place* into) {
  into->address[0] = context->user_ip6[0];
  into->address[1] = context->user_ip6[1];
  into->address[2] = context->user_ip6[2];
  into->address[3] = context->user_ip6[3];
}

INLINE void write4(struct context* context, const struct place* from) {
  context->user_ip4 = from->address[3];
  context->user_port = from->port;
}

INLINE void write6(struct context* context, const struct place* from) {
  context->user_ip6[0] = from->address[0];
  context->user_ip6[1] = from->address[1];
  context->user_ip6[2] = from->address[2];
  context->user_ip6[3] = from->address[3];
  context->user_port = from->port;
}

INLINE int isSame(const struct place* a, const struct place* b) {
  return a->address[0] == b->address[0] && a->address[1] == b->address[1] && a->address[2] == b->address[2] &&
         a->address[3] == b->address[3] && a->port == b->port;
}

INLINE int isOurs(struct context* context, const struct settings* known) {
  return known->netns == 0 || known->netns == netnsCookie(context);
}

// Any backend of a list, by its weight.
INLINE const struct place* draw(u32 list, u32 count) {
  struct slot_key key = {list, (u32)(((u64)randomBits() * count) >> 32)};
  struct slot* slot = lookup(&slots, &key);
  if (!slot) return 0;
  return slot->own == 0 || randomBits() < slot->own ? &slot->first : &slot->second;
}

// The backend of the last datagram to this frontend, while it is one.
INLINE int resume(const struct session_key* key, const struct frontend* frontend, struct place* into) {
  struct session* session = lookup(&sessions, key);
  if (!session) return 0;
  if (session->list != frontend->list) {
    struct member_key member = {frontend->id, session->backend};
    if (!lookup(&members, &member)) return 0;
  }
  *into = session->backend;
  return 1;
}

// Finds where a flow to `asked` goes, and writes that into it. 0: where it asked for.
INLINE int lead(struct context* context, struct place* asked, int datagram) {
  asked->port = (u16)context->user_port;
  asked->protocol = (u8)context->protocol;
  asked->spare = 0;
  struct frontend* frontend = lookup(&frontends, asked);
  if (!frontend) return 0;
  u32 zero = 0;
  struct settings* known = lookup(&settings, &zero);
  if (!known) return 0;
  u32 process = processAndThread() >> 32;
  if (known->probe != 0 && known->probe == socketCookie(context)) known->self = process;
  if (known->self == process || !isOurs(context, known)) return 0;

  if (frontend->count == 0) {
    *asked = frontend->listener;
    return 1;
  }
  struct session_key session = {.cookie = socketCookie(context), .frontend = *asked};
  struct reverse_key reversed = {.cookie = session.cookie};
  if (!datagram || !resume(&session, frontend, &reversed.backend)) {
    const struct place* backend = draw(frontend->list, frontend->count);
    // The list has been replaced between the two lookups.
    if (!backend) {
      *asked = frontend->listener;
      return 1;
    }
    reversed.backend = *backend;
    if (datagram) {
      struct session begun = {*backend, frontend->list};
      update(&sessions, &session, &begun, 0);
    }
  }
  struct place* before = datagram ? lookup(&reverse, &reversed) : 0;
  if (!before || !isSame(before, asked)) update(&reverse, &reversed, asked, 0);
  *asked = reversed.backend;
  return 1;
}

// The frontend that a socket asked for when it was led to `reached`. 0: it was not led there.
INLINE int back(struct context* context, struct place* reached) {
  reached->port = (u16)context->user_port;
  reached->protocol = (u8)context->protocol;
  reached->spare = 0;
  struct place* frontend = lookup(&listeners, reached);
  if (frontend) {
    u32 zero = 0;
    struct settings* known = lookup(&settings, &zero);
    if (!known || !isOurs(context, known)) return 0;
  } else {
    struct reverse_key key = {.cookie = socketCookie(context), .backend = *reached};
    frontend = lookup(&reverse, &key);
    if (!frontend) return 0;
  }
  *reached = *frontend;
  return 1;
}

#define PROGRAM(name, family, change, ...) \
  SECTION("cgroup/" #name #family) int name##family(struct context* context) { \
    struct place place; \
    read##family(context, &place); \
    if (change(context, &place, ##__VA_ARGS__)) write##family(context, &place); \
    return 1; \
  }

PROGRAM(connect, 4, lead, 0)
PROGRAM(connect, 6, lead, 0)
PROGRAM(sendmsg, 4, lead, 1)
PROGRAM(sendmsg, 6, lead, 1)
PROGRAM(recvmsg, 4, back)
PROGRAM(recvmsg, 6, back)
PROGRAM(getpeername, 4, back)
PROGRAM(getpeername, 6, back)

SECTION("license") char terms[] = "Apache-2.0";
