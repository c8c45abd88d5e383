// What both halves of the rate_limit filter do with a policy's decision. Inside rate_limit*.cc
// only; request path.
#pragma once

#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_headers.h"

namespace gatehouse::filters {

// Takes from the table of this process.
inline void TakeLocally(AppliedLimit& applied, FilterContext& context) {
  LimitBudget& budget = *applied.terms->budget;
  const LimitRequest& request = applied.request;
  budget.Follow(applied.terms->setting, request.micros);
  const bool taken = budget.table().Take(request.hash, request.cost, request.micros, applied.takes);
  applied.state = taken ? AppliedLimit::State::kTaken : AppliedLimit::State::kRefused;
  const RateLimitMetrics& metrics = *applied.policy->metrics;
  if (const uint64_t keys = budget.NewlyDisplaced())
    context.counters().Add(metrics.displaced, keys);
  if (const uint64_t takes = budget.NewlyShared()) context.counters().Add(metrics.shared, takes);
}

// A policy in dry run has decided: it is counted, and changes nothing.
void NoteDryRun(const AppliedLimit& applied, FilterContext& context);

}  // namespace gatehouse::filters
