#include "source/xds/ads_client.h"

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/xds/ads_protocol.h"
#include "test/fakes/fake_control_plane.h"
#include "test/fakes/h2_peer_origin.h"
#include "test/fakes/test_certificates.h"
#include "test/upstream/grpc_fixture.h"

namespace gatehouse::xds {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Type kCluster = Type::kCluster;
constexpr std::string_view kNode = "[edge-1 of edge, gatehouse 1.2.3] ";

// Holds what it is given, and answers at once unless told otherwise.
class TestOwner final : public AdsOwner {
 public:
  AdsClient* client = nullptr;
  bool answers = true;
  std::vector<Update> updates;
  std::vector<std::string> absent;
  std::array<Versions, kTypes> held;
  std::array<std::string, kTypes> versions;
  int states = 0;

  std::vector<std::string> TakeLog() { return std::exchange(log_, {}); }

 private:
  void OnUpdate(Update update) override {
    std::string line(TypeName(update.type));
    for (const Upsert& upsert : update.upserts) {
      line += " " + upsert.name + "@" + upsert.version;
      held[IndexOf(update.type)][upsert.name] = upsert.version;
    }
    for (const std::string& name : update.removed) {
      line += " -" + name;
      held[IndexOf(update.type)].erase(name);
    }
    if (update.complete) line += " (all)";
    if (update.id == 0) line += " (expired)";
    log_.push_back(line);
    const uint64_t id = update.id;
    updates.push_back(std::move(update));
    if (answers && id != 0) client->Answer(id, {});
  }
  Versions HeldVersions(Type type) override { return held[IndexOf(type)]; }
  std::string HeldVersion(Type type) override { return versions[IndexOf(type)]; }
  void OnAbsent(Type type, const std::vector<std::string>& names) override {
    std::string line(TypeName(type));
    for (const std::string& name : names) line += " " + name;
    absent.push_back(line);
  }
  void OnState() override { ++states; }

  std::vector<std::string> log_;
};

class AdsClientTest : public upstream::GrpcFixture {
 protected:
  AdsClientTest() {
    plane_.emplace(loop_, [this] { Turn(); });
  }
  ~AdsClientTest() override {
    client_.reset();
    other_.reset();
    plane_.reset();
  }

  [[nodiscard]] std::shared_ptr<const upstream::Cluster> ClusterOf(
      const std::vector<uint16_t>& ports) {
    upstream::ClusterSpec spec = SpecOf(ports.at(0), "control-plane");
    for (size_t i = 1; i < ports.size(); ++i) spec.endpoints.push_back({"127.0.0.1", ports[i], 1});
    return Make(spec);
  }
  // Clusters alone, unless told otherwise.
  AdsOptions Options() {
    AdsOptions options{.cluster = planes_.get(),
                       .node_id = "edge-1",
                       .node_group = "edge",
                       .gateway_version = "1.2.3"};
    for (const Type type : kAllTypes) {
      if (type != kCluster) options.only[type] = {};
    }
    return options;
  }
  void Start(AdsOptions options) {
    owner_.client = nullptr;
    client_.emplace(*upstreams_, owner_, std::move(options), random_);
    owner_.client = &*client_;
    client_->Start();
  }
  void Start() {
    planes_ = ClusterOf({plane_->port()});
    Start(Options());
  }
  // With the first request behind it.
  void StartWithClusters() {
    Start();
    EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster +*");
  }
  FakeControlPlane& Other() {
    if (!other_) other_.emplace(loop_, [this] { Turn(); });
    return *other_;
  }
  [[nodiscard]] const AdsState& State() { return client_->state(); }
  [[nodiscard]] const AdsState::OfType& Clusters() { return State().types[IndexOf(kCluster)]; }
  // Until the stream has ended, and then to the next attempt.
  void SkipWait() {
    ASSERT_TRUE(Until([&] { return !State().connected && State().next_attempt != kNever; }));
    ASSERT_LE(State().next_attempt - loop_.Now(), seconds(31));
    Advance(State().next_attempt - loop_.Now() + milliseconds(3));
  }

