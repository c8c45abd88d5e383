// A queue of slices: what a connection has read and not yet parsed, or has to write.
//
// Owner: a connection, a pump or a frame on the stack. Thread: one loop. Up to four slices need no
// memory of their own; more take a ring from malloc that stays until ShrinkToInline().
//
//   chain.Append(std::move(slice));
//   chain.AppendCopy("\r\n", pool);          // joins the last slab where it can
//   chain.RemovePrefix(sent);
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

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
  Chain(Chain&& other) noexcept { *this = std::move(other); }
  Chain& operator=(Chain&& other) noexcept;
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
    if (count_ == capacity_) Grow();
    At(count_++) = std::move(slice);
  }
  // Moves all of `other` here; small slices are copied into `pool`'s slabs.
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
  void Clear();
  void ShrinkToInline();
  // Fills `out` with up to `max` pieces; returns how many.
  size_t Gather(iovec* out, size_t max) const;
  // Free bytes behind the last slice that Reserve() would use.
  [[nodiscard]] size_t TailRoom() const { return count_ == 0 ? 0 : At(count_ - 1).Room(); }

 private:
  static constexpr uint32_t kInline = 4;

  [[nodiscard]] Slice& At(size_t index) { return ring()[(head_ + index) & (capacity_ - 1)]; }
  [[nodiscard]] const Slice& At(size_t index) const {
    return ring()[(head_ + index) & (capacity_ - 1)];
  }
  [[nodiscard]] Slice* ring() { return ring_ != nullptr ? ring_ : inline_; }
  [[nodiscard]] const Slice* ring() const { return ring_ != nullptr ? ring_ : inline_; }
  void Grow();
  void PopFront() {
    At(0) = Slice();
    head_ = (head_ + 1) & (capacity_ - 1);
    --count_;
  }
  // An empty slice left by Reserve() would pin its slab.
  void DropEmptyFront() {
    while (count_ > 0 && At(0).empty()) PopFront();
  }

  Slice* ring_ = nullptr;
  uint32_t capacity_ = kInline;
  uint32_t head_ = 0;
  uint32_t count_ = 0;
  size_t bytes_ = 0;
  Slice inline_[kInline];
};

}  // namespace gatehouse
