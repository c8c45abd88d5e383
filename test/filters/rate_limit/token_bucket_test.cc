#include "source/filters/rate_limit/token_bucket.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint At(Duration time) { return TimePoint(std::chrono::hours(1) + time); }

int TakeMany(BucketTable& table, uint64_t key, int count, TimePoint now) {
  int allowed = 0;
  for (int i = 0; i < count; ++i) allowed += table.Take(key, now).allowed;
  return allowed;
}

TEST(TokenBucketTest, TheWorkedExample) {
  BucketTable table({.amount = 10, .per = 1s, .burst = 100}, 10);
  EXPECT_EQ(TakeMany(table, 1, 50, At(0s)), 50);
  EXPECT_EQ(TakeMany(table, 1, 60, At(0s)), 50);
  EXPECT_EQ(TakeMany(table, 1, 60, At(5s)), 50);
}

TEST(TokenBucketTest, TellsWhatIsLeftAndWhenThereIsMore) {
  BucketTable table({.amount = 10, .per = 1s, .burst = 3}, 10);
  BucketTake take = table.Take(1, At(0s));
  EXPECT_TRUE(take.allowed);
  EXPECT_EQ(take.remaining, 2u);
  EXPECT_EQ(take.full_after, 100ms);
  EXPECT_EQ(take.retry_after, 0ms);
  static_cast<void>(table.Take(1, At(0s)));
  take = table.Take(1, At(0s));
  EXPECT_TRUE(take.allowed);
  EXPECT_EQ(take.remaining, 0u);
  EXPECT_EQ(take.full_after, 300ms);
  EXPECT_EQ(take.retry_after, 100ms);
  take = table.Take(1, At(40ms));
  EXPECT_FALSE(take.allowed);
  EXPECT_EQ(take.remaining, 0u);
  EXPECT_EQ(take.full_after, 260ms);
  EXPECT_EQ(take.retry_after, 60ms);
  EXPECT_TRUE(table.Take(1, At(100ms)).allowed);
}

TEST(TokenBucketTest, WhatIsPromisedIsKept) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    BucketSpec spec;
    spec.amount = 1 + random.Below(1000);
    spec.per = Duration(1 + static_cast<int64_t>(random.Below(100'000'000)));
    spec.burst = 1 + random.Below(20);
    if (!spec.Valid()) continue;
    BucketTable table(spec, 1);
    TimePoint now = At(Duration(static_cast<int64_t>(random.Below(uint64_t{1} << 45))));
    uint64_t allowed = 0;
    BucketTake take;
    while ((take = table.Take(1, now)).allowed) ++allowed;
    ASSERT_EQ(allowed, spec.burst);
    ASSERT_GT(take.retry_after, 0us);
    EXPECT_FALSE(table.Take(1, now + take.retry_after - 1us).allowed);
    EXPECT_TRUE(table.Take(1, now + take.retry_after).allowed);
  }
}

// The bound of a token bucket: in any time, at most burst + rate * time.
TEST(TokenBucketTest, OddRatesDoNotDriftOverTime) {
  const BucketSpec spec = {.amount = 7, .per = 1s, .burst = 3};
  BucketTable table(spec, 1);
  int64_t allowed = 0;
  for (int64_t millisecond = 0; millisecond <= 1'000'000; millisecond += 13) {
    allowed += TakeMany(table, 1, 2, At(std::chrono::milliseconds(millisecond)));
  }
  EXPECT_LE(allowed, 7000 + 3);
  EXPECT_GE(allowed, 7000 + 3 - 1);
}

TEST(TokenBucketTest, VerySlowAndVeryFastRates) {
  BucketTable slow({.amount = 1, .per = 24h, .burst = 2}, 1);
  EXPECT_EQ(TakeMany(slow, 1, 5, At(0s)), 2);
  EXPECT_EQ(TakeMany(slow, 1, 5, At(24h - 1us)), 0);
  EXPECT_EQ(TakeMany(slow, 1, 5, At(24h)), 1);
  EXPECT_EQ(slow.Take(1, At(24h)).retry_after, 24h);
  EXPECT_EQ(TakeMany(slow, 1, 5, At(24h * 4000)), 2);

  BucketTable fast({.amount = 1'000'000'000, .per = 1s, .burst = 1000}, 1);
  EXPECT_EQ(TakeMany(fast, 1, 1001, At(0s)), 1000);
  EXPECT_EQ(TakeMany(fast, 1, 2000, At(1us)), 1000);
}

TEST(TokenBucketTest, SpecsThatCannotBeCountedAreNotValid) {
  EXPECT_TRUE((BucketSpec{.amount = 1, .per = 1s, .burst = 1}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 0, .per = 1s, .burst = 1}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 1, .per = 0s, .burst = 1}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 1, .per = -1s, .burst = 1}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 1, .per = 1s, .burst = 0}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 2'000'000'000, .per = 1s, .burst = 1}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 1, .per = 24h * 365, .burst = 100}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = 1, .per = 1s, .burst = UINT64_MAX}.Valid()));
  EXPECT_FALSE((BucketSpec{.amount = UINT64_MAX, .per = 1us, .burst = UINT64_MAX}.Valid()));
}

TEST(TokenBucketTest, AWorkerWhoseClockIsBehindTakesNothingForFree) {
  BucketTable table({.amount = 10, .per = 1s, .burst = 10}, 1);
  EXPECT_EQ(TakeMany(table, 1, 20, At(1s)), 10);
  EXPECT_EQ(TakeMany(table, 1, 20, At(0s)), 0);
  EXPECT_EQ(TakeMany(table, 1, 20, At(2s)), 10);
}

