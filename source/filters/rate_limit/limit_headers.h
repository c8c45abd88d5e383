// What clients are told of their limits: Retry-After, X-RateLimit-*, and RateLimit and
// RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10.
//
// Request path, the exchange's loop.
//
//   WriteLimitHeaders({applied, count}, context);
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_policy.h"
#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::filters {

// What one policy made of a request. In the exchange's arena.
struct AppliedLimit {
  enum class State : uint8_t {
    kTaken,      // and not given back
    kRefused,    // nothing was taken
    kUncounted,  // nothing was taken, and yet it may pass: the store does not answer
    kDenied,     // nothing was taken, and it may not pass: the store does not answer
    kOver,       // what was taken was given back
  };

  [[nodiscard]] bool refuses() const { return state == State::kRefused || state == State::kDenied; }

  const LimitPolicy* policy = nullptr;
  const LimitTerms* terms = nullptr;
  State state = State::kUncounted;
  bool keyless = false;  // refused for that: nobody was asked
  LimitRequest request;
  int64_t decided = 0;  // when the takes were made
  LimitTakes takes;     // count 0: nothing is known; one of limit 0 is not shown
};

// Of requests that pass: all policies that show themselves. An origin server's own fields stay
// where they are tighter.
void WriteLimitHeaders(std::span<const AppliedLimit> applied, FilterContext& context);
// Of one that is refused: the limits that refuse it, and when to come back.
void WriteRefusedHeaders(const AppliedLimit& applied, FilterContext& context);
// `violated-policies` of a problem object. In the arena or longer.
[[nodiscard]] std::string_view RefusedMembers(const AppliedLimit& applied, FilterContext& context);

}  // namespace gatehouse::filters
