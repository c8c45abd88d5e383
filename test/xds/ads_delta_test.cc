#include "source/xds/ads_delta.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/v1/rejection.pb.h"
#include "source/xds/ads_answer.h"
#include "source/xds/ads_content.h"
#include "test/fakes/ads_messages.h"

namespace gatehouse::xds {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;

const Type kCluster = Type::kCluster;
constexpr std::string_view kNode = "[edge-1 of edge, gatehouse 1.2.3] ";

Refusal Refused(const std::string& name, const std::string& path, const std::string& message) {
  return {.name = name, .version = "v1", .errors = {{path, message, ""}}};
}

Wanted Names(std::initializer_list<std::string> names) {
  return Wanted(std::in_place, names.begin(), names.end());
}

class AdsDeltaTest : public testing::Test {
 protected:
  // Only clusters, so that a test is not about six types.
  static WantedTypes OnlyClusters(Wanted clusters = std::nullopt) {
    WantedTypes wanted;
    for (Wanted& type : wanted) type.emplace();
    wanted[IndexOf(kCluster)] = std::move(clusters);
    return wanted;
  }
  void Begin(WantedTypes wanted) {
    delta_.emplace(AdsNode{"edge-1", "edge", "1.2.3"}, std::move(wanted),
                   [this](Type type) { return held_[IndexOf(type)]; });
    delta_->Begin();
  }
  // With the first request behind it.
  void BeginWithClusters(Wanted clusters = std::nullopt) {
    Begin(OnlyClusters(std::move(clusters)));
    static_cast<void>(Sent());
  }
  std::vector<Request> SentMessages() {
    std::vector<Request> sent;
    while (const auto bytes = delta_->NextRequest()) {
      EXPECT_TRUE(sent.emplace_back().ParseFromString(*bytes));
    }
    return sent;
  }
  std::vector<std::string> Sent() {
    std::vector<std::string> sent;
    for (const Request& request : SentMessages()) sent.push_back(TextOf(request));
    return sent;
  }
  Received Receive(const DeltaOf& response) { return delta_->Receive(response.Bytes()); }
  // The id of an update that is expected.
  uint64_t Update(const DeltaOf& response) {
    const Received received = Receive(response);
    EXPECT_EQ(received.failure, "");
    EXPECT_TRUE(received.update.has_value()) << received.malformed;
    return received.update ? received.update->id : 0;
  }
  static std::vector<std::string> NamesOf(const Received& received) {
    std::vector<std::string> names;
    if (received.update) {
      for (const Upsert& upsert : received.update->upserts) names.push_back(upsert.name);
    }
    return names;
  }

  std::array<Versions, kTypes> held_;
  std::optional<AdsDelta> delta_;
};

// "First request carries node (later ones may omit it), type_url, names."
TEST_F(AdsDeltaTest, FirstRequestOfTheStreamCarriesTheNode) {
  Begin({});
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Secret +*", "RateLimit +*", "Cluster +*",
                                  "Endpoints +*", "RouteTable +*", "Listener +*"));
  EXPECT_THAT(Sent(), IsEmpty());
  delta_->Begin();
  EXPECT_EQ(Sent().front(), std::string(kNode) + "Secret +*");
}

// "Wildcard: `*`, or (legacy) never having named anything on that stream": the former; and a type
// of which nothing is wanted is not asked for at all, which would be the latter.
TEST_F(AdsDeltaTest, WildcardIsExplicitAndNothingIsNotAskedFor) {
  Begin(OnlyClusters(Names({"users", "orders"})));
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Cluster +orders +users"));
}

