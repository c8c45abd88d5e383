#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/control_plane/stream_for_test.h"

namespace gatehouse::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class XdsStreamWorldTest : public ::testing::Test {
 protected:
  ResponseCache cache_{"control-1"};
  WorldGateway gateway_{cache_};
  std::shared_ptr<const ResourceSet> one_ =
      SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}});
};

TEST_F(XdsStreamWorldTest, WildcardByStarOrByNamingNothing) {
  WorldGateway legacy(cache_);
  for (WorldGateway* gateway : {&gateway_, &legacy}) {
    gateway->Gets(one_);
    gateway->Wants(Type::kCluster,
                   gateway == &legacy ? std::vector<std::string>{} : std::vector<std::string>{"*"});
    EXPECT_THAT(gateway->Reads(), ElementsAre("Cluster a@1 b@1"));
    EXPECT_THAT(gateway->Reads(), IsEmpty()) << "nothing that did not change";
  }
}

TEST_F(XdsStreamWorldTest, ResponsesAreComplete) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {});
  gateway_.Reads();
  const auto two = SetOf(2, {{Type::kCluster, "b", "2"}, {Type::kCluster, "c", "1"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster b@2 c@1"));
  gateway_.Gets(SetOf(3, {}, two));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster"));
}

TEST_F(XdsStreamWorldTest, TheSequenceFromWildcardToNothing) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {});
  gateway_.Reads();
  gateway_.Wants(Type::kCluster, {"*", "a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@1 b@1")) << "a new name is answered";
  gateway_.Wants(Type::kCluster, {"a"});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  const auto two = SetOf(2, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "2"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), IsEmpty()) << "a did not change";
  gateway_.Wants(Type::kCluster, {});
  gateway_.Gets(SetOf(3, {{Type::kCluster, "a", "3"}}, two));
  EXPECT_THAT(gateway_.Reads(), IsEmpty()) << "nothing is wanted, not everything";
}

TEST_F(XdsStreamWorldTest, Names) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {"b", "nobody"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster b@1"));
  auto set = SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "1"}}, one_);
  gateway_.Gets(set);
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  set = SetOf(3, {{Type::kCluster, "b", "3"}, {Type::kCluster, "nobody", "1"}}, set);
  gateway_.Gets(set);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster b@3 nobody@1"));
  set = SetOf(4, {{Type::kCluster, "nobody", "1"}}, set);
  gateway_.Gets(set);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster nobody@1"));
}

TEST_F(XdsStreamWorldTest, NewNamesAreAnsweredEvenIfUnchanged) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {"a"});
  const auto response = gateway_.Takes();
  // The ACK asks for more.
  gateway_.Wants(Type::kCluster, {"a", "b"}, response->nonce());
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@1 b@1"));
  // Fewer names are no question.
  gateway_.Wants(Type::kCluster, {"b"});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  // A name that comes back is new.
  gateway_.Wants(Type::kCluster, {"a", "b"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@1 b@1"));
}

TEST_F(XdsStreamWorldTest, RequestsWithAStaleNonceChangeNothing) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {"a"});
  const auto first = gateway_.Takes();
  const auto two = SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "1"}}, one_);
  gateway_.Gets(two);
  const auto second = gateway_.Takes();
  ASSERT_TRUE(second.has_value());
  // Sent before the second response was seen.
  const RequestOutcome outcome = gateway_.Wants(Type::kCluster, {"a", "b"}, first->nonce());
  EXPECT_EQ(outcome.kind, RequestOutcome::Kind::kAck) << "it still says that it took the first";
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  gateway_.Wants(Type::kCluster, {"a", "b"}, second->nonce());
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@2 b@1"));
  EXPECT_EQ(gateway_.Wants(Type::kCluster, {"a"}, "no.1").kind, RequestOutcome::Kind::kStale);
}

TEST_F(XdsStreamWorldTest, TheNewestOfSeveralRequestsCounts) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {"nobody"});
  gateway_.Wants(Type::kCluster, {"a"});
  gateway_.Wants(Type::kCluster, {"b"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster b@1")) << "one answer for three";
}

TEST_F(XdsStreamWorldTest, AnAnswerCoversTheResponsesBefore) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {});
  static_cast<void>(gateway_.Takes());
  auto set = SetOf(2, {{Type::kCluster, "a", "2"}}, one_);
  gateway_.Gets(set);
  const auto second = gateway_.Takes();
  set = SetOf(3, {{Type::kCluster, "a", "3"}}, set);
  gateway_.Gets(set);
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
  gateway_.Acks(*second);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@3"));
  EXPECT_EQ(gateway_.status().accepted_revision, 3U);
}

