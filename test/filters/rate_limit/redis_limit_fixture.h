// RedisLimitFixture: gateways (each with a RedisLimit, and one worker or several) over one real
// Redis. Requests are begun from the test's thread, for as many workers as there are.
//
//   Gateway one(*this, Spec({bucket}));
//   EXPECT_EQ(one.Ask("alice"), Outcome::kAllowed);
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "source/filters/rate_limit/key_hash.h"
#include "source/filters/rate_limit/redis_limit.h"
#include "test/fakes/redis_fixture.h"
#include "test/fakes/redis_process.h"

namespace gatehouse::filters {

enum class Outcome { kAllowed, kRejected, kUnavailable };

inline LimitRules RulesOf(std::vector<LimitSpec> specs) { return *LimitRules::Make(specs); }

inline LimitSpec Bucket(uint64_t capacity, uint64_t amount, Duration per) {
  return {.kind = LimitKind::kTokenBucket, .amount = amount, .per = per, .capacity = capacity};
}
inline LimitSpec Window(uint64_t amount, Duration per) {
  return {.kind = LimitKind::kFixedWindow, .amount = amount, .per = per};
}
inline LimitSpec Running(uint64_t amount) {
  return {.kind = LimitKind::kConcurrency, .amount = amount};
}

// A worker of a gateway: its limit may be shared with other workers.
class TestGateway {
 public:
  TestGateway(upstream::Upstreams& upstreams, std::shared_ptr<RedisLimit> limit)
      : upstreams_(upstreams), limit_(std::move(limit)) {}

  struct Pending {
    std::string key;
    LimitRequest request;
    std::optional<RedisCheck> check;
    std::optional<Outcome> outcome;
    LimitTakes takes;
    bool asked = false;
  };

  [[nodiscard]] LimitRequest RequestOf(const std::string& key, uint64_t cost) const {
    return {.key = key,
            .hash = KeyHash(1, 2)(key),
            .cost = cost,
            .micros = upstreams_.loop().WallMicros()};
  }
  // Begins a request; what comes of it is in the Pending, which must stay until then.
  void Begin(Pending& pending, std::string key, uint64_t cost = 1) {
    pending.key = std::move(key);
    pending.request = RequestOf(pending.key, cost);
    const LimitOutcome outcome = limit_->Take(upstreams_, pending.request, pending.takes);
    if (outcome != LimitOutcome::kAsk) return Settle(pending, outcome);
    pending.asked = true;
    pending.check.emplace(*limit_, upstreams_, pending.request);
    pending.check->Start({&pending, [](void* of) {
                            auto& its = *static_cast<Pending*>(of);
                            its.takes = its.check->takes();
                            Settle(its, its.check->outcome());
                          }});
  }
  void GiveBack(const Pending& pending) {
    limit_->GiveBack(upstreams_, pending.request, pending.takes);
  }
  void Release(const Pending& pending) { limit_->Release(upstreams_, pending.request); }
  [[nodiscard]] RedisLimit& limit() { return *limit_; }
  void Forget() { limit_.reset(); }

 private:
  static void Settle(Pending& pending, LimitOutcome outcome) {
    pending.outcome = outcome == LimitOutcome::kUnavailable ? Outcome::kUnavailable
                      : pending.takes.allowed               ? Outcome::kAllowed
                                                            : Outcome::kRejected;
  }

  upstream::Upstreams& upstreams_;
  std::shared_ptr<RedisLimit> limit_;
};

class RedisLimitFixture : public upstream::RedisFixture<SystemClock> {
 protected:
  RedisLimitFixture() { Use({redis_.port()}); }

  [[nodiscard]] RedisLimitSpec Spec(std::vector<LimitSpec> limits) {
    RedisLimitSpec spec;
    spec.policy = "p";
    spec.rules = RulesOf(std::move(limits));
    spec.max_keys = 1000;
    spec.target = target_;
    spec.timeout = std::chrono::seconds(5);
    return spec;
  }
  [[nodiscard]] std::shared_ptr<RedisLimit> Limit(RedisLimitSpec spec) {
    const absl::Status status = RedisLimit::Check(spec);
    EXPECT_TRUE(status.ok()) << status;
    return std::make_shared<RedisLimit>(std::move(spec), registry_);
  }
  [[nodiscard]] TestGateway Gateway(RedisLimitSpec spec) {
    return {*upstreams_, Limit(std::move(spec))};
  }
  Outcome Ask(TestGateway& gateway, std::string key, uint64_t cost = 1,
              LimitTakes* takes = nullptr) {
    TestGateway::Pending pending;
    gateway.Begin(pending, std::move(key), cost);
    EXPECT_TRUE(Until([&] { return pending.outcome.has_value(); }));
    if (takes != nullptr) *takes = pending.takes;
    return pending.outcome.value_or(Outcome::kUnavailable);
  }
  // So many pass of so many that come at once.
  int AskMany(TestGateway& gateway, const std::string& key, int count) {
    std::vector<TestGateway::Pending> pending(static_cast<size_t>(count));
    for (auto& one : pending) gateway.Begin(one, key);
    EXPECT_TRUE(Until([&] {
      return std::all_of(pending.begin(), pending.end(),
                         [](const auto& one) { return one.outcome.has_value(); });
    }));
    return static_cast<int>(std::count_if(pending.begin(), pending.end(), [](const auto& one) {
      return one.outcome == Outcome::kAllowed;
    }));
  }
  void WaitMillis(int millis) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(millis);
    while (std::chrono::steady_clock::now() < until) Turn();
  }
  [[nodiscard]] RedisLimitMetrics MetricsOf(const std::string& policy = "p") {
    return *registry_.Acquire<RedisLimitMetrics>({policy});
  }
  [[nodiscard]] uint64_t Total(observe::CounterId id) const { return registry_.Total(id); }
  // The names of the keys that there are.
  [[nodiscard]] std::string Keys() const { return redis_.Run({"KEYS", "*"}); }

  RedisProcess redis_;
};

}  // namespace gatehouse::filters
