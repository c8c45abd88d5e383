// Rules against models, on random schedules.
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/filters/rate_limit/limit_log.h"
#include "source/filters/rate_limit/limit_rule.h"
#include "test/filters/rate_limit/limit_models.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kStart = 1'800'000'000'000'000;

constexpr LimitKind kKinds[] = {LimitKind::kTokenBucket,   LimitKind::kLeakyQueue,
                                LimitKind::kFixedWindow,   LimitKind::kCalendar,
                                LimitKind::kSlidingWindow, LimitKind::kSlidingLog,
                                LimitKind::kConcurrency};

// A rule with its state, whatever it is.
class Counted {
 public:
  explicit Counted(LimitRule rule) : rule_(std::move(rule)) {}
  Counted(const Counted& other) : rule_(other.rule_), state_(other.state_) { Copy(other); }
  Counted& operator=(const Counted&) = delete;

  LimitTake Take(uint64_t cost, int64_t now) {
    if (rule_.kind() != LimitKind::kSlidingLog) return rule_.Take(state_, cost, now);
    LimitTake take = log_.Take(rule_, cost, now);
    if (take.allowed && cost > 0) calls_.push_back({cost, now});
    return take;
  }
  void GiveBack(uint64_t cost, int64_t taken, int64_t now) {
    if (rule_.kind() != LimitKind::kSlidingLog) return rule_.GiveBack(state_, cost, taken, now);
    log_.GiveBack(rule_, cost, taken, now);
  }
  [[nodiscard]] uint64_t Used(int64_t now) const {
    return rule_.kind() == LimitKind::kSlidingLog ? log_.Used(rule_, now) : rule_.Used(state_, now);
  }
  [[nodiscard]] const LimitRule& rule() const { return rule_; }
  [[nodiscard]] const LimitState& state() const { return state_; }

 private:
  // A log cannot be copied: the same calls once more make the same log.
  void Copy(const Counted& other) {
    for (const auto& [cost, at] : other.calls_) static_cast<void>(Take(cost, at));
  }

  LimitRule rule_;
  LimitState state_;
  LimitLog log_;
  std::vector<std::pair<uint64_t, int64_t>> calls_;
};

LimitSpec RandomSpec(LimitKind kind, Random& random) {
  LimitSpec spec;
  spec.kind = kind;
  spec.amount = 1 + random.Below(20);
  spec.per =
      Duration(1 + static_cast<int64_t>(random.Below(uint64_t{1} << (8 + random.Below(20)))));
  spec.capacity = 1 + random.Below(20);
  spec.max_delay = Duration(static_cast<int64_t>(
      random.Below(4) * random.Below(static_cast<uint64_t>(spec.per.count()) + 1)));
  spec.period = static_cast<CalendarPeriod>(random.Below(4));
  spec.utc_offset = 15min * (static_cast<int>(random.Below(97)) - 48);
  return spec;
}

