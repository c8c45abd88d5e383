// LimitPolicy: a RateLimit resource, compiled: its key, its limits for each plan, where they are
// counted, and how it shows in headers.
//
// Built on main, const, shared by workers; the budgets are shared by all places that name the
// resource, and by the configs before and after this one.
//
//   absl::StatusOr<LimitPolicy> policy = LimitPolicy::Build(resource, "policies[0]", build);
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "source/filters/rate_limit/limit_budget.h"
#include "source/filters/rate_limit/limit_cost.h"
#include "source/filters/rate_limit/limit_key.h"
#include "source/filters/rate_limit/limit_store.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::v1 {
class RateLimit;
}

namespace gatehouse::filters {

class BuildContext;

struct RateLimitMetrics {
  static constexpr const char* kGroup = "rate_limit";
  static constexpr std::array<const char*, 1> kLabels = {"policy"};
  static constexpr const char* kRequests = "gatehouse_rate_limit_requests_total";

  observe::CounterId allowed;
  observe::CounterId delayed;  // and then allowed
  observe::CounterId rejected;
  observe::CounterId dry_run_rejected;
  observe::CounterId unavailable_allowed;
  observe::CounterId unavailable_denied;
  observe::CounterId displaced;
  observe::CounterId shared;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    constexpr const char* kHelp = "Requests that a limit decided on.";
    visit(allowed, kRequests, kHelp, {"result", "allowed"});
    visit(delayed, kRequests, kHelp, {"result", "delayed"});
    visit(rejected, kRequests, kHelp, {"result", "rejected"});
    visit(dry_run_rejected, kRequests, kHelp, {"result", "dry_run_rejected"});
    visit(unavailable_allowed, kRequests, kHelp, {"result", "unavailable_allowed"});
    visit(unavailable_denied, kRequests, kHelp, {"result", "unavailable_denied"});
    visit(displaced, "gatehouse_rate_limit_keys_displaced_total",
          "Keys that were forgotten before they were idle, to make room for others.");
    visit(shared, "gatehouse_rate_limit_keys_shared_total",
          "Requests that shared a budget, because all places for their keys were hot.");
  }
};

// One limit, as it is shown.
struct LimitItem {
  std::string quoted;       // its name, a string of RFC 8941 and of JSON
  std::string policy_item;  // of RateLimit-Policy
  // At most so long until there is something again when nothing is left; 0: when the limit says.
  uint64_t next_seconds = 0;
};

// What the requests of a plan get, or those of none that is listed.
struct LimitTerms {
  std::string plan;                     // empty: the policy's own
  std::shared_ptr<LimitBudget> budget;  // null: none is kept here
  bool unlimited = false;
  uint64_t most = UINT64_MAX;  // that can be had at once
  LimitSetting setting;
  std::vector<LimitItem> items;  // by limit
  std::string text;              // for people
  std::string problem_members;   // of a rejection's problem object, if there is one limit
};

struct LimitPolicy {
  enum class MissingKey : uint8_t { kSharedBudget, kSkip, kReject };

  // `field`: where the resource is, for errors, which are noted in `build`.
  [[nodiscard]] static absl::StatusOr<LimitPolicy> Build(const gatehouse::v1::RateLimit& config,
                                                         std::string_view field,
                                                         BuildContext& build);

  [[nodiscard]] const LimitTerms& TermsOf(FilterContext& context) const {
    if (plans.empty()) return own;
    const std::string_view plan = plan_name.Of(context);
    const auto at = std::ranges::lower_bound(plans, plan, {}, &LimitTerms::plan);
    return at != plans.end() && at->plan == plan ? *at : own;
  }

  // The most that a request can cost and pass: with the largest plan.
  [[nodiscard]] uint64_t most() const;

  std::string name;
  LimitStore store;
  LimitKey key;
  MissingKey on_missing_key = MissingKey::kSharedBudget;
  LimitCost cost;
  LimitTerms own;
  std::vector<LimitTerms> plans;  // by name
  LimitPlanName plan_name;
  bool dry_run = false;
  bool legacy_headers = true;
  bool draft_headers = true;
  bool reset_is_delta = false;
  uint16_t status = 429;
  uint64_t retry_jitter = 0;  // seconds
  std::string quoted_name;
  observe::MetricHandle<RateLimitMetrics> metrics;
};

// Whether the resource is right, whoever uses it. `build` has the resource's path.
[[nodiscard]] absl::Status CheckRateLimit(const gatehouse::v1::RateLimit& config,
                                          BuildContext& build);

}  // namespace gatehouse::filters
