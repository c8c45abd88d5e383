// TextTable: (scope, text) -> number, built once. The hash map under hosts, exact paths and trie
// edges: 16 bytes a slot, one probe as a rule, one comparison of the text, no allocation at lookup.
//
// Owner: CompiledRoutes. Const after Build, any thread. Keys come from the config only, so nobody
// outside can make them collide.
//
//   TextTable::Builder builder;
//   builder.Add(level, "/users", 7);
//   TextTable table = builder.Build();
//   table.Find(level, "/users");   // 7
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "source/base/check.h"

namespace gatehouse::route {

namespace text_internal {
__extension__ using Uint128 = unsigned __int128;

inline uint64_t Load8(const char* at) {
  uint64_t value;
  std::memcpy(&value, at, 8);
  return value;
}
inline uint32_t Load4(const char* at) {
  uint32_t value;
  std::memcpy(&value, at, 4);
  return value;
}
inline uint64_t Fold(uint64_t a, uint64_t b) {
  Uint128 product = Uint128{a} * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
}  // namespace text_internal

// Multiply-and-fold over 16 bytes at a time. Not for keys that a peer can choose and store.
inline uint64_t HashText(std::string_view text) {
  constexpr uint64_t kA = 0x9e3779b97f4a7c15, kB = 0xd6e8feb86659fd93, kC = 0xa0761d6478bd642f;
  const char* at = text.data();
  size_t left = text.size();
  uint64_t hash = kA ^ (left * kC);
  while (left > 16) {
    hash = text_internal::Fold(text_internal::Load8(at) ^ kB, text_internal::Load8(at + 8) ^ hash);
    at += 16;
    left -= 16;
  }
  uint64_t first = 0, second = 0;
  if (left >= 8) {
    first = text_internal::Load8(at);
    second = text_internal::Load8(at + left - 8);
  } else if (left >= 4) {
    first = text_internal::Load4(at);
    second = text_internal::Load4(at + left - 4);
  } else if (left > 0) {
    first = (uint64_t{static_cast<uint8_t>(at[0])} << 16) |
            (uint64_t{static_cast<uint8_t>(at[left >> 1])} << 8) |
            static_cast<uint8_t>(at[left - 1]);
  }
  return text_internal::Fold(kC ^ second, text_internal::Fold(first ^ kB, hash) ^ kA);
}

// Like a == b for the short texts of paths: no call.
inline bool SameText(const char* a, const char* b, size_t size) {
  using text_internal::Load4;
  using text_internal::Load8;
  if (size >= 8) {
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
      if (Load8(a + at) != Load8(b + at)) return false;
    }
    return Load8(a + size - 8) == Load8(b + size - 8);
  }
  if (size >= 4) return Load4(a) == Load4(b) && Load4(a + size - 4) == Load4(b + size - 4);
  for (size_t at = 0; at < size; ++at) {
    if (a[at] != b[at]) return false;
  }
  return true;
}

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return HashText(text); }
};

class TextTable {
 public:
  static constexpr uint32_t kAbsent = 0xffffffff;
  static constexpr size_t kMaxTextSize = 0xffff;

  class Builder {
   public:
    // Each (scope, text) once.
    void Add(uint32_t scope, std::string text, uint32_t value) {
      CHECK(text.size() <= kMaxTextSize);
      entries_.push_back({scope, std::move(text), value});
    }
    [[nodiscard]] TextTable Build() const;

   private:
    friend class TextTable;
    struct Entry {
      uint32_t scope;
      std::string text;
      uint32_t value;
    };
    std::vector<Entry> entries_;
  };

  [[nodiscard]] uint32_t Find(uint32_t scope, std::string_view text) const {
    return Find(scope, text, HashText(text));
  }
  // With the hash of the text, for those who ask for it in several scopes.
  [[nodiscard]] uint32_t Find(uint32_t scope, std::string_view text, uint64_t text_hash) const {
    const uint64_t hash = WithScope(text_hash, scope);
    const uint16_t tag = TagOf(hash);
    for (size_t at = hash & mask_;; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.tag == tag && slot.scope == scope && slot.size == text.size() &&
          SameText(text_.data() + slot.text_at, text.data(), text.size())) {
        return slot.value;
      }
      if (slot.tag == 0) return kAbsent;
    }
  }
  [[nodiscard]] bool empty() const { return mask_ == 0; }
  [[nodiscard]] size_t MemoryBytes() const {
    return slots_.capacity() * sizeof(Slot) + text_.capacity();
  }

 private:
  struct Slot {
    uint16_t tag = 0;  // of the hash; 0: empty slot
    uint16_t size = 0;
    uint32_t scope = 0;
    uint32_t text_at = 0;
    uint32_t value = 0;
  };
  static uint64_t WithScope(uint64_t text_hash, uint32_t scope) {
    return text_internal::Fold(text_hash ^ 0x8ebc6af09c88c6e3, 0xd1b54a32d192ed03 ^ scope);
  }
  static uint16_t TagOf(uint64_t hash) { return static_cast<uint16_t>(hash >> 48) | 1; }

  std::vector<Slot> slots_ = std::vector<Slot>(1);  // the empty slot that ends every probe
  size_t mask_ = 0;
  std::string text_;
};

inline TextTable TextTable::Builder::Build() const {
  TextTable table;
  if (entries_.empty()) return table;
  size_t slots = 4;
  while (slots * 3 < entries_.size() * 4) slots *= 2;  // at most three of four are taken
  table.slots_.assign(slots, Slot{});
  table.mask_ = slots - 1;
  std::unordered_map<std::string_view, uint32_t, TextHash> places;
  for (const Entry& entry : entries_) {
    auto [place, fresh] = places.try_emplace(entry.text, static_cast<uint32_t>(table.text_.size()));
    if (fresh) table.text_ += entry.text;
    CHECK(table.text_.size() < kAbsent);
    const uint64_t hash = WithScope(HashText(entry.text), entry.scope);
    size_t at = hash & table.mask_;
    while (table.slots_[at].tag != 0) at = (at + 1) & table.mask_;
    table.slots_[at] = {TagOf(hash), static_cast<uint16_t>(entry.text.size()), entry.scope,
                        place->second, entry.value};
  }
  table.text_.shrink_to_fit();
  return table;
}

}  // namespace gatehouse::route
