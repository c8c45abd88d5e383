// TextTable: (scope, text) -> payload, built once. The hash map under hosts, exact paths and the
// trie: one probe as a rule, one comparison of the text, no allocation at look-up.
//
// Owner: CompiledRoutes. Const after Build, any thread. Keys come from the config only, so nobody
// outside can make them collide.
//
//   TextTable<uint32_t>::Builder builder;
//   builder.Add(level, "/users", 7);
//   TextTable<uint32_t> table = std::move(builder).Build();
//   if (const auto* record = table.Find(level, "/users")) return record->payload;   // 7
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>
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

template <typename Payload>
class TextTable {
  static_assert(std::is_trivially_copyable_v<Payload> && alignof(Payload) <= 4);

 public:
  static constexpr size_t kMaxTextSize = 0xffff;

  // Key, payload and text lie together, so that a hit touches two places: slot and record.
  struct Record {
    uint32_t scope;
    uint16_t key_size;
    uint16_t rest_size;
    Payload payload;

    [[nodiscard]] std::string_view key() const { return {text(), key_size}; }
    // The caller's text behind the key.
    [[nodiscard]] std::string_view rest() const { return {text() + key_size, rest_size}; }

   private:
    friend class TextTable;
    [[nodiscard]] const char* text() const {
      return reinterpret_cast<const char*>(this) + sizeof(Record);
    }
  };

  class Builder {
   public:
    // Each (scope, key) once. Returns the record's number, for TextTable::At().
    uint32_t Add(uint32_t scope, std::string_view key, const Payload& payload,
                 std::string_view rest = {}) {
      const uint32_t number = AddUnlisted(scope, key, payload, rest);
      listed_.push_back(number);
      return number;
    }
    // A record that only its number leads to.
    uint32_t AddUnlisted(uint32_t scope, std::string_view key, const Payload& payload,
                         std::string_view rest = {}) {
      CHECK(key.size() <= kMaxTextSize && rest.size() <= kMaxTextSize);
      const size_t at = table_.bytes_.size();
      CHECK(at / 4 < 0xffffffff);
      table_.bytes_.resize(at + (sizeof(Record) + key.size() + rest.size() + 3) / 4 * 4);
      char* const to = table_.bytes_.data() + at;
      Record* record = new (to) Record;
      record->scope = scope;
      record->key_size = static_cast<uint16_t>(key.size());
      record->rest_size = static_cast<uint16_t>(rest.size());
      record->payload = payload;
      std::copy(key.begin(), key.end(), to + sizeof(Record));
      std::copy(rest.begin(), rest.end(), to + sizeof(Record) + key.size());
      return static_cast<uint32_t>(at / 4);
    }
    [[nodiscard]] TextTable Build() && {
      size_t slots = 1;
      while (slots * 3 < listed_.size() * 4 || slots <= listed_.size()) slots *= 2;
      table_.slots_.assign(slots, Slot{});
      table_.mask_ = slots - 1;
      for (uint32_t number : listed_) {
        const Record& record = table_.At(number);
        const uint64_t hash = WithScope(HashText(record.key()), record.scope);
        size_t at = hash & table_.mask_;
        while (table_.slots_[at].number != 0) at = (at + 1) & table_.mask_;
        table_.slots_[at] = {TagOf(hash), number};
      }
      table_.bytes_.shrink_to_fit();
      return std::move(table_);
    }

   private:
    TextTable table_;
    std::vector<uint32_t> listed_;
  };

  // The record, or null.
  [[nodiscard]] const Record* Find(uint32_t scope, std::string_view key) const {
    return Find(scope, key, HashText(key));
  }
  // With the hash of the key, for those who ask for it in several scopes.
  [[nodiscard]] const Record* Find(uint32_t scope, std::string_view key, uint64_t key_hash) const {
    const uint64_t hash = WithScope(key_hash, scope);
    const uint32_t tag = TagOf(hash);
    for (size_t at = hash & mask_;; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.number == 0) return nullptr;
      if (slot.tag != tag) continue;
      const Record& record = At(slot.number);
      if (record.scope == scope && record.key_size == key.size() &&
          SameText(record.text(), key.data(), key.size())) {
        return &record;
      }
    }
  }
  [[nodiscard]] const Record& At(uint32_t number) const {
    return *std::launder(reinterpret_cast<const Record*>(bytes_.data() + size_t{number} * 4));
  }
  [[nodiscard]] size_t MemoryBytes() const {
    return slots_.capacity() * sizeof(Slot) + bytes_.capacity();
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t number = 0;  // of the record; 0: empty
  };
  static uint64_t WithScope(uint64_t key_hash, uint32_t scope) {
    return text_internal::Fold(key_hash ^ 0x8ebc6af09c88c6e3, 0xd1b54a32d192ed03 ^ scope);
  }
  static uint32_t TagOf(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  std::vector<Slot> slots_ = std::vector<Slot>(1);  // there is always an empty one
  size_t mask_ = 0;
  std::vector<char> bytes_ = std::vector<char>(4);  // records; number 0 is none
};

}  // namespace gatehouse::route
