// RedisLimit: the limits of one policy (or plan), kept in Redis for all gateways that share it.
// Exact: each request is one run of one script there. Synced: requests are decided by a mirror in
// this process, and Redis is told and asked at an interval (docs/rate_limits_accuracy.md has the
// bound). RedisCheck: the question of one request.
//
// Made on main, used by all workers; lives as long as anything that uses it (a shared_ptr in the
// config), over changes of the config too. What is left to be told to Redis when it goes is told by
// the workers (RedisErrands). While Redis does not answer it counts locally, by the fleet's share,
// if the policy says so.
//
//   auto limit = std::make_shared<RedisLimit>(std::move(spec), registry);
//   LimitOutcome outcome = limit->Take(context.upstreams(), request, takes);
//   // kAsk:
//   return context.AwaitOperation<RedisCheck>(
//       [this](RedisCheck& check) -> Verdict { return Decide(check.outcome(), check.takes()); },
//       *limit, context.upstreams(), request);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "source/base/time.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/filters/rate_limit/redis_store.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/redis_client.h"

namespace gatehouse::upstream {
class Upstreams;
}

namespace gatehouse::filters {

class RedisLimit {
 public:
  // The spec is one that Check() has accepted.
  RedisLimit(RedisLimitSpec spec, observe::MetricRegistry& registry);
  ~RedisLimit();
  RedisLimit(const RedisLimit&) = delete;
  RedisLimit& operator=(const RedisLimit&) = delete;
  // Such as: concurrency, logs and queues cannot be synced.
  [[nodiscard]] static absl::Status Check(const RedisLimitSpec& spec);

  // Decides without waiting if it can: synced, or while the store is away.
  [[nodiscard]] LimitOutcome Take(upstream::Upstreams& upstreams, const LimitRequest& request,
                                  LimitTakes& takes);
  // What was taken for the request, by `takes`: a later policy rejected it. Does not wait.
  void GiveBack(upstream::Upstreams& upstreams, const LimitRequest& request,
                const LimitTakes& takes);
  // kConcurrency: the request is over. On the worker where it was taken. Does not wait.
  void Release(upstream::Upstreams& upstreams, const LimitRequest& request);
  // For `explain`: what this process knows of the key; nullopt: nothing.
  [[nodiscard]] std::optional<LimitTakes> Peek(const LimitRequest& request) const;
  // "redis \"limits\", exact" or "..., synced every 200ms, at most 5 unsynced".
  [[nodiscard]] std::string Text() const;

  // As LimitTable::Change, from any thread; other fields of the spec may change too, but policy,
  // target, key_prefix and max_keys.
  void Change(RedisLimitSpec spec, int64_t micros);

 private:
  friend class RedisCheck;

  [[nodiscard]] static LimitOutcome DecideAlone(const std::shared_ptr<RedisStore>& store,
                                                const RedisTerms& terms,
                                                upstream::Upstreams& upstreams,
                                                const LimitRequest& request, LimitTakes& takes);

  observe::MetricHandle<RedisLimitMetrics> metrics_;
  std::shared_ptr<RedisStore> store_;  // workers' errands may need it for longer
};

// An operation of FilterContext::AwaitOperation. `limit` outlives it.
class RedisCheck {
 public:
  RedisCheck(RedisLimit& limit, upstream::Upstreams& upstreams, const LimitRequest& request);
  ~RedisCheck();
  RedisCheck(const RedisCheck&) = delete;
  RedisCheck& operator=(const RedisCheck&) = delete;

  void Start(Waker waker);
  // Then: kDecided or kUnavailable.
  [[nodiscard]] LimitOutcome outcome() const { return outcome_; }
  [[nodiscard]] const LimitTakes& takes() const { return takes_; }

 private:
  void OnReply(const upstream::RedisResult& result);

  RedisStore& store_;
  const std::shared_ptr<RedisStore>& shared_;  // the limit's
  upstream::Upstreams& upstreams_;
  const LimitRequest request_;
  const RedisTerms& terms_;
  upstream::RedisCall call_;
  Waker waker_;
  LimitTakes takes_;
  uint64_t place_ = 0;  // of kConcurrency: asked for, and nobody knows whether it is had
  LimitOutcome outcome_ = LimitOutcome::kUnavailable;
};

}  // namespace gatehouse::filters
