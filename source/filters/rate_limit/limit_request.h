// What a store is asked for, whichever it is: the words between the filter and its stores.
//
//   LimitRequest request = {.key = bytes, .hash = hash, .cost = 1, .micros = loop.WallMicros()};
//   switch (redis_limit.Take(context, request, takes)) {
//     case LimitOutcome::kDecided: ...
//     case LimitOutcome::kAsk: return context.AwaitOperation<RedisCheck>(...);
//     case LimitOutcome::kUnavailable: ...
//   }
#pragma once

#include <cstdint>
#include <string_view>

namespace gatehouse::filters {

struct LimitRequest {
  // Equal for requests that share a budget, on every gateway: each part with its length in front.
  // Lives as long as the exchange.
  std::string_view key;
  uint64_t hash = 0;  // of it, by this process's secret seed
  uint64_t cost = 1;
  int64_t micros = 0;  // when it came
};

enum class LimitOutcome : uint8_t {
  kDecided,      // the LimitTakes say how
  kAsk,          // only the store knows: await a check
  kUnavailable,  // the store does not answer, and the policy says to allow or to deny then
};

}  // namespace gatehouse::filters
