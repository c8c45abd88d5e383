#include "source/xds/ads_lifetimes.h"

#include <chrono>
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
const Type kCluster = Type::kCluster;

class LifetimesTest : public testing::Test {
 protected:
  void Offer(uint64_t id, const std::string& name, const std::string& version, int ttl,
             int at = 0) {
    Update update{.id = id, .type = kCluster, .upserts = {{name, version, ""}}};
    lifetimes_.Offer(update, {ttl == 0 ? kNoTimeout : Duration(seconds(ttl))},
                     kStart + seconds(at));
  }
  void Refuse(uint64_t id, const std::string& name, bool waiting = false) {
    lifetimes_.Settle(id, {{.name = name, .version = "", .errors = {}, .waiting = waiting}});
  }
  bool Renew(const std::string& name, const std::string& version, int ttl, int at,
             const Versions& held = {}) {
    return lifetimes_.Renew(kCluster, {name, version, seconds(ttl)}, held, kStart + seconds(at));
  }
  std::vector<std::string> Expired(int at) {
    std::vector<std::string> names;
    for (const Update& update : lifetimes_.Expire(kStart + seconds(at))) {
      EXPECT_EQ(update.id, 0u);
      EXPECT_EQ(update.type, kCluster);
      names.insert(names.end(), update.removed.begin(), update.removed.end());
    }
    return names;
  }

  Lifetimes lifetimes_;
};

TEST_F(LifetimesTest, EndsOnceItIsAccepted) {
  Offer(1, "a", "v1", 10);
  Offer(2, "stays", "v1", 0);
  EXPECT_EQ(lifetimes_.next(), kNever);
  EXPECT_THAT(Expired(100), IsEmpty());
  lifetimes_.Settle(1, {});
  lifetimes_.Settle(2, {});
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(10));
  EXPECT_THAT(Expired(9), IsEmpty());
  EXPECT_THAT(Expired(10), ElementsAre("a"));
  EXPECT_THAT(Expired(1000), IsEmpty());
  EXPECT_EQ(lifetimes_.size(), 0u);
}

TEST_F(LifetimesTest, WhatIsRefusedChangesNothing) {
  Offer(1, "a", "v1", 10);
  lifetimes_.Settle(1, {});
  Offer(2, "a", "v2", 0, 5);
  EXPECT_THAT(Expired(20), IsEmpty());  // it may be replaced
  Refuse(2, "a");
  EXPECT_THAT(Expired(20), ElementsAre("a"));
  // What only waits is held.
  Offer(3, "b", "v1", 10);
  Refuse(3, "b", /*waiting=*/true);
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(10));
}

TEST_F(LifetimesTest, WhatReplacesItHasItsOwnEnd) {
  Offer(1, "a", "v1", 10);
  Offer(2, "a", "v2", 30);
  Offer(3, "a", "v3", 0);
  lifetimes_.Settle(1, {});
  EXPECT_EQ(lifetimes_.next(), kNever);
  lifetimes_.Settle(2, {});
  Refuse(3, "a");
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(30));
  Offer(4, "a", "v4", 0);
  lifetimes_.Settle(4, {});
  EXPECT_EQ(lifetimes_.next(), kNever);
}

TEST_F(LifetimesTest, RemovedBeforeItEnds) {
  Offer(1, "a", "v1", 10);
  Offer(2, "b", "v1", 10);
  lifetimes_.Settle(1, {});
  lifetimes_.Settle(2, {});
  lifetimes_.Offer({.id = 3, .type = kCluster, .removed = {"a", "unknown"}}, {}, kStart);
  lifetimes_.Settle(3, {});
  EXPECT_EQ(lifetimes_.size(), 1u);
  // By not being in the whole state.
  lifetimes_.Offer({.id = 4, .type = Type::kListener, .complete = true}, {}, kStart);
  lifetimes_.Settle(4, {});
  EXPECT_EQ(lifetimes_.size(), 1u);
  lifetimes_.Offer({.id = 5, .type = kCluster, .complete = true}, {}, kStart);
  lifetimes_.Settle(5, {});
  EXPECT_EQ(lifetimes_.size(), 0u);
}

TEST_F(LifetimesTest, HeartbeatsOfTheSameVersionProlong) {
  Offer(1, "a", "v1", 10);
  EXPECT_TRUE(Renew("a", "v1", 10, 5));
  lifetimes_.Settle(1, {});
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(15));
  const Versions held = {{"a", "v1"}};
  EXPECT_TRUE(Renew("a", "v1", 10, 12, held));
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(22));
  EXPECT_FALSE(Renew("a", "v2", 10, 13, held));
  EXPECT_FALSE(Renew("b", "v1", 10, 13, held));
  EXPECT_EQ(lifetimes_.next(), kStart + seconds(22));
  // Held from before this process, which does not know its end.
  EXPECT_TRUE(Renew("b", "v9", 1, 0, {{"b", "v9"}}));
  EXPECT_THAT(Expired(1), ElementsAre("b"));
}

}  // namespace
}  // namespace gatehouse::xds
