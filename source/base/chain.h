// A queue of slices: what a connection has read and not yet parsed, or has to write.
//
// Owner: a connection, a pump or a frame on the stack. Thread: one loop. Up to two slices need no
// memory of their own; more take a ring that stays until ShrinkToInline() and then waits for the
// thread's next chain that needs one.
//
//   chain.Append(std::move(slice));
//   chain.AppendCopy("\r\n", pool);          // joins the last slab where it can
//   chain.RemovePrefix(sent);
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "source/base/slice.h"

namespace gatehouse {

class Chain {
 public:
  // A slice up to this size is copied behind the last bytes rather than referred to: cheaper than
  // one more iovec, and it cannot pin a slab.
  static constexpr size_t kCopyBelow = 1024;

  Chain() = default;
  ~Chain() {
    Clear();
    ShrinkToInline();
  }
  Chain(Chain&& other) noexcept { MoveFrom(other); }
  Chain& operator=(Chain&& other) noexcept {
    if (this != &other) {
      if (count_ > 0) Clear();
      MoveFrom(other);
    }
    return *this;
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return bytes_ == 0; }
  [[nodiscard]] size_t slices() const { return count_; }
  [[nodiscard]] const Slice& operator[](size_t index) const { return At(index); }
  [[nodiscard]] std::string_view front() const {
    return count_ == 0 ? std::string_view() : At(0).view();
  }

  void Append(Slice slice) {
    if (slice.empty()) return;
    bytes_ += slice.size();
    if (count_ == capacity()) Grow();
    At(count_++) = std::move(slice);
  }
  // Moves all of `other` here. Small slices are copied into `pool`'s slabs, but for one that comes
  // first.
  void Append(Chain&& other, SlabPool& pool);
  void AppendCopy(std::string_view text, SlabPool& pool);
  // At least `count` contiguous bytes to write behind the last one (count <= SlabPool::kDataBytes);
  // Commit() says how many were written. Nothing else may touch the chain in between.
  [[nodiscard]] char* Reserve(size_t count, SlabPool& pool);
  void Commit(size_t count) {
    At(count_ - 1).Extend(count);
    bytes_ += count;
  }

  void RemovePrefix(size_t count);
  // The first `count` bytes, moved to the end of `to`.
  void MoveTo(size_t count, Chain& to);
  // Makes the first `count` bytes one slice (count <= bytes()), copying only when they are not.
  // `room` more bytes will fit behind them.
  void PullUp(size_t count, size_t room, SlabPool& pool);
  [[nodiscard]] Slice TakeFront();
  void Clear() {
    while (count_ > 0) PopFront();
    bytes_ = 0;
    head_ = 0;
  }
  // Gives an empty chain's ring back.
  void ShrinkToInline() {
    if (ring_ != nullptr && count_ == 0) DropRing();
  }
  // Fills `out` with up to `max` pieces; returns how many.
  size_t Gather(iovec* out, size_t max) const;
  // Free bytes behind the last slice that Reserve() would use.
  [[nodiscard]] size_t TailRoom() const { return count_ == 0 ? 0 : At(count_ - 1).Room(); }

 private:
  static constexpr uint32_t kInline = 2;
  class SpareRings;
  struct Ring {
    uint32_t capacity;  // a power of two
    Ring* next;         // in the cache
    [[nodiscard]] Slice* slices() { return reinterpret_cast<Slice*>(this + 1); }
    [[nodiscard]] const Slice* slices() const { return reinterpret_cast<const Slice*>(this + 1); }
  };

  [[nodiscard]] uint32_t capacity() const { return ring_ != nullptr ? ring_->capacity : kInline; }
  [[nodiscard]] Slice& At(size_t index) {
    Slice* slices = ring_ != nullptr ? ring_->slices() : inline_;
    return slices[(head_ + index) & (capacity() - 1)];
  }
  [[nodiscard]] const Slice& At(size_t index) const { return const_cast<Chain*>(this)->At(index); }
  // This chain holds nothing, but perhaps a ring: the other one has it then.
  void MoveFrom(Chain& other) noexcept {
    if (other.ring_ != nullptr) {
      std::swap(ring_, other.ring_);
      head_ = other.head_;
    } else {
      head_ = 0;
      Slice* to = ring_ != nullptr ? ring_->slices() : inline_;
      for (uint32_t i = 0; i < other.count_; ++i) to[i] = std::move(other.At(i));
    }
    count_ = std::exchange(other.count_, 0);
    bytes_ = std::exchange(other.bytes_, 0);
    other.head_ = 0;
  }
  static SpareRings& Spares();  // of this thread
  void Grow();
  void DropRing();
  void PopFront() {
    At(0) = Slice();
    head_ = (head_ + 1) & (capacity() - 1);
    --count_;
  }
  // An empty slice left by Reserve() would pin its slab.
  void DropEmptyFront() {
    while (count_ > 0 && At(0).empty()) PopFront();
  }

  Ring* ring_ = nullptr;
  size_t bytes_ = 0;
  uint32_t head_ = 0;
  uint32_t count_ = 0;
  Slice inline_[kInline];
};

}  // namespace gatehouse
