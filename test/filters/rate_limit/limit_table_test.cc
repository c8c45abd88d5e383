#include "source/filters/rate_limit/limit_table.h"

#include <sys/resource.h>

#include <atomic>
#include <fstream>
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

TEST(LimitTableTest, KeysHavePlacesOfTheirOwn) {
  for (const auto& specs :
       {std::vector{Bucket(1, 1h, 3)}, {Of(LimitKind::kSlidingLog, 3, 1h), Bucket(1, 1h, 5)}}) {
    LimitTable table(Rules(specs), 10000);
    Random random(1);
    std::set<uint64_t> keys;
    while (keys.size() < 5000) keys.insert(random.Next());
    LimitTakes takes;
    for (int round = 0; round < 4; ++round) {
      for (uint64_t key : keys) EXPECT_EQ(table.Take(key, 1, At(0s), takes), round < 3);
    }
    EXPECT_EQ(table.displaced(), 0u);
    EXPECT_EQ(table.shared(), 0u);
  }
}

TEST(LimitTableTest, AsManyKeysAsPromisedAreRememberedButForAFew) {
  constexpr size_t kKeys = 20000;
  LimitTable table(Rules({Bucket(1, 1h, 10)}), kKeys);
  Random random(2);
  for (size_t i = 0; i < kKeys; ++i) TakeMany(table, random.Next(), 1, At(0s));
  EXPECT_LT(table.displaced() + table.shared(), kKeys / 50);
}

TEST(LimitTableTest, AnIdlePlaceIsFree) {
  for (const LimitKind kind : {LimitKind::kTokenBucket, LimitKind::kFixedWindow,
                               LimitKind::kSlidingLog, LimitKind::kSlidingWindow}) {
    LimitTable table(Rules({{.kind = kind, .amount = 1, .per = 1s, .capacity = 1}}), 1);
    for (int i = 0; i < 1000; ++i) {
      EXPECT_EQ(TakeMany(table, static_cast<uint64_t>(i) << 1, 1, At(i * 1s)), 1);
    }
    EXPECT_EQ(table.displaced(), 0u);
    EXPECT_EQ(table.shared(), 0u);
  }
}

TEST(LimitTableTest, TheLeastUsedKeyGivesWay) {
  LimitTable table(Rules({Bucket(1, 1h, 100)}), 1);
  for (uint64_t key = 1; key <= 7; ++key) {
    TakeMany(table, key << 1, static_cast<int>(10 + key), At(0s));
  }
  TakeMany(table, 100, 20, At(0s));
  EXPECT_EQ(table.displaced(), 1u);
  EXPECT_FALSE(table.Peek(1 << 1, At(0s)).has_value());
  for (uint64_t key = 2; key <= 7; ++key) {
    ASSERT_TRUE(table.Peek(key << 1, At(0s)).has_value());
    EXPECT_EQ(table.Peek(key << 1, At(0s))->takes[0].remaining, 90 - key);
  }
}

// Ten times as many keys as are remembered, all new, while others are at their limit.
TEST(LimitTableTest, NoFloodOfKeysResetsAHotOne) {
  for (const auto& specs : {std::vector{Bucket(1, 1h, 10)},
                            {Of(LimitKind::kSlidingLog, 10, 1h)},
                            {Of(LimitKind::kFixedWindow, 10, 1h), Bucket(1, 1h, 20)}}) {
    constexpr size_t kKeys = 1000;
    LimitTable table(Rules(specs), kKeys);
    Random random(3);
    std::vector<uint64_t> hot;
    for (int i = 0; i < 50; ++i) {
      hot.push_back(random.Next());
      EXPECT_EQ(TakeMany(table, hot.back(), 20, At(0s)), 10);
    }
    for (size_t i = 0; i < 10 * kKeys; ++i) {
      TakeMany(table, random.Next(), 1, At(0s));
      if (i % 100 != 0) continue;
      for (uint64_t key : hot) ASSERT_EQ(TakeMany(table, key, 1, At(0s)), 0);
    }
  }
}

TEST(LimitTableTest, KeysThatFindOnlyHotPlacesShareOne) {
  LimitTable table(Rules({Bucket(1, 1h, 10)}), 1);
  for (uint64_t key = 1; key <= 7; ++key) EXPECT_EQ(TakeMany(table, key << 1, 20, At(0s)), 10);
  EXPECT_EQ(table.shared(), 0u);
  int allowed = 0;
  for (uint64_t key = 100; key < 200; ++key) allowed += TakeMany(table, key << 1, 1, At(0s));
  EXPECT_EQ(allowed, 10);
  EXPECT_EQ(table.shared(), 100u);
}

