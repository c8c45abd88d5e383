// LogLine: one log line while it is written into a buffer of fixed size. Used by LogFormat.
//
// Escapes what would break the line or lie to its reader: JSON strings are valid UTF-8 (a bad byte
// becomes U+FFFD), text is printable (control characters, quotes, backslashes and bytes that are
// not UTF-8 become \xHH). Never writes beyond the buffer: what does not fit sets overflow().
//
// Owner: the stack of LogFormat::Write. Thread: one.
//
//   LogLine line(buffer, 4096);
//   line.Text("GET", /*json=*/true);      // "GET" with its quotes, or null when empty
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "source/observe/log_record.h"

namespace gatehouse::observe {

class LogLine {
 public:
  // Values longer than `value_limit` bytes are cut and end in "...".
  LogLine(std::span<char> to, size_t value_limit)
      : begin_(to.data()), at_(to.data()), end_(to.data() + to.size()), limit_(value_limit) {}

  [[nodiscard]] size_t size() const { return static_cast<size_t>(at_ - begin_); }
  [[nodiscard]] bool overflow() const { return overflow_; }
  // Whether a value was cut.
  [[nodiscard]] bool cut() const { return cut_; }

  // As it is.
  void Raw(std::string_view text) {
    if (!Room(text.size())) return;
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  // The same for what is followed by kPadding readable bytes: a few moves instead of a call.
  static constexpr size_t kPadding = 16;
  void Padded(const char* text, size_t size) {
    if (!Room(size + kPadding)) return;
    for (size_t i = 0; i < size; i += kPadding) std::memcpy(at_ + i, text + i, kPadding);
    at_ += size;
  }
  // A value: escaped, quoted in JSON; absent when empty.
  void Text(std::string_view value, bool json) {
    if (value.empty()) return Absent(json);
    BeginText(json);
    Content(value, json);
    EndText(json);
  }
  // A value that needs no escape.
  void Quoted(std::string_view value, bool json);
  void Absent(bool json) { Raw(json ? std::string_view("null") : std::string_view("-")); }
  void Number(int64_t value);
  // 12345 as 12.345.
  void Thousandths(int64_t value);
  void Flags(LogFlags flags, bool json);

  // A value in pieces.
  void BeginText(bool json) {
    if (json && Room(1)) *at_++ = '"';
  }
  void Content(std::string_view value, bool json) {
    json ? JsonContent(value) : PlainContent(value);
  }
  void EndText(bool json) { BeginText(json); }
  // The part of `value` that may be written; `cut` is set when that is not all.
  [[nodiscard]] std::string_view Limit(std::string_view value, bool& cut);

  void JsonContent(std::string_view value);
  void PlainContent(std::string_view value);

 private:
  [[nodiscard]] bool Room(size_t bytes) {
    if (static_cast<size_t>(end_ - at_) >= bytes) return true;
    overflow_ = true;
    return false;
  }
  // Copies the leading bytes that need no care; returns how many.
  size_t CopySafe(std::string_view value);
  void EscapeJson(std::string_view value);
  void EscapePlain(std::string_view value);

  char* begin_;
  char* at_;
  char* end_;
  size_t limit_;
  bool overflow_ = false;
  bool cut_ = false;
};

}  // namespace gatehouse::observe
