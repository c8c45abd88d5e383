// Arena: bump memory of one exchange. Freed as a whole; destructors are not run.
//
// Owner: the Exchange (or a test). Thread: one loop. Memory stays valid until Reset() or the
// arena's end. The first block is part of the arena object's allocation and survives Reset(), so a
// recycled exchange needs no malloc; further blocks are for outsized requests only. Nothing whose
// size grows with a body may live here.
//
//   std::string_view copy = arena.Copy(name);
//   auto* node = arena.New<Node>(1, 2);       // trivially destructible types only
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gatehouse {

class Arena {
 public:
  static constexpr size_t kFirstBlock = 8192;

  Arena() : cursor_(first_), end_(first_ + kFirstBlock) {}
  ~Arena() { FreeBlocks(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] void* Allocate(size_t size, size_t align = alignof(std::max_align_t)) {
    uintptr_t at = (reinterpret_cast<uintptr_t>(cursor_) + align - 1) & ~(uintptr_t{align} - 1);
    if (__builtin_expect(at + size > reinterpret_cast<uintptr_t>(end_), 0)) {
      return AllocateSlow(size, align);
    }
    cursor_ = reinterpret_cast<char*>(at + size);
    return reinterpret_cast<void*>(at);
  }
  [[nodiscard]] char* AllocateChars(size_t size) { return static_cast<char*>(Allocate(size, 1)); }
  [[nodiscard]] std::string_view Copy(std::string_view text) {
    if (text.empty()) return {};
    char* to = AllocateChars(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }
  // Joins two pieces into one copy.
  [[nodiscard]] std::string_view Concat(std::string_view a, std::string_view b) {
    char* to = AllocateChars(a.size() + b.size());
    if (!a.empty()) std::memcpy(to, a.data(), a.size());
    if (!b.empty()) std::memcpy(to + a.size(), b.data(), b.size());
    return {to, a.size() + b.size()};
  }
  template <typename T, typename... Args>
  [[nodiscard]] T* New(Args&&... args) {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    return new (Allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
  }
  template <typename T>
  [[nodiscard]] T* NewArray(size_t count) {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    return static_cast<T*>(Allocate(sizeof(T) * count, alignof(T)));
  }

  // Frees all but the first block and starts over. Everything handed out is invalid.
  void Reset() {
    if (__builtin_expect(blocks_ != nullptr, 0)) FreeBlocks();
    cursor_ = first_;
    end_ = first_ + kFirstBlock;
    overflow_bytes_ = 0;
  }
  // Bytes in blocks beyond the first: what an outsized request costs.
  [[nodiscard]] size_t overflow_bytes() const { return overflow_bytes_; }

 private:
  struct Block {
    Block* next;
  };
  void* AllocateSlow(size_t size, size_t align);
  void FreeBlocks();

  char* cursor_;
  char* end_;
  Block* blocks_ = nullptr;
  size_t overflow_bytes_ = 0;
  alignas(std::max_align_t) char first_[kFirstBlock];
};

}  // namespace gatehouse
