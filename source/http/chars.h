// Character classes of HTTP/1 and the vector searches of its parsers. SSE2, which every x86-64 has;
// a portable loop elsewhere.
//
// Pure functions, any thread. The searches take a `floor`: [floor, end) must be readable, so that
// the last 16 bytes can be looked at as one word without reading behind the end.
//
//   const char* stop = FindControl(at, end, buffer_begin);
//   if (stop != end && *stop == '\r') ...
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gatehouse::http {

namespace chars_internal {

inline constexpr uint8_t kToken = 1;
inline constexpr uint8_t kHost = 2;
inline constexpr uint8_t kUnreserved = 4;

constexpr std::array<uint8_t, 256> MakeClasses() {
  std::array<uint8_t, 256> classes = {};
  auto add = [&classes](std::string_view set, uint8_t flag) {
    for (char c : set) classes[static_cast<unsigned char>(c)] |= flag;
  };
  constexpr std::string_view kAlnum =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  add(kAlnum, kToken | kHost | kUnreserved);
  add("!#$%&'*+-.^_`|~", kToken);  // RFC 9110, section 5.6.2
  add("-_", kHost);                // '.' separates labels and is looked at by itself
  add("-._~", kUnreserved);        // RFC 3986, section 2.3
  return classes;
}
inline constexpr std::array<uint8_t, 256> kClasses = MakeClasses();

inline bool Is(char c, uint8_t flag) {
  return (kClasses[static_cast<unsigned char>(c)] & flag) != 0;
}

}  // namespace chars_internal

[[nodiscard]] inline bool IsTokenChar(char c) {
  return chars_internal::Is(c, chars_internal::kToken);
}
// Letters, digits, '-' and '_': what a label of a host name may hold.
[[nodiscard]] inline bool IsHostChar(char c) {
  return chars_internal::Is(c, chars_internal::kHost);
}
[[nodiscard]] inline bool IsUnreserved(char c) {
  return chars_internal::Is(c, chars_internal::kUnreserved);
}
[[nodiscard]] inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
[[nodiscard]] inline bool IsSpace(char c) { return c == ' ' || c == '\t'; }
// -1 when it is no hex digit.
[[nodiscard]] inline int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
// A control character that no field value may hold: all but HTAB, and DEL.
[[nodiscard]] inline bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}
// What may stand in a request target: visible ASCII.
[[nodiscard]] inline bool IsTargetChar(char c) { return c > 0x20 && c != 0x7f; }

#if defined(__SSE2__)
// Up to 16 bytes of text, then zeros; reads nothing but the text.
[[nodiscard]] inline __m128i LoadPadded(const char* text, size_t size) {
  if (size >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
  uint64_t low = 0;
  uint64_t high = 0;
  if (size >= 8) {
    std::memcpy(&low, text, 8);
    if (size > 8) {
      std::memcpy(&high, text + size - 8, 8);
      high >>= 8 * (16 - size);
    }
  } else if (size >= 4) {
    // The two words overlap in equal bytes.
    uint32_t first;
    uint32_t last;
    std::memcpy(&first, text, 4);
    std::memcpy(&last, text + size - 4, 4);
    low = first | uint64_t{last} << (8 * (size - 4));
  } else {
    for (size_t i = 0; i < size; ++i) {
      low |= uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    }
  }
  return _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
}
// One bit for each byte that is `c`.
[[nodiscard]] inline unsigned MaskOf(__m128i bytes, char c) {
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c))));
}
#endif

namespace chars_internal {

// Finds the first byte for which Class::Is() holds; Class::Mask() does 16 at once.
template <typename Class>
inline const char* Find(const char* at, const char* end, [[maybe_unused]] const char* floor) {
#if defined(__SSE2__)
  while (end - at >= 16) {
    const unsigned mask = Class::Mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    if (mask != 0) return at + __builtin_ctz(mask);
    at += 16;
  }
  if (at == end) return end;
  if (end - floor >= 16) {
    const char* last = end - 16;
    const unsigned mask = Class::Mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(last))) >>
                          static_cast<unsigned>(at - last);
    return mask != 0 ? at + __builtin_ctz(mask) : end;
  }
#endif
  while (at != end && !Class::Is(*at)) ++at;
  return at;
}

struct Control {
  static bool Is(char c) { return IsControl(c); }
#if defined(__SSE2__)
  // Tabs too: cheaper, and they are rare.
  static unsigned MaskWithTabs(__m128i bytes) {
    const __m128i below =
        _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8(0x1f)), _mm_set1_epi8(0x1f));
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(below, del)));
  }
  static unsigned Mask(__m128i bytes) {
    const __m128i below =
        _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8(0x1f)), _mm_set1_epi8(0x1f));
    const __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return static_cast<unsigned>(
        _mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, below), del)));
  }
#endif
};

struct NotTarget {
  static bool Is(char c) { return !IsTargetChar(c); }
#if defined(__SSE2__)
  static unsigned Mask(__m128i bytes) {
    // Signed: 8-bit characters are below 0x21, too.
    const __m128i below = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21));
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(below, del)));
  }
#endif
};

// Not visible ASCII, or '#'.
struct NotQuery {
  static bool Is(char c) { return !IsTargetChar(c) || c == '#'; }
#if defined(__SSE2__)
  static unsigned Mask(__m128i bytes) { return NotTarget::Mask(bytes) | MaskOf(bytes, '#'); }
#endif
};

struct Colon {
  static bool Is(char c) { return c == ':'; }
#if defined(__SSE2__)
  static unsigned Mask(__m128i bytes) { return MaskOf(bytes, ':'); }
#endif
};

}  // namespace chars_internal

#if defined(__SSE2__)
// One bit for each control character, tabs included.
[[nodiscard]] inline unsigned ControlsAndTabs(__m128i bytes) {
  return chars_internal::Control::MaskWithTabs(bytes);
}
#endif

// Each returns `end` when there is none.
[[nodiscard]] inline const char* FindControl(const char* at, const char* end, const char* floor) {
  return chars_internal::Find<chars_internal::Control>(at, end, floor);
}
[[nodiscard]] inline const char* FindTargetEnd(const char* at, const char* end, const char* floor) {
  return chars_internal::Find<chars_internal::NotTarget>(at, end, floor);
}
[[nodiscard]] inline const char* FindQueryEnd(const char* at, const char* end, const char* floor) {
  return chars_internal::Find<chars_internal::NotQuery>(at, end, floor);
}
[[nodiscard]] inline const char* FindColon(const char* at, const char* end, const char* floor) {
  return chars_internal::Find<chars_internal::Colon>(at, end, floor);
}

}  // namespace gatehouse::http