// Short and long steps, and some back.
int64_t Step(const LimitSpec& spec, Random& random) {
  if (spec.kind == LimitKind::kCalendar) {
    return static_cast<int64_t>(random.Below(40) == 0 ? random.Below(200) * 86'400'000'000
                                                      : random.Below(30'000'000'000));
  }
  const auto per = static_cast<uint64_t>(spec.per.count());
  switch (random.Below(8)) {
    case 0:
      return 0;
    case 1:
      return -static_cast<int64_t>(random.Below(per / 10 + 2));
    case 2:
      return static_cast<int64_t>(random.Below(per * 3 + 1));
    default:
      return static_cast<int64_t>(random.Below(per / spec.amount * 2 + 2));
  }
}

void RunAgainstModel(LimitKind kind, uint64_t seed) {
  Random random(seed);
  const LimitSpec spec = RandomSpec(kind, random);
  const absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
  ASSERT_TRUE(rule.ok());
  Counted counted(*rule);
  LimitModel model(spec);
  int64_t now = kStart + static_cast<int64_t>(random.Below(uint64_t{1} << 40));
  std::vector<uint64_t> running;
  for (int i = 0; i < 150; ++i) {
    now += Step(spec, random);
    const uint64_t cost = random.Below(3) == 0 ? random.Below(rule->limit() + 3) : 1;
    const int64_t wait = kind == LimitKind::kLeakyQueue ? model.Wait(now) : 0;
    const LimitTake take = counted.Take(cost, now);
    ASSERT_EQ(take.allowed, model.Take(cost, now)) << "seed " << seed << ", step " << i;
    if (kind != LimitKind::kLeakyQueue) {
      ASSERT_EQ(take.remaining, model.Remaining(now)) << "seed " << seed << ", step " << i;
    } else if (take.allowed && cost > 0) {
      ASSERT_EQ(take.delay.count(), wait) << "seed " << seed << ", step " << i;
    }
    ASSERT_EQ(take.limit, rule->limit());
    if (take.allowed) {
      ASSERT_EQ(take.retry_after, 0us);
    } else if (cost > rule->limit()) {
      ASSERT_EQ(take.retry_after, LimitTake::kForever);
    } else if (kind != LimitKind::kConcurrency) {
      ASSERT_GT(take.retry_after, 0us);
      const int64_t retry = now + take.retry_after.count();
      ASSERT_FALSE(Counted(counted).Take(cost, retry - 1).allowed) << "seed " << seed;
      ASSERT_TRUE(Counted(counted).Take(cost, retry).allowed) << "seed " << seed;
    }
    if (take.reset_after > 0us) {
      ASSERT_EQ(counted.Used(now + take.reset_after.count()), 0u) << "seed " << seed;
    } else if (kind != LimitKind::kConcurrency) {
      ASSERT_EQ(counted.Used(now), 0u);
    }
    ASSERT_LT(counted.state().a, uint64_t{1} << 52);
    ASSERT_LT(counted.state().b, uint64_t{1} << 52);
    if (kind != LimitKind::kConcurrency) continue;
    if (take.allowed && cost > 0) running.push_back(cost);
    if (!running.empty() && random.Below(2) == 0) {
      counted.GiveBack(running.back(), now, now);
      model.Release(running.back());
      running.pop_back();
    }
  }
}

TEST(LimitRuleModelTest, EachKindDoesWhatItsModelDoes) {
  for (const LimitKind kind : kKinds) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      ASSERT_NO_FATAL_FAILURE(RunAgainstModel(kind, seed)) << "kind " << static_cast<int>(kind);
    }
  }
}

// What a queue says is left can be taken one by one, and not one more.
TEST(LimitRuleModelTest, WhatAQueueSaysIsLeftIsThere) {
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    const LimitSpec spec = RandomSpec(LimitKind::kLeakyQueue, random);
    const absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
    ASSERT_TRUE(rule.ok());
    LimitState state;
    int64_t now = kStart;
    for (int i = 0; i < 30; ++i) {
      now += std::max<int64_t>(Step(spec, random), 0);
      static_cast<void>(rule->Take(state, 1 + random.Below(3), now));
      LimitState copy = state;
      const uint64_t remaining = rule->Take(copy, 0, now).remaining;
      for (uint64_t k = 0; k < remaining; ++k) ASSERT_TRUE(rule->Take(copy, 1, now).allowed);
      ASSERT_FALSE(rule->Take(copy, 1, now).allowed);
    }
  }
}

struct Passed {
  int64_t at;
  uint64_t cost;
};

// Everything that passes under the heaviest demand there is, with some given back.
std::vector<Passed> Passes(Counted& counted, uint64_t seed, int64_t longest_step) {
  Random random(seed);
  std::vector<Passed> passed;
  int64_t now = kStart + static_cast<int64_t>(random.Below(1'000'000'000));
  for (int i = 0; i < 400; ++i) {
    now += static_cast<int64_t>(random.Below(static_cast<uint64_t>(longest_step) + 1));
    const uint64_t cost = 1 + random.Below(3);
    if (!counted.Take(cost, now).allowed) continue;
    passed.push_back({now, cost});
    if (random.Below(4) != 0) continue;
    const size_t back = passed.size() - 1 - random.Below(std::min<size_t>(passed.size(), 3));
    counted.GiveBack(passed[back].cost, passed[back].at, now);
    passed.erase(passed.begin() + static_cast<std::ptrdiff_t>(back));
  }
  return passed;
}

TEST(LimitRuleModelTest, InAnyTimeABucketLetsPassItsBurstAndItsRate) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed);
    LimitSpec spec = RandomSpec(LimitKind::kTokenBucket, random);
    // With a burst that only fits in coarser ticks, too.
    if (seed % 3 == 0) {
      spec.amount = 999'983 * (1 + random.Below(5));
      spec.per = 3600s + 1ms * random.Below(1000);
      spec.capacity = 4'000'000 + random.Below(1000);
    }
    const absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
    ASSERT_TRUE(rule.ok()) << rule.status();
    if (seed % 3 == 0) {
      ASSERT_GT(rule->numbers().tick, 1u);
    }
    Counted counted(*rule);
    const auto step = static_cast<int64_t>(spec.per.count() / static_cast<int64_t>(spec.amount));
    const std::vector<Passed> passed = Passes(counted, seed, step * 3);
    const auto slack = static_cast<int64_t>(rule->numbers().tick) - 1;
    for (size_t i = 0; i < passed.size(); ++i) {
      uint64_t sum = 0;
      for (size_t j = i; j < passed.size(); ++j) {
        sum += passed[j].cost;
        const LimitModel::Wide time = passed[j].at - passed[i].at + slack;
        const LimitModel::Wide bound =
            LimitModel::Wide{static_cast<int64_t>(spec.capacity)} * spec.per.count() +
            time * static_cast<int64_t>(spec.amount);
        ASSERT_LE(LimitModel::Wide{static_cast<int64_t>(sum)} * spec.per.count(), bound)
            << "seed " << seed;
      }
    }
  }
}

