#include "source/base/chain.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace gatehouse {

// Rings of one thread that no chain uses now. A body on its way needs one for a moment, an idle
// connection must not keep one: without this each larger body would cost a malloc and a free.
class Chain::SpareRings {
 public:
  SpareRings() = default;
  ~SpareRings() {
    for (List& list : lists_) {
      while (list.first != nullptr) Free(std::exchange(list.first, list.first->next));
    }
  }
  SpareRings(const SpareRings&) = delete;
  SpareRings& operator=(const SpareRings&) = delete;

  // With all slices empty. `capacity` is a power of two.
  [[nodiscard]] Ring* Take(uint32_t capacity) {
    if (capacity <= kMaxCapacity && ListOf(capacity).first != nullptr) {
      List& list = ListOf(capacity);
      --list.count;
      return std::exchange(list.first, list.first->next);
    }
    auto* ring = new (::operator new(sizeof(Ring) + capacity * sizeof(Slice))) Ring{capacity, {}};
    std::uninitialized_default_construct_n(ring->slices(), capacity);
    return ring;
  }
  // All of its slices are empty.
  void Give(Ring* ring) {
    const uint32_t capacity = ring->capacity;
    if (capacity > kMaxCapacity || (ListOf(capacity).count + 1) * capacity > kMaxSlices) {
      Free(ring);
      return;
    }
    List& list = ListOf(capacity);
    ring->next = std::exchange(list.first, ring);
    ++list.count;
  }

 private:
  static constexpr uint32_t kMaxCapacity = 512;
  // Of one capacity: 128 KiB.
  static constexpr uint32_t kMaxSlices = 128 * 1024 / sizeof(Slice);

  struct List {
    Ring* first = nullptr;
    uint32_t count = 0;
  };
  static void Free(Ring* ring) { ::operator delete(ring); }
  [[nodiscard]] List& ListOf(uint32_t capacity) { return lists_[std::countr_zero(capacity)]; }

  List lists_[std::bit_width(kMaxCapacity)];
};

Chain::SpareRings& Chain::Spares() {
  thread_local SpareRings spares;
  return spares;
}

void Chain::Grow() {
  Ring* ring = Spares().Take(capacity() * 2);
  for (uint32_t i = 0; i < count_; ++i) ring->slices()[i] = std::move(At(i));
  if (ring_ != nullptr) DropRing();
  ring_ = ring;
  head_ = 0;
}

void Chain::DropRing() {
  Spares().Give(std::exchange(ring_, nullptr));
  head_ = 0;
}

void Chain::Append(Chain&& other, SlabPool& pool) {
  for (uint32_t i = 0; i < other.count_; ++i) {
    Slice& slice = other.At(i);
    // Behind others also if that takes a slab: what gathers in small pieces pins few of them.
    if (count_ > 0 && slice.size() <= kCopyBelow) {
      AppendCopy(slice.view(), pool);
    } else {
      Append(std::move(slice));
    }
  }
  other.Clear();
}

void Chain::AppendCopy(std::string_view text, SlabPool& pool) {
  while (!text.empty()) {
    const size_t room = TailRoom();
    const size_t count = std::min(text.size(), room > 0 ? room : SlabPool::kDataBytes);
    std::memcpy(Reserve(count, pool), text.data(), count);
    Commit(count);
    text.remove_prefix(count);
  }
}

char* Chain::Reserve(size_t count, SlabPool& pool) {
  if (TailRoom() < count) {
    Slab* slab = pool.GetLarge(count);
    if (count_ == capacity()) Grow();
    At(count_++) = Slice(slab, slab->data(), 0);
  }
  const Slice& last = At(count_ - 1);
  return const_cast<char*>(last.data() + last.size());
}

void Chain::RemovePrefix(size_t count) {
  DCHECK(count <= bytes_);
  bytes_ -= count;
  while (count > 0) {
    Slice& first = At(0);
    if (first.size() > count) {
      first.RemovePrefix(count);
      return;
    }
    count -= first.size();
    PopFront();
  }
  DropEmptyFront();
}

void Chain::MoveTo(size_t count, Chain& to) {
  DCHECK(count <= bytes_);
  while (count > 0) {
    Slice& first = At(0);
    if (first.size() > count) {
      to.Append(first.Sub(0, count));
      first.RemovePrefix(count);
      bytes_ -= count;
      return;
    }
    count -= first.size();
    bytes_ -= first.size();
    to.Append(std::move(first));
    PopFront();
  }
  DropEmptyFront();
}

void Chain::PullUp(size_t count, size_t room, SlabPool& pool) {
  DCHECK(count <= bytes_);
  if (At(0).size() >= count && (room == 0 || (count_ == 1 && At(0).Room() >= room))) return;
  Slab* slab = pool.GetLarge(count + room);
  Slice joined(slab, slab->data(), 0);
  size_t at = 0;
  while (at < count) {
    Slice& first = At(0);
    const size_t take = std::min(count - at, first.size());
    std::memcpy(slab->data() + at, first.data(), take);
    at += take;
    if (take < first.size()) {
      first.RemovePrefix(take);
    } else {
      PopFront();
    }
  }
  joined.Extend(count);
  if (count_ == capacity()) Grow();
  head_ = (head_ + capacity() - 1) & (capacity() - 1);
  ++count_;
  At(0) = std::move(joined);
}

Slice Chain::TakeFront() {
  Slice slice = std::move(At(0));
  bytes_ -= slice.size();
  PopFront();
  DropEmptyFront();
  return slice;
}

size_t Chain::Gather(iovec* out, size_t max) const {
  const size_t pieces = std::min<size_t>(count_, max);
  size_t filled = 0;
  for (size_t i = 0; i < pieces; ++i) {
    const Slice& slice = At(i);
    if (slice.empty()) continue;
    out[filled++] = {const_cast<char*>(slice.data()), slice.size()};
  }
  return filled;
}

}  // namespace gatehouse
