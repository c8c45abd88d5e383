#include "source/xds/ads_sotw.h"

#include <array>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/ads_messages.h"

namespace gatehouse::xds {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Type kCluster = Type::kCluster;
constexpr std::string_view kNode = "[edge-1 of edge, gatehouse 1.2.3] ";

Wanted Names(std::initializer_list<std::string> names) {
  return Wanted(std::in_place, names.begin(), names.end());
}

Refusal Refused(const std::string& name, const std::string& message) {
  return {.name = name, .version = "", .errors = {{"", message, ""}}};
}

class AdsSotwTest : public testing::Test {
 protected:
  static WantedTypes OnlyClusters(Wanted clusters = std::nullopt) {
    WantedTypes wanted;
    for (Wanted& type : wanted) type.emplace();
    wanted[IndexOf(kCluster)] = std::move(clusters);
    return wanted;
  }
  void Begin(WantedTypes wanted) {
    sotw_.emplace(AdsNode{"edge-1", "edge", "1.2.3"}, std::move(wanted),
                  AdsSotw::Held{.versions = [this](Type type) { return held_[IndexOf(type)]; },
                                .version = [this](Type type) { return versions_[IndexOf(type)]; }});
    sotw_->Begin();
  }
  void BeginWithClusters(Wanted clusters = std::nullopt) {
    Begin(OnlyClusters(std::move(clusters)));
    static_cast<void>(Sent());
  }
  std::vector<std::string> Sent() {
    std::vector<std::string> sent;
    while (const auto bytes = sotw_->NextRequest()) {
      envoy::service::discovery::v3::DiscoveryRequest request;
      EXPECT_TRUE(request.ParseFromString(*bytes));
      sent.push_back(TextOf(request));
    }
    return sent;
  }
  Received Receive(const SotwOf& response) { return sotw_->Receive(response.Bytes()); }
  Update UpdateOf(const SotwOf& response) {
    Received received = Receive(response);
    EXPECT_EQ(received.failure, "");
    EXPECT_TRUE(received.update.has_value()) << received.malformed;
    return received.update ? std::move(*received.update) : Update();
  }
  uint64_t IdOf(const SotwOf& response) { return UpdateOf(response).id; }
  static std::vector<std::string> NamesOf(const Update& update) {
    std::vector<std::string> names;
    for (const Upsert& upsert : update.upserts) names.push_back(upsert.name);
    return names;
  }

