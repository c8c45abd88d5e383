// Pools of HTTP/2 connections: many leases on each, and what their ends mean to those who hold or
// want one.
#include <memory>
#include <string>
#include <vector>

#include "test/fakes/h2_peer_origin.h"
#include "test/upstream/upstream_fixture.h"

namespace gatehouse::upstream {
namespace {

using What = http::Error::What;
using std::chrono::seconds;

http::H2Peer::Options MaxStreams(uint32_t count) {
  return {.settings = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, count}}};
}

class ClusterStateHttp2Test : public UpstreamFixture {
 protected:
  [[nodiscard]] ClusterSpec Spec2(std::vector<H2PeerOrigin*> origins) {
    std::vector<TcpOrigin*> none;
    ClusterSpec spec = Spec(none);
    for (H2PeerOrigin* origin : origins)
      spec.endpoints.push_back({"127.0.0.1", origin->tcp().port(), 1});
    h2_origins_ = std::move(origins);
    spec.options.protocol = Protocol::kHttp2;
    return spec;
  }
  void Step() {
    Turn();
    for (H2PeerOrigin* origin : h2_origins_) origin->Step();
  }
  [[nodiscard]] bool Until2(const std::function<bool()>& done) {
    for (int i = 0; i < kMaxTurns; ++i) {
      if (done()) return true;
      Step();
    }
    return done();
  }
  void Settle2() {
    for (int i = 0; i < 30; ++i) Step();
  }
  void Advance2(Duration by) {
    clock_.Advance(by);
    Settle2();
  }
  // So many attempts, each with a lease and its request sent.
  std::vector<std::unique_ptr<TestAttempt>> Begin(const Cluster& cluster, int count) {
    std::vector<std::unique_ptr<TestAttempt>> attempts;
    for (int i = 0; i < count; ++i) {
      attempts.push_back(std::make_unique<TestAttempt>(*upstreams_));
      TestAttempt& attempt = *attempts.back();
      attempt.on_decided = [&attempt] {
        if (attempt.lease) attempt.Send();
      };
      if (attempt.Acquire(cluster) == AcquireStatus::kReady) attempt.Send();
    }
    return attempts;
  }
  [[nodiscard]] bool AllEnd(const std::vector<std::unique_ptr<TestAttempt>>& attempts) {
    return Until2([&] {
      for (const auto& attempt : attempts) {
        if (!attempt->ended) return false;
      }
      return true;
    });
  }
  void ExpectNothingLeft(const Cluster& cluster) {
    EXPECT_EQ(Value(cluster.metrics().active), 0);
    EXPECT_EQ(Value(cluster.metrics().pending), 0);
    EXPECT_EQ(State(cluster).leases(), 0u);
    EXPECT_EQ(State(cluster).waiting(), 0u);
  }

  std::vector<H2PeerOrigin*> h2_origins_;
};

TEST_F(ClusterStateHttp2Test, ManyLeasesShareAConnection) {
  H2PeerOrigin origin;
  const auto cluster = Make(Spec2({&origin}));
  auto first = Begin(*cluster, 20);  // all of them wait for it
  ASSERT_TRUE(AllEnd(first));
  for (const auto& attempt : first) EXPECT_EQ(attempt->status, 200);
  auto second = Begin(*cluster, 20);
  EXPECT_FALSE(second.back()->waiting());
  EXPECT_EQ(Value(cluster->metrics().active), 20);
  ASSERT_TRUE(AllEnd(second));
  EXPECT_EQ(origin.connections(), 1u);
  EXPECT_EQ(Value(cluster->metrics().connects), 1u);
  EXPECT_EQ(Value(cluster->metrics().connections), 1);
  Settle2();
  EXPECT_EQ(State(*cluster).idle(), 1u);
  ExpectNothingLeft(*cluster);
}

TEST_F(ClusterStateHttp2Test, OverTheLimitOfStreamsThereIsASecondConnection) {
  H2PeerOrigin origin(MaxStreams(3));
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec2({&origin}));
  auto attempts = Begin(*cluster, 8);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 8; }));
  EXPECT_EQ(origin.connections(), 3u);
  EXPECT_EQ(origin.requests(0) + origin.requests(1) + origin.requests(2), 8u);
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(origin.requests(i), 3u);
  origin.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(attempts));
  Settle2();
  EXPECT_EQ(State(*cluster).idle(), 3u);
}

