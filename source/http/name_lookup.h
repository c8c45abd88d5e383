// The perfect hash behind FindName(), inline for the parser, which looks up every name of every
// message. For all others, names.h is the way.
//
//   // No control character is among the bytes, and at least eight can be read:
//   Name id = names_internal::FindFolded(text, size);
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "source/http/names.h"

namespace gatehouse::http::names_internal {

inline constexpr size_t kMaxNameSize = 40;

// Lower-case text padded with zeros, so that it is compared in words. Index 0 is kUnknown.
struct NameEntry {
  char text[kMaxNameSize];
  uint32_t size;
};

inline constexpr int kNameSlotBits = 10;
inline constexpr size_t kNameSlots = size_t{1} << kNameSlotBits;
// The factor for which no two names share a slot: see names.cc, which checks it.
inline constexpr uint64_t kNameFactor = 0xcc68b06d0cb58c61;

extern const std::array<NameEntry, kNameCount> kNameEntries;
extern const std::array<uint8_t, kNameSlots> kNameSlotTable;

inline constexpr uint64_t kCaseBits = 0x2020202020202020;

[[nodiscard]] inline uint64_t LoadWord(const char* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Of the first and the last eight bytes of a name, with bit 5 set, and its size. Shorter names have
// zeros behind them, and their one word twice.
[[nodiscard]] constexpr uint64_t NameKey(uint64_t first, uint64_t last, size_t size) {
  return (first ^ std::rotl(last, 27)) + size;
}
[[nodiscard]] constexpr size_t NameSlot(uint64_t key, uint64_t factor) {
  return (key * factor) >> (64 - kNameSlotBits);
}

// Takes every byte with bit 5 set, which makes letters lower case but takes some control characters
// for digits and '-', too: the caller has made sure that there are none, or checks again. At least
// eight bytes must be readable from `text` on, whatever the size.
[[nodiscard]] inline Name FindFolded(const char* text, size_t size) {
  uint64_t first = LoadWord(text) | kCaseBits;
  uint64_t last;
  if (size >= 8) {
    last = LoadWord(text + size - 8) | kCaseBits;
  } else {
    first &= (uint64_t{1} << (8 * size)) - 1;
    last = first;
  }
  const uint8_t index = kNameSlotTable[NameSlot(NameKey(first, last, size), kNameFactor)];
  const NameEntry& entry = kNameEntries[index];
  if (entry.size != size || LoadWord(entry.text) != first) return Name::kUnknown;
  if (size > 8) {
    if (LoadWord(entry.text + size - 8) != last) return Name::kUnknown;
    for (size_t at = 8; at + 8 < size; at += 8) {
      if (LoadWord(entry.text + at) != (LoadWord(text + at) | kCaseBits)) return Name::kUnknown;
    }
  }
  return static_cast<Name>(index);
}

}  // namespace gatehouse::http::names_internal
