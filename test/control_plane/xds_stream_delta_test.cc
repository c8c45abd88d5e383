#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/control_plane/stream_for_test.h"

namespace gatehouse::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class XdsStreamDeltaTest : public ::testing::Test {
 protected:
  // Everything of every type.
  void SubscribeAll(DeltaGateway& gateway) {
    for (size_t i = 0; i < kResourceTypes; ++i) {
      gateway.Subscribes(static_cast<Type>(i), {"*"});
    }
  }

  ResponseCache cache_{"control-1"};
  DeltaGateway gateway_{cache_};
  std::shared_ptr<const ResourceSet> one_ =
      SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}});
};

TEST_F(XdsStreamDeltaTest, NothingIsAnsweredBeforeThereIsARevision) {
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  gateway_.Gets(one_);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
}

TEST_F(XdsStreamDeltaTest, WildcardByStar) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
  EXPECT_THAT(gateway_.Reads(), IsEmpty()) << "what did not change is not sent again";
}

TEST_F(XdsStreamDeltaTest, WildcardByNamingNothing) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
}

TEST_F(XdsStreamDeltaTest, NamingNothingLaterIsNoWildcard) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1"));
  gateway_.Subscribes(Type::kCluster, {});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
}

// [] is "*"; then "A" besides; then without "*"; then nothing at all.
TEST_F(XdsStreamDeltaTest, TheSequenceFromWildcardToNothing) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {});
  gateway_.Reads();
  gateway_.Subscribes(Type::kCluster, {"a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1"));
  gateway_.Unsubscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());

  const auto two = SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "2"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@2")) << "b is nobody's business now";

  gateway_.Unsubscribes(Type::kCluster, {"a"});
  gateway_.Gets(SetOf(3, {{Type::kCluster, "a", "3"}}, two));
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
}

TEST_F(XdsStreamDeltaTest, DroppingTheWildcardKeepsWhatIsKnownOfNames) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*", "a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
  gateway_.Unsubscribes(Type::kCluster, {"*"});
  const auto two = SetOf(2, {{Type::kCluster, "a", "1"}, {Type::kCluster, "c", "1"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), IsEmpty()) << "a is as it was";
  gateway_.Gets(SetOf(3, {}, two));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -a"));
}

TEST_F(XdsStreamDeltaTest, NamesAlone) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"b"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1"));
  const auto two = SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "1"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  const auto three = SetOf(3, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "3"}}, two);
  gateway_.Gets(three);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@3"));
  const auto four = SetOf(4, {}, three);
  gateway_.Gets(four);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -b"));
  gateway_.Gets(SetOf(5, {{Type::kCluster, "b", "3"}}, four));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@3"));
}

TEST_F(XdsStreamDeltaTest, MissingNamesAreNamedAtOnce) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a", "nobody"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 -nobody"));
  gateway_.Gets(SetOf(2, {{Type::kCluster, "a", "1"}, {Type::kCluster, "nobody", "1"}}, one_));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +nobody@1"));
}

TEST_F(XdsStreamDeltaTest, MissingNamesBesidesTheWildcard) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*", "nobody"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1", "Cluster -nobody"));
}

TEST_F(XdsStreamDeltaTest, SubscribingAgainSendsAgain) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  gateway_.Reads();
  gateway_.Subscribes(Type::kCluster, {"a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1"));
}

TEST_F(XdsStreamDeltaTest, SubscribingToANameUnderTheWildcardSendsIt) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*"});
  gateway_.Reads();
  gateway_.Subscribes(Type::kCluster, {"b"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1"));
}

TEST_F(XdsStreamDeltaTest, SubscribingToTheWildcardAgainSendsAllAndForgetsNothing) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*"});
  gateway_.Reads();
  const auto two = SetOf(2, {{Type::kCluster, "a", "1"}}, one_);
  gateway_.Gets(two);
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1", "Cluster -b"));
}

