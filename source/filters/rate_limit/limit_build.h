// What a RateLimit resource says of its limits, as the specs that LimitRules are made of, with all
// that is wrong noted at its field.
//
// Pure functions; main thread.
//
//   absl::StatusOr<LimitRules> rules = LimitRulesOf(config, "rate_limits[0]", build);
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/base/time.h"
#include "source/filters/rate_limit/limit_table.h"

namespace google::protobuf {
class Duration;
}
namespace gatehouse::v1 {
class RateLimit;
class RateLimitPlan;
}  // namespace gatehouse::v1

namespace gatehouse::filters {

class BuildContext;

// The policy's own. The config has an algorithm.
[[nodiscard]] absl::StatusOr<LimitRules> LimitRulesOf(const gatehouse::v1::RateLimit& config,
                                                      std::string_view field, BuildContext& build);
// A plan's; it has an algorithm and is not unlimited.
[[nodiscard]] absl::StatusOr<LimitRules> LimitRulesOf(const gatehouse::v1::RateLimitPlan& config,
                                                      std::string_view field, BuildContext& build);
// Of Concurrency.lease; zero: none is said. The first of several.
[[nodiscard]] Duration LimitLeaseOf(const gatehouse::v1::RateLimit& config);
[[nodiscard]] Duration LimitLeaseOf(const gatehouse::v1::RateLimitPlan& config);

// "store.redis.cluster", or the second alone.
[[nodiscard]] std::string FieldOf(std::string_view outer, std::string_view inner);
// At most a year, at least 0.
[[nodiscard]] absl::StatusOr<Duration> ReadDuration(const google::protobuf::Duration& duration,
                                                    std::string_view field, BuildContext& build);

}  // namespace gatehouse::filters