TEST_F(XdsStreamWorldTest, ANewStreamIsAnsweredInFullWhateverItsVersion) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {});
  const auto response = gateway_.Takes();
  WorldGateway again(cache_);
  again.Gets(one_);
  WorldGateway::Request request;
  request.set_type_url(response->type_url());
  request.set_version_info(response->version_info());
  again.Sends(request);
  EXPECT_THAT(again.Reads(), ElementsAre("Cluster a@1 b@1"));
}

TEST_F(XdsStreamWorldTest, MakeBeforeBreak) {
  const auto one = SetOf(1, {{Type::kCluster, "old", "1"}, {Type::kRouteTable, "r", "1"}});
  gateway_.Gets(one);
  gateway_.Wants(Type::kCluster, {});
  gateway_.Wants(Type::kRouteTable, {});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster old@1", "RouteTable r@1"));
  const auto two = SetOf(2, {{Type::kCluster, "new", "1"}, {Type::kRouteTable, "r", "2"}}, one);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(),
              ElementsAre("Cluster new@1 old@1", "RouteTable r@2", "Cluster new@1"));
  gateway_.Gets(SetOf(3, {{Type::kCluster, "newer", "1"}, {Type::kRouteTable, "r", "2"}}, two));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster newer@1")) << "nothing is in between";
}

TEST_F(XdsStreamWorldTest, MakeBeforeBreakOfNames) {
  const auto one = SetOf(
      1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "old", "1"}, {Type::kRouteTable, "r", "1"}});
  gateway_.Gets(one);
  gateway_.Wants(Type::kCluster, {"a", "old"});
  gateway_.Wants(Type::kRouteTable, {"r"});
  gateway_.Reads();
  gateway_.Gets(SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kRouteTable, "r", "2"}}, one));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster a@2 old@1", "RouteTable r@2", "Cluster a@2"));
}

TEST_F(XdsStreamWorldTest, WhatIsLeftOverOfTwoPlansStaysUntilTheRoutesHaveGone) {
  auto set = SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kRouteTable, "r", "1"}});
  gateway_.Gets(set);
  gateway_.Wants(Type::kCluster, {});
  gateway_.Wants(Type::kRouteTable, {});
  std::vector<WorldGateway::Response> taken = gateway_.TakesAll();
  gateway_.Acks(taken[0]);
  set = SetOf(2, {{Type::kCluster, "b", "1"}, {Type::kRouteTable, "r", "2"}}, set);
  gateway_.Gets(set);
  EXPECT_EQ(WorldGateway::Show(*gateway_.Takes()), "Cluster a@1 b@1");
  const auto route = gateway_.Takes();
  EXPECT_EQ(WorldGateway::Show(*route), "RouteTable r@2");
  // Two route tables are unanswered now. The next revision cannot finish.
  const auto removal = gateway_.Takes();
  EXPECT_EQ(WorldGateway::Show(*removal), "Cluster b@1");
  gateway_.Acks(*removal);
  set = SetOf(3, {{Type::kCluster, "c", "1"}, {Type::kRouteTable, "r", "3"}}, set);
  gateway_.Gets(set);
  const auto third = gateway_.Takes();
  EXPECT_EQ(WorldGateway::Show(*third), "Cluster b@1 c@1");
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
  gateway_.Acks(*third);
  set = SetOf(4, {{Type::kCluster, "d", "1"}, {Type::kRouteTable, "r", "4"}}, set);
  gateway_.Gets(set);
  EXPECT_EQ(WorldGateway::Show(*gateway_.Takes()), "Cluster b@1 c@1 d@1");
  gateway_.Acks(*route);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("RouteTable r@4", "Cluster d@1"));
}

TEST_F(XdsStreamWorldTest, RefusingIsNoReasonToSendAgain) {
  gateway_.Gets(one_);
  gateway_.Wants(Type::kCluster, {});
  const auto response = gateway_.Takes();
  gateway_.Nacks(*response, {});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  EXPECT_EQ(gateway_.status().types[static_cast<size_t>(Type::kCluster)].nacks, 1U);
}

TEST_F(XdsStreamWorldTest, AllStreamsShareOneBody) {
  WorldGateway other(cache_);
  for (WorldGateway* gateway : {&gateway_, &other}) {
    gateway->Gets(one_);
    gateway->Wants(Type::kCluster, {});
  }
  EXPECT_EQ(gateway_.stream().Next({})->body, other.stream().Next({})->body);
}

}  // namespace
}  // namespace gatehouse::control
