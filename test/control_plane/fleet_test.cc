#include "source/control_plane/fleet.h"

#include <chrono>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::control {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

class FleetTest : public ::testing::Test {
 protected:
  GatewayStatus Gateway(const std::string& node) const {
    return {.node = node, .group = "edge", .connected_at = now_, .last_seen = now_};
  }

  WallTime now_ = WallTime(seconds(1'000'000));
  Fleet fleet_{"control-1", [this] { return now_; }};
};

TEST_F(FleetTest, KnowsWhoIsConnected) {
  fleet_.Connected(1, Gateway("edge-1"));
  fleet_.Connected(2, Gateway("edge-2"));
  const std::vector<GatewayStatus> own = fleet_.Own();
  ASSERT_EQ(own.size(), 2U);
  EXPECT_EQ(own[0].node, "edge-1");
  EXPECT_EQ(own[0].instance, "control-1");
  EXPECT_TRUE(own[0].connected);
  EXPECT_EQ(own[0].connections, 1U);
  EXPECT_EQ(fleet_.connected(), 2U);
}

TEST_F(FleetTest, ChangesAreCounted) {
  const uint64_t before = fleet_.changes();
  fleet_.Connected(1, Gateway("edge-1"));
  fleet_.Change(1, [](GatewayStatus& status) { status.accepted_revision = 7; });
  fleet_.Change(9, [](GatewayStatus&) { FAIL() << "there is no such stream"; });
  fleet_.Disconnected(1);
  fleet_.Disconnected(1);
  EXPECT_EQ(fleet_.changes(), before + 3);
  EXPECT_EQ(fleet_.Own()[0].accepted_revision, 7U);
}

TEST_F(FleetTest, AGatewayThatIsGoneIsRememberedForAnHour) {
  fleet_.Connected(1, Gateway("edge-1"));
  // It was quiet for long before it went.
  now_ += minutes(300);
  fleet_.Disconnected(1);
  now_ += minutes(59);
  ASSERT_EQ(fleet_.Own().size(), 1U);
  EXPECT_FALSE(fleet_.Own()[0].connected);
  EXPECT_EQ(fleet_.Own()[0].connections, 0U);
  EXPECT_EQ(fleet_.connected(), 0U);
  now_ += minutes(2);
  EXPECT_TRUE(fleet_.Own().empty());
}

TEST_F(FleetTest, TheNewStreamOfANodeIsShownWhicheverOrderTheyComeIn) {
  fleet_.Connected(1, Gateway("edge-1"));
  now_ += seconds(1);
  GatewayStatus again = Gateway("edge-1");
  again.address = "new";
  fleet_.Connected(2, again);
  ASSERT_EQ(fleet_.Own().size(), 1U);
  EXPECT_EQ(fleet_.Own()[0].address, "new");
  EXPECT_EQ(fleet_.Own()[0].connections, 2U);
  now_ += seconds(1);
  fleet_.Disconnected(1);
  ASSERT_EQ(fleet_.Own().size(), 1U);
  EXPECT_EQ(fleet_.Own()[0].address, "new");
  EXPECT_TRUE(fleet_.Own()[0].connected);
  EXPECT_EQ(fleet_.Own()[0].connections, 1U);
}

TEST_F(FleetTest, OtherInstancesTellOfTheirs) {
  fleet_.Connected(1, Gateway("edge-1"));
  GatewayStatus moved = Gateway("edge-1");
  moved.connected = true;
  moved.connections = 1;
  moved.last_seen = now_ + seconds(5);
  GatewayStatus other = Gateway("edge-9");
  other.last_seen = now_;
  fleet_.Merge("control-2", {moved, other});
  ASSERT_EQ(fleet_.All().size(), 2U);
  EXPECT_EQ(fleet_.All()[0].instance, "control-2") << "saw it last";
  EXPECT_EQ(fleet_.All()[1].node, "edge-9");
  EXPECT_EQ(fleet_.Own().size(), 1U);

  fleet_.Merge("control-2", {other});
  EXPECT_EQ(fleet_.All()[0].instance, "control-1");
  fleet_.Forget("control-2");
  EXPECT_EQ(fleet_.All().size(), 1U);
}

TEST_F(FleetTest, WhatOneTellsOfItselfThroughTheStoreIsNotNews) {
  fleet_.Merge("control-1", {Gateway("ghost")});
  EXPECT_TRUE(fleet_.All().empty());
}

TEST_F(FleetTest, Totals) {
  GatewayStatus good = Gateway("good");
  good.accepted_revision = 9;
  GatewayStatus bad = Gateway("bad");
  bad.accepted_revision = 4;
  bad.rejections[{ResourceType::kCluster, "a"}] = {};
  bad.rejections[{ResourceType::kCluster, "b"}] = {};
  EXPECT_EQ(fleet_.totals().oldest_accepted, 0U);
  fleet_.Connected(1, good);
  fleet_.Connected(2, bad);
  const Fleet::Totals totals = fleet_.totals();
  EXPECT_EQ(totals.connected, 2U);
  EXPECT_EQ(totals.rejecting, 1U);
  EXPECT_EQ(totals.rejections, 2U);
  EXPECT_EQ(totals.oldest_accepted, 4U);
}

TEST_F(FleetTest, ManyThatAreGoneAreBounded) {
  for (uint64_t i = 0; i < 10'050; ++i) {
    fleet_.Connected(i, Gateway("pod-" + std::to_string(i)));
    now_ += std::chrono::milliseconds(1);
    fleet_.Disconnected(i);
  }
  EXPECT_EQ(fleet_.Own().size(), 10'000U);
}

}  // namespace
}  // namespace gatehouse::control