TEST_F(ClusterStateHttp2Test, WaitersAreServedWhenStreamsEnd) {
  H2PeerOrigin origin(MaxStreams(2));
  origin.set_auto_answer(false);
  ClusterSpec spec = Spec2({&origin});
  spec.options.max_connections = 1;
  spec.options.h2.max_streams = 2;
  const auto cluster = Make(spec);
  auto attempts = Begin(*cluster, 6);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 2; }));
  Settle2();
  EXPECT_EQ(State(*cluster).waiting(), 4u);
  origin.peer(0).Respond(1, {{":status", "200"}}, "ok");
  ASSERT_TRUE(Until2([&] { return origin.requests() == 3; }));
  // One that is given up makes room, too.
  attempts[1]->Release();
  ASSERT_TRUE(Until2([&] { return origin.requests() == 4; }));
  EXPECT_EQ(attempts[0]->status, 200);
  for (int32_t id : {5, 7}) origin.peer(0).Respond(id, {{":status", "200"}}, "ok");
  ASSERT_TRUE(Until2([&] { return origin.requests() == 6; }));
  for (int32_t id : {9, 11}) origin.peer(0).Respond(id, {{":status", "200"}}, "ok");
  ASSERT_TRUE(Until2([&] { return attempts[5]->ended; }));
  EXPECT_EQ(origin.connections(), 1u);
  Settle2();
  ExpectNothingLeft(*cluster);
}

TEST_F(ClusterStateHttp2Test, WaitersAreServedWhenTheOriginAllowsMore) {
  H2PeerOrigin origin(MaxStreams(1));
  origin.set_auto_answer(false);
  ClusterSpec spec = Spec2({&origin});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  auto attempts = Begin(*cluster, 3);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 1; }));
  origin.peer(0).Settings({{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10}});
  ASSERT_TRUE(Until2([&] { return origin.requests() == 3; }));
  origin.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(attempts));
}

TEST_F(ClusterStateHttp2Test, AfterGoawayThereIsANewConnection) {
  H2PeerOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec2({&origin}));
  auto before = Begin(*cluster, 2);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 2; }));
  origin.peer(0).Goaway(1);
  ASSERT_TRUE(Until2([&] { return static_cast<bool>(before[1]->error); }));
  EXPECT_EQ(before[1]->error, http::Error::Upstream(What::kUpstreamRefusedStream, true));
  before[1]->Release();
  auto after = Begin(*cluster, 1);
  ASSERT_TRUE(Until2([&] { return origin.connections() == 2 && origin.requests(1) == 1; }));
  origin.peer(0).Respond(1, {{":status", "200"}}, "old");
  origin.peer(1).Respond(1, {{":status", "200"}}, "new");
  ASSERT_TRUE(Until2([&] { return before[0]->ended && after[0]->ended; }));
  Settle2();
  EXPECT_EQ(State(*cluster).connections(), 1u);
  EXPECT_TRUE(origin.tcp().connection(0).ended());
  ExpectNothingLeft(*cluster);
}

TEST_F(ClusterStateHttp2Test, AConnectionThatIsLostFailsEachLeaseOnce) {
  H2PeerOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec2({&origin}));
  auto attempts = Begin(*cluster, 5);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 5; }));
  origin.tcp().connection(0).Reset();
  ASSERT_TRUE(Until2([&] { return static_cast<bool>(attempts[4]->error); }));
  Settle2();
  for (const auto& attempt : attempts) {
    EXPECT_EQ(attempt->error, http::Error::Upstream(What::kUpstreamReset, false));
    EXPECT_FALSE(attempt->lease.response_started() && attempt->status != 0);
  }
  EXPECT_EQ(State(*cluster).connections(), 0u);
  EXPECT_EQ(Value(cluster->metrics().connections), 0);
  EXPECT_EQ(State(*cluster).leases(), 5u);
  for (const auto& attempt : attempts) attempt->Release();
  Settle2();
  ExpectNothingLeft(*cluster);
  origin.set_auto_answer(true);
  auto next = Begin(*cluster, 1);
  ASSERT_TRUE(AllEnd(next));
  EXPECT_EQ(origin.connections(), 2u);
}

