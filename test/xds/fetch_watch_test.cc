#include "source/xds/fetch_watch.h"

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gatehouse::xds {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

const TimePoint kStart{std::chrono::hours(1)};

using Only = std::map<Type, std::set<std::string>>;

TEST(FetchWatchTest, TypesOfWhichNothingIsSaid) {
  FetchWatch watch(seconds(15), {});
  EXPECT_EQ(watch.next(), kNever);
  EXPECT_THAT(watch.GiveUp(kStart + seconds(100)), IsEmpty());  // nobody was asked
  watch.Connected(kStart);
  watch.Connected(kStart + seconds(10));  // another stream: the clock goes on
  EXPECT_EQ(watch.next(), kStart + seconds(15));
  for (const Type type : kAllTypes) {
    if (type != Type::kSecret) watch.Told(type);
  }
  const auto due = watch.GiveUp(kStart + seconds(15));
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due.begin()->first, Type::kSecret);
  EXPECT_THAT(due.begin()->second, IsEmpty());
  EXPECT_EQ(watch.next(), kNever);
  EXPECT_THAT(watch.GiveUp(kStart + seconds(100)), IsEmpty());
}

TEST(FetchWatchTest, NamesThatDoNotCome) {
  Only only;
  for (const Type type : kAllTypes) only[type];
  only[Type::kCluster] = {"a", "b"};
  FetchWatch watch(seconds(15), WantedOf(only));
  watch.Connected(kStart);
  watch.Told(Type::kCluster);
  watch.ToldOf(Type::kCluster, "a");
  only[Type::kCluster] = {"a", "b", "c"};
  watch.Want(WantedOf(only));
  EXPECT_EQ(watch.next(), kStart + seconds(15));
  EXPECT_THAT(watch.GiveUp(kStart + seconds(15))[Type::kCluster], ElementsAre("b"));
  EXPECT_EQ(watch.next(), kNever);  // "c" was not asked for yet
  watch.Connected(kStart + seconds(20));
  EXPECT_EQ(watch.next(), kStart + seconds(35));
  only[Type::kCluster] = {"a"};
  watch.Want(WantedOf(only));
  EXPECT_EQ(watch.next(), kNever);
  EXPECT_THAT(watch.GiveUp(kStart + seconds(100)), IsEmpty());
}

TEST(FetchWatchTest, ForEver) {
  FetchWatch watch(kNoTimeout, {});
  watch.Connected(kStart);
  EXPECT_EQ(watch.next(), kNever);
  EXPECT_THAT(watch.GiveUp(kStart + std::chrono::hours(1000)), IsEmpty());
}

}  // namespace
}  // namespace gatehouse::xds
