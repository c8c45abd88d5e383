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

}  // namespace
}  // namespace gatehouse::filters