  std::optional<FakeControlPlane> plane_;
  std::optional<FakeControlPlane> other_;
  std::shared_ptr<const upstream::Cluster> planes_;
  TestOwner owner_;
  Random random_{7};
  std::optional<AdsClient> client_;
};

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

TEST_F(AdsClientTest, GarbageEndsTheStreamAndIsNotAskedForAgainAtOnce) {
  StartWithClusters();
  TimePoint longest = loop_.Now();
  for (int i = 0; i < 8; ++i) {
    plane_->SendsBytes("\xff\xff garbage");
    ASSERT_TRUE(Until([&] { return !State().connected; }));
    EXPECT_THAT(State().failure, HasSubstr("127.0.0.1:" + std::to_string(plane_->port()) +
                                           ": it sent bytes that are no DeltaDiscoveryResponse"));
    longest = std::max(longest, TimePoint(State().next_attempt - loop_.Now()));
    SkipWait();
    EXPECT_EQ(plane_->Sees(), "(a new stream)");
    EXPECT_EQ(plane_->Sees(), std::string(kNode) + "Cluster +*");
  }
  EXPECT_EQ(State().disconnects, 8u);
  EXPECT_GT(longest, TimePoint(seconds(2)));  // it waits longer and longer
  plane_->Sends(DeltaOf(kCluster, "n1").Has("users"));
  EXPECT_EQ(plane_->Sees(), "Cluster ack n1");
}

TEST_F(AdsClientTest, MessagesOverTheLimitEndTheStream) {
  planes_ = ClusterOf({plane_->port()});
  AdsOptions options = Options();
  options.max_message_bytes = 1000;
  Start(options);
  static_cast<void>(plane_->Sees());
  plane_->Sends(DeltaOf(kCluster, "n1").HasBytes("users", "v1", std::string(2000, 'x')));
  ASSERT_TRUE(Until([&] { return !State().connected; }));
  EXPECT_THAT(State().failure, HasSubstr("sent a message of more than 1000 bytes"));
  EXPECT_THAT(owner_.TakeLog(), IsEmpty());
}

// --- Other control planes ---

TEST_F(AdsClientTest, ControlPlaneThatFailsLeadsToAnother) {
  planes_ = ClusterOf({plane_->port(), Other().port()});
  Start(Options());
  ASSERT_TRUE(Until([&] { return plane_->streams() + Other().streams() == 1; }));
  FakeControlPlane* now = plane_->streams() == 1 ? &*plane_ : &Other();
  FakeControlPlane* next = now == &*plane_ ? &Other() : &*plane_;
  for (int i = 0; i < 6; ++i) {
    std::string seen = now->Sees();
    if (seen == "(a new stream)") seen = now->Sees();
    EXPECT_EQ(seen, std::string(kNode) + "Cluster +*");
    EXPECT_THAT(State().address, HasSubstr(":" + std::to_string(now->port())));
    const size_t before = next->streams();
    switch (i % 4) {
      case 0:
        now->Ends(14);
        break;
      case 1:
        now->AnswersHttp(503);
        break;
      case 2:
        now->SendsBytes("\xff garbage");
        break;
      case 3:
        now->AnswersHttp(404);
        break;
    }
    SkipWait();
    ASSERT_TRUE(Until([&] { return next->streams() == before + 1; })) << i;
    std::swap(now, next);
  }
}

TEST_F(AdsClientTest, ControlPlaneThatIsDeadIsPassedOver) {
  planes_ = ClusterOf({plane_->port(), Other().port()});
  plane_->Dies();
  Start(Options());
  // Whichever was first; the dead one never twice in a row.
  if (!Until([&] { return State().connected || State().connect_failures > 0; })) FAIL();
  if (!State().connected) {
    EXPECT_THAT(State().failure, HasSubstr("127.0.0.1:" + std::to_string(plane_->port())));
    EXPECT_EQ(State().address, "127.0.0.1:" + std::to_string(plane_->port()));
    SkipWait();
  }
  EXPECT_EQ(Other().Sees(), std::string(kNode) + "Cluster +*");
  EXPECT_LE(State().connect_failures, 1u);
}

TEST_F(AdsClientTest, HeavyDeadControlPlaneIsPassedOver) {
  upstream::ClusterSpec spec = SpecOf(plane_->port(), "control-plane");
  spec.endpoints[0].weight = 10'000;
  spec.endpoints.push_back({"127.0.0.1", Other().port(), 1});
  planes_ = Make(spec);
  plane_->Dies();
  Start(Options());
  ASSERT_TRUE(Until([&] { return State().connect_failures == 1; }));
  SkipWait();
  EXPECT_EQ(Other().Sees(), std::string(kNode) + "Cluster +*");
}

TEST_F(AdsClientTest, ControlPlaneThatWeDoNotTrustIsPassedOver) {
  const net::TestCa ca("Test CA");
  const net::TestCa stranger("Other CA");
  const auto plane_of = [&](const net::TestCa& issuer) {
    net::TlsServerSpec server;
    server.certificates = {issuer.Issue({}).Spec("site")};
    server.alpn = {"h2"};
    const auto context = net::TlsServerContext::Create(server);
    EXPECT_TRUE(context.ok()) << context.status();
    return std::make_unique<FakeControlPlane>(loop_, [this] { Turn(); }, *context);
  };
  const auto good = plane_of(ca);
  const auto bad = plane_of(stranger);
  net::TlsClientSpec client;
  client.server.ca = ca.Text();
  client.alpn = {"h2"};
  const auto context = net::TlsClientContext::Create(client);
  ASSERT_TRUE(context.ok()) << context.status();
  upstream::ClusterSpec spec = SpecOf(bad->port(), "control-plane");
  spec.endpoints.push_back({"127.0.0.1", good->port(), 1});
  spec.endpoints[0].weight = 10'000;
  spec.options.tls = *context;
  planes_ = Make(spec);
  Start(Options());
  ASSERT_TRUE(Until([&] { return State().connect_failures == 1; }));
  EXPECT_THAT(State().failure, HasSubstr("certificate"));
  SkipWait();
  EXPECT_EQ(good->Sees(), std::string(kNode) + "Cluster +*");
  client_.reset();
}

TEST_F(AdsClientTest, ControlPlaneThatHangsIsLeft) {
  H2PeerOrigin hung;
  hung.set_auto_answer(false);
  upstream::ClusterSpec spec = SpecOf(hung.tcp().port(), "control-plane");
  spec.endpoints[0].weight = 10'000;
  spec.endpoints.push_back({"127.0.0.1", Other().port(), 1});
  spec.options.h2.ping_interval = seconds(10);
  spec.options.h2.ping_timeout = seconds(5);
  planes_ = Make(spec);
  Start(Options());
  ASSERT_TRUE(Until([&] {
    hung.Step();
    return State().connected;
  }));
  // From here on it neither reads nor answers.
  for (int i = 0; i < 20 && State().connected; ++i) Advance(seconds(1));
  EXPECT_FALSE(State().connected);
  SkipWait();
  EXPECT_EQ(Other().Sees(), std::string(kNode) + "Cluster +*");
}

TEST_F(AdsClientTest, AnotherClusterIsUsedByTheNextStream) {
  StartWithClusters();
  const auto elsewhere = ClusterOf({Other().port()});
  client_->UseCluster(*elsewhere);
  EXPECT_TRUE(plane_->SeesNothing());
  plane_->Ends(0);
  SkipWait();
  EXPECT_EQ(Other().Sees(), std::string(kNode) + "Cluster +*");
  client_.reset();
}

// --- Backpressure ---

TEST_F(AdsClientTest, ControlPlaneThatPushesWithoutEndHasToWait) {
  StartWithClusters();
  owner_.answers = false;
  v1::Cluster long_one;
  long_one.set_name("users");
  long_one.add_endpoints()->set_address(std::string(40'000, 'x'));
  const std::string bytes = long_one.SerializeAsString();
  for (int i = 0; i < 100; ++i) {
    plane_->Sends(DeltaOf(kCluster, std::to_string(i)).HasBytes("users", "v1", bytes));
  }
  EXPECT_TRUE(Until([&] { return owner_.updates.size() == 64; }));
  Settle();
  EXPECT_EQ(owner_.updates.size(), 64u);
  EXPECT_FALSE(plane_->heard_out());  // HTTP/2's window has stopped it
  client_->Answer(owner_.updates[3].id, {});
  Settle();
  EXPECT_EQ(owner_.updates.size(), 65u);
  // Over streams: coming back does not help.
  plane_->Ends(14);
  plane_->origin().Kill();
  SkipWait();
  EXPECT_EQ(plane_->Sees(), "(a new stream)");
  EXPECT_THAT(plane_->Sees(), HasSubstr("Cluster +*"));
  plane_->Sends(DeltaOf(kCluster, "again").Has("orders"));
  Settle();
  EXPECT_EQ(owner_.updates.size(), 65u);
  for (size_t i = 0; i < 65; ++i) client_->Answer(owner_.updates[i].id, {});
  Settle();
  EXPECT_EQ(owner_.updates.size(), 66u);
  client_->Answer(owner_.updates.back().id, {});
  EXPECT_EQ(plane_->Sees(), "Cluster ack again");
}

TEST_F(AdsClientTest, LargeMessagesCountForMore) {
  StartWithClusters();
  owner_.answers = false;
  v1::Cluster large;
  large.set_name("users");
  for (int i = 0; i < 400'000; ++i) large.add_endpoints();  // 40 MB when it is parsed
  const std::string bytes = large.SerializeAsString();
  for (int i = 0; i < 5; ++i) {
    plane_->Sends(DeltaOf(kCluster, std::to_string(i)).HasBytes("users", "v1", bytes));
  }
  for (int i = 0; i < 50; ++i) Settle();
  EXPECT_EQ(owner_.updates.size(), 2u);
}

TEST_F(AdsClientTest, ControlPlaneThatReadsNoAnswersHasToWait) {
  planes_ = ClusterOf({plane_->port()});
  plane_->origin().set_allow(1000);
  Start(Options());
  static_cast<void>(plane_->Sees());
  // Its window is full of one large NACK, and the others wait.
  owner_.answers = false;
  std::vector<Refusal> refusals(200, {.name = std::string(300, 'r'), .version = "", .errors = {}});
  for (int i = 0; i < 200; ++i) {
    plane_->Sends(DeltaOf(kCluster, std::to_string(i)).Has("users"));
    Settle();
    while (owner_.updates.size() > 0) {
      client_->Answer(std::exchange(owner_.updates, {}).at(0).id, refusals);
    }
  }
  EXPECT_LT(Clusters().updates, 100u);
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