TEST_F(XdsStreamDeltaTest, UnsubscribingANameUnderTheWildcardIsAnswered) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*", "a", "nobody"});
  gateway_.Reads();
  gateway_.Unsubscribes(Type::kCluster, {"a"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1"));
  gateway_.Unsubscribes(Type::kCluster, {"nobody"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -nobody"));
}

TEST_F(XdsStreamDeltaTest, UnsubscribingWhatIsNotSubscribedIsNothing) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  gateway_.Reads();
  gateway_.Unsubscribes(Type::kCluster, {"b", "*", "nobody"});
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  const auto two = SetOf(2, {{Type::kCluster, "a", "2"}}, one_);
  gateway_.Gets(two);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@2"));
}

TEST_F(XdsStreamDeltaTest, FromNamesToTheWildcard) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  gateway_.Reads();
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
}

TEST_F(XdsStreamDeltaTest, ReconnectGetsTheDifference) {
  gateway_.Gets(SetOf(
      5, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "2"}, {Type::kCluster, "c", "1"}}));
  gateway_.Subscribes(Type::kCluster, {"*"}, {{"a", "1"}, {"b", "1"}, {"gone", "1"}});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@2 +c@1", "Cluster -gone"));
}

TEST_F(XdsStreamDeltaTest, ReconnectWithEverythingGetsAnEmptyAnswer) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*"}, {{"a", "1"}, {"b", "1"}});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster"));
  EXPECT_EQ(gateway_.status().accepted_revision, 1U);
  gateway_.Gets(SetOf(2, {{Type::kCluster, "b", "1"}}, one_));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -a"));
}

TEST_F(XdsStreamDeltaTest, ReconnectWithNames) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a", "b", "gone"}, {{"a", "1"}, {"b", "0"}, {"gone", "1"}});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1 -gone"));
  // What it holds from before is known.
  gateway_.Gets(SetOf(2, {{Type::kCluster, "b", "1"}}, one_));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster -a"));
}

TEST_F(XdsStreamDeltaTest, VersionsHeldCountInTheFirstRequestOnly) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  gateway_.Reads();
  gateway_.Subscribes(Type::kCluster, {"b"}, {{"b", "1"}});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1"));
}

TEST_F(XdsStreamDeltaTest, WhatIsGoneAtReconnectGoesAfterWhatIsNew) {
  gateway_.Gets(SetOf(5, {{Type::kCluster, "new", "1"}, {Type::kRouteTable, "r", "2"}}));
  gateway_.Subscribes(Type::kCluster, {"*"}, {{"old", "1"}});
  gateway_.Subscribes(Type::kRouteTable, {"*"}, {{"r", "1"}});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +new@1", "RouteTable +r@2", "Cluster -old"));
}

TEST_F(XdsStreamDeltaTest, SubscriptionsChangeWhateverTheNonce) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  gateway_.Reads();
  const RequestOutcome outcome = gateway_.Changes(Type::kCluster, {"b"}, {"a"}, {}, "0.999");
  EXPECT_EQ(outcome.kind, RequestOutcome::Kind::kStale);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1"));
  gateway_.Gets(SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kCluster, "b", "2"}}, one_));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@2"));
}

TEST_F(XdsStreamDeltaTest, AnAckMayCarrySubscriptions) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  const auto response = gateway_.Takes();
  const RequestOutcome outcome = gateway_.Changes(Type::kCluster, {"b"}, {}, {}, response->nonce());
  EXPECT_EQ(outcome.kind, RequestOutcome::Kind::kAck);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1"));
}

TEST_F(XdsStreamDeltaTest, NoncesAreUniqueOnAStream) {
  SubscribeAll(gateway_);
  gateway_.Gets(one_);
  std::set<std::string> nonces;
  size_t count = 0;
  for (uint64_t revision = 2; revision < 5; ++revision) {
    for (const auto& response : gateway_.TakesAll()) {
      nonces.insert(response.nonce());
      ++count;
      gateway_.Acks(response);
    }
    gateway_.Subscribes(Type::kCluster, {"a"});
  }
  EXPECT_EQ(nonces.size(), count);
}

TEST_F(XdsStreamDeltaTest, UnknownTypesAreAWarningAndTheStreamGoesOn) {
  gateway_.Gets(one_);
  DeltaGateway::Request request;
  request.set_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster");
  EXPECT_EQ(gateway_.Sends(request).kind, RequestOutcome::Kind::kUnknownType);
  EXPECT_TRUE(gateway_.Sends(request).status.ok());
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  ASSERT_EQ(gateway_.status().warnings.size(), 1U) << "once";
  EXPECT_NE(gateway_.status().warnings[0].find("envoy.config.cluster.v3.Cluster"),
            std::string::npos);
  // Nor is a short name a type URL.
  request.set_type_url("Cluster");
  EXPECT_EQ(gateway_.Sends(request).kind, RequestOutcome::Kind::kUnknownType);
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@1 +b@1"));
}

