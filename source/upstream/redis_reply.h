// RedisReply: a value of RESP2, the protocol between Redis and its clients.
//
// Owner: whoever parsed it (redis_codec.h); texts and elements are views into what was read and
// into the parser's scratch, and live as long as that says. A plain value.
//
//   if (reply.type == RedisReply::Type::kInteger) left = reply.integer;
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace gatehouse::upstream {

// Arrays have their elements behind them.
struct RedisReply {
  enum class Type : uint8_t { kNull, kInteger, kString, kStatus, kError, kArray };

  Type type = Type::kNull;
  int64_t integer = 0;
  std::string_view text;                 // kString, kStatus, kError
  std::span<const RedisReply> elements;  // kArray

  [[nodiscard]] bool is_error() const { return type == Type::kError; }
  // An error whose first word is `code`.
  [[nodiscard]] bool IsError(std::string_view code) const {
    return is_error() && text.starts_with(code) &&
           (text.size() == code.size() || text[code.size()] == ' ');
  }
};

}  // namespace gatehouse::upstream
