#include "source/filters/rate_limit/limit_rule.h"

#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/base/status.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kStart = 1'800'000'000'000'000;

constexpr int64_t At(Duration time) { return kStart + time.count(); }

LimitRule Rule(const LimitSpec& spec) {
  absl::StatusOr<LimitRule> rule = LimitRule::Make(spec);
  EXPECT_TRUE(rule.ok()) << rule.status();
  return *rule;
}

LimitSpec Bucket(uint64_t amount, Duration per, uint64_t capacity) {
  return {.kind = LimitKind::kTokenBucket, .amount = amount, .per = per, .capacity = capacity};
}

int TakeMany(const LimitRule& rule, LimitState& state, int count, int64_t micros) {
  int allowed = 0;
  for (int i = 0; i < count; ++i) allowed += rule.Take(state, 1, micros).allowed;
  return allowed;
}

TEST(LimitRuleTest, TheWorkedExample) {
  const LimitRule rule = Rule(Bucket(10, 1s, 100));
  LimitState state;
  EXPECT_EQ(TakeMany(rule, state, 50, At(0s)), 50);
  EXPECT_EQ(TakeMany(rule, state, 60, At(0s)), 50);
  EXPECT_EQ(TakeMany(rule, state, 60, At(5s)), 50);
}

// A bucket that is only refilled once it is empty lets 21 pass here.
TEST(LimitRuleTest, ABucketIsRefilledAllTheTime) {
  const LimitRule rule = Rule(Bucket(10, 1s, 10));
  LimitState state;
  EXPECT_EQ(TakeMany(rule, state, 9, At(0s)), 9);
  EXPECT_EQ(TakeMany(rule, state, 50, At(900ms)), 10);
  EXPECT_EQ(TakeMany(rule, state, 50, At(999ms)), 0);
  EXPECT_EQ(TakeMany(rule, state, 50, At(1s)), 1);
}

TEST(LimitRuleTest, TellsWhatIsLeftAndWhenThereIsMore) {
  const LimitRule rule = Rule(Bucket(10, 1s, 3));
  LimitState state;
  LimitTake take = rule.Take(state, 1, At(0s));
  EXPECT_TRUE(take.allowed);
  EXPECT_EQ(take.limit, 3u);
  EXPECT_EQ(take.remaining, 2u);
  EXPECT_EQ(take.reset_after, 100ms);
  EXPECT_EQ(take.retry_after, 0ms);
  take = rule.Take(state, 2, At(0s));
  EXPECT_TRUE(take.allowed);
  EXPECT_EQ(take.reset_after, 300ms);
  take = rule.Take(state, 2, At(40ms));
  EXPECT_FALSE(take.allowed);
  EXPECT_EQ(take.remaining, 0u);
  EXPECT_EQ(take.reset_after, 260ms);
  EXPECT_EQ(take.retry_after, 160ms);
  EXPECT_EQ(rule.Take(state, 4, At(40ms)).retry_after, LimitTake::kForever);
  EXPECT_TRUE(rule.Take(state, 0, At(40ms)).allowed);
  EXPECT_TRUE(rule.Take(state, 1, At(100ms)).allowed);
}

