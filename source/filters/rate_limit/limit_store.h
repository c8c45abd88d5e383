// LimitStore: where a policy's budgets are kept, and what happens while that does not answer.
// Compiled from RateLimit.store.
//
// Built on main, const.
//
//   absl::StatusOr<LimitStore> store = LimitStore::Build(config, "rate_limits[0]", build);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "source/filters/rate_limit/redis_terms.h"
#include "source/filters/rate_limit/service_limit.h"

namespace gatehouse::v1 {
class RateLimit;
}

namespace gatehouse::filters {

class BuildContext;

struct LimitStore {
  // In the order in which policies are asked: who need not wait comes first.
  enum class Kind : uint8_t { kLocal, kRedis, kService };

  // `field`: where `config`, the resource, is.
  [[nodiscard]] static absl::StatusOr<LimitStore> Build(const gatehouse::v1::RateLimit& config,
                                                        std::string_view field,
                                                        BuildContext& build);

  Kind kind = Kind::kLocal;
  StoreFailure on_failure = StoreFailure::kLocal;
  uint32_t gateways = 1;
  // kRedis: all but the policy, rules, max_keys and lease.
  RedisLimitSpec redis;
  ServiceLimit service;
  // What budgets in it are told apart by, besides the policy.
  std::string identity;
  std::string text;  // for people; of kService
};

// `status` is of something that names a field of its own in front: "timeout: must be more than 0".
[[nodiscard]] absl::Status ErrorBelow(const absl::Status& status, std::string_view field,
                                      BuildContext& build);

}  // namespace gatehouse::filters
