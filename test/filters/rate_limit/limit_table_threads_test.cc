// One table, 64 threads: any schedule that the machine finds. Time is virtual.
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int kThreads = 64;
constexpr int64_t kStart = 1'800'000'000'000'000;
constexpr uint64_t kKey = 0x123456789abcdef1;

LimitSpec Bucket(uint64_t amount, Duration per, uint64_t capacity) {
  return {.kind = LimitKind::kTokenBucket, .amount = amount, .per = per, .capacity = capacity};
}
LimitSpec Of(LimitKind kind, uint64_t amount, Duration per = {}) {
  return {.kind = kind, .amount = amount, .per = per, .capacity = amount};
}

LimitRules Rules(const std::vector<LimitSpec>& specs) {
  absl::StatusOr<LimitRules> rules = LimitRules::Make(specs);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return *std::move(rules);
}

void OnThreads(const std::function<void(int)>& work) {
  std::atomic<bool> go = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      while (!go.load()) std::this_thread::yield();
      work(t);
    });
  }
  go.store(true);
  for (std::thread& thread : threads) thread.join();
}

// Every kind, alone and with another: exactly the limit, for every key.
TEST(LimitTableThreadsTest, ManyThreadsGetExactlyTheLimit) {
  constexpr size_t kKeys = 16;
  constexpr uint64_t kLimit = 100;
  for (const LimitKind kind :
       {LimitKind::kTokenBucket, LimitKind::kFixedWindow, LimitKind::kSlidingWindow,
        LimitKind::kSlidingLog, LimitKind::kConcurrency}) {
    for (const bool is_alone : {true, false}) {
      std::vector<LimitSpec> specs = {Of(kind, kLimit, 1h)};
      if (!is_alone) specs.push_back(Bucket(1, 1h, kLimit + 7));
      LimitTable table(Rules(specs), kKeys * 10);
      std::vector<uint64_t> keys;
      Random random(static_cast<uint64_t>(kind) + 10);
      for (size_t i = 0; i < kKeys; ++i) keys.push_back(random.Next());
      std::vector<std::atomic<uint64_t>> allowed(kKeys);
      OnThreads([&](int t) {
        LimitTakes takes;
        for (size_t i = 0; i < kKeys * 5; ++i) {
          const size_t k = (i + static_cast<size_t>(t)) % kKeys;
          if (table.Take(keys[k], 1, kStart, takes)) allowed[k].fetch_add(1);
        }
      });
      ASSERT_EQ(table.displaced() + table.shared(), 0u);
      for (const auto& count : allowed) EXPECT_EQ(count.load(), kLimit) << static_cast<int>(kind);
    }
  }
}

