#include "source/server/line_limit.h"

#include <chrono>
#include <optional>

#include "gtest/gtest.h"

namespace gatehouse::server {
namespace {

using std::chrono::seconds;

TEST(LineLimitTest, TellsHowManyWereLeftOut) {
  LineLimit limit(2, seconds(10));
  const TimePoint start = TimePoint() + seconds(100);
  EXPECT_EQ(limit.Take(start), 0U);
  EXPECT_EQ(limit.Take(start + seconds(9)), 0U);
  EXPECT_EQ(limit.Take(start + seconds(9)), std::nullopt);
  EXPECT_EQ(limit.Take(start + seconds(9)), std::nullopt);
  EXPECT_EQ(limit.Take(start + seconds(10)), 2U);
  EXPECT_EQ(limit.Take(start + seconds(10)), 0U);
  EXPECT_EQ(limit.Take(start + seconds(19)), std::nullopt);
  EXPECT_EQ(limit.Take(start + seconds(60)), 1U);
}

}  // namespace
}  // namespace gatehouse::server
