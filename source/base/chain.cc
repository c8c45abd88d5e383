#include "source/base/chain.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace gatehouse {

Chain& Chain::operator=(Chain&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  ShrinkToInline();
  if (other.ring_ != nullptr) {
    ring_ = std::exchange(other.ring_, nullptr);
    capacity_ = std::exchange(other.capacity_, kInline);
    head_ = other.head_;
  } else {
    head_ = 0;
    for (uint32_t i = 0; i < other.count_; ++i) inline_[i] = std::move(other.At(i));
  }
  count_ = std::exchange(other.count_, 0);
  bytes_ = std::exchange(other.bytes_, 0);
  other.head_ = 0;
  return *this;
}

void Chain::Grow() {
  const uint32_t capacity = capacity_ * 2;
  auto* ring = new Slice[capacity];
  for (uint32_t i = 0; i < count_; ++i) ring[i] = std::move(At(i));
  delete[] ring_;
  ring_ = ring;
  capacity_ = capacity;
  head_ = 0;
}

void Chain::Append(Chain&& other, SlabPool& pool) {
  for (uint32_t i = 0; i < other.count_; ++i) {
    Slice& slice = other.At(i);
    if (slice.size() <= kCopyBelow && TailRoom() >= slice.size()) {
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
    if (count_ == capacity_) Grow();
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
  if (count_ == capacity_) Grow();
  head_ = (head_ + capacity_ - 1) & (capacity_ - 1);
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

void Chain::Clear() {
  while (count_ > 0) PopFront();
  bytes_ = 0;
  head_ = 0;
}

void Chain::ShrinkToInline() {
  if (ring_ == nullptr || count_ > 0) return;
  delete[] ring_;
  ring_ = nullptr;
  capacity_ = kInline;
  head_ = 0;
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