TEST(LimitRuleTest, VerySlowAndVeryFastRates) {
  const LimitRule slow = Rule(Bucket(1, 24h, 2));
  LimitState state;
  EXPECT_EQ(TakeMany(slow, state, 5, At(0s)), 2);
  EXPECT_EQ(TakeMany(slow, state, 5, At(24h - 1us)), 0);
  EXPECT_EQ(TakeMany(slow, state, 5, At(24h)), 1);
  EXPECT_EQ(slow.Take(state, 1, At(24h)).retry_after, 24h);
  EXPECT_EQ(TakeMany(slow, state, 5, At(24h * 4000)), 2);

  const LimitRule fast = Rule(Bucket(1'000'000'000, 1s, 1000));
  state = {};
  EXPECT_EQ(TakeMany(fast, state, 1001, At(0s)), 1000);
  EXPECT_EQ(TakeMany(fast, state, 2000, At(1us)), 1000);
}

TEST(LimitRuleTest, LargeBurstsAreCountedInCoarserTicks) {
  const LimitRule rule = Rule(Bucket(1'000'003, 24h, 100'000'000));
  EXPECT_EQ(rule.numbers().tick, 1'000'000u);
  LimitState state;
  EXPECT_TRUE(rule.Take(state, 100'000'000, At(0s)).allowed);
  const LimitTake take = rule.Take(state, 1'000'003, At(0s));
  EXPECT_EQ(take.retry_after, 24h);
  EXPECT_FALSE(rule.Take(state, 1'000'003, At(24h - 1us)).allowed);
  EXPECT_TRUE(rule.Take(state, 1'000'003, At(24h)).allowed);
}

TEST(LimitRuleTest, AQueueSpacesRequestsEvenly) {
  const LimitRule rule = Rule({.kind = LimitKind::kLeakyQueue,
                               .amount = 10,
                               .per = 1s,
                               .capacity = 100,
                               .max_delay = 250ms});
  LimitState state;
  for (const Duration delay : {0ms, 100ms, 200ms}) {
    const LimitTake take = rule.Take(state, 1, At(0s));
    EXPECT_TRUE(take.allowed);
    EXPECT_EQ(take.delay, delay);
  }
  const LimitTake take = rule.Take(state, 1, At(0s));
  EXPECT_FALSE(take.allowed);
  EXPECT_EQ(take.retry_after, 50ms);
  EXPECT_EQ(take.remaining, 0u);
  EXPECT_EQ(rule.Take(state, 1, At(50ms)).delay, 250ms);
  EXPECT_EQ(rule.Take(state, 1, At(1s)).delay, 0ms);
}

TEST(LimitRuleTest, AFullQueueOverflows) {
  const LimitRule rule = Rule(
      {.kind = LimitKind::kLeakyQueue, .amount = 10, .per = 1s, .capacity = 3, .max_delay = 1h});
  LimitState state;
  EXPECT_EQ(TakeMany(rule, state, 5, At(0s)), 3);
  EXPECT_EQ(rule.Take(state, 1, At(0s)).retry_after, 100ms);
  EXPECT_EQ(TakeMany(rule, state, 5, At(100ms)), 1);
}

LimitSpec Calendar(CalendarPeriod period, Duration utc_offset = {}) {
  return {.kind = LimitKind::kCalendar, .amount = 5, .period = period, .utc_offset = utc_offset};
}

// Seconds since 1970: 2027-02-28 23:59:59 UTC, a Sunday.
constexpr int64_t kEndOfFebruary = 1'803'859'199;

TEST(LimitRuleTest, QuotasFollowTheCalendar) {
  const int64_t now = kEndOfFebruary * 1'000'000;
  const struct {
    CalendarPeriod period;
    Duration utc_offset;
    Duration left;
  } cases[] = {
      {CalendarPeriod::kDay, 0h, 1s},
      {CalendarPeriod::kWeek, 0h, 1s},
      {CalendarPeriod::kMonth, 0h, 1s},
      {CalendarPeriod::kYear, 0h, 24h * 306 + 1s},
      // An hour east it is March already, and Monday.
      {CalendarPeriod::kDay, 1h, 23h + 1s},
      {CalendarPeriod::kWeek, 1h, 24h * 6 + 23h + 1s},
      {CalendarPeriod::kMonth, 1h, 24h * 30 + 23h + 1s},
      {CalendarPeriod::kDay, -2h, 2h + 1s},
      {CalendarPeriod::kMonth, -2h, 2h + 1s},
  };
  for (const auto& at : cases) {
    const LimitRule rule = Rule(Calendar(at.period, at.utc_offset));
    LimitState state;
    EXPECT_EQ(TakeMany(rule, state, 9, now), 5);
    EXPECT_EQ(rule.Take(state, 1, now).retry_after, at.left) << rule.Text();
    EXPECT_EQ(TakeMany(rule, state, 9, now + at.left.count() - 1), 0);
    EXPECT_EQ(TakeMany(rule, state, 9, now + at.left.count()), 5);
  }
}

TEST(LimitRuleTest, ConcurrencyIsWhatIsUnderWay) {
  const LimitRule rule = Rule({.kind = LimitKind::kConcurrency, .amount = 3});
  LimitState state;
  EXPECT_EQ(TakeMany(rule, state, 5, At(0s)), 3);
  const LimitTake take = rule.Take(state, 1, At(24h));
  EXPECT_FALSE(take.allowed);
  EXPECT_EQ(take.retry_after, 1s);
  rule.GiveBack(state, 2, At(0s), At(24h));
  EXPECT_EQ(TakeMany(rule, state, 5, At(24h)), 2);
  rule.GiveBack(state, 9, At(0s), At(24h));
  EXPECT_EQ(state, LimitState());
}

TEST(LimitRuleTest, WhoseClockIsBehindTakesNothingForFree) {
  for (const LimitSpec& spec :
       {Bucket(10, 1s, 10), LimitSpec{.kind = LimitKind::kFixedWindow, .amount = 10, .per = 1s}}) {
    const LimitRule rule = Rule(spec);
    LimitState state;
    EXPECT_EQ(TakeMany(rule, state, 20, At(1s)), 10);
    EXPECT_EQ(TakeMany(rule, state, 20, At(0s)), 0);
    EXPECT_EQ(TakeMany(rule, state, 20, At(2s)), 10);
  }
}

TEST(LimitRuleTest, SpecsThatCannotBeCountedAreRefused) {
  const auto error = [](const LimitSpec& spec) {
    return MessageOf(LimitRule::Make(spec).status());
  };
  EXPECT_EQ(error(Bucket(0, 1s, 1)),
            "must be more than 0; to let nothing pass, use a respond route");
  EXPECT_EQ(error(Bucket(1, 0s, 1)), "the time must be more than 0 and at most ten years");
  EXPECT_EQ(error(Bucket(1, -1s, 1)), "the time must be more than 0 and at most ten years");
  EXPECT_EQ(error(Bucket(1, 1s, 0)),
            "burst or capacity must be 1 to 1000000000000; count in larger units");
  EXPECT_EQ(error(Bucket(1, 24h * 365, 100)),
            "would take more than ten years to fill up: lower burst or capacity, or raise the "
            "rate");
  EXPECT_EQ(error(Bucket(999'999'999'989, 3600s, 1'000'000'000'000)),
            "999999999989 per 3600s with 1000000000000 at once cannot be counted exactly: lower "
            "burst or capacity, or round the rate, so that its amount divides the microseconds of "
            "its time");
  EXPECT_FALSE(LimitRule::Make(Bucket(UINT64_MAX, 1us, UINT64_MAX)).ok());
  const LimitSpec sliding = {.kind = LimitKind::kSlidingWindow, .amount = 70'000'000, .per = 1s};
  EXPECT_EQ(error(sliding), "a sliding window counts to 67108863: use a token bucket");
  const LimitSpec odd = {.kind = LimitKind::kSlidingWindow, .amount = 60'000'000, .per = 24h + 1us};
  EXPECT_EQ(
      error(odd),
      "60000000 in 86400.000001s cannot be counted exactly by a sliding window: give the time in "
      "whole seconds, or use a token bucket");
  const LimitSpec log = {.kind = LimitKind::kSlidingLog, .amount = 2'000'000, .per = 1s};
  EXPECT_EQ(error(log),
            "a sliding log keeps 8 bytes for each unit: at most 1000000; use a sliding window");
  EXPECT_FALSE(LimitRule::Make(Calendar(CalendarPeriod::kDay, 25h)).ok());
}

TEST(LimitRuleTest, LargeButCountable) {
  EXPECT_TRUE(LimitRule::Make(Bucket(1'000'000'000, 1s, 1'000'000'000'000)).ok());
  EXPECT_TRUE(LimitRule::Make(Bucket(1'000'000, 24h * 30, 1'000'000)).ok());
  EXPECT_TRUE(
      LimitRule::Make({.kind = LimitKind::kSlidingWindow, .amount = 50'000'000, .per = 24h * 30})
          .ok());
  EXPECT_TRUE(LimitRule::Make({.kind = LimitKind::kConcurrency, .amount = 1'000'000'000'000}).ok());
}

// --- A limit is changed.

TEST(LimitRuleTest, WhatABucketHasGivenStaysGiven) {
  const LimitRule old = Rule(Bucket(10, 1s, 100));
  LimitState state;
  EXPECT_EQ(TakeMany(old, state, 60, At(0s)), 60);
  const LimitRule larger = Rule(Bucket(7, 1s, 200));
  LimitState changed = larger.Convert(old, state, At(1s));
  EXPECT_EQ(larger.Used(changed, At(1s)), 50u);
  EXPECT_EQ(TakeMany(larger, changed, 300, At(1s)), 150);
  // What it cannot hold does not count.
  const LimitRule smaller = Rule(Bucket(10, 1s, 20));
  changed = smaller.Convert(old, state, At(1s));
  EXPECT_EQ(TakeMany(smaller, changed, 300, At(1s)), 0);
  EXPECT_EQ(TakeMany(smaller, changed, 300, At(2s)), 10);
  EXPECT_EQ(old.Convert(old, state, At(1s)), state);
}

TEST(LimitRuleTest, CountsOfTheSameWindowsStay) {
  for (const LimitKind kind : {LimitKind::kFixedWindow, LimitKind::kSlidingWindow}) {
    const LimitRule old = Rule({.kind = kind, .amount = 100, .per = 60s});
    const LimitRule lower = Rule({.kind = kind, .amount = 20, .per = 60s});
    LimitState state;
    EXPECT_EQ(TakeMany(old, state, 60, At(0s)), 60);
    LimitState changed = lower.Convert(old, state, At(1s));
    EXPECT_EQ(lower.Take(changed, 0, At(1s)).remaining, 0u);
    EXPECT_FALSE(lower.Take(changed, 1, At(1s)).allowed);
    EXPECT_EQ(TakeMany(lower, changed, 100, At(120s)), 20);
    changed = old.Convert(lower, lower.Convert(old, state, At(1s)), At(2s));
    EXPECT_EQ(TakeMany(old, changed, 100, At(2s)), 40);
  }
}

TEST(LimitRuleTest, ACountFarAboveALoweredLimitIsAboveIt) {
  // Times ten days in microseconds: a little more than 64 bits hold.
  constexpr uint64_t kCount = 21'350'400;
  const auto sliding = [](uint64_t amount) {
    return Rule({.kind = LimitKind::kSlidingWindow, .amount = amount, .per = 240h});
  };
  const LimitRule old = sliding(kCount);
  const LimitRule lower = sliding(1000);
  LimitState state;
  EXPECT_TRUE(old.Take(state, kCount, At(0s)).allowed);
  state = lower.Convert(old, state, At(0s));
  EXPECT_EQ(lower.Take(state, 0, At(0s)).remaining, 0u);
  EXPECT_FALSE(lower.Take(state, 1, At(0s)).allowed);
  EXPECT_GT(lower.Usage(state, At(0s)), 1);
}

TEST(LimitRuleTest, OfAnotherKindWhatIsUsedStaysUsed) {
  const LimitRule minute = Rule({.kind = LimitKind::kFixedWindow, .amount = 100, .per = 60s});
  const LimitRule hour = Rule({.kind = LimitKind::kFixedWindow, .amount = 1000, .per = 1h});
  const LimitRule bucket = Rule(Bucket(1, 1s, 50));
  const LimitRule running = Rule({.kind = LimitKind::kConcurrency, .amount = 5});
  LimitState state;
  EXPECT_EQ(TakeMany(minute, state, 30, At(0s)), 30);
  LimitState changed = hour.Convert(minute, state, At(1s));
  EXPECT_EQ(TakeMany(hour, changed, 2000, At(1s)), 970);
  changed = minute.Convert(hour, changed, At(1s));
  EXPECT_EQ(TakeMany(minute, changed, 200, At(1s)), 0);
  changed = bucket.Convert(minute, state, At(1s));
  EXPECT_EQ(TakeMany(bucket, changed, 200, At(1s)), 20);
  EXPECT_EQ(running.Convert(minute, state, At(1s)), LimitState());
  changed = {0, 4};
  EXPECT_EQ(Rule({.kind = LimitKind::kConcurrency, .amount = 2}).Convert(running, changed, At(0s)),
            changed);
}

TEST(LimitRuleTest, AShareOfALimit) {
  EXPECT_EQ(Rule(Bucket(10, 1s, 100)).ShareOf(3).spec(), Bucket(10, 3s, 33));
  EXPECT_EQ(Rule(Bucket(10, 1s, 2)).ShareOf(3).spec(), Bucket(10, 3s, 1));
  const LimitSpec fixed = {.kind = LimitKind::kFixedWindow, .amount = 10, .per = 1s};
  EXPECT_EQ(Rule(fixed).ShareOf(1).spec(), fixed);
  EXPECT_EQ(Rule(fixed).ShareOf(4).limit(), 2u);
  EXPECT_EQ(Rule(fixed).ShareOf(40).limit(), 1u);
  // So many gateways' share of a rate is none that can be counted.
  const LimitSpec yearly = Bucket(1000, 8760h, 1000);
  EXPECT_EQ(Rule(yearly).ShareOf(4'000'000'000).spec(), Bucket(1, 8760h, 1));
}

TEST(LimitRuleTest, SaysWhatItIs) {
  const auto text = [](const LimitSpec& spec) { return Rule(spec).Text(); };
  EXPECT_EQ(text(Bucket(10, 1s, 100)), "10 per 1s, 100 at once");
  EXPECT_EQ(text({.kind = LimitKind::kLeakyQueue,
                  .amount = 10,
                  .per = 500ms,
                  .capacity = 20,
                  .max_delay = 2s}),
            "10 per 0.5s, evenly, 20 waiting up to 2s");
  EXPECT_EQ(text({.kind = LimitKind::kFixedWindow, .amount = 5, .per = 60s}), "5 in each 60s");
  EXPECT_EQ(text(Calendar(CalendarPeriod::kMonth)), "5 each month");
  EXPECT_EQ(text(Calendar(CalendarPeriod::kDay, -90min)), "5 each day of UTC-01:30");
  EXPECT_EQ(text({.kind = LimitKind::kSlidingWindow, .amount = 5, .per = 60s}),
            "5 in any 60s, by two counters");
  EXPECT_EQ(text({.kind = LimitKind::kSlidingLog, .amount = 5, .per = 60s}), "5 in any 60s");
  EXPECT_EQ(text({.kind = LimitKind::kSlidingLog, .amount = 5, .per = 720h + 1s}),
            "5 in any 2592001s");
  EXPECT_EQ(text({.kind = LimitKind::kConcurrency, .amount = 5}), "5 at the same time");
  EXPECT_EQ(Rule(Bucket(10, 1s, 105)).window_seconds(), 11u);
  EXPECT_EQ(Rule(Calendar(CalendarPeriod::kWeek)).window_seconds(), 604800u);
  EXPECT_EQ(Rule({.kind = LimitKind::kConcurrency, .amount = 5}).window_seconds(), 0u);
}

}  // namespace
}  // namespace gatehouse::filters
