// The two messages of gRPC's health checking protocol, grpc.health.v1
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): what is sent to an endpoint,
// and what its answer says. Who sends them, and when, is not decided here.
//
// Pure functions, any thread.
//
//   body = EncodeHealthCheckRequest("shop.Orders");          // in its frame
//   healthy = DecodeHealthCheckResponse(message) == ServingStatus::kServing;
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gatehouse::upstream {

inline constexpr std::string_view kHealthCheckPath = "/grpc.health.v1.Health/Check";
inline constexpr std::string_view kHealthWatchPath = "/grpc.health.v1.Health/Watch";

enum class ServingStatus : uint8_t {
  kUnknown = 0,
  kServing = 1,
  kNotServing = 2,
  kServiceUnknown = 3,  // Watch only; Check fails with NOT_FOUND
};

// A HealthCheckRequest in a gRPC frame. An empty service asks for the endpoint as a whole.
[[nodiscard]] std::string EncodeHealthCheckRequest(std::string_view service);
// The status of a HealthCheckResponse without its frame. A status that we do not know is kUnknown;
// nullopt: it is no such message.
[[nodiscard]] std::optional<ServingStatus> DecodeHealthCheckResponse(std::string_view message);

}  // namespace gatehouse::upstream
