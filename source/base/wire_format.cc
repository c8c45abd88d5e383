#include "source/base/wire_format.h"

#include <cstring>

namespace gatehouse {
namespace {

constexpr int kMaxVarint = 10;

uint64_t KeyOf(uint32_t number, WireType type) {
  return uint64_t{number} << 3 | static_cast<uint64_t>(type);
}

}  // namespace

bool WireReader::TakeVarint(uint64_t* value) {
  *value = 0;
  for (int i = 0; i < kMaxVarint && !rest_.empty(); ++i) {
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    *value |= uint64_t{byte & 0x7fu} << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::TakeBytes(uint64_t size) {
  if (size > rest_.size()) return false;
  bytes_ = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return true;
}

bool WireReader::Next() {
  if (rest_.empty()) return false;
  uint64_t key = 0;
  if (!TakeVarint(&key) || key >> 3 == 0 || key > UINT32_MAX) return Fail();
  number_ = static_cast<uint32_t>(key >> 3);
  type_ = static_cast<WireType>(key & 7);
  uint64_t size = 0;
  switch (type_) {
    case WireType::kVarint:
      return TakeVarint(&varint_) || Fail();
    case WireType::kFixed64:
      return TakeBytes(8) || Fail();
    case WireType::kFixed32:
      return TakeBytes(4) || Fail();
    case WireType::kBytes:
      return (TakeVarint(&size) && TakeBytes(size)) || Fail();
  }
  return Fail();  // a group, which nobody uses
}

size_t WireWriter::VarintSize(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

size_t WireWriter::BytesSize(uint32_t number, size_t bytes) {
  return VarintSize(KeyOf(number, WireType::kBytes)) + VarintSize(bytes) + bytes;
}

size_t WireWriter::IntegerSize(uint32_t number, uint64_t value) {
  return VarintSize(KeyOf(number, WireType::kVarint)) + VarintSize(value);
}

char* WireWriter::Varint(uint64_t value, char* out) {
  for (; value >= 0x80; value >>= 7) *out++ = static_cast<char>(value | 0x80);
  *out++ = static_cast<char>(value);
  return out;
}

char* WireWriter::Head(uint32_t number, size_t bytes, char* out) {
  return Varint(bytes, Varint(KeyOf(number, WireType::kBytes), out));
}

char* WireWriter::Bytes(uint32_t number, std::string_view bytes, char* out) {
  out = Head(number, bytes.size(), out);
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

char* WireWriter::Integer(uint32_t number, uint64_t value, char* out) {
  return Varint(value, Varint(KeyOf(number, WireType::kVarint), out));
}

}  // namespace gatehouse