TEST(TokenBucketTest, ATokenCanBeGivenBack) {
  BucketTable table({.amount = 1, .per = 1h, .burst = 2}, 10);
  const BucketTake take = table.Take(1, At(0s));
  table.GiveBack(take);
  EXPECT_EQ(TakeMany(table, 1, 5, At(0s)), 2);
  const BucketTake rejected = table.Take(1, At(0s));
  table.GiveBack(rejected);
  EXPECT_EQ(TakeMany(table, 1, 5, At(0s)), 0);
}

TEST(TokenBucketTest, KeysHaveBucketsOfTheirOwn) {
  BucketTable table({.amount = 1, .per = 1h, .burst = 3}, 10000);
  Random random(1);
  std::set<uint64_t> keys;
  while (keys.size() < 5000) keys.insert(random.Next());
  for (int round = 0; round < 4; ++round) {
    for (uint64_t key : keys) EXPECT_EQ(table.Take(key, At(0s)).allowed, round < 3);
  }
  EXPECT_EQ(table.displaced(), 0u);
  EXPECT_EQ(table.shared(), 0u);
}

TEST(TokenBucketTest, AsManyKeysAsPromisedAreRememberedButForAFew) {
  constexpr size_t kKeys = 20000;
  BucketTable table({.amount = 1, .per = 1h, .burst = 10}, kKeys);
  Random random(2);
  for (size_t i = 0; i < kKeys; ++i) static_cast<void>(table.Take(random.Next(), At(0s)));
  EXPECT_LT(table.displaced() + table.shared(), kKeys / 50);
}

TEST(TokenBucketTest, ABucketThatIsFullAgainIsFree) {
  BucketTable table({.amount = 1, .per = 1s, .burst = 1}, 1);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(table.Take(static_cast<uint64_t>(i) << 1, At(i * 1s)).allowed);
  }
  EXPECT_EQ(table.displaced(), 0u);
  EXPECT_EQ(table.shared(), 0u);
}

TEST(TokenBucketTest, NoFloodOfKeysResetsAHotOne) {
  BucketTable table({.amount = 1, .per = 1h, .burst = 10}, 1);
  constexpr uint64_t kHot = 3;
  EXPECT_EQ(TakeMany(table, kHot, 20, At(0s)), 10);
  Random random(3);
  for (int i = 0; i < 100000; ++i) {
    static_cast<void>(table.Take(random.Next(), At(0s)));
    if (i % 1000 == 0) {
      EXPECT_FALSE(table.Take(kHot, At(0s)).allowed);
    }
  }
}

TEST(TokenBucketTest, KeysThatFindOnlyHotBucketsShareOne) {
  BucketTable table({.amount = 1, .per = 1h, .burst = 10}, 1);
  for (uint64_t key = 1; key <= 7; ++key) EXPECT_EQ(TakeMany(table, key << 1, 20, At(0s)), 10);
  EXPECT_EQ(table.shared(), 0u);
  int allowed = 0;
  for (uint64_t key = 100; key < 200; ++key) allowed += TakeMany(table, key << 1, 1, At(0s));
  EXPECT_EQ(allowed, 10);
  EXPECT_EQ(table.shared(), 100u);
}

// Many threads, few keys, every place contended: never more than the bound, and never less than
// what one thread would have got.
TEST(TokenBucketTest, ManyThreadsGetExactlyTheBurst) {
  constexpr int kThreads = 64;
  constexpr int kKeys = 16;
  constexpr uint64_t kBurst = 100;
  for (int round = 0; round < 5; ++round) {
    BucketTable table({.amount = 1, .per = 1h, .burst = kBurst}, kKeys * 10);
    std::vector<uint64_t> keys;
    Random random(static_cast<uint64_t>(round) + 10);
    for (int i = 0; i < kKeys; ++i) keys.push_back(random.Next());
    std::vector<std::atomic<uint64_t>> allowed(kKeys);
    std::atomic<bool> go = false;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        while (!go.load()) std::this_thread::yield();
        for (int i = 0; i < kKeys * 10; ++i) {
          const auto k = static_cast<size_t>((i + t) % kKeys);
          if (table.Take(keys[k], At(0s)).allowed) allowed[k].fetch_add(1);
        }
      });
    }
    go.store(true);
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(table.displaced() + table.shared(), 0u);
    for (const auto& count : allowed) EXPECT_EQ(count.load(), kBurst);
  }
}

// The same while time goes on and other keys come and go: at most burst + rate * time.
TEST(TokenBucketTest, ManyThreadsNeverGetMoreThanTheBoundWhileTimeGoesOn) {
  constexpr int kThreads = 64;
  constexpr uint64_t kHot = 0x123456789abcdef1;
  const BucketSpec spec = {.amount = 1000, .per = 1s, .burst = 50};
  BucketTable table(spec, 100);
  std::atomic<int64_t> micros = 0;
  std::atomic<uint64_t> allowed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t) + 100);
      for (int i = 0; i < 2000; ++i) {
        const TimePoint now = At(Duration(micros.fetch_add(3)));
        if (table.Take(kHot, now).allowed) allowed.fetch_add(1);
        if (i % 4 == 0) static_cast<void>(table.Take(random.Next(), now));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto elapsed = static_cast<uint64_t>(micros.load());
  EXPECT_LE(allowed.load(), spec.burst + elapsed * spec.amount / 1'000'000 + 1);
  EXPECT_GE(allowed.load(), spec.burst);
}

}  // namespace
}  // namespace gatehouse::filters