// What is under way comes back to where it was taken, also from the shared place, and keeps its
// place until then.
TEST(LimitTableTest, WhatIsUnderWayIsNeverForgotten) {
  for (const auto& specs : {std::vector{Of(LimitKind::kConcurrency, 10)},
                            {Of(LimitKind::kConcurrency, 10), Bucket(1000, 1s, 1000)}}) {
    LimitTable table(Rules(specs), 1);
    Random random(4);
    std::vector<uint64_t> running;
    std::vector<uint64_t> counts(40);
    uint64_t total = 0;
    LimitTakes takes;
    for (int i = 0; i < 20000; ++i) {
      const uint64_t key = random.Below(counts.size());
      if (random.Below(2) == 0 && !running.empty()) {
        const size_t at = random.Below(running.size());
        table.Release(running[at] << 1, 1, At(0s));
        --counts[running[at]];
        --total;
        running[at] = running.back();
        running.pop_back();
      } else if (table.Take(key << 1, 1, At(i * 1ms), takes)) {
        ++total;
        ASSERT_LE(++counts[key], 10u);
        running.push_back(key);
      }
      ASSERT_LE(total, 80u);
      if (const auto seen = table.Peek(key << 1, At(i * 1ms)); seen && counts[key] > 0) {
        ASSERT_EQ(seen->takes[0].remaining, 10 - counts[key]);
      }
    }
    EXPECT_GT(table.shared(), 0u);
    EXPECT_EQ(table.displaced(), 0u);
    for (uint64_t key : running) table.Release(key << 1, 1, At(60s));
    for (uint64_t key = 0; key < counts.size(); ++key) {
      EXPECT_EQ(TakeMany(table, key << 1, 20, At(3600s)), 10);
      for (int i = 0; i < 10; ++i) table.Release(key << 1, 1, At(3600s));
    }
  }
}

TEST(LimitTableTest, WhatWasTakenCanBeGivenBack) {
  const std::vector<std::vector<LimitSpec>> all = {
      {Bucket(1, 1h, 2)},
      {Of(LimitKind::kSlidingLog, 2, 1h)},
      {Of(LimitKind::kConcurrency, 2)},
      {Bucket(1, 1h, 2), Of(LimitKind::kSlidingLog, 3, 1h), Of(LimitKind::kSlidingWindow, 9, 1h)}};
  for (const auto& specs : all) {
    LimitTable table(Rules(specs), 10);
    EXPECT_EQ(TakeMany(table, 1, 1, At(0s)), 1);
    table.GiveBack(1, 1, At(0s), At(0s));
    EXPECT_EQ(TakeMany(table, 1, 5, At(0s)), 2);
    table.GiveBack(77, 1, At(0s), At(0s));
    EXPECT_EQ(TakeMany(table, 1, 5, At(0s)), 0);
  }
}

TEST(LimitTableTest, WhoLeavesAQueueBeforeItsTurnGivesAllOfItBack) {
  const LimitSpec queue = {
      .kind = LimitKind::kLeakyQueue, .amount = 10, .per = 1s, .capacity = 100, .max_delay = 10s};
  for (const bool alone : {true, false}) {
    std::vector<LimitSpec> specs = {queue};
    if (!alone) specs.push_back(Of(LimitKind::kFixedWindow, 1000, 1h));
    LimitTable table(Rules(specs), 10);
    LimitTakes takes;
    EXPECT_EQ(TakeMany(table, 1, 50, At(0s)), 50);
    EXPECT_TRUE(table.Take(1, 1, At(0s), takes));
    EXPECT_EQ(takes.delay(), 5s);
    table.GiveBack(1, 1, At(0s), At(4900ms), takes.delay());
    EXPECT_TRUE(table.Take(1, 1, At(4900ms), takes));
    EXPECT_EQ(takes.delay(), 100ms);
    // What came back since its turn is not given back once more.
    LimitTakes next;
    EXPECT_TRUE(table.Take(1, 1, At(4900ms), next));
    table.GiveBack(1, 1, At(4900ms), At(5050ms), takes.delay());
    EXPECT_TRUE(table.Take(1, 1, At(5050ms), next));
    EXPECT_EQ(next.delay(), 100ms);
  }
}

