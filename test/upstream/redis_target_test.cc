// What the operator hears of a server that is not simply gone or there.
#include "source/upstream/redis_target.h"

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/observe/notices.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Said() { return observe::Notices::Process().Take().lines; }

class RedisFlappingTest : public ::testing::Test {
 protected:
  RedisFlappingTest() { (void)Said(); }

  const TimePoint start_{seconds(100)};
  RedisNews news_{"store"};
};

// One that has no memory left, and still answers what only reads.
TEST_F(RedisFlappingTest, WhoComesAndGoesIsToldOfNowAndThen) {
  size_t lines = 0;
  TimePoint now = start_;
  for (; now < start_ + seconds(60); now += milliseconds(200)) {
    news_.Lost("a:1", "OOM", now);
    news_.Back("a:1", now + milliseconds(100));
    lines += Said().size();
  }
  EXPECT_GE(lines, 10u);
  EXPECT_LE(lines, 14u);
}

TEST_F(RedisFlappingTest, ARelapseThatLastsIsTold) {
  news_.Lost("a:1", "OOM", start_);
  news_.Back("a:1", start_ + milliseconds(100));
  EXPECT_EQ(Said().size(), 2u);
  news_.Lost("a:1", "gone", start_ + seconds(2));
  news_.StillLost("a:1", "still gone", start_ + milliseconds(2900));
  EXPECT_THAT(Said(), IsEmpty());
  news_.StillLost("a:1", "still gone", start_ + milliseconds(3100));
  news_.StillLost("a:1", "still gone", start_ + milliseconds(5100));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("a:1 cannot be used: still gone")));
  news_.Back("a:1", start_ + seconds(6));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("a:1 is back after 4.0 s")));
  news_.Back("a:1", start_ + seconds(7));
  news_.StillLost("a:1", "not lost", start_ + seconds(8));
  EXPECT_THAT(Said(), IsEmpty());
}

TEST_F(RedisFlappingTest, ServersDoNotSilenceEachOther) {
  news_.Lost("a:1", "gone", start_);
  news_.Back("a:1", start_ + seconds(1));
  news_.Lost("b:1", "gone", start_ + seconds(2));
  EXPECT_EQ(Said().size(), 3u);
}

TEST_F(RedisFlappingTest, WrongAnswersAreSaidOnceAMinute) {
  for (int i = 0; i < 100; ++i) news_.Wrong("a:1", "WRONGTYPE of a key", start_ + seconds(i));
  EXPECT_THAT(Said(), ElementsAre("redis of cluster 'store': a:1 answered a call with WRONGTYPE of "
                                  "a key (said once a minute)",
                                  HasSubstr("WRONGTYPE")));
  news_.Wrong("", "nonsense", start_ + seconds(200));
  EXPECT_THAT(Said(), ElementsAre(HasSubstr("'store' answered a call with nonsense")));
}

}  // namespace
}  // namespace gatehouse::upstream
