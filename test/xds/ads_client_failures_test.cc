// An AdsClient beside control planes that fail, lie, flood and hang.
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/h2_peer_origin.h"
#include "test/fakes/test_certificates.h"
#include "test/xds/ads_client_fixture.h"

namespace gatehouse::xds {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;

const Type kCluster = Type::kCluster;

class AdsClientFailuresTest : public AdsClientFixture {};

TEST_F(AdsClientFailuresTest, GarbageEndsTheStreamAndIsNotAskedForAgainAtOnce) {
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

TEST_F(AdsClientFailuresTest, MessagesOverTheLimitEndTheStream) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatFailsLeadsToAnother) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatIsDeadIsPassedOver) {
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

TEST_F(AdsClientFailuresTest, HeavyDeadControlPlaneIsPassedOver) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatWeDoNotTrustIsPassedOver) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatHangsIsLeft) {
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

TEST_F(AdsClientFailuresTest, AnotherClusterIsUsedByTheNextStream) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatPushesWithoutEndHasToWait) {
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

TEST_F(AdsClientFailuresTest, LargeMessagesCountForMore) {
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

TEST_F(AdsClientFailuresTest, ControlPlaneThatReadsNoAnswersHasToWait) {
  planes_ = ClusterOf({plane_->port()});
  plane_->origin().set_allow(1000);
  Start(Options());
  static_cast<void>(plane_->Sees());
  // Its window is full of one large NACK, and the others wait.
  owner_.answers = false;
  std::vector<Refusal> refusals(200, {.name = std::string(300, 'r'), .version = "", .errors = {}});
  for (int i = 0; i < 130; ++i) {
    plane_->Sends(DeltaOf(kCluster, std::to_string(i)).Has("users"));
    Settle();
    while (owner_.updates.size() > 0) {
      client_->Answer(std::exchange(owner_.updates, {}).at(0).id, refusals);
    }
  }
  EXPECT_LT(Clusters().updates, 100u);
}

}  // namespace
}  // namespace gatehouse::xds