TEST(LimitTableTest, AKeyThatIsNotKnownHasUsedNothing) {
  LimitTable table(Rules({Bucket(1, 1h, 2)}), 10);
  EXPECT_FALSE(table.Peek(1, At(0s)).has_value());
  TakeMany(table, 1, 1, At(0s));
  ASSERT_TRUE(table.Peek(1, At(0s)).has_value());
  EXPECT_EQ(table.Peek(1, At(0s))->takes[0].remaining, 1u);
  EXPECT_EQ(table.Peek(1, At(0s))->takes[0].remaining, 1u);
}

TEST(LimitTableTest, AClockThatWasSetBackStopsNobody) {
  const std::vector<std::vector<LimitSpec>> all = {{Bucket(1, 60s, 10)},
                                                   {Of(LimitKind::kSlidingLog, 10, 1h)},
                                                   {Of(LimitKind::kFixedWindow, 10, 1min)},
                                                   {Of(LimitKind::kSlidingWindow, 10, 1min)},
                                                   {Bucket(1, 60s, 10), Bucket(1, 60s, 20)}};
  for (const auto& specs : all) {
    LimitTable table(Rules(specs), 10);
    EXPECT_EQ(TakeMany(table, 1, 20, At(0s)), 10);
    EXPECT_EQ(TakeMany(table, 1, 20, At(-10s)), 0);
    EXPECT_EQ(TakeMany(table, 1, 20, At(-3h)), 10);
    EXPECT_EQ(TakeMany(table, 1, 20, At(-3h)), 0);
    EXPECT_GE(TakeMany(table, 1, 20, At(-3h + 70min)), 10);
  }
  LimitTable running(Rules({Of(LimitKind::kConcurrency, 3)}), 10);
  EXPECT_EQ(TakeMany(running, 1, 5, At(0s)), 3);
  EXPECT_EQ(TakeMany(running, 1, 5, At(-3h)), 0);
}

TEST(LimitTableTest, LogsThatCouldTakeTooMuchAreRefused) {
  const LimitRules rules = Rules({Of(LimitKind::kSlidingLog, 1000, 1h)});
  EXPECT_TRUE(LimitTable::Check(rules, 10000).ok());
  EXPECT_EQ(MessageOf(LimitTable::Check(rules, 100000)),
            "sliding logs of 100000 keys could take 2034 MiB, more than 1024: lower max_keys or "
            "the limit, or use a sliding window");
  EXPECT_TRUE(LimitTable::Check(Rules({Bucket(1, 1h, 2)}), 10'000'000).ok());
  EXPECT_FALSE(LimitRules::Make({}).ok());
  EXPECT_FALSE(LimitRules::Make(std::vector<LimitSpec>(5, Bucket(1, 1h, 2))).ok());
  EXPECT_EQ(MessageOf(LimitRules::Make(std::vector{Bucket(1, 1h, 2), Bucket(0, 1h, 2)}).status()),
            "limits[1]: must be more than 0; to let nothing pass, use a respond route");
}

TEST(LimitTableTest, MemoryThatTheSystemDoesNotGiveIsRefused) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "has more than that reserved itself";
#endif
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit low = {size_t{512} << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &low), 0);
  const LimitRules rules = Rules({Bucket(1, 1s, 1)});
  const absl::Status few = LimitTable::Check(rules, 1000);
  const absl::Status many = LimitTable::Check(rules, 20'000'000);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_TRUE(few.ok()) << few;
  EXPECT_EQ(MessageOf(many),
            "20000000 keys can take 1220 MiB, more than the system gives: lower max_keys");
  EXPECT_TRUE(LimitTable::Check(rules, 20'000'000).ok());
}

TEST(LimitTableTest, MemoryIsBounded) {
  constexpr size_t kKeys = 100;
  LimitTable table(Rules({Of(LimitKind::kSlidingLog, 100, 1h)}), kKeys);
  const size_t empty = table.memory_bytes();
  Random random(6);
  for (int i = 0; i < 1000; ++i) TakeMany(table, random.Next(), 105, At(i * 10s));
  EXPECT_GT(table.memory_bytes(), empty);
  EXPECT_LE(table.memory_bytes(), empty + (kKeys + 2) / 3 * 8 * (100 * 8 + 64));
  table.Change(Rules({Bucket(1, 1h, 2)}), At(10000s));
  for (int i = 0; i < 5000; ++i) TakeMany(table, random.Next(), 1, At(10000s));
}

