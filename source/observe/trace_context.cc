#include "source/observe/trace_context.h"

#include <algorithm>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gatehouse::observe {
namespace {

constexpr char kHex[] = "0123456789abcdef";
// Flags that version 00 (sampled) and level 2 (random) define; others are not passed on.
constexpr uint8_t kKnownFlags = 0x03;
constexpr size_t kMaxKey = 256;
constexpr size_t kMaxValue = 256;

// Value of a digit, lower case only (W3C Trace Context 3.2.2); 0x80 for what is none.
constexpr std::array<uint8_t, 256> kDigits = [] {
  std::array<uint8_t, 256> digits;
  digits.fill(0x80);
  for (uint8_t i = 0; i < 10; ++i) digits['0' + i] = i;
  for (uint8_t i = 0; i < 6; ++i) digits['a' + i] = static_cast<uint8_t>(10 + i);
  return digits;
}();

uint8_t HexDigit(char c) { return kDigits[static_cast<uint8_t>(c)]; }
// All digits together: 0x80 is set when one is none, all is 0 when all are zero.
uint8_t AllDigits(std::string_view text) {
  uint8_t all = 0;
  for (const char c : text) all |= HexDigit(c);
  return all;
}
bool IsHex(std::string_view text) { return AllDigits(text) < 0x80; }
bool IsId(std::string_view text) {
  const uint8_t all = AllDigits(text);
  return all != 0 && all < 0x80;
}
uint8_t HexByte(std::string_view two) {
  return static_cast<uint8_t>(HexDigit(two[0]) * 16 + HexDigit(two[1]));
}

// 16 digits. Ids are written for every request, so without a loop where that is possible.
void WriteHex(uint64_t value, char* to) {
#if defined(__SSE2__)
  const __m128i bytes = _mm_cvtsi64_si128(static_cast<int64_t>(__builtin_bswap64(value)));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(0x0f));
  const __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(0x0f));
  const __m128i digits = _mm_unpacklo_epi8(high, low);
  const __m128i letters = _mm_cmpgt_epi8(digits, _mm_set1_epi8(9));
  const __m128i text = _mm_add_epi8(_mm_add_epi8(digits, _mm_set1_epi8('0')),
                                    _mm_and_si128(letters, _mm_set1_epi8('a' - '0' - 10)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), text);
#else
  for (int i = 0; i < 16; ++i) to[i] = kHex[(value >> (60 - 4 * i)) & 15];
#endif
}