TEST_F(ClusterStateHttp2Test, AnOriginThatSpeaksHttp1IsNoneThatCouldBeUsed) {
  TcpOrigin origin;
  origin.set_auto_answer(false);
  ClusterSpec spec = Spec({&origin});
  spec.options.protocol = Protocol::kHttp2;
  const auto cluster = Make(spec);
  TestAttempt first(*upstreams_);
  TestAttempt second(*upstreams_);
  ASSERT_EQ(first.Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_EQ(second.Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_TRUE(Until([&] { return origin.connections() == 1; }));
  origin.connection(0).Send("HTTP/1.1 400 Bad Request\r\n\r\n");
  ASSERT_TRUE(Until([&] { return first.decided() && second.decided(); }));
  EXPECT_EQ(first.error, http::Error::Upstream(What::kConnectFailure, true));
  EXPECT_EQ(second.error, first.error);
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

// TCP is there, HTTP/2 is not: its settings belong to connecting.
TEST_F(ClusterStateHttp2Test, AnOriginThatSaysNothingIsAConnectTimeout) {
  TcpOrigin origin;
  origin.set_auto_answer(false);
  ClusterSpec spec = Spec({&origin});
  spec.options.protocol = Protocol::kHttp2;
  spec.options.connect_timeout = seconds(3);
  const auto cluster = Make(spec);
  TestAttempt attempt(*upstreams_);
  ASSERT_EQ(attempt.Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_TRUE(Until([&] { return origin.connections() == 1; }));
  Advance(seconds(2));
  EXPECT_FALSE(attempt.decided());
  Advance(seconds(2));
  EXPECT_EQ(attempt.error, http::Error::Upstream(What::kConnectTimeout, true));
  EXPECT_EQ(Value(cluster->metrics().connect_timeouts), 1u);
}

TEST_F(ClusterStateHttp2Test, AnIdleConnectionEndsAtItsTimeoutABusyOneDoesNot) {
  H2PeerOrigin origin;
  origin.set_auto_answer(false);
  ClusterSpec spec = Spec2({&origin});
  spec.options.idle_timeout = seconds(10);
  const auto cluster = Make(spec);
  auto attempts = Begin(*cluster, 1);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 1; }));
  Advance2(seconds(30));
  EXPECT_EQ(State(*cluster).connections(), 1u);
  origin.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(attempts));
  Advance2(seconds(9));
  EXPECT_EQ(State(*cluster).idle(), 1u);
  Advance2(seconds(2));
  EXPECT_EQ(State(*cluster).connections(), 0u);
  EXPECT_TRUE(Until2([&] { return origin.tcp().connection(0).ended(); }));
}

TEST_F(ClusterStateHttp2Test, AConnectionIsUsedForSoManyRequests) {
  H2PeerOrigin origin;
  ClusterSpec spec = Spec2({&origin});
  spec.options.max_requests_per_connection = 4;
  const auto cluster = Make(spec);
  for (int i = 0; i < 5; ++i) {
    auto attempts = Begin(*cluster, 2);
    ASSERT_TRUE(AllEnd(attempts));
    Settle2();
  }
  EXPECT_EQ(origin.connections(), 3u);
  EXPECT_EQ(origin.requests(0), 4u);
  EXPECT_EQ(origin.requests(1), 4u);
  EXPECT_TRUE(origin.tcp().connection(0).ended());
}

TEST_F(ClusterStateHttp2Test, AnEndpointThatIsRemovedServesItsStreamsToTheEnd) {
  H2PeerOrigin leaving;
  H2PeerOrigin staying;
  leaving.set_auto_answer(false);
  const auto cluster = Make(Spec2({&leaving}));
  auto old = Begin(*cluster, 3);
  ASSERT_TRUE(Until2([&] { return leaving.requests() == 3; }));
  const auto moved = Make(Spec2({&staying}), cluster);
  h2_origins_ = {&leaving, &staying};
  ASSERT_TRUE(moved->key() == cluster->key());
  upstreams_->UpdateEndpoints(moved->key(), moved->endpoints());
  auto fresh = Begin(*moved, 3);
  ASSERT_TRUE(AllEnd(fresh));
  EXPECT_EQ(staying.requests(), 3u);
  leaving.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(old));
  ASSERT_TRUE(Until2([&] { return leaving.tcp().connection(0).ended(); }));
  EXPECT_EQ(State(*moved).connections(), 1u);
  ExpectNothingLeft(*moved);
}