  std::array<Versions, kTypes> held_;
  std::array<std::string, kTypes> versions_;
  std::optional<AdsSotw> sotw_;
};

// "First request carries node (later ones may omit it), type_url, names, version_info if
// reconnecting."
TEST_F(AdsSotwTest, FirstRequestCarriesTheNodeAndTheVersionThatIsHeld) {
  versions_[IndexOf(kCluster)] = "r7";
  Begin({});
  EXPECT_THAT(Sent(),
              ElementsAre(std::string(kNode) + "Secret []", "RateLimit []", "Cluster [] at r7",
                          "Endpoints []", "RouteTable []", "Listener []"));
  EXPECT_TRUE(sotw_->told_of_held(kCluster));
  EXPECT_FALSE(sotw_->told_of_held(Type::kSecret));
  EXPECT_THAT(Sent(), IsEmpty());
}

// "ACK = version_info := response's, response_nonce := its nonce"; and the names, in full.
TEST_F(AdsSotwTest, AckHasTheVersionTheNonceAndAllNames) {
  BeginWithClusters(Names({"users", "orders"}));
  const uint64_t id = IdOf(SotwOf(kCluster, "r1", "n1").Has("users"));
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(sotw_->Answer(id, {}), AdsAnswer::kAck);
  EXPECT_THAT(Sent(), ElementsAre("Cluster [orders users] at r1 nonce n1"));
  EXPECT_EQ(sotw_->Answer(id, {}), AdsAnswer::kNone);
  EXPECT_EQ(sotw_->Answer(99, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), IsEmpty());
}

// "NACK = previous version + error_detail + nonce."
TEST_F(AdsSotwTest, NackHasThePreviousVersion) {
  BeginWithClusters();
  EXPECT_EQ(
      sotw_->Answer(IdOf(SotwOf(kCluster, "r1", "n1").Has("users")), {Refused("users", "no")}),
      AdsAnswer::kNack);
  sotw_->Answer(IdOf(SotwOf(kCluster, "r2", "n2").Has("users")), {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r2 nonce n2"));
  sotw_->Answer(IdOf(SotwOf(kCluster, "r3", "n3").Has("users")), {Refused("users", "no")});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r2 nonce n3 refused: Cluster \"users\": no"));
}

// "LDS/CDS responses are complete (absence = delete; empty = delete all)": here all types are, of
// which everything is wanted. "Other types may be sent piecemeal, absence means nothing."
TEST_F(AdsSotwTest, OnlyResponsesToEverythingAreComplete) {
  BeginWithClusters();
  const Update update = UpdateOf(SotwOf(kCluster, "r1", "n1").Has("users").Has("orders"));
  EXPECT_TRUE(update.complete);
  EXPECT_EQ(update.version, "r1");
  EXPECT_THAT(NamesOf(update), ElementsAre("users", "orders"));
  EXPECT_TRUE(UpdateOf(SotwOf(kCluster, "r2", "n2")).complete);

  held_[IndexOf(kCluster)] = {{"users", ""}, {"orders", ""}};
  BeginWithClusters(Names({"users", "orders"}));
  const Update named = UpdateOf(SotwOf(kCluster, "r1", "n1").Has("users").Has("unasked"));
  EXPECT_FALSE(named.complete);
  EXPECT_THAT(NamesOf(named), ElementsAre("users"));
  EXPECT_THAT(named.removed, IsEmpty());
}

// "A newer request supersedes older ones": and a newer response the answers to older ones.
TEST_F(AdsSotwTest, StaleNoncesAreNotAnswered) {
  BeginWithClusters();
  const uint64_t first = IdOf(SotwOf(kCluster, "r1", "n1").Has("users"));
  const uint64_t second = IdOf(SotwOf(kCluster, "r2", "n2").Has("users"));
  EXPECT_EQ(sotw_->Answer(first, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), IsEmpty());
  // But it was accepted.
  sotw_->Answer(second, {Refused("users", "no")});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r1 nonce n2 refused: Cluster \"users\": no"));
  // Accepted after all; and once it is stale, no more.
  EXPECT_EQ(sotw_->Answer(second, {}), AdsAnswer::kAck);
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r2 nonce n2"));
  const uint64_t third = IdOf(SotwOf(kCluster, "r3", "n3").Has("users"));
  sotw_->Answer(third, {Refused("users", "no")});
  static_cast<void>(Sent());
  static_cast<void>(IdOf(SotwOf(kCluster, "r4", "n4").Has("users")));
  EXPECT_EQ(sotw_->Answer(third, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AdsSotwTest, TypesHaveNoncesOfTheirOwn) {
  Begin({});
  static_cast<void>(Sent());
  const uint64_t clusters = IdOf(SotwOf(kCluster, "r1", "n1").Has("users"));
  const uint64_t endpoints = IdOf(SotwOf(Type::kEndpoints, "e1", "n2").Has("users"));
  sotw_->Answer(clusters, {});
  sotw_->Answer(endpoints, {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r1 nonce n1", "Endpoints [] at e1 nonce n2"));
}

// "Nonce is per stream; versions are per type and survive reconnect."
TEST_F(AdsSotwTest, NoncesEndWithTheStreamAndVersionsDoNot) {
  BeginWithClusters();
  const uint64_t id = IdOf(SotwOf(kCluster, "r1", "n1").Has("users"));
  versions_[IndexOf(kCluster)] = "r0";
  sotw_->Begin();
  EXPECT_THAT(Sent(), ElementsAre(std::string(kNode) + "Cluster [] at r0"));
  EXPECT_EQ(sotw_->Answer(id, {}), AdsAnswer::kNone);
  EXPECT_THAT(Sent(), IsEmpty());
}

// "Sequence: [] -> `*`; then ["*","A"]; then ["A"] drops `*`; then [] = nothing."
TEST_F(AdsSotwTest, WildcardIsSaidByNothingUntilANameWasSent) {
  BeginWithClusters();
  sotw_->Answer(IdOf(SotwOf(kCluster, "r1", "n1").Has("users")), {});
  static_cast<void>(Sent());
  sotw_->Want(OnlyClusters(Names({"a", "b"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster [a b] at r1 nonce n1"));
  sotw_->Want(OnlyClusters(Names({"a", "b"})));
  EXPECT_THAT(Sent(), IsEmpty());
  sotw_->Want(OnlyClusters());
  EXPECT_THAT(Sent(), ElementsAre("Cluster [*] at r1 nonce n1"));
  sotw_->Want(OnlyClusters(Names({})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r1 nonce n1"));
  // Where no name was ever sent, nothing cannot be asked for; what comes is dropped.
  BeginWithClusters();
  sotw_->Want(OnlyClusters(Names({})));
  EXPECT_THAT(Sent(), IsEmpty());
  const Update update = UpdateOf(SotwOf(kCluster, "r1", "n1").Has("users"));
  EXPECT_THAT(NamesOf(update), IsEmpty());
  EXPECT_FALSE(update.complete);
}

// "SotW server ignores requests with a stale nonce": new names go with the latest one, and do not
// look like an ACK of what is refused.
TEST_F(AdsSotwTest, NewNamesGoWithTheLatestNonce) {
  BeginWithClusters(Names({"a"}));
  const uint64_t id = IdOf(SotwOf(kCluster, "r1", "n1").Has("a"));
  sotw_->Want(OnlyClusters(Names({"a", "b"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster [a b] nonce n1"));
  sotw_->Answer(id, {Refused("a", "no")});
  sotw_->Want(OnlyClusters(Names({"b"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster [b] nonce n1 refused: Cluster \"a\": no"));
  sotw_->Want(OnlyClusters(Names({"c"})));
  EXPECT_THAT(Sent(), ElementsAre("Cluster [c] nonce n1 refused: Cluster \"a\": no"));
}

TEST_F(AdsSotwTest, NamesThatComeTwiceAreRefusedWithAllElse) {
  BeginWithClusters();
  const Received received =
      Receive(SotwOf(kCluster, "r1", "n1").Has("users").Has("fine").HasWrapped("users", "v"));
  EXPECT_FALSE(received.update);
  EXPECT_EQ(received.answer, AdsAnswer::kNack);
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] nonce n1 refused: Cluster: more than once in one "
                                  "response: \"users\""));
}

TEST_F(AdsSotwTest, ResponseOfATypeThatWasNotAskedForIsRefused) {
  BeginWithClusters();
  EXPECT_EQ(Receive(SotwOf(Type::kListener, "r1", "n1").Has("web")).answer, AdsAnswer::kNack);
  EXPECT_EQ(sotw_->unsent(), 1u);
  EXPECT_THAT(Sent(), ElementsAre(HasSubstr("Listener [] nonce n1 refused: nothing of type_url")));
}

// The answer would name nothing, which by then would mean that nothing is wanted.
TEST_F(AdsSotwTest, StrayResponseOfATypeThatIsWantedMeanwhileIsNotAnswered) {
  BeginWithClusters();
  static_cast<void>(Receive(SotwOf(Type::kEndpoints, "r1", "n1").Has("users")));
  WantedTypes wanted = OnlyClusters();
  wanted[IndexOf(Type::kEndpoints)] = Names({"users"});
  sotw_->Want(wanted);
  EXPECT_THAT(Sent(), ElementsAre("Endpoints [users]"));
}

// A complete response of which a part cannot be read says of the rest what is there and what is
// not; what cannot be read stays as it was.
TEST_F(AdsSotwTest, BadResourcesAreRefusedByNameAndKeepTheirPredecessors) {
  held_[IndexOf(kCluster)] = {{"users", ""}, {"bad", ""}, {"gone", ""}};
  BeginWithClusters();
  static_cast<void>(UpdateOf(SotwOf(kCluster, "r0", "n0").Has("offered")));
  SotwOf response(kCluster, "r1", "n1");
  response.Has("users").HasBytes(BytesOf(kCluster, "bad") + "\xff");
  const Update update = UpdateOf(response);
  EXPECT_FALSE(update.complete);
  EXPECT_THAT(NamesOf(update), ElementsAre("users"));
  EXPECT_THAT(update.removed, ElementsAre("gone", "offered"));
  ASSERT_EQ(update.refused.size(), 1u);
  EXPECT_EQ(update.refused[0].name, "bad");
  sotw_->Answer(update.id, {});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] nonce n1 refused: Cluster \"bad\": its bytes are no "
                                  "gatehouse.v1.Cluster"));
  // Without its name nobody knows what is missing.
  const Update nameless = UpdateOf(SotwOf(kCluster, "r2", "n2").Has("users").HasBytes("\xff"));
  EXPECT_FALSE(nameless.complete);
  EXPECT_THAT(nameless.removed, IsEmpty());
}

// "Resources may be wrapped in a Resource (name, version, ttl)."
TEST_F(AdsSotwTest, WrappedResourcesHaveVersionsAndTtls) {
  BeginWithClusters();
  SotwOf response(kCluster, "r1", "n1");
  response.HasWrapped("users", "v3", 30).Has("plain");
  const Received received = Receive(response);
  ASSERT_TRUE(received.update);
  EXPECT_TRUE(received.update->complete);
  EXPECT_EQ(received.update->upserts[0].version, "v3");
  EXPECT_EQ(received.update->upserts[1].version, "");
  EXPECT_THAT(received.ttls, ElementsAre(std::chrono::seconds(30), kNoTimeout));
  SotwOf broken(kCluster, "r2", "n2");
  broken.HasWrapped("users", "v3");
  broken->mutable_resources(0)->set_value("\xff");
  EXPECT_EQ(UpdateOf(broken).refused.size(), 1u);
}

// A response that only renews says nothing of what it does not name, and answers nothing.
TEST_F(AdsSotwTest, HeartbeatsAreNotTheWholeState) {
  BeginWithClusters();
  const auto beat = [](const char* version, const char* nonce) {
    return SotwOf(kCluster, version, nonce).Renews("users", "v1", 9);
  };
  const uint64_t id = IdOf(SotwOf(kCluster, "r1", "n1").HasWrapped("users", "v1", 9).Has("plain"));
  Received received = Receive(beat("r1", "n2"));
  EXPECT_FALSE(received.update);
  EXPECT_EQ(received.answer, AdsAnswer::kNone);  // that of the content before it
  EXPECT_EQ(received.heartbeats.size(), 1u);
  EXPECT_THAT(Sent(), IsEmpty());
  sotw_->Answer(id, {Refused("plain", "no")});
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] nonce n2 refused: Cluster \"plain\": no"));
  EXPECT_EQ(Receive(beat("r1", "n3")).answer, AdsAnswer::kNack);
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] nonce n3 refused: Cluster \"plain\": no"));
  sotw_->Answer(IdOf(SotwOf(kCluster, "r2", "n4").HasWrapped("users", "v1", 9)), {});
  EXPECT_EQ(Receive(beat("r3", "n5")).answer, AdsAnswer::kAck);
  EXPECT_THAT(Sent(), ElementsAre("Cluster [] at r3 nonce n5"));
  // With content beside it, what it renews is there.
  held_[IndexOf(kCluster)] = {{"users", "v1"}, {"plain", ""}};
  const Update mixed = UpdateOf(beat("r4", "n6").Has("new"));
  EXPECT_FALSE(mixed.complete);
  EXPECT_THAT(mixed.removed, ElementsAre("plain"));
}

TEST_F(AdsSotwTest, WhatIsNoResponseEndsTheStream) {
  BeginWithClusters();
  EXPECT_EQ(sotw_->Receive("\xff garbage").failure, "it sent bytes that are no DiscoveryResponse");
  EXPECT_EQ(Receive(SotwOf(kCluster, std::string(9000, 'v'), "n1")).failure,
            "it sent a nonce or a version of 9000 bytes");
  EXPECT_THAT(Sent(), IsEmpty());
}

}  // namespace
}  // namespace gatehouse::xds
