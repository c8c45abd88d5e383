#include "source/upstream/grpc_health.h"

#include "source/base/wire_format.h"
#include "source/http/grpc_frame.h"

namespace gatehouse::upstream {
namespace {

constexpr uint32_t kService = 1;
constexpr uint32_t kStatus = 1;

}  // namespace

std::string EncodeHealthCheckRequest(std::string_view service) {
  const size_t size = service.empty() ? 0 : WireWriter::BytesSize(kService, service.size());
  std::string body(http::kGrpcPrefix + size, '\0');
  http::WriteGrpcPrefix(static_cast<uint32_t>(size), body.data());
  if (!service.empty()) {
    (void)WireWriter::Bytes(kService, service, body.data() + http::kGrpcPrefix);
  }
  return body;
}

std::optional<ServingStatus> DecodeHealthCheckResponse(std::string_view message) {
  uint64_t status = 0;
  WireReader in(message);
  while (in.Next()) {
    // Of a field that comes twice, the last one counts.
    if (in.Is(kStatus, WireType::kVarint)) status = in.varint();
  }
  if (!in.ok()) return std::nullopt;
  if (status > static_cast<uint64_t>(ServingStatus::kServiceUnknown))
    return ServingStatus::kUnknown;
  return static_cast<ServingStatus>(status);
}

}  // namespace gatehouse::upstream
