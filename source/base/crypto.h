// Digests, message authentication, secret random bytes and Base64, for all layers. The door to
// BoringSSL's libcrypto outside of net/.
//
// Pure functions, any thread. Those that write to a fixed buffer or return an array allocate
// nothing; those that return a std::string are for the control path.
//
//   Sha256Digest digest = Sha256(body);
//   if (!ConstantTimeEqual(View(HmacSha256(key, text)), signature)) Refuse();
//   char text[Base64Size(32)];
//   size_t size = Base64Encode(View(digest), Base64::kUrl, text);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gatehouse {

using Sha1Digest = std::array<uint8_t, 20>;
using Sha256Digest = std::array<uint8_t, 32>;

template <size_t N>
[[nodiscard]] std::string_view View(const std::array<uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

// For Sec-WebSocket-Accept alone (RFC 6455, section 4.2.2), which proves nothing to anybody: SHA-1
// is broken wherever somebody could gain by a collision.
[[nodiscard]] Sha1Digest Sha1(std::string_view text);
[[nodiscard]] Sha256Digest Sha256(std::string_view text);
// RFC 2104. Keys of any length.
[[nodiscard]] Sha256Digest HmacSha256(std::string_view key, std::string_view text);
// From the kernel's generator, fit for keys.
void RandomBytes(void* out, size_t size);
// Takes the same time wherever they differ; that their lengths differ may be noticed.
[[nodiscard]] bool ConstantTimeEqual(std::string_view a, std::string_view b);

// Lower case; `out` has room for 2 * bytes.size().
size_t HexEncode(std::string_view bytes, char* out);
[[nodiscard]] std::string HexEncode(std::string_view bytes);

// RFC 4648. kStandard is padded to a multiple of four; kUrl ('-' and '_') has no padding, as in
// JOSE (RFC 7515, section 2).
enum class Base64 : uint8_t { kStandard, kUrl };

// Room that the Base64 of so many bytes needs at most, and that what it decodes to needs at most.
[[nodiscard]] constexpr size_t Base64Size(size_t bytes) { return (bytes + 2) / 3 * 4; }
[[nodiscard]] constexpr size_t Base64DecodedSize(size_t chars) { return (chars + 3) / 4 * 3; }

// `out` has room for Base64Size(bytes.size()). Returns how many characters were written.
size_t Base64Encode(std::string_view bytes, Base64 form, char* out);
[[nodiscard]] std::string Base64Encode(std::string_view bytes, Base64 form);
// Strict: no white space, no character of the other alphabet, padding exactly where the form wants
// it, unused bits zero: every text has one value and every value one text. `out` has room for
// Base64DecodedSize(text.size()) and may be where the text is. nullopt: it is not Base64.
[[nodiscard]] std::optional<size_t> Base64Decode(std::string_view text, Base64 form, char* out);
[[nodiscard]] std::optional<std::string> Base64Decode(std::string_view text, Base64 form);

}  // namespace gatehouse