TEST_F(ClusterStateHttp2Test, AClusterThatIsRetiredServesItsStreamsToTheEnd) {
  H2PeerOrigin origin;
  origin.set_auto_answer(false);
  auto cluster = Make(Spec2({&origin}));
  const observe::ClusterMetrics& metrics = cluster->metrics();
  auto attempts = Begin(*cluster, 3);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 3; }));
  upstreams_->Retire(cluster->key());
  Settle2();
  EXPECT_FALSE(origin.tcp().connection(0).ended());
  origin.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(attempts));
  ASSERT_TRUE(Until2([&] { return origin.tcp().connection(0).ended(); }));
  Settle2();
  EXPECT_EQ(Value(metrics.connections), 0);
  EXPECT_EQ(Value(metrics.active), 0);
}

TEST_F(ClusterStateHttp2Test, AWorkerThatDrainsKeepsNoIdleConnection) {
  H2PeerOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec2({&origin}));
  auto attempts = Begin(*cluster, 3);
  ASSERT_TRUE(Until2([&] { return origin.requests() == 3; }));
  upstreams_->Drain();
  Settle2();
  EXPECT_FALSE(origin.tcp().connection(0).ended());
  origin.set_auto_answer(true);
  ASSERT_TRUE(AllEnd(attempts));
  EXPECT_TRUE(Until2([&] { return origin.tcp().connection(0).ended(); }));
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

TEST_F(ClusterStateHttp2Test, AProxyHeaderSpeaksForOneClient) {
  for (const ProxyHeader version : {ProxyHeader::kV1, ProxyHeader::kV2}) {
    H2PeerOrigin origin;
    origin.set_proxy_header(version == ProxyHeader::kV1);
    ClusterSpec spec = Spec2({&origin});
    spec.options.proxy_header = version;
    const auto cluster = Make(spec);
    const net::Address clients[] = {*net::Address::Parse("192.0.2.1:1000"),
                                    *net::Address::Parse("192.0.2.1:1001"),
                                    *net::Address::Parse("192.0.2.9:1000")};
    const net::Address destination = *net::Address::Parse("198.51.100.7:443");
    std::vector<std::unique_ptr<TestAttempt>> attempts;
    for (int round = 0; round < 2; ++round) {
      for (const net::Address& client : clients) {
        attempts.push_back(std::make_unique<TestAttempt>(*upstreams_));
        TestAttempt& attempt = *attempts.back();
        attempt.on_decided = [&attempt] {
          if (attempt.lease) attempt.Send();
        };
        if (attempt.Acquire(*cluster, {.client = &client, .destination = &destination}) ==
            AcquireStatus::kReady)
          attempt.Send();
      }
    }
    ASSERT_TRUE(Until2([&] { return origin.connections() == 3; }));
    if (version == ProxyHeader::kV1) {
      ASSERT_TRUE(AllEnd(attempts));
      std::string headers;
      for (size_t i = 0; i < 3; ++i) {
        headers += origin.proxy_header(i) + "|";
        EXPECT_EQ(origin.requests(i), 2u);
      }
      for (const char* from : {"192.0.2.1 198.51.100.7 1000", "192.0.2.1 198.51.100.7 1001",
                               "192.0.2.9 198.51.100.7 1000"}) {
        EXPECT_NE(headers.find("PROXY TCP4 " + std::string(from) + " 443|"), std::string::npos)
            << headers;
      }
    } else {
      ASSERT_TRUE(Until2([&] { return origin.tcp().connection(2).received().size() > 12; }));
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(origin.tcp().connection(i).received().starts_with(
            std::string_view("\r\n\r\n\0\r\nQUIT\n", 12)));
      }
    }
    for (const auto& attempt : attempts) attempt->Cancel();
  }
}

}  // namespace
}  // namespace gatehouse::upstream
