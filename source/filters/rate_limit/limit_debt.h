// AddDebt: counts units that have been let through already, whether there is room for them or not.
// What is above a limit is paid back as time goes on, before anything else passes. The script for
// Redis does the same (limit_lua.h).
//
// Pure. All kinds but kSlidingLog, kConcurrency and kLeakyQueue's delays.
//
//   AddDebt(rule, state, 5, when_the_last_of_them_passed);
#pragma once

#include <algorithm>
#include <cstdint>

#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

inline void AddDebt(const LimitRule& rule, LimitState& state, uint64_t units, int64_t micros) {
  __extension__ using Wide = unsigned __int128;
  constexpr uint64_t kMostDebt = (uint64_t{1} << 52) - 1;
  constexpr int kCountBits = 26;
  constexpr uint64_t kMostCount = (uint64_t{1} << kCountBits) - 1;
  const LimitRule::Numbers& numbers = rule.numbers();
  const auto at = static_cast<uint64_t>(std::max<int64_t>(micros, 0));
  if (units == 0) return;
  if (rule.kind() == LimitKind::kTokenBucket || rule.kind() == LimitKind::kLeakyQueue) {
    const uint64_t t = at - at % numbers.tick;
    if (t > state.a) {
      const Wide back = Wide{(t - state.a) / numbers.tick} * numbers.drain;
      state = {t, back >= state.b ? 0 : state.b - static_cast<uint64_t>(back)};
    }
    const Wide debt = Wide{units} * numbers.unit + state.b;
    state.b = static_cast<uint64_t>(std::min<Wide>(debt, kMostDebt));
    return;
  }
  // The first take of a window says when it began.
  LimitState first;
  (void)rule.Take(first, 1, micros);
  if (rule.kind() != LimitKind::kSlidingWindow) {
    if (state.a > first.a) return;
    state = {first.a, std::min(kMostDebt, (state.a < first.a ? 0 : state.b) + units)};
    return;
  }
  uint64_t before = state.b >> kCountBits;
  uint64_t count = state.b & kMostCount;
  if (first.a > state.a) {
    before = first.a == state.a + numbers.per ? count : 0;
    count = 0;
    state.a = first.a;
  }
  if (first.a == state.a) {
    count = std::min(count + units, kMostCount);
  } else if (first.a + numbers.per == state.a) {
    before = std::min(before + units, kMostCount);
  }
  state.b = before << kCountBits | count;
}

}  // namespace gatehouse::filters
