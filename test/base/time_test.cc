#include "source/base/time.h"

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse {
namespace {

TEST(TimeTest, TheSystemsMonotonicClockNeverGoesBack) {
  const SystemClock clock;
  TimePoint before = clock.Now();
  for (int i = 0; i < 1000; ++i) {
    const TimePoint now = clock.Now();
    ASSERT_GE(now, before);
    before = now;
  }
  EXPECT_GT(clock.WallMicros(), int64_t{1'600'000'000'000'000});  // after 2020, in microseconds
}

TEST(TimeTest, ManualTimeMovesWhenToldTo) {
  ManualClock clock;
  const TimePoint start = clock.Now();
  const int64_t wall = clock.WallMicros();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(std::chrono::seconds(3));
  EXPECT_EQ(clock.Now() - start, std::chrono::seconds(3));
  EXPECT_EQ(clock.WallMicros() - wall, 3'000'000);
}

}  // namespace
}  // namespace gatehouse
