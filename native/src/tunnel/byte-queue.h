// Bytes that wait for a socket to take them. An empty one holds no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace starlane {

class ByteQueue {
 public:
  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;
  ~ByteQueue() { clear(); }

  size_t size() const { return size_; }

  void push(const uint8_t* bytes, size_t length) {
    while (length > 0) {
      if (last_ == nullptr || end_ == kBlock) append();
      const size_t part = length < kBlock - end_ ? length : kBlock - end_;
      memcpy(last_->bytes + end_, bytes, part);
      end_ += part;
      size_ += part;
      bytes += part;
      length -= part;
    }
  }

  // The first bytes that lie in one piece. Only if there are any.
  const uint8_t* front(size_t& length) const {
    length = (first_ == last_ ? end_ : kBlock) - start_;
    return first_->bytes + start_;
  }

  // Of the first piece at most.
  void pop(size_t length) {
    start_ += length;
    size_ -= length;
    if (size_ == 0) return clear();
    if (start_ < kBlock) return;
    delete std::exchange(first_, first_->next);
    start_ = 0;
  }

  void clear() {
    while (first_ != nullptr) delete std::exchange(first_, first_->next);
    last_ = nullptr;
    size_ = start_ = end_ = 0;
  }

 private:
  static constexpr size_t kBlock = 16 * 1024;
  struct Block {
    Block* next;
    uint8_t bytes[kBlock];
  };

  void append() {
    auto* block = new Block;
    block->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = block;
    last_ = block;
    end_ = 0;
  }

  Block* first_ = nullptr;
  Block* last_ = nullptr;
  size_t start_ = 0;  // in the first block
  size_t end_ = 0;    // in the last block
  size_t size_ = 0;
};

}  // namespace starlane
