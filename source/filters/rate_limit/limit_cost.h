// LimitCost: what a request takes of its limits. Compiled from RateLimit.cost.
//
// Built on main, const, shared. Request path.
//
//   request.cost = policy.cost.Of(context);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/filters/filter_context.h"
#include "source/http/names.h"

namespace gatehouse::v1 {
class RateLimitCost;
}

namespace gatehouse::filters {

class BuildContext;

class LimitCost {
 public:
  LimitCost() = default;  // 1
  [[nodiscard]] static absl::StatusOr<LimitCost> Build(const gatehouse::v1::RateLimitCost& config,
                                                       std::string_view field, BuildContext& build);

  [[nodiscard]] uint64_t Of(FilterContext& context) const {
    return header_.empty() ? fixed_ : OfHeader(context);
  }
  [[nodiscard]] uint64_t fixed() const { return fixed_; }

 private:
  [[nodiscard]] uint64_t OfHeader(FilterContext& context) const;

  uint64_t fixed_ = 1;
  uint64_t most_ = 0;
  http::Name header_id_ = http::Name::kUnknown;
  std::string header_;
};

}  // namespace gatehouse::filters
