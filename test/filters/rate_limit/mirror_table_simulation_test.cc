#include <gtest/gtest.h>

#include "test/filters/rate_limit/sync_simulation.h"

namespace gatehouse::filters {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Traffic kTraffic[] = {Traffic::kAtOnce, Traffic::kSteady, Traffic::kSkewed,
                                Traffic::kMoving};

TEST(SyncSimulationTest, FiftyGatewaysStayInsideTheBound) {
  for (const Traffic traffic : kTraffic) {
    for (const int interval : {1000, 200, 50}) {
      for (const uint64_t max_unsynced : {uint64_t{0}, uint64_t{1}, uint64_t{20}}) {
        const SyncResult result = SyncSimulation({.interval = milliseconds(interval),
                                                  .max_unsynced = max_unsynced,
                                                  .traffic = traffic,
                                                  .duration = seconds(5),
                                                  .seed = max_unsynced + 7})
                                      .Run();
        EXPECT_LE(result.over, result.bound)
            << static_cast<int>(traffic) << " " << interval << " " << max_unsynced;
        // Nor does it fall short.
        EXPECT_GE(result.admitted * 100, result.ideal * 97)
            << static_cast<int>(traffic) << " " << interval << " " << max_unsynced;
      }
    }
  }
}

TEST(SyncSimulationTest, ASlowNetworkDoesNotLoosenTheBound) {
  for (const Traffic traffic : kTraffic) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const SyncResult result = SyncSimulation({.gateways = 10,
                                                .interval = milliseconds(100),
                                                .max_unsynced = 30,
                                                .traffic = traffic,
                                                .duration = seconds(8),
                                                .network = milliseconds(20),
                                                .seed = seed})
                                    .Run();
      EXPECT_LE(result.over, result.bound) << static_cast<int>(traffic) << " " << seed;
    }
  }
}

TEST(SyncSimulationTest, AnOutageDoesNotLoosenTheBound) {
  for (const Traffic traffic : kTraffic) {
    const SyncResult result = SyncSimulation({.interval = milliseconds(100),
                                              .traffic = traffic,
                                              .duration = seconds(8),
                                              .away_from = seconds(3),
                                              .away_to = seconds(5)})
                                  .Run();
    EXPECT_LE(result.over, result.bound) << static_cast<int>(traffic);
    EXPECT_GT(result.admitted, 0u);
  }
}

TEST(SyncSimulationTest, SlowLimitsAndSmallOnes) {
  for (const Traffic traffic : kTraffic) {
    for (const uint64_t capacity : {1u, 2u, 7u}) {
      const LimitSpec limit = {
          .kind = LimitKind::kTokenBucket, .amount = 3, .per = seconds(1), .capacity = capacity};
      const SyncResult result =
          SyncSimulation(
              {.gateways = 12, .limit = limit, .traffic = traffic, .duration = seconds(60)})
              .Run();
      EXPECT_LE(result.over, result.bound) << static_cast<int>(traffic) << " " << capacity;
    }
  }
}

// Before they know Redis's clock, gateways count by their own.
TEST(SyncSimulationTest, ClocksThatAreWrongByHoursDoNotLoosenTheBound) {
  for (const LimitKind kind : {LimitKind::kTokenBucket, LimitKind::kFixedWindow}) {
    for (const Traffic traffic : kTraffic) {
      const LimitSpec limit = {.kind = kind, .amount = 1000, .per = seconds(1), .capacity = 1000};
      const SyncResult result = SyncSimulation({.gateways = 10,
                                                .limit = limit,
                                                .interval = milliseconds(50),
                                                .traffic = traffic,
                                                .duration = seconds(5),
                                                .clock_error = std::chrono::hours(2)})
                                    .Run();
      // Of windows the meter knows where they begin.
      EXPECT_LE(result.over, result.bound) << static_cast<int>(kind) << static_cast<int>(traffic);
    }
  }
}

class MirrorTableTest : public testing::Test {
 protected:
  static RedisTerms Terms(uint64_t amount, uint64_t max_unsynced) {
    const LimitSpec window = {
        .kind = LimitKind::kFixedWindow, .amount = amount, .per = std::chrono::hours(1000)};
    RedisLimitSpec spec;
    spec.rules = *LimitRules::Make({&window, 1});
    spec.sync_interval = milliseconds(10);
    spec.max_unsynced = max_unsynced;
    return {spec, 1};
  }
  MirrorTable::Taken Take() { return mirror_.Take(request_, terms_, ++now_, takes_); }

  static constexpr int64_t kNow = 1'700'000'000'000'000;
  const RedisTerms terms_ = Terms(100, 10);
  const LimitRequest request_ = {.key = "k", .hash = 42, .cost = 1, .micros = 0};
  MirrorTable mirror_{8};
  LimitTakes takes_;
  int64_t now_ = kNow;
};

// The interval is over before Redis has answered.
TEST_F(MirrorTableTest, WhatPassesWhileAPushIsUnderWayIsToldNext) {
  for (const bool answered : {true, false}) {
    const MirrorTable::Taken first = Take();
    ASSERT_TRUE(first.dirty);
    const auto push = mirror_.BeginPush(first.place, terms_);
    ASSERT_TRUE(push);
    const MirrorTable::Taken second = Take();
    ASSERT_TRUE(second.dirty);
    EXPECT_FALSE(mirror_.BeginPush(second.place, terms_));
    // So it has to be listed again, by whoever hears of the push.
    if (answered) {
      EXPECT_TRUE(mirror_.FinishPush(first.place, terms_, push->units, {}, now_));
    } else {
      EXPECT_TRUE(mirror_.FailPush(first.place));
    }
    const auto next = mirror_.BeginPush(first.place, terms_);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->units, answered ? 1u : 2u);
    EXPECT_FALSE(mirror_.FinishPush(first.place, terms_, next->units, {}, now_));
  }
}

// Another worker had it on its list when the one that pushed went.
TEST_F(MirrorTableTest, WhatAnotherHasListedStaysListed) {
  const MirrorTable::Taken first = Take();
  ASSERT_TRUE(mirror_.BeginPush(first.place, terms_));
  ASSERT_TRUE(Take().dirty);
  mirror_.Unlist(first.place, /*was_pushing=*/true);
  const auto push = mirror_.BeginPush(first.place, terms_);
  ASSERT_TRUE(push);
  EXPECT_EQ(push->units, 2u);
}

// Or a flood while Redis is away would fill the list.
TEST_F(MirrorTableTest, AKeyThatHasToAskIsOnAListAlready) {
  int listed = 0;
  for (int i = 0; i < 1000; ++i) listed += Take().dirty ? 1 : 0;
  EXPECT_EQ(mirror_.Unsynced(), 10u);
  EXPECT_EQ(listed, 1);
}

TEST_F(MirrorTableTest, UnitsOfAClockThatWasAheadAreUnitsOfNow) {
  now_ += std::chrono::microseconds(std::chrono::hours(3000)).count();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(Take().outcome, LimitOutcome::kDecided);
  const auto push = mirror_.BeginPush(Take().place, terms_);
  ASSERT_TRUE(push);
  const MirrorTable::Taken meanwhile = Take();
  now_ = kNow;
  MirrorTable::States states{};
  (void)terms_.rules.rules()[0].Take(states[0], 99, now_);
  ASSERT_TRUE(meanwhile.dirty);
  (void)mirror_.FinishPush(meanwhile.place, terms_, push->units, states, now_);
  // With the one that passed meanwhile the window is full.
  (void)Take();
  EXPECT_FALSE(takes_.allowed);
}

}  // namespace
}  // namespace gatehouse::filters