bool IsKeyChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' ||
         c == '/' || c == '@';
}
// W3C Trace Context 3.3.1.3.1; the form of level 2, which includes tenant@system of level 1.
bool IsKey(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKey &&
         ((key[0] >= 'a' && key[0] <= 'z') || (key[0] >= '0' && key[0] <= '9')) &&
         std::all_of(key.begin(), key.end(), IsKeyChar);
}
// 3.3.1.3.2: printable, no comma, no equals sign, not ending in a space.
bool IsValue(std::string_view value) {
  return !value.empty() && value.size() <= kMaxValue && value.back() != ' ' &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

std::string_view TrimSpace(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The members seen so far, for the rules that concern all of them.
struct TracestateKeys {
  std::array<std::string_view, kMaxTracestateMembers> keys;
  size_t count = 0;

  // False when the member breaks a rule.
  bool Add(std::string_view member) {
    const size_t equals = member.find('=');
    if (equals == std::string_view::npos || count == keys.size()) return false;
    const std::string_view key = member.substr(0, equals);
    if (!IsKey(key) || !IsValue(member.substr(equals + 1))) return false;
    const auto end = keys.begin() + static_cast<ptrdiff_t>(count);
    if (std::find(keys.begin(), end, key) != end) return false;
    keys[count++] = key;
    return true;
  }
};

// 64 bits that depend on every byte of `text`: FNV-1a, finished by a mixer.
uint64_t Hash(std::string_view text, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
  return hash ^ (hash >> 33);
}

uint64_t NonZero(Random& random) {
  uint64_t value = random.Next();
  while (value == 0) value = random.Next();
  return value;
}

}  // namespace

std::optional<Traceparent> ParseTraceparent(std::string_view text) {
  if (text.size() < kTraceparentSize) return std::nullopt;
  const std::string_view version = text.substr(0, 2);
  if (!IsHex(version) || version == "ff") return std::nullopt;
  // 3.2.4: only a later version may go on, and then behind a dash.
  if (text.size() > kTraceparentSize && (version == "00" || text[kTraceparentSize] != '-')) {
    return std::nullopt;
  }
  if (text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  const std::string_view flags = text.substr(53, 2);
  Traceparent result{.trace_id = text.substr(3, kTraceIdSize),
                     .parent_id = text.substr(36, kSpanIdSize)};
  if (!IsId(result.trace_id) || !IsId(result.parent_id) || !IsHex(flags)) return std::nullopt;
  result.flags = HexByte(flags);
  return result;
}

bool ValidTracestate(std::span<const std::string_view> lines) {
  TracestateKeys seen;
  size_t size = 0;
  for (std::string_view line : lines) {
    size += line.size();
    if (size > kMaxTracestateSize) return false;
    while (!line.empty()) {
      const size_t comma = std::min(line.find(','), line.size());
      const std::string_view member = TrimSpace(line.substr(0, comma));
      // Empty members are allowed (3.3.1.1).
      if (!member.empty() && !seen.Add(member)) return false;
      line.remove_prefix(std::min(comma + 1, line.size()));
    }
  }
  return seen.count > 0;
}

bool ValidExternalId(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

std::string_view WriteRequestId(Random& random, std::span<char, kRequestIdSize> to) {
  char digits[32];
  // Version 4 in the 13th digit, variant 10 in the top of the 17th.
  WriteHex((random.Next() & ~uint64_t{0xf000}) | 0x4000, digits);
  WriteHex((random.Next() & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62), digits + 16);
  // Groups of 8, 4, 4, 4 and 12 digits (RFC 9562, section 4).
  char* at = to.data();
  std::memcpy(at, digits, 8);
  std::memcpy(at + 9, digits + 8, 4);
  std::memcpy(at + 14, digits + 12, 4);
  std::memcpy(at + 19, digits + 16, 4);
  std::memcpy(at + 24, digits + 20, 12);
  at[8] = at[13] = at[18] = at[23] = '-';
  return {to.data(), to.size()};
}

std::string_view WriteTraceId(Random& random, std::span<char, kTraceIdSize> to) {
  WriteHex(NonZero(random), to.data());
  WriteHex(random.Next(), to.data() + 16);
  return {to.data(), to.size()};
}

std::string_view WriteSpanId(Random& random, std::span<char, kSpanIdSize> to) {
  WriteHex(NonZero(random), to.data());
  return {to.data(), to.size()};
}

TraceIds TraceIds::Join(std::string_view traceparent, std::string_view x_trace_id, Random& random) {
  TraceIds ids;
  ids.NewSpan(random);
  const auto parent = ParseTraceparent(traceparent);
  if (parent.has_value()) {
    std::copy(parent->trace_id.begin(), parent->trace_id.end(), ids.trace_id_.begin());
    std::copy(parent->parent_id.begin(), parent->parent_id.end(), ids.parent_id_.begin());
    ids.has_parent_ = true;
    ids.flags_ = parent->flags & kKnownFlags;
  } else if (x_trace_id.size() == kTraceIdSize && IsId(x_trace_id)) {
    std::copy(x_trace_id.begin(), x_trace_id.end(), ids.trace_id_.begin());
  } else if (ValidExternalId(x_trace_id)) {
    // Two independent hashes; the first is kept from being zero.
    WriteHex(std::max<uint64_t>(Hash(x_trace_id, 0), 1), ids.trace_id_.data());
    WriteHex(Hash(x_trace_id, 0x9e3779b97f4a7c15), ids.trace_id_.data() + 16);
  } else {
    WriteTraceId(random, std::span<char, kTraceIdSize>(ids.trace_id_));
  }
  return ids;
}

void TraceIds::NewSpan(Random& random) {
  WriteSpanId(random, std::span<char, kSpanIdSize>(span_id_));
}

std::string_view TraceIds::WriteTraceparent(std::span<char, kTraceparentSize> to) const {
  char* at = to.data();
  std::memcpy(at, "00-", 3);
  std::memcpy(at + 3, trace_id_.data(), kTraceIdSize);
  at[35] = '-';
  std::memcpy(at + 36, span_id_.data(), kSpanIdSize);
  at[52] = '-';
  at[53] = kHex[flags_ >> 4];
  at[54] = kHex[flags_ & 15];
  return {to.data(), to.size()};
}

}  // namespace gatehouse::observe
