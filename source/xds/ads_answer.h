// The words of a NACK: what was refused and why, for people (the message) and for programs (the
// details, a gatehouse.v1.Rejection each).
//
//   Cluster "users": endpoints[0].address: must be host:port
//
// Pure functions; main thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/envoy/service/discovery/v3/status.pb.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

// The limits keep a NACK below what servers take of a message (4 MiB with gRPC's default).
inline constexpr size_t kMaxNackText = size_t{16} * 1024;
inline constexpr size_t kMaxNackDetails = 1000;
inline constexpr size_t kMaxNackDetailBytes = size_t{1} << 20;

// `more`: how many else were refused. The text ends with the number of those it does not name.
[[nodiscard]] google::rpc::Status StatusOfRefusals(Type type, const std::vector<Refusal>& refusals,
                                                   size_t more);
// Of a response that was refused as a whole.
[[nodiscard]] google::rpc::Status StatusOfMalformed(std::string_view why);

// The front of `text`, not more than `max` bytes, "..." if something is missing; always UTF-8.
[[nodiscard]] std::string Shortened(std::string_view text, size_t max);

}  // namespace gatehouse::xds
