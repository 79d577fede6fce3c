// Addresses as bytes, and the socket calls that take more than one line. Functions that return a descriptor return -errno
// when they fail.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

namespace starlane {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// `family` is 4 or 6; an IPv4 address is in the first four bytes.
Address addressOf(int family, const uint8_t* bytes, int port);
// The inverse of addressOf().
void read(const sockaddr_storage& from, int32_t& family, uint8_t* bytes, int32_t& port);
// Parses an address without brackets or zone; false when it is not one.
bool parse(const char* text, int port, Address& into);

// A UDP socket bound to a frontend.
int bindTo(const Address& address);
int listenOn(const Address& address, int backlog);
// A socket whose connect(2) has begun. -ECONNREFUSED also where it has met itself. `holdsAck`: the ACK that ends the handshake waits for
// the first bytes, which are there already, and leaves with them. That saves a packet, and the other end a wake-up.
int connectTo(const Address& address, bool holdsAck = false);
// After these bytes: a peer that waits for an ACK gets it at once, as by default (tcp(7), TCP_QUICKACK).
void ackAtOnce(int fd);
// A connected UDP socket; as connectTo().
int linkTo(const Address& address);
// Gives a socket of another process, which may have made it in another way, what the others here have.
void prepare(int fd);
// Takes little that is not sent yet: what many share decides late which bytes go next (tcp(7), TCP_NOTSENT_LOWAT). And tries soon again
// what is lost.
void prepareTunnel(int fd);
// Switches off Nagle's algorithm, which holds back small messages while others are unacknowledged.
void sendAtOnce(int fd);

// Has the kernel cut a UDP message into datagrams of `bytes` each. `control` must live until the message is sent.
constexpr size_t kSegmentControl = CMSG_SPACE(sizeof(uint16_t));
void segment(msghdr& message, char* control, size_t bytes);

bool isWildcard(const Address& address);
bool isLoopback(const sockaddr_storage& address);
// Whatever their ports.
bool haveSameAddress(const sockaddr_storage& one, const sockaddr_storage& other);
// Has each datagram received say which address it was sent to.
void askForLocal(int fd, int family);
// That address; zero where there is none that can be answered from, such as a multicast group. An IPv4 address is in the
// first four bytes at an IPv4 socket, and IPv4-mapped at an IPv6 socket.
void localOf(msghdr& message, uint8_t* local);
// Has a message leave from an address, unless that is zero. Appends to what `control` holds; it must live until then.
constexpr size_t kLocalControl = CMSG_SPACE(sizeof(in6_pktinfo));
void sendFrom(msghdr& message, char* control, int family, const uint8_t* local);

// Makes close(2) send a RST.
void resetOnClose(int fd);
void keepAlive(int fd, int idleSeconds);

}  // namespace starlane
