// What `gatehouse explain` says of a policy and a request: the plan, the limits, the key, the cost,
// where it is counted, and what is left.
//
// Main thread; changes nothing.
#pragma once

#include <cstdint>
#include <string>

#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_policy.h"

namespace gatehouse::filters {

// `route_cost`: 0, or what the filter says instead of the policy.
[[nodiscard]] std::string ExplainLimit(const LimitPolicy& policy, uint64_t route_cost,
                                       FilterContext& context);

}  // namespace gatehouse::filters
