// Bytes on their way through a loop: Slab (a pooled block of memory), Slice (a counted view into
// one) and SlabPool (where a loop gets its slabs).
//
// Thread: one loop; counts are not atomic. A Slab lives as long as a Slice refers to it. Bytes from
// Slab::fill on are free: whoever holds the slice that ends there may extend it (Chain does).
//
//   Slice head = body.Sub(0, 100);     // shares the slab
//   Slice text = Slice::Unowned("ok"); // memory that outlives every use
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "source/base/check.h"

namespace gatehouse {

class SlabPool;

struct Slab {
  SlabPool* pool;
  Slab* next_free;
  uint32_t refs;
  uint32_t size;  // bytes of data()
  uint32_t fill;  // data()[fill, size) has not been handed out
  uint32_t reserved;

  [[nodiscard]] char* data() { return reinterpret_cast<char*>(this + 1); }
  [[nodiscard]] size_t room() const { return size - fill; }
};

// Slabs of one loop: a freelist and a budget. Slabs above the freelist's bound go back to malloc,
// so an idle gateway is small again.
class SlabPool {
 public:
  static constexpr size_t kSlabBytes = 16 * 1024;  // with the Slab in front
  static constexpr size_t kDataBytes = kSlabBytes - sizeof(Slab);

  explicit SlabPool(size_t budget_bytes = SIZE_MAX) : budget_(budget_bytes) {}
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // A slab with no references yet; never null. The budget is asked for by the callers that can
  // wait (reads of bodies) or refuse (new requests), not enforced here.
  [[nodiscard]] Slab* Get() {
    Slab* slab = free_;
    if (__builtin_expect(slab == nullptr, 0)) return GetSlow(kDataBytes);
    free_ = slab->next_free;
    if (--free_count_ < low_free_) low_free_ = free_count_;
    in_use_ += kSlabBytes;
    slab->fill = 0;
    return slab;
  }
  // A slab with at least this room, for a message head that must be contiguous.
  [[nodiscard]] Slab* GetLarge(size_t data_bytes) {
    return data_bytes <= kDataBytes ? Get() : GetSlow(data_bytes);
  }
  void Put(Slab* slab) {
    if (__builtin_expect(slab->size != kDataBytes || free_count_ >= kMaxFree, 0)) {
      PutSlow(slab);
      return;
    }
    in_use_ -= kSlabBytes;
    slab->next_free = free_;
    free_ = slab;
    ++free_count_;
  }
  // Gives free slabs back to the system until `keep` are left.
  void Trim(size_t keep);
  // Gives back those free slabs that were not needed since the last call.
  void TrimUnused() {
    Trim(free_count_ - low_free_);
    low_free_ = free_count_;
  }
  [[nodiscard]] size_t free_slabs() const { return free_count_; }

  [[nodiscard]] size_t in_use_bytes() const { return in_use_; }
  [[nodiscard]] size_t budget_bytes() const { return budget_; }
  void set_budget_bytes(size_t bytes) { budget_ = bytes; }
  // Above this, connections buffer less of a body.
  [[nodiscard]] bool tight() const { return in_use_ > budget_ / 5 * 4; }
  // Above this, new requests are shed.
  [[nodiscard]] bool exhausted() const { return in_use_ > budget_; }

 private:
  static constexpr size_t kMaxFree = 256;

  Slab* GetSlow(size_t data_bytes);
  void PutSlow(Slab* slab);

  Slab* free_ = nullptr;
  size_t free_count_ = 0;
  size_t low_free_ = 0;  // the fewest free slabs since the last TrimUnused()
  size_t in_use_ = 0;
  size_t budget_;
};

class Slice {
 public:
  Slice() = default;
  // Takes a reference.
  Slice(Slab* slab, const char* data, size_t size)
      : slab_(slab), data_(data), size_(static_cast<uint32_t>(size)) {
    ++slab_->refs;
  }
  // A view of memory that outlives all uses: literals, the pinned snapshot, an exchange's arena
  // only if the exchange waits until it was sent.
  [[nodiscard]] static Slice Unowned(std::string_view text) {
    Slice slice;
    slice.data_ = text.data();
    slice.size_ = static_cast<uint32_t>(text.size());
    return slice;
  }
  ~Slice() { Release(); }
  Slice(Slice&& other) noexcept
      : slab_(std::exchange(other.slab_, nullptr)),
        data_(other.data_),
        size_(std::exchange(other.size_, 0)) {}
  Slice& operator=(Slice&& other) noexcept {
    if (this != &other) {
      Release();
      slab_ = std::exchange(other.slab_, nullptr);
      data_ = other.data_;
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;

  [[nodiscard]] const char* data() const { return data_; }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::string_view view() const { return {data_, size_}; }
  // False for one made by Unowned().
  [[nodiscard]] bool owned() const { return slab_ != nullptr; }
  // Shares the slab.
  [[nodiscard]] Slice Sub(size_t offset, size_t count) const {
    DCHECK(offset + count <= size_);
    if (slab_ == nullptr) return Unowned({data_ + offset, count});
    return Slice(slab_, data_ + offset, count);
  }
  void RemovePrefix(size_t count) {
    DCHECK(count <= size_);
    data_ += count;
    size_ -= static_cast<uint32_t>(count);
  }
  void RemoveSuffix(size_t count) {
    DCHECK(count <= size_);
    size_ -= static_cast<uint32_t>(count);
  }
  // Room after this slice's last byte that may be filled: its slab's, if nothing follows there.
  [[nodiscard]] size_t Room() const {
    return slab_ != nullptr && data_ + size_ == slab_->data() + slab_->fill ? slab_->room() : 0;
  }
  // The slice grows over bytes that were written to its room.
  void Extend(size_t count) {
    DCHECK(count <= Room());
    slab_->fill += static_cast<uint32_t>(count);
    size_ += static_cast<uint32_t>(count);
  }

 private:
  void Release() {
    if (slab_ != nullptr && --slab_->refs == 0) slab_->pool->Put(slab_);
    slab_ = nullptr;
  }

  Slab* slab_ = nullptr;
  const char* data_ = nullptr;
  uint32_t size_ = 0;
};

}  // namespace gatehouse