TEST_F(XdsStreamDeltaTest, AnEmptyTypeIsAnswered) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kSecret, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Secret"));
}

TEST_F(XdsStreamDeltaTest, UpsertsForwardThenRemovalsBackward) {
  std::vector<Written> old;
  std::vector<Written> changed;
  for (size_t i = 0; i < kResourceTypes; ++i) {
    old.push_back({static_cast<Type>(i), "old", "1"});
    changed.push_back({static_cast<Type>(i), "new", "1"});
  }
  const auto one = SetOf(1, old);
  gateway_.Gets(one);
  SubscribeAll(gateway_);
  EXPECT_THAT(gateway_.Reads(),
              ElementsAre("Secret +old@1", "RateLimit +old@1", "Cluster +old@1", "Endpoints +old@1",
                          "RouteTable +old@1", "Listener +old@1"));
  gateway_.Gets(SetOf(2, changed, one));
  EXPECT_THAT(gateway_.Reads(),
              ElementsAre("Secret +new@1", "RateLimit +new@1", "Cluster +new@1", "Endpoints +new@1",
                          "RouteTable +new@1", "Listener +new@1 -old", "RouteTable -old",
                          "Endpoints -old", "Cluster -old", "RateLimit -old", "Secret -old"));
}

TEST_F(XdsStreamDeltaTest, OneTypeAloneGoesInOneResponse) {
  gateway_.Gets(one_);
  SubscribeAll(gateway_);
  gateway_.Reads();
  gateway_.Gets(SetOf(2, {{Type::kCluster, "c", "1"}, {Type::kCluster, "b", "1"}}, one_));
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +c@1 -a"));
}

TEST_F(XdsStreamDeltaTest, ThePlanDoesNotWaitForAnswers) {
  gateway_.Gets(one_);
  SubscribeAll(gateway_);
  EXPECT_EQ(gateway_.TakesAll().size(), kResourceTypes);
}

TEST_F(XdsStreamDeltaTest, TwoUnansweredResponsesOfATypeAreEnough) {
  auto set = one_;
  gateway_.Gets(set);
  gateway_.Subscribes(Type::kCluster, {"*"});
  const auto first = gateway_.Takes();
  for (uint64_t revision = 2; revision < 10; ++revision) {
    set = SetOf(revision, {{Type::kCluster, "a", std::to_string(revision)}}, set);
    gateway_.Gets(set);
    const auto second = gateway_.Takes();
    EXPECT_EQ(second.has_value(), revision == 2) << revision;
  }
  gateway_.Acks(*first);
  const auto next = gateway_.Takes();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(DeltaGateway::Show(*next), "Cluster +a@9") << "straight to the newest";
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
}

TEST_F(XdsStreamDeltaTest, ABlockedTypeHoldsUpWhatRefersToIt) {
  auto set = SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kRouteTable, "r", "1"}});
  gateway_.Gets(set);
  gateway_.Subscribes(Type::kCluster, {"*"});
  gateway_.Subscribes(Type::kRouteTable, {"*"});
  const auto clusters = gateway_.TakesAll();
  gateway_.Acks(clusters[1]);
  set = SetOf(2, {{Type::kCluster, "a", "2"}, {Type::kRouteTable, "r", "1"}}, set);
  gateway_.Gets(set);
  EXPECT_EQ(gateway_.TakesAll().size(), 1U);
  set = SetOf(3, {{Type::kCluster, "b", "3"}, {Type::kRouteTable, "r", "needs-b"}}, set);
  gateway_.Gets(set);
  EXPECT_THAT(gateway_.TakesAll(), IsEmpty()) << "no route may come before its cluster";
  gateway_.Acks(clusters[0]);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@3", "RouteTable +r@needs-b", "Cluster -a"));
}

