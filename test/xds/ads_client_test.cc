#include "source/xds/ads_client.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/xds/ads_client_fixture.h"

namespace gatehouse::xds {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Type kCluster = Type::kCluster;

class AdsClientTest : public AdsClientFixture {};

TEST_F(AdsClientTest, UpdatesGoUpAndAnswersGoBack) {
  StartWithClusters();
  EXPECT_TRUE(State().connected);
  EXPECT_EQ(State().address, "127.0.0.1:" + std::to_string(plane_->port()));
  DeltaOf response = DeltaOf(kCluster, "n1").Has("users", "v7").Lacks("gone");
  response->mutable_control_plane()->set_identifier("cp-1");
  response->set_system_version_info("r9");
  plane_->Sends(response);
  EXPECT_EQ(plane_->Sees(), "Cluster ack n1");
  EXPECT_THAT(owner_.TakeLog(), ElementsAre("Cluster users@v7 -gone"));
  EXPECT_EQ(State().identifier, "cp-1");
  EXPECT_EQ(Clusters().version, "r9");
  EXPECT_EQ(State().last_message, loop_.Now());

  owner_.answers = false;
  plane_->Sends(DeltaOf(kCluster, "n2").Has("users", "v8"));
  EXPECT_TRUE(plane_->SeesNothing());
  client_->Answer(owner_.updates.back().id, {{.name = "users", .errors = {{"a", "b", ""}}}});
  EXPECT_EQ(plane_->Sees(), "Cluster nack n2: Cluster \"users\": a: b");
  plane_->Sends(DeltaOf(kCluster, "n3").Has("twice").Has("twice"));
  EXPECT_THAT(plane_->Sees(), HasSubstr("Cluster nack n3: Cluster: more than once"));
  EXPECT_EQ(Clusters().updates, 2u);
  EXPECT_EQ(Clusters().acks, 1u);
  EXPECT_EQ(Clusters().nacks, 2u);
  EXPECT_EQ(Clusters().malformed, 1u);
  EXPECT_TRUE(Clusters().answered);
}

TEST_F(AdsClientTest, StateOfTheWorld) {
  planes_ = ClusterOf({plane_->port()});
  AdsOptions options = Options();
  options.protocol = AdsProtocol::kStateOfTheWorld;
  owner_.versions[IndexOf(kCluster)] = "r0";
  Start(options);
  EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster [] at r0");
  plane_->Sends(SotwOf(kCluster, "r1", "n1").Has("users"));
  EXPECT_EQ(plane_->Sees(), "Cluster [] at r1 nonce n1");
  EXPECT_THAT(owner_.TakeLog(), ElementsAre("Cluster users@ (all)"));
  EXPECT_THAT(plane_->stream().head().path, HasSubstr("/StreamAggregatedResources"));
  options.only[kCluster] = {"a"};
  client_->Want(options.only);
  EXPECT_EQ(plane_->Sees(), "Cluster [a] at r1 nonce n1");
}

TEST_F(AdsClientTest, AllTypesAreOnOneStream) {
  planes_ = ClusterOf({plane_->port()});
  AdsOptions options = Options();
  options.only = {{Type::kEndpoints, {"users"}}};
  Start(options);
  EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Secret +*");
  for (const char* request :
       {"RateLimit +*", "Cluster +*", "Endpoints +users", "RouteTable +*", "Listener +*"}) {
    EXPECT_EQ(plane_->Sees(), request);
  }
  plane_->Sends(DeltaOf(Type::kEndpoints, "n1").Has("users"));
  EXPECT_EQ(plane_->Sees(), "Endpoints ack n1");
  options.only[Type::kEndpoints] = {"orders"};
  client_->Want(options.only);
  EXPECT_EQ(plane_->Sees(), "Endpoints +orders -users");
  EXPECT_EQ(plane_->streams(), 1u);
}

TEST_F(AdsClientTest, ComesBackAndTellsWhatItHolds) {
  StartWithClusters();
  plane_->Sends(DeltaOf(kCluster, "n1").Has("users", "v7"));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n1");
  const int states = owner_.states;
  plane_->Ends(14, "going down");
  ASSERT_TRUE(Until([&] { return !State().connected; }));
  EXPECT_EQ(owner_.states, states + 1);
  EXPECT_EQ(State().failure, "going down");
  EXPECT_EQ(State().disconnects, 1u);
  EXPECT_FALSE(State().address.empty());
  SkipWait();
  EXPECT_EQ(plane_->Sees(), "(a new stream)");
  EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster +* has{users=v7}");
  EXPECT_TRUE(State().connected);
  EXPECT_EQ(State().failure, "");
  EXPECT_EQ(State().connects, 2u);
  EXPECT_FALSE(Clusters().answered);
}

TEST_F(AdsClientTest, AnswersOfAnEndedStreamAreNothing) {
  StartWithClusters();
  owner_.answers = false;
  plane_->Sends(DeltaOf(kCluster, "n1").Has("users"));
  EXPECT_TRUE(plane_->SeesNothing());
  plane_->Ends(0);
  ASSERT_TRUE(Until([&] { return !State().connected; }));
  EXPECT_EQ(State().failure, "the control plane ended the stream");
  SkipWait();
  EXPECT_EQ(plane_->Sees(), "(a new stream)");
  EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster +* has{users=v1}");
  client_->Answer(owner_.updates.at(0).id, {});
  client_->Answer(12345, {});
  EXPECT_TRUE(plane_->SeesNothing());
}

// --- Time ---

TEST_F(AdsClientTest, ResourcesEndAfterTheirTtlUnlessTheyAreRenewed) {
  StartWithClusters();
  plane_->Sends(DeltaOf(kCluster, "n1").Has("fault", "v1", 10).Has("stays"));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n1");
  static_cast<void>(owner_.TakeLog());
  Advance(seconds(8));
  plane_->Sends(DeltaOf(kCluster, "n2").Renews("fault", "v1", 10));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n2");
  Advance(seconds(8));
  EXPECT_THAT(owner_.TakeLog(), IsEmpty());
  // It ends without a stream, too.
  plane_->Dies();
  Advance(seconds(1));
  EXPECT_THAT(owner_.TakeLog(), IsEmpty());
  Advance(seconds(2));
  EXPECT_THAT(owner_.TakeLog(), ElementsAre("Cluster -fault (expired)"));
  Advance(seconds(60));
  EXPECT_THAT(owner_.TakeLog(), IsEmpty());
}

TEST_F(AdsClientTest, WhatHasEndedIsAskedForWhenItIsRenewedTooLate) {
  StartWithClusters();
  plane_->Sends(DeltaOf(kCluster, "n1").Has("fault", "v1", 10));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n1");
  Advance(seconds(11));
  EXPECT_THAT(owner_.TakeLog(), ElementsAre("Cluster fault@v1", "Cluster -fault (expired)"));
  plane_->Sends(DeltaOf(kCluster, "n2").Renews("fault", "v1", 10));
  EXPECT_EQ(plane_->Sees(), "Cluster +fault");
  EXPECT_EQ(plane_->Sees(), "Cluster ack n2");
}

TEST_F(AdsClientTest, WhatIsNotToldOfInTimeIsAbsent) {
  planes_ = ClusterOf({plane_->port()});
  AdsOptions options = Options();
  options.only.erase(Type::kListener);
  options.only.erase(Type::kSecret);
  options.only[Type::kEndpoints] = {"a", "b", "c"};
  owner_.held[IndexOf(Type::kSecret)] = {{"ca", "v1"}};  // of which a server need say nothing
  Start(options);
  while (plane_->Sees() != "Listener +*") {
  }
  plane_->Sends(DeltaOf(Type::kEndpoints, "n1").Has("a").Lacks("b"));
  EXPECT_EQ(plane_->Sees(), "Endpoints ack n1");
  Advance(seconds(14));
  EXPECT_THAT(owner_.absent, IsEmpty());
  Advance(seconds(2));
  EXPECT_THAT(owner_.absent, ElementsAre("Cluster", "Endpoints c", "Listener"));
  // Late, but it stays subscribed.
  plane_->Sends(DeltaOf(kCluster, "n2").Has("users"));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n2");
  options.only[Type::kEndpoints] = {"a", "d"};
  client_->Want(options.only);
  Advance(seconds(16));
  EXPECT_THAT(owner_.absent, ElementsAre("Cluster", "Endpoints c", "Listener", "Endpoints d"));
}

TEST_F(AdsClientTest, WithoutAControlPlaneNothingIsToldButTheState) {
  planes_ = ClusterOf({plane_->port()});
  plane_->Dies();
  Start(Options());
  for (int i = 0; i < 5; ++i) SkipWait();
  EXPECT_GE(State().connect_failures, 5u);
  EXPECT_EQ(State().connects, 0u);
  EXPECT_GE(owner_.states, 5);
  EXPECT_THAT(owner_.TakeLog(), IsEmpty());
  EXPECT_THAT(owner_.absent, IsEmpty());
}

}  // namespace
}  // namespace gatehouse::xds