// --- The limits are changed.

TEST(LimitTableTest, CountsLiveOnOverChanges) {
  LimitTable table(Rules({Bucket(1, 1h, 100)}), 100);
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 60);
  table.Change(Rules({Bucket(1, 1h, 80)}), At(0s));
  EXPECT_EQ(table.Peek(1, At(0s))->takes[0].remaining, 20u);
  // Several, in another order than the one that there was.
  table.Change(Rules({Of(LimitKind::kSlidingLog, 30, 1h), Bucket(1, 1h, 90)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 100, At(0s)), 30);
  EXPECT_EQ(table.Peek(1, At(0s))->takes[1].remaining, 0u);
  table.Change(Rules({Of(LimitKind::kSlidingLog, 50, 1h)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 100, At(0s)), 20);
  table.Change(Rules({Of(LimitKind::kFixedWindow, 70, 1h)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 100, At(0s)), 20);
  table.Change(Rules({Of(LimitKind::kSlidingLog, 100, 1h)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 100, At(0s)), 30);
}

TEST(LimitTableTest, WhatIsUnderWayLivesOnOverChanges) {
  LimitTable table(Rules({Of(LimitKind::kConcurrency, 5)}), 100);
  EXPECT_EQ(TakeMany(table, 1, 9, At(0s)), 5);
  table.Change(Rules({Bucket(1, 1s, 1000), Of(LimitKind::kConcurrency, 7)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 9, At(0s)), 2);
  table.Change(Rules({Of(LimitKind::kConcurrency, 3)}), At(0s));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(TakeMany(table, 1, 9, At(0s)), 0);
    if (i < 4) table.Release(1, 1, At(0s));
  }
  table.Release(1, 3, At(0s));
  EXPECT_EQ(TakeMany(table, 1, 9, At(0s)), 3);
}

TEST(LimitTableTest, TellsWhoHasToGiveAPlaceBack) {
  LimitTable table(Rules({Bucket(1, 1s, 1000)}), 100);
  const auto holds = [&](uint64_t cost) {
    LimitTakes takes;
    (void)table.Take(1, cost, At(0s), takes);
    return takes.holds;
  };
  EXPECT_FALSE(holds(1));
  table.Change(Rules({Of(LimitKind::kConcurrency, 2)}), At(0s));
  EXPECT_TRUE(holds(1));
  EXPECT_FALSE(holds(2)) << "it was refused";
  table.Change(Rules({Bucket(1, 1s, 1000), Of(LimitKind::kConcurrency, 2)}), At(0s));
  EXPECT_TRUE(holds(1));
  EXPECT_FALSE(holds(1));
  table.Change(Rules({Bucket(1, 1s, 1000)}), At(0s));
  EXPECT_FALSE(holds(1));
}

// More changes than old rules are kept.
TEST(LimitTableTest, AKeyThatWasAwayForManyChangesIsStillCounted) {
  LimitTable table(Rules({Bucket(1, 24h, 100)}), 100);
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 60);
  for (uint64_t i = 0; i < 1000; ++i) {
    std::vector<LimitSpec> specs = {Bucket(1, 24h, 100 + i % 7)};
    if (i % 3 == 0) specs.push_back(Of(LimitKind::kSlidingLog, 200 + i, 1h));
    table.Change(Rules(specs), At(0s));
  }
  table.Change(Rules({Bucket(1, 24h, 100)}), At(0s));
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 40);
}

// A table that is hardly used must not take all of its memory because its limits change.
TEST(LimitTableTest, ChangesLeaveUnusedPlacesToTheSystem) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "what is looked at is noted, which takes memory";
#endif
  const auto resident = [] {
    size_t all = 0;
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> all >> pages;
    return pages * 4096;
  };
  LimitTable table(Rules({Bucket(1, 24h, 100)}), 2'000'000);
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 60);
  ASSERT_GT(table.memory_bytes(), size_t{100} << 20);
  const size_t before = resident();
  for (uint64_t i = 1; i < 300; ++i) table.Change(Rules({Bucket(1, 24h, 100 + i)}), At(0s));
  EXPECT_LT(resident(), before + (size_t{30} << 20));
  EXPECT_EQ(TakeMany(table, 1, 400, At(0s)), 339);
}

}  // namespace
}  // namespace gatehouse::filters
