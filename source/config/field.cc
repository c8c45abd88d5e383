#include "source/config/field.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/no_such.h"
#include "source/base/status.h"
#include "source/config/text_scalars.h"
#include "source/http/header_map.h"

namespace gatehouse::config {
namespace {

constexpr Duration kShortestTimeout = std::chrono::milliseconds(1);
constexpr size_t kMaxName = 255;

// The codecs write these.
constexpr std::array<std::string_view, 10> kFramingHeaders = {
    "connection", "content-length",    "host",    "http2-settings", "keep-alive",
    "te",         "transfer-encoding", "trailer", "upgrade",        "proxy-connection"};

std::string DurationText(Duration value) {
  return FormatDuration(std::chrono::duration_cast<std::chrono::nanoseconds>(value));
}

uint64_t CheckRange(uint64_t value, const NumberRule& rule, const Field& field) {
  if (value >= rule.min && value <= rule.max) return value;
  field.Error(fmt::format("{} is not in the range of {} to {}", value, rule.min, rule.max));
  return rule.fallback;
}

}  // namespace

void Field::Error(std::string message, std::string_view suggestion) const {
  errors_->Add(source_->Error(Path(), std::move(message), std::string(suggestion)));
}

void Field::Error(const absl::Status& status) const {
  if (!status.ok()) Error(MessageOf(status));
}

void Field::ErrorBelow(const absl::Status& status) const {
  if (status.ok()) return;
  const std::string message = MessageOf(status);
  const size_t colon = message.find(": ");
  constexpr std::string_view kPathChars = "abcdefghijklmnopqrstuvwxyz_0123456789.[]";
  if (colon == std::string::npos || message.find_first_not_of(kPathChars) != colon) {
    return Error(message);
  }
  Below(std::string_view(message).substr(0, colon)).Error(message.substr(colon + 2));
}

void Field::Unknown(std::string_view what, std::string_view name,
                    std::span<const std::string_view> known) const {
  Error(NoSuch(what, name), Nearest(name, known));
}

std::string Field::Path() const {
  std::string path;
  AppendPath(&path);
  return path;
}

void Field::AppendPath(std::string* path) const {
  if (parent_ != nullptr) parent_->AppendPath(path);
  if (index_ != kNoIndex) {
    AppendIndex(path, index_);
  } else if (name_.starts_with('[')) {
    path->append(name_);
  } else if (!name_.empty()) {
    AppendField(path, name_);
  }
}

Duration ReadDuration(bool given, const google::protobuf::Duration& value, const DurationRule& rule,
                      const Field& field) {
  if (!given) return rule.fallback;
  const int64_t seconds = value.seconds();
  const int32_t nanos = value.nanos();
  const int64_t longest = std::chrono::duration_cast<std::chrono::seconds>(rule.longest).count();
  if (seconds < 0 || nanos < 0) {
    field.Error("must not be negative");
  } else if (nanos > 999'999'999) {
    field.Error("is not a valid duration");
  } else if (seconds > longest || (seconds == longest && nanos > 0)) {
    field.Error(fmt::format("is longer than {}", DurationText(rule.longest)));
  } else if (seconds == 0 && nanos == 0) {
    if (rule.zero_is_none) return kNoTimeout;
    field.Error("must be more than 0s");
  } else {
    const auto micros = std::chrono::seconds(seconds) + std::chrono::microseconds(nanos / 1000);
    if (micros >= kShortestTimeout) return micros;
    field.Error("must be at least 1ms");
  }
  return rule.fallback;
}

uint64_t ReadNumber(uint64_t value, const NumberRule& rule, const Field& field) {
  return value == 0 ? rule.fallback : CheckRange(value, rule, field);
}

uint64_t ReadOptional(bool given, uint64_t value, const NumberRule& rule, const Field& field) {
  return given ? CheckRange(value, rule, field) : rule.fallback;
}

uint64_t ReadSize(uint64_t value, const NumberRule& rule, const Field& field) {
  if (value == 0) return rule.fallback;
  if (value >= rule.min && value <= rule.max) return value;
  field.Error(fmt::format("{} is not in the range of {} to {}", FormatSize(value),
                          FormatSize(rule.min), FormatSize(rule.max)));
  return rule.fallback;
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

std::string ReadHeaderName(std::string_view name, const Field& field) {
  if (http::IsToken(name)) return LowerCase(name);
  field.Error(name.empty() ? "must not be empty"
                           : fmt::format("\"{}\" is not a header name", name));
  return {};
}

bool IsFramingHeader(std::string_view name) {
  return std::find(kFramingHeaders.begin(), kFramingHeaders.end(), name) != kFramingHeaders.end();
}

bool CheckSettableHeader(std::string_view name, std::string_view value, const Field& field) {
  const std::string lower = ReadHeaderName(name, field.Below("name"));
  if (lower.empty()) return false;
  if (IsFramingHeader(lower)) {
    field.Below("name").Error(fmt::format("\"{}\" is for the gateway to write", name));
    return false;
  }
  if (!http::IsFieldValue(value)) {
    field.Below("value").Error("holds a control character, which no header may");
    return false;
  }
  return true;
}

bool CheckName(std::string_view name, const Field& field) {
  if (name.empty()) {
    field.Error("must not be empty");
  } else if (name.size() > kMaxName) {
    field.Error(fmt::format("has {} bytes; {} are the most", name.size(), kMaxName));
  } else if (!std::none_of(name.begin(), name.end(), [](char c) {
               return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
             })) {
    field.Error("holds a control character");
  } else {
    return true;
  }
  return false;
}

}  // namespace gatehouse::config