// In the middle of a plan, when only removals are left, a newer revision takes its place.
TEST_F(XdsStreamDeltaTest, WhatIsLeftOverOfAnOlderPlanIsRemovedByTheNewer) {
  auto set = SetOf(
      1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "k", "1"}, {Type::kRouteTable, "r", "1"}});
  gateway_.Gets(set);
  gateway_.Subscribes(Type::kCluster, {"*"});
  gateway_.Subscribes(Type::kRouteTable, {"*"});
  gateway_.Reads();
  set = SetOf(
      2, {{Type::kCluster, "b", "1"}, {Type::kCluster, "k", "1"}, {Type::kRouteTable, "r", "2"}},
      set);
  gateway_.Gets(set);
  const auto upsert_b = gateway_.Takes();
  ASSERT_EQ(DeltaGateway::Show(*upsert_b), "Cluster +b@1");
  const auto route = gateway_.Takes();
  ASSERT_EQ(DeltaGateway::Show(*route), "RouteTable +r@2");
  const auto remove_a = gateway_.Takes();
  ASSERT_EQ(DeltaGateway::Show(*remove_a), "Cluster -a");
  // Two of Cluster are unanswered: the next revision stops before its first step.
  set = SetOf(
      3, {{Type::kCluster, "c", "1"}, {Type::kCluster, "k", "1"}, {Type::kRouteTable, "r", "3"}},
      set);
  gateway_.Gets(set);
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
  gateway_.Acks(*upsert_b);
  const auto upsert_c = gateway_.Takes();
  ASSERT_EQ(DeltaGateway::Show(*upsert_c), "Cluster +c@1");
  EXPECT_EQ(DeltaGateway::Show(*gateway_.Takes()), "RouteTable +r@3");
  // Its removal of b is blocked; then a revision comes in which b is back and k is gone.
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
  set = SetOf(
      4, {{Type::kCluster, "b", "1"}, {Type::kCluster, "c", "1"}, {Type::kRouteTable, "r", "3"}},
      set);
  gateway_.Gets(set);
  EXPECT_EQ(gateway_.Takes(), std::nullopt);
  gateway_.Acks(*remove_a);
  gateway_.Acks(*upsert_c);
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +b@1", "Cluster -k"));
}

TEST_F(XdsStreamDeltaTest, AnswersToRequestsAreBoundedToo) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"a"});
  std::vector<DeltaGateway::Response> taken;
  for (int i = 0; i < 10; ++i) {
    for (const auto& response : gateway_.TakesAll()) taken.push_back(response);
    gateway_.Subscribes(Type::kCluster, {"a", "b"});
  }
  EXPECT_EQ(taken.size(), XdsStream::kMaxUnanswered);
  gateway_.Acks(taken[0]);
  EXPECT_EQ(gateway_.TakesAll().size(), 1U);
}

TEST_F(XdsStreamDeltaTest, GroupsGetTheirOwn) {
  const auto set = SetOf(1, {{Type::kCluster, "a", "all"}, {Type::kCluster, "a", "edge", "edge"}});
  DeltaGateway edge(cache_, "edge");
  edge.Gets(set);
  edge.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(edge.Reads(), ElementsAre("Cluster +a@edge"));
  gateway_.Gets(set);
  gateway_.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway_.Reads(), ElementsAre("Cluster +a@all"));
}

TEST_F(XdsStreamDeltaTest, ARevisionWithoutDifferenceIsAcceptedWithoutAResponse) {
  gateway_.Gets(one_);
  gateway_.Subscribes(Type::kCluster, {"*"});
  gateway_.Reads();
  gateway_.Gets(SetOf(2, {{Type::kCluster, "a", "1"}, {Type::kCluster, "b", "1"}}));
  EXPECT_THAT(gateway_.Reads(), IsEmpty());
  EXPECT_EQ(gateway_.status().sent_revision, 2U);
  EXPECT_EQ(gateway_.status().accepted_revision, 2U);
}

TEST_F(XdsStreamDeltaTest, AllStreamsShareOneBody) {
  DeltaGateway other(cache_);
  for (DeltaGateway* gateway : {&gateway_, &other}) {
    gateway->Gets(one_);
    gateway->Subscribes(Type::kCluster, {"*"});
  }
  const auto mine = gateway_.stream().Next({});
  const auto theirs = other.stream().Next({});
  EXPECT_EQ(mine->body, theirs->body);
}

TEST_F(XdsStreamDeltaTest, LargeStatesComeInPieces) {
  ResponseCache cache("control-1", 100);
  DeltaGateway gateway(cache);
  gateway.Gets(one_);
  gateway.Subscribes(Type::kCluster, {"*"});
  EXPECT_THAT(gateway.Reads(), ElementsAre("Cluster +a@1", "Cluster +b@1"));
}

TEST_F(XdsStreamDeltaTest, TooManyNamesEndTheStream) {
  gateway_.Gets(one_);
  std::vector<std::string> names;
  for (size_t i = 0; i <= XdsStream::kMaxNames; ++i) names.push_back(std::to_string(i));
  EXPECT_FALSE(gateway_.Subscribes(Type::kCluster, names).status.ok());
}

}  // namespace
}  // namespace gatehouse::control
