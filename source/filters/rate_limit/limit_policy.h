// LimitPolicy: a RateLimit resource, compiled: its key, its buckets and how it shows in headers.
//
// Built on main, const, shared by workers; the buckets are shared by all places that name the
// resource, and by the configs before and after this one as long as it counts in the same way.
//
//   absl::StatusOr<LimitPolicy> policy = LimitPolicy::Build(resource, "policies[0]", build);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "source/filters/rate_limit/key_hash.h"
#include "source/filters/rate_limit/limit_key.h"
#include "source/filters/rate_limit/token_bucket.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::v1 {
class RateLimit;
}

namespace gatehouse::filters {

class BuildContext;

struct RateLimitMetrics {
  static constexpr const char* kGroup = "rate_limit";
  static constexpr std::array<const char*, 1> kLabels = {"policy"};

  observe::CounterId allowed;
  observe::CounterId rejected;
  observe::CounterId dry_run_rejected;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(allowed, "gatehouse_rate_limit_requests_total", "Requests that a limit counted.",
          {"result", "allowed"});
    visit(rejected, "gatehouse_rate_limit_requests_total", "Requests that a limit counted.",
          {"result", "rejected"});
    visit(dry_run_rejected, "gatehouse_rate_limit_requests_total", "Requests that a limit counted.",
          {"result", "dry_run_rejected"});
  }
};

// What lives on over a change of the config.
struct LimitState {
  LimitState(const BucketSpec& spec, size_t max_keys, uint64_t seed0, uint64_t seed1)
      : table(spec, max_keys), hash(seed0, seed1) {}

  BucketTable table;
  KeyHash hash;
};

struct LimitPolicy {
  enum class MissingKey : uint8_t { kSharedBudget, kSkip, kReject };

  // `field`: where the resource is, for errors, which are noted in `build`.
  [[nodiscard]] static absl::StatusOr<LimitPolicy> Build(const gatehouse::v1::RateLimit& config,
                                                         std::string_view field,
                                                         BuildContext& build);

  std::shared_ptr<LimitState> state;
  LimitKey key;
  MissingKey on_missing_key = MissingKey::kSharedBudget;
  bool dry_run = false;
  bool legacy_headers = true;
  bool draft_headers = true;
  bool reset_is_delta = false;
  uint16_t status = 429;
  uint64_t limit = 0;
  std::string name;
  std::string quoted_name;      // a string of RFC 8941
  std::string policy_item;      // of RateLimit-Policy
  std::string rate_text;        // "10 per 1s, 100 at once", for people
  std::string problem_members;  // of a rejection's problem object
  observe::MetricHandle<RateLimitMetrics> metrics;
};

// Whether the resource is right, whoever uses it. `build` has the resource's path.
[[nodiscard]] absl::Status CheckRateLimit(const gatehouse::v1::RateLimit& config,
                                          BuildContext& build);

}  // namespace gatehouse::filters
