// RedisLimit: the limits of one policy (or plan), kept in Redis for all gateways that share it.
// Exact: each request is one run of one script there. Synced: requests are decided by a mirror in
// this process, and Redis is told and asked at an interval (docs/rate_limits.md has the bound).
// RedisCheck: the question of one request.
//
// Built on main, used by all workers; lives as long as anything that uses it (a shared_ptr in the
// config), over changes of the config too. While Redis does not answer it counts locally, by the
// fleet's share, if the policy says so.
//
//   auto limit = RedisLimit::Make(std::move(spec), registry);
//   LimitOutcome outcome = limit->Take(context.upstreams(), request, takes);
//   // kAsk:
//   return context.AwaitOperation<RedisCheck>(
//       [this](RedisCheck& check) -> Verdict { return Decide(check.outcome(), check.takes()); },
//       *limit, context.upstreams(), request);
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "source/base/time.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/upstream/redis_client.h"

namespace gatehouse::upstream {
class Upstreams;
}

namespace gatehouse::filters {

enum class StoreFailure : uint8_t { kLocal, kAllow, kDeny };

struct RedisLimitSpec {
  std::string policy;  // its name, and the plan's: part of the keys
  LimitRules rules;
  size_t max_keys = 0;  // of the mirror and of the fallback
  std::shared_ptr<const upstream::RedisTarget> target;
  std::string key_prefix = "gatehouse:limit:";
  Duration timeout = std::chrono::milliseconds(50);
  Duration sync_interval{};                  // zero: exact
  uint64_t max_unsynced = 0;                 // 0: a twentieth of the smallest limit, at least 1
  Duration lease = std::chrono::minutes(1);  // of kConcurrency
  StoreFailure on_failure = StoreFailure::kLocal;
  uint32_t gateways = 1;
};

class RedisLimit {
 public:
  // The spec is one that Check() has accepted.
  explicit RedisLimit(RedisLimitSpec spec);
  ~RedisLimit();
  RedisLimit(const RedisLimit&) = delete;
  RedisLimit& operator=(const RedisLimit&) = delete;
  // Such as: concurrency and queues cannot be synced.
  [[nodiscard]] static absl::Status Check(const RedisLimitSpec& spec);

  // Decides without waiting if it can: synced, or while the store is away.
  [[nodiscard]] LimitOutcome Take(upstream::Upstreams& upstreams, const LimitRequest& request,
                                  LimitTakes& takes);
  // What was taken for the request: a later policy rejected it. Does not wait.
  void GiveBack(upstream::Upstreams& upstreams, const LimitRequest& request);
  // kConcurrency: the request is over. Does not wait.
  void Release(upstream::Upstreams& upstreams, const LimitRequest& request);
  // For `explain`: what this process knows of the key; nullopt: nothing.
  [[nodiscard]] std::optional<LimitTakes> Peek(const LimitRequest& request) const;
  // "redis \"limits\", exact" or "..., synced every 200ms, at most 5 unsynced".
  [[nodiscard]] std::string Text() const;

  // Main. As LimitTable::Change; other fields of the spec may change too, but policy, target,
  // key_prefix and max_keys.
  void Change(RedisLimitSpec spec, int64_t micros);
};

// An operation of FilterContext::AwaitOperation.
class RedisCheck {
 public:
  RedisCheck(RedisLimit& limit, upstream::Upstreams& upstreams, const LimitRequest& request);
  ~RedisCheck();
  RedisCheck(const RedisCheck&) = delete;
  RedisCheck& operator=(const RedisCheck&) = delete;

  void Start(Waker waker);
  // Then: kDecided or kUnavailable.
  [[nodiscard]] LimitOutcome outcome() const;
  [[nodiscard]] const LimitTakes& takes() const;
};

}  // namespace gatehouse::filters