// "Client answers every response"; "Nonce is per stream".
TEST_F(AdsDeltaTest, EveryResponseIsAnsweredByItsNonce) {
  BeginWithClusters();
  const Received received =
      Receive(DeltaOf(kCluster, "n1").Has("users", "v7").Has("orders").Lacks("gone"));
  ASSERT_TRUE(received.update);
  EXPECT_THAT(NamesOf(received), ElementsAre("users", "orders"));
  EXPECT_EQ(received.update->upserts[0].version, "v7");
  EXPECT_EQ(received.update->upserts[0].bytes, BytesOf(kCluster, "users"));
  ASSERT_NE(received.update->upserts[0].message, nullptr);
  EXPECT_EQ(received.update->upserts[0].message->SerializeAsString(), BytesOf(kCluster, "users"));
  EXPECT_THAT(received.update->removed, ElementsAre("gone"));
  EXPECT_FALSE(received.update->complete);
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(delta_->Answer(received.update->id, {}), AdsAnswer::kAck);
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack n1"));
  EXPECT_EQ(delta_->Answer(received.update->id, {}), AdsAnswer::kNone);
  EXPECT_EQ(delta_->Answer(4711, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), IsEmpty());
  // Also one that says nothing.
  delta_->Answer(Update(DeltaOf(kCluster, "n2")), {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack n2"));
}

// "NACK = error_detail + nonce. Detect NACK by error_detail."
TEST_F(AdsDeltaTest, NackNamesEachResourceThatWasRefused) {
  BeginWithClusters();
  const uint64_t id = Update(DeltaOf(kCluster, "n1").Has("users").Has("orders").Has("fine"));
  Refusal waits = Refused("orders", "", "waits for Secret \"ca\"");
  waits.waiting = true;
  waits.errors[0].suggestion = "cb";
  EXPECT_EQ(
      delta_->Answer(id, {Refused("users", "endpoints[0].address", "must be host:port"), waits}),
      AdsAnswer::kNack);
  const std::vector<Request> sent = SentMessages();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(TextOf(sent[0]),
            "Cluster nack n1: Cluster \"users\": endpoints[0].address: must be host:port\n"
            "Cluster \"orders\": waits for Secret \"ca\", did you mean \"cb\"?");
  EXPECT_EQ(sent[0].error_detail().code(), 3);
  ASSERT_EQ(sent[0].error_detail().details_size(), 2);
  v1::Rejection rejection;
  ASSERT_TRUE(sent[0].error_detail().details(0).UnpackTo(&rejection));
  EXPECT_EQ(rejection.type(), "Cluster");
  EXPECT_EQ(rejection.name(), "users");
  EXPECT_EQ(rejection.version(), "v1");
  EXPECT_FALSE(rejection.waiting());
  EXPECT_EQ(rejection.errors(0).path(), "endpoints[0].address");
  ASSERT_TRUE(sent[0].error_detail().details(1).UnpackTo(&rejection));
  EXPECT_TRUE(rejection.waiting());
  EXPECT_EQ(rejection.errors(0).suggestion(), "cb");
}

TEST_F(AdsDeltaTest, NackIsNotLargerThanServersTake) {
  BeginWithClusters();
  std::vector<Refusal> refusals;
  for (int i = 0; i < 5000; ++i) {
    refusals.push_back(Refused("users-" + std::to_string(i), "a.b", std::string(200, 'x')));
  }
  refusals[0].errors.resize(3000, {"p", "\xff\xfe not UTF-8 \xc3\xa9", ""});
  delta_->Answer(Update(DeltaOf(kCluster, "n1").Has("users-0")), refusals);
  const std::vector<Request> sent = SentMessages();
  ASSERT_EQ(sent.size(), 1u);  // it could be parsed: it is UTF-8
  const auto& status = sent[0].error_detail();
  EXPECT_LE(status.message().size(), kMaxNackText + 100);
  EXPECT_THAT(status.message(), HasSubstr("p: ?? not UTF-8 \xc3\xa9"));
  EXPECT_THAT(status.message(), HasSubstr("\nand "));
  EXPECT_LE(static_cast<size_t>(status.details_size()), kMaxNackDetails);
  EXPECT_GT(status.details_size(), 100);
  EXPECT_LT(sent[0].ByteSizeLong(), size_t{2} << 20);
}

// An update that waited is told of once it is accepted. Ours stay refused.
TEST_F(AdsDeltaTest, RefusedUpdateMayBeAcceptedLater) {
  BeginWithClusters();
  const uint64_t id = Update(DeltaOf(kCluster, "n1").Has("users"));
  delta_->Answer(id, {Refused("users", "", "waits")});
  delta_->Answer(Update(DeltaOf(kCluster, "n2").Has("orders")), {});
  EXPECT_EQ(delta_->Answer(id, {Refused("users", "", "still")}), AdsAnswer::kNone);
  EXPECT_EQ(delta_->Answer(id, {}), AdsAnswer::kAck);
  EXPECT_EQ(delta_->Answer(id, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), ElementsAre("Cluster nack n1: Cluster \"users\": waits", "Cluster ack n2",
                                  "Cluster ack n1"));
  const uint64_t half = Update(DeltaOf(kCluster, "n3").Has("users").HasBytes("bad", "v1", "\x01"));
  delta_->Answer(half, {Refused("users", "", "waits")});
  EXPECT_EQ(delta_->Answer(half, {}), AdsAnswer::kNack);
  EXPECT_THAT(Sent(), ElementsAre(HasSubstr("\"users\": waits"),
                                  "Cluster nack n3: Cluster \"bad\": its bytes are no "
                                  "gatehouse.v1.Cluster"));
}

// "Answers later than a newer response are still sent": a delta server may count them.
TEST_F(AdsDeltaTest, OlderResponsesAreAnsweredToo) {
  BeginWithClusters();
  const uint64_t first = Update(DeltaOf(kCluster, "n1").Has("users"));
  const uint64_t second = Update(DeltaOf(kCluster, "n2").Has("users", "v2"));
  EXPECT_LT(first, second);
  delta_->Answer(second, {});
  delta_->Answer(first, {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack n2", "Cluster ack n1"));
}

// "Nonce is per stream": what came over the last one is not answered on this one.
TEST_F(AdsDeltaTest, NoncesEndWithTheStream) {
  BeginWithClusters();
  const uint64_t id = Update(DeltaOf(kCluster, "n1").Has("users"));
  const uint64_t other = Update(DeltaOf(kCluster, "n2").Has("orders"));
  delta_->Answer(other, {});
  delta_->Begin();
  EXPECT_EQ(delta_->Answer(id, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Cluster +*"));
  EXPECT_NE(Update(DeltaOf(kCluster, "n1").Has("users")), id);
}

// "`initial_resource_versions` on reconnect together with full subscription list."
TEST_F(AdsDeltaTest, ReconnectTellsWhatIsHeldAndAllSubscriptions) {
  held_[IndexOf(kCluster)] = {{"users", "v3"}, {"orders", ""}};
  Begin(OnlyClusters());
  EXPECT_FALSE(delta_->told_of_held(kCluster));
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Cluster +* has{orders= users=v3}"));
  EXPECT_TRUE(delta_->told_of_held(kCluster));
  // Named: only of what is still wanted.
  delta_->Want(OnlyClusters(Names({"users", "new"})));
  static_cast<void>(Sent());
  delta_->Begin();
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Cluster +new +users has{users=v3}"));
}

// "Spontaneous (un)subscribe has no nonce"; "Sequence" and "Same rule in delta".
TEST_F(AdsDeltaTest, SubscriptionsChangeAtRuntimeWithoutANonce) {
  BeginWithClusters(Names({"a", "b"}));
  const uint64_t id = Update(DeltaOf(kCluster, "n1").Has("a"));
  delta_->Want(OnlyClusters(Names({"b", "c"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster +c -a"));
  delta_->Want(OnlyClusters(Names({"b", "c"})));
  EXPECT_THAT(Sent(), IsEmpty());
  delta_->Want(OnlyClusters());
  EXPECT_THAT(Sent(), ElementsAre("Cluster +* -b -c"));
  delta_->Want(OnlyClusters(Names({"c"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster +c -*"));
  delta_->Want(OnlyClusters(Names({})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster -c"));
  // Before they could be sent, two changes are one.
  delta_->Want(OnlyClusters(Names({"x"})));
  delta_->Want(OnlyClusters(Names({"y"})));
  delta_->Answer(id, {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster +y", "Cluster ack n1"));
}

TEST_F(AdsDeltaTest, TypeThatIsWantedLaterBeginsThen) {
  held_[IndexOf(Type::kEndpoints)] = {{"users", "v1"}};
  BeginWithClusters();
  WantedTypes wanted = OnlyClusters();
  wanted[IndexOf(Type::kEndpoints)] = std::nullopt;
  delta_->Want(wanted);
  EXPECT_THAT(Sent(), ElementsAre("Endpoints +* has{users=v1}"));
}

// What was sent before the server heard that it is not wanted any more.
TEST_F(AdsDeltaTest, WhatIsNotSubscribedIsLeftOut) {
  BeginWithClusters(Names({"a", "b"}));
  const Received received =
      Receive(DeltaOf(kCluster, "n1").Has("a").Has("z").Lacks("y").Lacks("b"));
  EXPECT_THAT(NamesOf(received), ElementsAre("a"));
  EXPECT_THAT(received.update->removed, ElementsAre("b"));
  EXPECT_THAT(received.update->refused, IsEmpty());
}

// "Duplicate names in one response -> NACK."
TEST_F(AdsDeltaTest, NamesThatComeTwiceAreRefusedWithAllElse) {
  BeginWithClusters();
  for (const DeltaOf& response :
       {DeltaOf(kCluster, "n1").Has("users").Has("fine").Has("users", "v2"),
        DeltaOf(kCluster, "n1").Has("users").Lacks("users"),
        DeltaOf(kCluster, "n1").Lacks("users").Lacks("users"),
        DeltaOf(kCluster, "n1").Renews("users", "v1", 5).Has("users")}) {
    const Received received = Receive(response);
    EXPECT_FALSE(received.update);
    EXPECT_EQ(received.answer, AdsAnswer::kNack);
    EXPECT_EQ(received.malformed, "Cluster: more than once in one response: \"users\"");
    EXPECT_THAT(received.heartbeats, IsEmpty());
    EXPECT_THAT(Sent(), ElementsAre("Cluster nack n1: " + received.malformed));
  }
}

// "Missing resource -> named in removed_resources at once": also what nobody ever had.
TEST_F(AdsDeltaTest, RemovalOfUnknownNamesIsFine) {
  BeginWithClusters(Names({"users"}));
  const Received received = Receive(DeltaOf(kCluster, "n1").Lacks("users"));
  ASSERT_TRUE(received.update);
  EXPECT_THAT(received.update->removed, ElementsAre("users"));
  delta_->Answer(received.update->id, {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack n1"));
}

TEST_F(AdsDeltaTest, ResponseOfATypeThatWasNotAskedForIsRefused) {
  BeginWithClusters();
  const Received strange = Receive(DeltaOf(kCluster, "n1").OfUrl("type.googleapis.com/a.B"));
  EXPECT_EQ(strange.answer, AdsAnswer::kNack);
  EXPECT_FALSE(strange.type);
  const Received unasked = Receive(DeltaOf(Type::kListener, "n2").Has("web"));
  EXPECT_FALSE(unasked.update);
  EXPECT_THAT(Sent(), ElementsAre("type.googleapis.com/a.B nack n1: nothing of type_url "
                                  "\"type.googleapis.com/a.B\" was asked for",
                                  "Listener nack n2: nothing of type_url "
                                  "\"type.googleapis.com/gatehouse.v1.Listener\" was asked for"));
}

// A response is several answers: one bad resource does not hold up the others.
TEST_F(AdsDeltaTest, BadResourcesAreRefusedByNameAndTheOthersGoOn) {
  BeginWithClusters();
  DeltaOf response(kCluster, "n1");
  response.Has("fine").HasBytes("garbage", "v2", "\xff\xff\xff").Has("other");
  response->mutable_resources(2)->mutable_resource()->set_type_url("x/y.Z");
  response.HasBytes("renamed", "v1", BytesOf(kCluster, "users")).HasBytes("", "v1", "");
  response.HasBytes("nameless", "v1", "").Has("last");
  const Received received = Receive(response);
  EXPECT_THAT(NamesOf(received), ElementsAre("fine", "last"));
  ASSERT_EQ(received.update->refused.size(), 5u);
  EXPECT_EQ(received.update->refused[0].name, "garbage");
  EXPECT_EQ(received.update->refused[0].version, "v2");
  delta_->Answer(received.update->id, {Refused("last", "", "no")});
  EXPECT_THAT(
      Sent(),
      ElementsAre("Cluster nack n1: Cluster \"garbage\": its bytes are no gatehouse.v1.Cluster\n"
                  "Cluster \"other\": its type_url is \"x/y.Z\", that of the response is "
                  "\"type.googleapis.com/gatehouse.v1.Cluster\"\n"
                  "Cluster \"renamed\": name: \"users\" is not the name under which it was sent\n"
                  "Cluster \"\": resource 4 of the response: it has no name\n"
                  "Cluster \"nameless\": name: \"\" is not the name under which it was sent\n"
                  "Cluster \"last\": no"));
}

// A newer control plane: what we do not know could be what keeps a door shut.
TEST_F(AdsDeltaTest, UnknownFieldsAreRefused) {
  Begin({});
  static_cast<void>(Sent());
  v1::RouteTable table;
  table.set_name("main");
  auto* route = table.add_routes();
  route->GetReflection()->MutableUnknownFields(route)->AddVarint(23, 1);
  const Received received =
      Receive(DeltaOf(Type::kRouteTable, "n1").HasBytes("main", "v1", table.SerializeAsString()));
  ASSERT_TRUE(received.update);
  EXPECT_THAT(NamesOf(received), IsEmpty());
  delta_->Answer(received.update->id, {});
  EXPECT_THAT(Sent(), ElementsAre("RouteTable nack n1: RouteTable \"main\": routes[0]: field 23 is "
                                  "not known to this version of the gateway; update it, or leave "
                                  "the field out"));
}

TEST_F(AdsDeltaTest, AliasesAndTheSystemVersionMeanNothing) {
  BeginWithClusters(Names({"users"}));
  DeltaOf response = DeltaOf(kCluster, "n1").Has("users");
  response->mutable_resources(0)->add_aliases("orders");
  response->set_system_version_info("r12");
  response->mutable_control_plane()->set_identifier("cp-7");
  const Received received = Receive(response);
  EXPECT_THAT(NamesOf(received), ElementsAre("users"));
  EXPECT_EQ(received.version, "r12");
  EXPECT_EQ(received.identifier, "cp-7");
}

TEST_F(AdsDeltaTest, ResponseWithoutANonceIsTolerated) {
  BeginWithClusters();
  delta_->Answer(Update(DeltaOf(kCluster, "").Has("users")), {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack "));
}

TEST_F(AdsDeltaTest, WhatIsNoResponseEndsTheStream) {
  BeginWithClusters();
  EXPECT_EQ(delta_->Receive("\xff garbage").failure,
            "it sent bytes that are no DeltaDiscoveryResponse");
  EXPECT_EQ(delta_->Receive("\x12\x04\x1a\x02\xff\xff").failure,  // a name that is not UTF-8
            "it sent bytes that are no DeltaDiscoveryResponse");
  EXPECT_EQ(Receive(DeltaOf(kCluster, std::string(5000, 'n'))).failure,
            "it sent a nonce of 5000 bytes");
  // Two bytes on the wire, a hundred in memory.
  std::string bomb;
  for (size_t i = 0; i <= AdsContent::kMaxItems; ++i) bomb += std::string_view("\x12\0", 2);
  EXPECT_EQ(delta_->Receive(bomb).failure, "it sent a message of too many parts");
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AdsDeltaTest, HugeNamesVersionsAndBombsAreRefusedByName) {
  Begin({});
  static_cast<void>(Sent());
  std::string bomb = BytesOf(Type::kRouteTable, "bomb");
  const int routes = v1::RouteTable::kRoutesFieldNumber;
  for (size_t i = 0; i <= AdsContent::kMaxItems; ++i) {
    if (routes > 15) bomb += {static_cast<char>((routes & 15) << 3 | 0x82), routes >> 4};
    if (routes <= 15) bomb += static_cast<char>(routes << 3 | 2);
    bomb += '\0';
  }
  const std::string huge(2000, 'n');
  const Received received = Receive(DeltaOf(Type::kRouteTable, "n1")
                                        .Has("fine")
                                        .Has(huge)
                                        .Has("old", huge)
                                        .HasBytes("short", "v1", BytesOf(Type::kRouteTable, huge))
                                        .HasBytes("bomb", "v1", bomb));
  EXPECT_THAT(NamesOf(received), ElementsAre("fine"));
  delta_->Answer(received.update->id, {});
  const std::vector<std::string> sent = Sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_THAT(sent[0],
              HasSubstr("nnn...\": resource 1 of the response: a name or version of more"));
  EXPECT_THAT(sent[0], HasSubstr("\"old\": a name or version of more than 1024 bytes"));
  EXPECT_THAT(sent[0], HasSubstr("\"short\": a name of more than 1024 bytes"));
  EXPECT_THAT(sent[0], HasSubstr("\"bomb\": it, or what else came with it, has too many parts"));
}

// "TTL per resource with heartbeat (name+version, no body)".
TEST_F(AdsDeltaTest, TtlsAndHeartbeats) {
  BeginWithClusters();
  const Received received = Receive(DeltaOf(kCluster, "n1").Has("stays").Has("ends", "v1", 30));
  EXPECT_THAT(received.ttls, ElementsAre(kNoTimeout, std::chrono::seconds(30)));
  delta_->Answer(received.update->id, {});
  const Received beat = Receive(DeltaOf(kCluster, "n2").Renews("ends", "v1", 20));
  EXPECT_FALSE(beat.update);
  EXPECT_EQ(beat.answer, AdsAnswer::kAck);
  ASSERT_EQ(beat.heartbeats.size(), 1u);
  EXPECT_EQ(beat.heartbeats[0].name, "ends");
  EXPECT_EQ(beat.heartbeats[0].version, "v1");
  EXPECT_EQ(beat.heartbeats[0].ttl, std::chrono::seconds(20));
  EXPECT_THAT(Sent(), ElementsAre("Cluster ack n1", "Cluster ack n2"));
  // Beside other things.
  const Received both = Receive(DeltaOf(kCluster, "n3").Renews("ends", "v1", 20).Has("new"));
  EXPECT_THAT(NamesOf(both), ElementsAre("new"));
  EXPECT_EQ(both.heartbeats.size(), 1u);
}

TEST_F(AdsDeltaTest, TtlsThatMakeNoSense) {
  BeginWithClusters();
  DeltaOf response(kCluster, "n1");
  response.Has("negative", "v1", -5).Has("zero").Has("nanos", "v1", 1).Has("huge", "v1", 1);
  response->mutable_resources(1)->mutable_ttl();
  response->mutable_resources(2)->mutable_ttl()->set_nanos(-1);
  response->mutable_resources(3)->mutable_ttl()->set_seconds(INT64_MAX);
  response.Renews("beat", "v1", -1).Renews("", "v1", 5);
  auto* empty = response->add_resources();
  empty->set_name("empty");
  const Received received = Receive(response);
  EXPECT_THAT(NamesOf(received), ElementsAre("huge"));
  EXPECT_GT(received.ttls[0], std::chrono::hours(24 * 365));
  EXPECT_EQ(received.update->refused.size(), 6u);
  EXPECT_THAT(received.heartbeats, IsEmpty());
}

// "Re-subscribing to a held resource must resend it."
TEST_F(AdsDeltaTest, HeartbeatOfWhatIsNotHeldAsksForItOnce) {
  BeginWithClusters();
  delta_->AskAgain(kCluster, {"ends", "v1", std::chrono::seconds(1)});
  EXPECT_THAT(Sent(), ElementsAre("Cluster +ends"));
  delta_->AskAgain(kCluster, {"ends", "v1", std::chrono::seconds(1)});
  EXPECT_THAT(Sent(), IsEmpty());
  delta_->AskAgain(kCluster, {"ends", "v2", std::chrono::seconds(1)});
  EXPECT_THAT(Sent(), ElementsAre("Cluster +ends"));
  for (int i = 0; i < 5000; ++i) {
    delta_->AskAgain(kCluster, {"ends" + std::to_string(i), "v1", std::chrono::seconds(1)});
  }
  EXPECT_LE(SentMessages().at(0).resource_names_subscribe_size(), 1000);
  delta_->Want(OnlyClusters(Names({"a", "b"})));
  static_cast<void>(Sent());
  delta_->AskAgain(kCluster, {"c", "v1", std::chrono::seconds(1)});
  EXPECT_THAT(Sent(), IsEmpty());
}

}  // namespace
}  // namespace gatehouse::xds