TEST(LimitRuleModelTest, InAnyWindowALogLetsPassItsLimit) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    LimitSpec spec = RandomSpec(LimitKind::kSlidingLog, random);
    const absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
    ASSERT_TRUE(rule.ok());
    Counted counted(*rule);
    const std::vector<Passed> passed = Passes(counted, seed, spec.per.count() / 4 + 1);
    for (size_t i = 0; i < passed.size(); ++i) {
      uint64_t sum = 0;
      for (size_t j = i; j < passed.size() && passed[j].at < passed[i].at + spec.per.count(); ++j) {
        sum += passed[j].cost;
      }
      ASSERT_LE(sum, spec.amount) << "seed " << seed;
    }
  }
}

// A fixed window lets the limit pass on both sides of a border; the sliding ones do not.
TEST(LimitRuleModelTest, OnlyFixedWindowsDoubleAtBorders) {
  const int64_t border = kStart / 60'000'000 * 60'000'000 + 60'000'000;
  for (const auto& [kind, after_border] : {std::pair{LimitKind::kFixedWindow, 100},
                                           {LimitKind::kSlidingWindow, 0},
                                           {LimitKind::kSlidingLog, 0}}) {
    const absl::StatusOr<LimitRule> rule =
        LimitRule::Make({.kind = kind, .amount = 100, .per = 60s});
    ASSERT_TRUE(rule.ok());
    Counted counted(*rule);
    int before = 0;
    int after = 0;
    for (int i = 0; i < 300; ++i) before += counted.Take(1, border - 1).allowed;
    for (int i = 0; i < 300; ++i) after += counted.Take(1, border).allowed;
    EXPECT_EQ(before, 100);
    EXPECT_EQ(after, after_border);
  }
}

// Given back at once, it is as if it had not been taken; given back later, never better than that.
TEST(LimitRuleModelTest, GivingBackUndoesATake) {
  for (const LimitKind kind : kKinds) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      Random random(seed);
      const LimitSpec spec = RandomSpec(kind, random);
      const absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
      ASSERT_TRUE(rule.ok());
      Counted with(*rule);
      Counted without(*rule);
      int64_t now = kStart;
      for (int i = 0; i < 40; ++i) {
        now += std::max<int64_t>(Step(spec, random), 0);
        const uint64_t cost = 1 + random.Below(2);
        const bool is_back = random.Below(2) == 0;
        const uint64_t used = with.Used(now);
        const bool allowed = with.Take(cost, now).allowed;
        if (!is_back) {
          // Held back at the most, never let through.
          const bool may = without.Take(cost, now).allowed;
          ASSERT_TRUE(may || !allowed) << static_cast<int>(kind) << " seed " << seed;
          if (may && !allowed) break;
          continue;
        }
        if (!allowed) continue;
        if (random.Below(2) == 0) {
          with.GiveBack(cost, now, now);
          ASSERT_EQ(with.Used(now), used) << static_cast<int>(kind) << " seed " << seed;
        } else {
          const int64_t taken = now;
          now += std::max<int64_t>(Step(spec, random), 0);
          with.GiveBack(cost, taken, now);
          ASSERT_GE(with.Used(now), without.Used(now))
              << static_cast<int>(kind) << " seed " << seed;
        }
      }
    }
  }
}

}  // namespace
}  // namespace gatehouse::filters
