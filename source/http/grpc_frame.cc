#include "source/http/grpc_frame.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace gatehouse::http {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";
constexpr uint32_t kMaxTimeoutValue = 99'999'999;

// -1: it is no hex digit.
int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

struct Unit {
  char letter;
  int64_t micros;
};
// The largest first. Nanoseconds are less than we count.
constexpr Unit kUnits[] = {
    {'H', 3'600'000'000}, {'M', 60'000'000}, {'S', 1'000'000}, {'m', 1000}, {'u', 1}};

}  // namespace

void WriteGrpcPrefix(uint32_t message_bytes, char* out) {
  *out++ = 0;
  for (int shift = 24; shift >= 0; shift -= 8) *out++ = static_cast<char>(message_bytes >> shift);
}

void AppendGrpcMessage(std::string_view message, Chain& out, SlabPool& pool) {
  char prefix[kGrpcPrefix];
  WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
  out.AppendCopy({prefix, kGrpcPrefix}, pool);
  out.AppendCopy(message, pool);
}

GrpcFrameDecoder::Result GrpcFrameDecoder::Next(Chain& data, Chain& message) {
  if (broken()) return result_;
  if (prefix_size_ < kGrpcPrefix) {
    const Result result = ReadPrefix(data);
    if (result != Result::kMessage) return result;
  }
  const size_t taken = std::min(missing_, data.bytes());
  if (taken > 0) data.MoveTo(taken, message_);
  missing_ -= taken;
  if (missing_ > 0) return Result::kNeedMore;
  prefix_size_ = 0;
  message = std::exchange(message_, Chain());
  return Result::kMessage;
}

// kMessage: it is whole, and a message follows.
GrpcFrameDecoder::Result GrpcFrameDecoder::ReadPrefix(Chain& data) {
  while (prefix_size_ < kGrpcPrefix) {
    if (data.empty()) return Result::kNeedMore;
    const std::string_view front = data.front();
    const size_t taken = std::min(kGrpcPrefix - prefix_size_, front.size());
    std::memcpy(prefix_ + prefix_size_, front.data(), taken);
    prefix_size_ = static_cast<uint8_t>(prefix_size_ + taken);
    data.RemovePrefix(taken);
  }
  missing_ = 0;
  for (size_t i = 1; i < kGrpcPrefix; ++i) {
    missing_ = missing_ << 8 | static_cast<uint8_t>(prefix_[i]);
  }
  if (prefix_[0] == 1) return result_ = Result::kCompressed;
  if (prefix_[0] != 0) return result_ = Result::kMalformed;
  if (missing_ > limit_) return result_ = Result::kTooLarge;
  return Result::kMessage;
}

std::optional<GrpcStatus> ParseGrpcStatus(std::string_view text) {
  uint32_t code = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, code);
  if (text.empty() || stop != end) return std::nullopt;
  if (error != std::errc() || code > static_cast<uint32_t>(GrpcStatus::kUnauthenticated)) {
    return GrpcStatus::kUnknown;
  }
  return static_cast<GrpcStatus>(code);
}

std::string_view EncodeGrpcMessage(std::string_view text, Arena& arena) {
  char* const out = arena.AllocateChars(3 * text.size());
  char* at = out;
  for (char c : text) {
    if (c >= 0x20 && c < 0x7f && c != '%') {
      *at++ = c;
    } else {
      *at++ = '%';
      *at++ = kHex[static_cast<unsigned char>(c) >> 4];
      *at++ = kHex[static_cast<unsigned char>(c) & 15];
    }
  }
  return {out, static_cast<size_t>(at - out)};
}

std::string_view DecodeGrpcMessage(std::string_view text, Arena& arena) {
  if (text.find('%') == std::string_view::npos) return text;
  char* const out = arena.AllocateChars(text.size());
  char* at = out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && text.size() - i > 2;
    const int high = escape ? HexValue(text[i + 1]) : -1;
    const int low = escape ? HexValue(text[i + 2]) : -1;
    if (high >= 0 && low >= 0) {
      *at++ = static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      *at++ = text[i];
    }
  }
  return {out, static_cast<size_t>(at - out)};
}

std::optional<Duration> ParseGrpcTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxGrpcTimeout) return std::nullopt;
  const char letter = text.back();
  const char* end = text.data() + text.size() - 1;
  uint32_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  // Eight digits of hours are 3.6e17 microseconds: no product overflows.
  if (letter == 'n') return Duration(std::max<int64_t>((int64_t{value} + 999) / 1000, 1));
  for (const Unit& unit : kUnits) {
    if (unit.letter == letter) return Duration(std::max<int64_t>(value * unit.micros, 1));
  }
  return std::nullopt;
}

size_t FormatGrpcTimeout(Duration timeout, char* out) {
  const int64_t micros = std::max<int64_t>(timeout.count(), 1);
  const Unit* chosen = nullptr;
  for (const Unit& unit : kUnits) {
    // Without an exact one, the finest that has digits enough.
    if ((micros - 1) / unit.micros >= kMaxTimeoutValue) break;
    chosen = &unit;
    if (micros % unit.micros == 0) break;
  }
  if (chosen == nullptr) chosen = &kUnits[0];
  const int64_t value =
      std::min<int64_t>((micros - 1) / chosen->micros + 1, int64_t{kMaxTimeoutValue});
  char* at = std::to_chars(out, out + kMaxGrpcTimeout, value).ptr;
  *at++ = chosen->letter;
  return static_cast<size_t>(at - out);
}

}  // namespace gatehouse::http
