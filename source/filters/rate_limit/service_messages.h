// The two messages of the standard's rate-limit service (api/envoy/service/ratelimit/v3/rls.proto),
// as bytes: what is asked about one request, and what the answer says.
//
// Pure functions, any thread. All that they make is in the arena.
//
//   message = EncodeServiceQuestion("gatehouse", {{{"client_ip", "10.0.0.1"}}}, 1, arena);
//   std::optional<ServiceAnswer> answer = DecodeServiceAnswer(message, arena);
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "source/base/arena.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::filters {

inline constexpr std::string_view kShouldRateLimitPath =
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

// One entry of the descriptor: the part of the key, such as {"client_ip", "10.0.0.1"}.
using DescriptorEntry = std::pair<std::string_view, std::string_view>;
// A header that the service wants to be added.
using ServiceHeader = std::pair<std::string_view, std::string_view>;

struct ServiceAnswer {
  // Allowed, or when to try again. Without a limit that the service names, one take of limit 0.
  LimitTakes takes;
  bool known = false;  // the service said what the limit is
  std::span<const ServiceHeader> request_headers;
  std::span<const ServiceHeader> response_headers;
  std::string_view body;  // for the client, when it is over the limit
};

// A RateLimitRequest with one descriptor. Its strings are UTF-8, as the standard demands: bytes of
// `entries` that are none become %XX, or else a client could make itself unaskable.
[[nodiscard]] std::string_view EncodeServiceQuestion(std::string_view domain,
                                                     std::span<const DescriptorEntry> entries,
                                                     uint64_t cost, Arena& arena);

// A RateLimitResponse. nullopt: it is none, or says neither yes nor no. Headers that no header can
// be made of, and those that belong to the connection, are left out.
[[nodiscard]] std::optional<ServiceAnswer> DecodeServiceAnswer(std::string_view message,
                                                               Arena& arena);

}  // namespace gatehouse::filters
