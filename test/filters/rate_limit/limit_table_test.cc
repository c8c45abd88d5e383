#include "source/filters/rate_limit/limit_table.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/base/status.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kStart = 1'800'000'000'000'000;

constexpr int64_t At(Duration time) { return kStart + time.count(); }

LimitSpec Bucket(uint64_t amount, Duration per, uint64_t capacity) {
  return {.kind = LimitKind::kTokenBucket, .amount = amount, .per = per, .capacity = capacity};
}
LimitSpec Of(LimitKind kind, uint64_t amount, Duration per = {}) {
  return {.kind = kind, .amount = amount, .per = per};
}

LimitRules Rules(const std::vector<LimitSpec>& specs) {
  absl::StatusOr<LimitRules> rules = LimitRules::Make(specs);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return *std::move(rules);
}

int TakeMany(LimitTable& table, uint64_t key, int count, int64_t micros) {
  int allowed = 0;
  LimitTakes takes;
  for (int i = 0; i < count; ++i) allowed += table.Take(key, 1, micros, takes);
  return allowed;
}

TEST(LimitTableTest, TheWorkedExample) {
  LimitTable table(Rules({Bucket(10, 1s, 100)}), 10);
  EXPECT_EQ(TakeMany(table, 1, 50, At(0s)), 50);
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 50);
  EXPECT_EQ(TakeMany(table, 1, 60, At(5s)), 50);
}

TEST(LimitTableTest, SeveralLimitsAreTakenFromTogetherOrNotAtAll) {
  LimitTable table(Rules({Bucket(10, 1s, 10), Of(LimitKind::kFixedWindow, 15, 1h),
                          Of(LimitKind::kSlidingLog, 12, 1min)}),
                   10);
  EXPECT_EQ(TakeMany(table, 1, 20, At(0s)), 10);
  EXPECT_EQ(TakeMany(table, 1, 20, At(1s)), 2);
  LimitTakes takes;
  EXPECT_FALSE(table.Take(1, 1, At(1s), takes));
  EXPECT_EQ(takes.count, 3u);
  EXPECT_TRUE(takes.takes[0].allowed);
  EXPECT_EQ(takes.takes[0].remaining, 8u);
  EXPECT_TRUE(takes.takes[1].allowed);
  EXPECT_EQ(takes.takes[1].remaining, 3u);
  EXPECT_FALSE(takes.takes[2].allowed);
  EXPECT_EQ(takes.retry_after(), 59s);
  EXPECT_EQ(TakeMany(table, 1, 20, At(62s)), 3);
}

}  // namespace
}  // namespace gatehouse::filters
