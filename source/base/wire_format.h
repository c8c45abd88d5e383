// The protobuf wire format (https://protobuf.dev/programming-guides/encoding/), for small messages
// of the request path: read and written in place, without memory of its own.
//
// Pure, any thread. What a WireReader returns are views of the message.
//
//   for (WireReader in(message); in.Next();) {
//     if (in.Is(1, WireType::kBytes)) name = in.bytes();
//   }
//   if (!in.ok()) ...
//
//   char* at = WireWriter::Bytes(1, name, memory);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gatehouse {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Field by field. Of a field that comes twice, the last one counts, unless it is repeated; that is
// the caller's business.
class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  // False at the end, and from the first wrong byte on: then it is not ok().
  [[nodiscard]] bool Next();
  [[nodiscard]] bool ok() const { return ok_; }

  // Of the field that Next() has found.
  [[nodiscard]] bool Is(uint32_t number, WireType type) const {
    return number_ == number && type_ == type;
  }
  [[nodiscard]] uint64_t varint() const { return varint_; }        // kVarint
  [[nodiscard]] std::string_view bytes() const { return bytes_; }  // kBytes

 private:
  [[nodiscard]] bool TakeVarint(uint64_t* value);
  [[nodiscard]] bool TakeBytes(uint64_t size);
  bool Fail() {
    ok_ = false;
    rest_ = {};
    return false;
  }

  std::string_view rest_;
  std::string_view bytes_;
  uint64_t varint_ = 0;
  uint32_t number_ = 0;
  WireType type_ = WireType::kVarint;
  bool ok_ = true;
};

// Each writes one field to `out`, which has room for it, and returns the byte behind it.
struct WireWriter {
  [[nodiscard]] static size_t VarintSize(uint64_t value);
  // Of a whole field.
  [[nodiscard]] static size_t BytesSize(uint32_t number, size_t bytes);
  [[nodiscard]] static size_t IntegerSize(uint32_t number, uint64_t value);

  [[nodiscard]] static char* Varint(uint64_t value, char* out);
  // The head of a field of so many bytes, which are to follow.
  [[nodiscard]] static char* Head(uint32_t number, size_t bytes, char* out);
  [[nodiscard]] static char* Bytes(uint32_t number, std::string_view bytes, char* out);
  [[nodiscard]] static char* Integer(uint32_t number, uint64_t value, char* out);
};

}  // namespace gatehouse
