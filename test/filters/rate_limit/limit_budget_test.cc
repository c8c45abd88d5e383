#include "source/filters/rate_limit/limit_budget.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::filters {
namespace {

constexpr int64_t kNow = 1'767'225'600'000'000;

LimitSetting Setting(uint64_t burst) {
  const LimitSpec spec = {.kind = LimitKind::kTokenBucket,
                          .amount = 1,
                          .per = std::chrono::hours(1),
                          .capacity = burst};
  LimitSetting setting;
  setting.rules = *LimitRules::Make({&spec, 1});
  setting.fingerprint = std::to_string(burst);
  setting.max_keys = 100;
  return setting;
}

class LimitBudgetTest : public testing::Test {
 protected:
  // As a config that is built.
  LimitSetting Built(uint64_t burst) {
    LimitSetting setting = Setting(burst);
    setting.edition = budget_.NextEdition();
    return setting;
  }
  // As a request by that config.
  bool Take(const LimitSetting& setting, uint64_t key = 7) {
    budget_.Follow(setting, kNow);
    LimitTakes takes;
    return budget_.table().Take(key, 1, kNow, takes);
  }
  int Passed(const LimitSetting& setting, int count) {
    int passed = 0;
    for (int i = 0; i < count; ++i) passed += Take(setting) ? 1 : 0;
    return passed;
  }

  observe::MetricRegistry registry_;
  LimitBudget budget_{Setting(4), true, registry_};
};

TEST_F(LimitBudgetTest, TheNewestThatARequestCameByDecides) {
  const LimitSetting first = Built(4);
  const LimitSetting never = Built(1000);
  const LimitSetting second = Built(6);
  EXPECT_EQ(Passed(first, 3), 3);
  EXPECT_EQ(Passed(second, 9), 3);
  EXPECT_EQ(Passed(first, 9), 0);
  EXPECT_EQ(Passed(never, 9), 0) << "a newer one is in force";
  EXPECT_EQ(Passed(Built(8), 9), 2);
}

TEST_F(LimitBudgetTest, ThreadsThatSeeOldAndNewConfigs) {
  constexpr int kThreads = 8;
  constexpr uint64_t kMost = 2000;
  std::vector<LimitSetting> settings;
  for (uint64_t burst = 100; burst <= kMost; burst += 100) settings.push_back(Built(burst));
  std::atomic<uint64_t> passed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 20000; ++i) {
        // Each thread adopts at its own pace.
        const size_t newest = std::min(i / 100 + static_cast<size_t>(t), settings.size() - 1);
        if (Take(settings[newest])) passed.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(passed, kMost);
}

TEST_F(LimitBudgetTest, WhatIsForgottenIsToldOnce) {
  const LimitSetting setting = Built(4);
  uint64_t told = 0;
  for (uint64_t key = 1; key < 5000; ++key) {
    (void)Take(setting, key * 0x9e3779b97f4a7c15);
    told += budget_.NewlyDisplaced();
  }
  EXPECT_GT(told, 1000u);
  EXPECT_EQ(told, budget_.table().displaced());
  EXPECT_EQ(budget_.NewlyDisplaced(), 0u);
}

}  // namespace
}  // namespace gatehouse::filters
