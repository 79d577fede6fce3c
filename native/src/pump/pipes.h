// Kernel pipes for splice(2), which moves bytes between sockets without a copy. Empty ones are kept for the next transfer.
#pragma once

#include <fcntl.h>

#include <memory>
#include <vector>

#include "socket/descriptor.h"

namespace starlane {

struct Pipe {
  Descriptor out;
  Descriptor in;
  size_t size = 0;
  size_t held = 0;
};

class Pipes {
 public:
  // Null when the limit is reached or no descriptor is left; bytes are then copied.
  std::unique_ptr<Pipe> take() {
    if (!spare_.empty()) {
      auto pipe = std::move(spare_.back());
      spare_.pop_back();
      return pipe;
    }
    if (lent_ >= kMost) return nullptr;
    int fds[2];
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
    auto pipe = std::make_unique<Pipe>();
    pipe->size = lent_ < kLargePipes ? kLarge : kSize;
    fcntl(fds[1], F_SETPIPE_SZ, static_cast<int>(pipe->size));  // refused beyond the user's limit; a smaller pipe works as well
    lent_++;
    pipe->out = Descriptor(fds[0]);
    pipe->in = Descriptor(fds[1]);
    return pipe;
  }

  // A pipe that still holds bytes of an ended connection is closed: no other connection may get them.
  void give(std::unique_ptr<Pipe> pipe) {
    if (!pipe) return;
    if (pipe->held == 0 && spare_.size() < kSpare) spare_.push_back(std::move(pipe));
    else lent_--;
  }

  // In use, by as many directions of large transfers.
  size_t used() const { return lent_ - spare_.size(); }

  static constexpr size_t kSize = 256 * 1024;

 private:
  // A few can take more at a time. All together keep within what a user's pipes may hold (pipe(7), pipe-user-pages-soft, 64 MiB) up to
  // 200 large transfers.
  static constexpr size_t kLarge = 1024 * 1024;
  static constexpr size_t kLargePipes = 16;
  static constexpr size_t kMost = 512;
  static constexpr size_t kSpare = 32;
  std::vector<std::unique_ptr<Pipe>> spare_;
  size_t lent_ = 0;  // open, spare ones included
};

}  // namespace starlane
