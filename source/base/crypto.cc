#include "source/base/crypto.h"

#include <cstring>

#include "openssl/mem.h"
#include "openssl/rand.h"
#include "openssl/sha.h"
#include "source/base/check.h"

namespace gatehouse {
namespace {

constexpr std::string_view kStandardDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr uint8_t kNoDigit = 0xff;

consteval std::array<uint8_t, 256> ValuesOf(std::string_view digits) {
  std::array<uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (size_t i = 0; i < digits.size(); ++i) {
    values[static_cast<uint8_t>(digits[i])] = static_cast<uint8_t>(i);
  }
  return values;
}

constexpr std::array<uint8_t, 256> kStandardValues = ValuesOf(kStandardDigits);
constexpr std::array<uint8_t, 256> kUrlValues = ValuesOf(kUrlDigits);

// The bits of `count` digits at `text`; false: one is no digit.
bool TakeDigits(const char* text, size_t count, const std::array<uint8_t, 256>& values,
                uint32_t* bits) {
  *bits = 0;
  uint8_t seen = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t value = values[static_cast<uint8_t>(text[i])];
    seen |= value;
    *bits = *bits << 6 | value;
  }
  return (seen & 0xc0) == 0;
}

}  // namespace

Sha1Digest Sha1(std::string_view text) {
  Sha1Digest digest;
  SHA1(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  return digest;
}

Sha256Digest Sha256(std::string_view text) {
  Sha256Digest digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  return digest;
}

// By hand, since libcrypto's HMAC allocates its contexts.
Sha256Digest HmacSha256(std::string_view key, std::string_view text) {
  uint8_t block[SHA256_CBLOCK] = {};
  if (key.size() > sizeof(block)) {
    const Sha256Digest digest = Sha256(key);
    std::memcpy(block, digest.data(), digest.size());
  } else if (!key.empty()) {
    std::memcpy(block, key.data(), key.size());
  }
  SHA256_CTX context;
  Sha256Digest digest;
  for (uint8_t& byte : block) byte ^= 0x36;
  SHA256_Init(&context);
  SHA256_Update(&context, block, sizeof(block));
  SHA256_Update(&context, text.data(), text.size());
  SHA256_Final(digest.data(), &context);
  for (uint8_t& byte : block) byte ^= 0x36 ^ 0x5c;
  SHA256_Init(&context);
  SHA256_Update(&context, block, sizeof(block));
  SHA256_Update(&context, digest.data(), digest.size());
  SHA256_Final(digest.data(), &context);
  OPENSSL_cleanse(block, sizeof(block));
  OPENSSL_cleanse(&context, sizeof(context));
  return digest;
}

void RandomBytes(void* out, size_t size) {
  // BoringSSL's never fails: it aborts when the kernel gives nothing.
  CHECK(RAND_bytes(static_cast<uint8_t*>(out), size) == 1);
}

bool ConstantTimeEqual(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

size_t HexEncode(std::string_view bytes, char* out) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (char c : bytes) {
    *out++ = kDigits[static_cast<uint8_t>(c) >> 4];
    *out++ = kDigits[static_cast<uint8_t>(c) & 15];
  }
  return 2 * bytes.size();
}

std::string HexEncode(std::string_view bytes) {
  std::string text(2 * bytes.size(), '\0');
  HexEncode(bytes, text.data());
  return text;
}

size_t Base64Encode(std::string_view bytes, Base64 form, char* out) {
  const char* digits = form == Base64::kUrl ? kUrlDigits.data() : kStandardDigits.data();
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  char* at = out;
  size_t left = bytes.size();
  for (; left >= 3; left -= 3, in += 3) {
    const uint32_t bits = static_cast<uint32_t>(in[0]) << 16 | in[1] << 8 | in[2];
    *at++ = digits[bits >> 18];
    *at++ = digits[bits >> 12 & 63];
    *at++ = digits[bits >> 6 & 63];
    *at++ = digits[bits & 63];
  }
  if (left > 0) {
    const uint32_t bits = static_cast<uint32_t>(in[0]) << 16 | (left == 2 ? in[1] << 8 : 0);
    *at++ = digits[bits >> 18];
    *at++ = digits[bits >> 12 & 63];
    if (left == 2) *at++ = digits[bits >> 6 & 63];
    for (; form == Base64::kStandard && left < 3; ++left) *at++ = '=';
  }
  return static_cast<size_t>(at - out);
}

std::string Base64Encode(std::string_view bytes, Base64 form) {
  std::string text(Base64Size(bytes.size()), '\0');
  text.resize(Base64Encode(bytes, form, text.data()));
  return text;
}

std::optional<size_t> Base64Decode(std::string_view text, Base64 form, char* out) {
  if (form == Base64::kStandard) {
    if (text.size() % 4 != 0) return std::nullopt;
    if (text.ends_with("=")) text.remove_suffix(text.ends_with("==") ? 2 : 1);
  }
  const std::array<uint8_t, 256>& values = form == Base64::kUrl ? kUrlValues : kStandardValues;
  const char* in = text.data();
  char* at = out;
  size_t left = text.size();
  uint32_t bits = 0;
  for (; left >= 4; left -= 4, in += 4) {
    if (!TakeDigits(in, 4, values, &bits)) return std::nullopt;
    *at++ = static_cast<char>(bits >> 16);
    *at++ = static_cast<char>(bits >> 8);
    *at++ = static_cast<char>(bits);
  }
  if (left > 0) {
    // One digit alone is not even a byte; of two and three digits, 4 and 2 bits mean nothing.
    if (left == 1 || !TakeDigits(in, left, values, &bits)) return std::nullopt;
    if ((bits & (left == 2 ? 0xf : 0x3)) != 0) return std::nullopt;
    bits >>= left == 2 ? 4 : 2;
    if (left == 3) *at++ = static_cast<char>(bits >> 8);
    *at++ = static_cast<char>(bits);
  }
  return static_cast<size_t>(at - out);
}

std::optional<std::string> Base64Decode(std::string_view text, Base64 form) {
  std::string bytes(Base64DecodedSize(text.size()), '\0');
  const std::optional<size_t> size = Base64Decode(text, form, bytes.data());
  if (!size.has_value()) return std::nullopt;
  bytes.resize(*size);
  return bytes;
}

}  // namespace gatehouse