// While time goes on, on each thread a little differently, and other keys come and go: at most
// burst + rate * time; and as there is always more demand, not less either.
TEST(LimitTableThreadsTest, WhileTimeGoesOnTheBoundIsReachedAndKept) {
  for (const bool is_alone : {true, false}) {
    std::vector<LimitSpec> specs = {Bucket(1000, 1s, 50)};
    if (!is_alone) specs.push_back(Of(LimitKind::kSlidingLog, 100'000, 1h));
    LimitTable table(Rules(specs), 100);
    std::atomic<int64_t> micros = 0;
    std::atomic<uint64_t> allowed = 0;
    OnThreads([&](int t) {
      Random random(static_cast<uint64_t>(t) + 100);
      LimitTakes takes;
      for (int i = 0; i < 1000; ++i) {
        const int64_t now = kStart + micros.fetch_add(3);
        if (table.Take(kKey, 1, now, takes)) allowed.fetch_add(1);
        if (i % 4 == 0) table.Take(random.Next(), 1, now, takes);
      }
    });
    const auto elapsed = static_cast<uint64_t>(micros.load() - 3);
    EXPECT_LE(allowed.load(), 50 + elapsed / 1000);
    // The last of a millisecond's demand may have come before it was due.
    LimitTakes takes;
    while (table.Take(kKey, 1, kStart + static_cast<int64_t>(elapsed), takes)) allowed.fetch_add(1);
    EXPECT_EQ(allowed.load(), 50 + elapsed / 1000);
  }
}

// In any window of a log no more than its limit, though threads come with different times.
TEST(LimitTableThreadsTest, NoWindowOfALogHasMoreThanItsLimit) {
  constexpr int64_t kPer = 1000;
  LimitTable table(Rules({Of(LimitKind::kSlidingLog, 40, Duration(kPer))}), 10);
  std::atomic<int64_t> micros = 0;
  std::vector<std::vector<int64_t>> taken(kThreads);
  OnThreads([&](int t) {
    LimitTakes takes;
    for (int i = 0; i < 500; ++i) {
      const int64_t now = kStart + micros.fetch_add(1);
      if (!table.Take(kKey, 1, now, takes)) continue;
      // When it was counted: reset_after is that of the newest, which is it.
      taken[static_cast<size_t>(t)].push_back(now + takes.takes[0].reset_after.count() - kPer);
    }
  });
  std::vector<int64_t> all;
  for (const auto& times : taken) all.insert(all.end(), times.begin(), times.end());
  std::sort(all.begin(), all.end());
  ASSERT_GE(all.size(), 40u * 31);
  for (size_t i = 40; i < all.size(); ++i) ASSERT_GE(all[i] - all[i - 40], kPer);
}

// The second limit is used up, so the first one's count never moves, whoever looks whenever.
TEST(LimitTableThreadsTest, NobodySeesWhatIsNotTaken) {
  LimitTable table(Rules({Bucket(1, 1h, 1000), Of(LimitKind::kFixedWindow, 3, 24h),
                          Of(LimitKind::kSlidingLog, 500, 1h)}),
                   10);
  LimitTakes first;
  EXPECT_TRUE(table.Take(kKey, 3, kStart, first));
  std::atomic<int> moved = 0;
  OnThreads([&](int t) {
    LimitTakes takes;
    for (int i = 0; i < 500; ++i) {
      if (t % 2 == 0) {
        moved += table.Take(kKey, 1 + static_cast<uint64_t>(i % 3), kStart, takes);
      } else {
        takes = *table.Peek(kKey, kStart);
      }
      moved += takes.takes[0].remaining != 997 || takes.takes[2].remaining != 497;
    }
  });
  EXPECT_EQ(moved.load(), 0);
}

// All of the limits or none: with three that are used up at different times, and takes of different
// costs, the sums are the same at the end.
TEST(LimitTableThreadsTest, AllOrNothing) {
  LimitTable table(
      Rules({Bucket(10'000, 24h * 300, 10'000), Of(LimitKind::kFixedWindow, 7'000, 24h * 300),
             Of(LimitKind::kSlidingLog, 9'000, 24h)}),
      10);
  std::atomic<uint64_t> units = 0;
  OnThreads([&](int t) {
    LimitTakes takes;
    for (int i = 0; i < 300; ++i) {
      const uint64_t cost = 1 + static_cast<uint64_t>(i + t) % 3;
      if (!table.Take(kKey, cost, kStart, takes)) continue;
      if (i % 5 == 0) {
        table.GiveBack(kKey, cost, kStart, kStart);
      } else {
        units.fetch_add(cost);
      }
    }
  });
  const LimitTakes takes = *table.Peek(kKey, kStart);
  EXPECT_LE(units.load(), 7'000u);
  EXPECT_EQ(takes.takes[0].remaining, 10'000 - units.load());
  EXPECT_EQ(takes.takes[1].remaining, 7'000 - units.load());
  EXPECT_EQ(takes.takes[2].remaining, 9'000 - units.load());
}

// Requests come and go, of a few keys that share too few places: never more under way than the
// limit, and none at the end.
TEST(LimitTableThreadsTest, ConcurrencyNeverExceedsItsLimitAndEndsAtZero) {
  constexpr size_t kKeys = 12;
  constexpr int kLimit = 5;
  for (const bool is_alone : {true, false}) {
    std::vector<LimitSpec> specs = {Of(LimitKind::kConcurrency, kLimit)};
    if (!is_alone) specs.push_back(Bucket(1'000'000'000, 1s, 1'000'000));
    LimitTable table(Rules(specs), 1);
    std::vector<std::atomic<int>> running(kKeys);
    std::atomic<int> wrong = 0;
    std::atomic<int> allowed = 0;
    OnThreads([&](int t) {
      Random random(static_cast<uint64_t>(t) + 1);
      LimitTakes takes;
      for (int i = 0; i < 1000; ++i) {
        const size_t k = random.Below(kKeys);
        const auto key = static_cast<uint64_t>(k) << 1;
        if (!table.Take(key, 1, kStart + i, takes)) continue;
        ++allowed;
        wrong += running[k].fetch_add(1) >= kLimit;
        if (i % 3 == 0) std::this_thread::yield();
        running[k].fetch_sub(1);
        table.Release(key, 1, kStart + i);
      }
    });
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_GT(allowed.load(), 1000);
    for (size_t k = 0; k < kKeys; ++k) {
      LimitTakes takes;
      for (int i = 0; i < kLimit; ++i) {
        ASSERT_TRUE(table.Take(k << 1, 1, kStart + 1'000'000, takes)) << k;
      }
      table.Release(k << 1, kLimit, kStart + 1'000'000);
    }
  }
}

// A flood of keys on all threads at once; some are at their limit and stay so.
TEST(LimitTableThreadsTest, HotKeysStayLimitedInAFlood) {
  constexpr size_t kKeys = 500;
  for (const bool is_alone : {true, false}) {
    std::vector<LimitSpec> specs = {Bucket(1, 1h, 10)};
    if (!is_alone) specs.push_back(Of(LimitKind::kSlidingLog, 20, 1h));
    LimitTable table(Rules(specs), kKeys);
    std::vector<uint64_t> hot;
    Random seeds(7);
    LimitTakes taken;
    for (int i = 0; i < 20; ++i) {
      hot.push_back(seeds.Next());
      for (int j = 0; j < 10; ++j) EXPECT_TRUE(table.Take(hot.back(), 1, kStart, taken));
    }
    std::atomic<int> passed = 0;
    OnThreads([&](int t) {
      Random random(static_cast<uint64_t>(t) + 100);
      LimitTakes takes;
      for (size_t i = 0; i < 10 * kKeys / kThreads * 4; ++i) {
        table.Take(random.Next(), 1, kStart, takes);
        passed += table.Take(hot[i % hot.size()], 1, kStart, takes);
      }
    });
    EXPECT_EQ(passed.load(), 0);
  }
}

// The limit is changed all the time, to one and to several and back, while all threads take: what
// has been counted stays so, and nothing is counted twice.
TEST(LimitTableThreadsTest, NothingIsLostWhenLimitsChange) {
  constexpr uint64_t kLimit = 50'000;
  LimitTable table(Rules({Of(LimitKind::kFixedWindow, kLimit, 1h)}), 10);
  std::atomic<uint64_t> allowed = 0;
  std::atomic<int> done = 0;
  std::thread changer([&] {
    for (uint64_t i = 0; done.load() < kThreads && i < 3000; ++i) {
      std::vector<LimitSpec> specs = {Of(LimitKind::kFixedWindow, kLimit, 1h)};
      if (i % 2 == 0) specs.push_back(Bucket(1 + i % 5, 1s, 1'000'000));
      if (i % 3 == 0) specs.push_back(Of(LimitKind::kSlidingLog, 60'000 + i, 1s));
      table.Change(Rules(specs), kStart);
      std::this_thread::yield();
    }
  });
  OnThreads([&](int) {
    LimitTakes takes;
    for (int i = 0; i < 1500; ++i) {
      if (table.Take(kKey, 1, kStart, takes)) allowed.fetch_add(1);
    }
    ++done;
  });
  changer.join();
  EXPECT_EQ(allowed.load(), kLimit);
}

}  // namespace
}  // namespace gatehouse::filters
