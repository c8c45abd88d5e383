// rate_limit: applies RateLimit resources to each request, and tells the client where it stands.
//
//   filters:
//   - rate_limit: [per-client, overall]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_policy.h"

namespace gatehouse::filters::v1 {
class RateLimitFilter;
}

namespace gatehouse::filters {

class BuildContext;

class RateLimit {
 public:
  static constexpr Hooks kHooks = Hooks::kRequestHeaders | Hooks::kResponseHeaders;
  [[nodiscard]] static absl::StatusOr<RateLimit> Build(const filters::v1::RateLimitFilter& config,
                                                       BuildContext& build);

  // Its limits, and whose budget the request would take from.
  [[nodiscard]] std::string Explain(FilterContext& context) const;

  struct Call {
    // All policies or none: when one rejects, those before it get their token back. Between the
    // two, another request may find that token missing.
    Verdict OnRequestHeaders(const RateLimit& filter, FilterContext& context);
    Verdict OnResponseHeaders(const RateLimit& filter, FilterContext& context);

   private:
    struct Applied {
      const LimitPolicy* policy;
      BucketTake take;
    };

    [[nodiscard]] Verdict Reject(const LimitPolicy& policy, FilterContext& context);
    void NoteDryRun(const LimitPolicy& policy, FilterContext& context) const;
    void WriteLegacy(FilterContext& context) const;
    void WriteDraft(FilterContext& context) const;

    // What is shown in headers: the policies that counted, or the one that rejects. In the arena.
    Applied* applied_ = nullptr;
    uint32_t count_ = 0;
    bool rejected_ = false;
  };

 private:
  explicit RateLimit(std::vector<LimitPolicy> policies) : policies_(std::move(policies)) {}

  std::vector<LimitPolicy> policies_;
};

}  // namespace gatehouse::filters
