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

}  // namespace
}  // namespace gatehouse::filters
