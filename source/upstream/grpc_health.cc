#include "source/upstream/grpc_health.h"

#include "source/http/grpc_frame.h"

namespace gatehouse::upstream {
namespace {

// Of the protobuf wire format (https://protobuf.dev/programming-guides/encoding/).
enum Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
constexpr uint64_t kServiceKey = 1 << 3 | kBytes;
constexpr uint64_t kStatusKey = 1 << 3 | kVarint;
constexpr int kMaxVarint = 10;

void PutVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

bool TakeVarint(std::string_view& from, uint64_t* value) {
  *value = 0;
  for (int i = 0; i < kMaxVarint && !from.empty(); ++i) {
    const auto byte = static_cast<uint8_t>(from.front());
    from.remove_prefix(1);
    *value |= uint64_t{byte & 0x7fu} << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

// Takes a field that is nothing to us.
bool Skip(uint64_t key, std::string_view& from) {
  uint64_t size = 0;
  switch (key & 7) {
    case kVarint:
      return TakeVarint(from, &size);
    case kFixed64:
      size = 8;
      break;
    case kBytes:
      if (!TakeVarint(from, &size)) return false;
      break;
    case kFixed32:
      size = 4;
      break;
    default:
      return false;
  }
  if (size > from.size()) return false;
  from.remove_prefix(size);
  return true;
}

}  // namespace

std::string EncodeHealthCheckRequest(std::string_view service) {
  std::string body(http::kGrpcPrefix, '\0');
  if (!service.empty()) {
    PutVarint(kServiceKey, body);
    PutVarint(service.size(), body);
    body += service;
  }
  http::WriteGrpcPrefix(static_cast<uint32_t>(body.size() - http::kGrpcPrefix), body.data());
  return body;
}

std::optional<ServingStatus> DecodeHealthCheckResponse(std::string_view message) {
  uint64_t status = 0;
  while (!message.empty()) {
    uint64_t key = 0;
    if (!TakeVarint(message, &key) || key >> 3 == 0) return std::nullopt;
    // Of a field that comes twice, the last one counts.
    if (!(key == kStatusKey ? TakeVarint(message, &status) : Skip(key, message))) {
      return std::nullopt;
    }
  }
  if (status > static_cast<uint64_t>(ServingStatus::kServiceUnknown))
    return ServingStatus::kUnknown;
  return static_cast<ServingStatus>(status);
}

}  // namespace gatehouse::upstream
