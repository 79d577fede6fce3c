// Addresses as bytes, and the few socket calls that want more than one line. What returns int: a descriptor, or -errno.
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
// The inverse.
void read(const sockaddr_storage& from, int32_t& family, uint8_t* bytes, int32_t& port);
// Of a text without brackets or zone; false when it is none.
bool parse(const char* text, int port, Address& into);

// A UDP socket for a frontend.
int bindTo(const Address& address);
int listenOn(const Address& address, int backlog);
// A socket whose connect(2) has begun.
int connectTo(const Address& address);
// Nagle's rule holds back what is small while something else is under way; never again on this socket.
void sendAtOnce(int fd);

// Lets the kernel cut a UDP message into datagrams of so many bytes. `control` is kept until it has been sent.
constexpr size_t kSegmentControl = CMSG_SPACE(sizeof(uint16_t));
void segment(msghdr& message, char* control, size_t bytes);

// Makes close(2) send a RST.
void resetOnClose(int fd);
void keepAlive(int fd, int idleSeconds);

}  // namespace starlane
