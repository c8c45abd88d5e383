#include "source/control_plane/xds_server.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/control_plane/gateway_stream.h"
#include "test/control_plane/resources_for_test.h"
#include "test/control_plane/xds_client_for_test.h"

namespace gatehouse::control {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class XdsServerTest : public ::testing::Test {
 protected:
  void Start(XdsServerOptions options = {}) {
    options.address = "127.0.0.1:0";
    auto server = XdsServer::Start(options, fleet_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }
  // A gateway may see the end of its stream before it is counted.
  void AwaitEnds(std::string_view reason) {
    const std::string line = fmt::format("streams_ended_total{{reason=\"{}\"}} 1\n", reason);
    Await([&] { return server_->RenderMetrics().find(line) != std::string::npos; });
  }
  static std::string NamesIn(const std::optional<XdsClient::Response>& response) {
    if (!response.has_value()) return "the stream has ended";
    std::string names;
    for (const auto& resource : response->resources()) names += "+" + resource.name();
    for (const auto& name : response->removed_resources()) names += "-" + name;
    return names;
  }

  Fleet fleet_{"control-1"};
  std::unique_ptr<XdsServer> server_;
  std::shared_ptr<const ResourceSet> one_ =
      SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "mine", "1", "edge"}});
};

TEST_F(XdsServerTest, PushesEachRevisionToItsGroup) {
  Start();
  XdsClient edge(server_->port());
  ASSERT_TRUE(edge.Sends(Type::kCluster, {"*"}, {.node = "edge-1", .group = "edge"}));
  server_->Publish(one_);
  auto response = edge.Reads();
  EXPECT_EQ(NamesIn(response), "+a+mine");
  EXPECT_EQ(response->control_plane().identifier(), "control-1");
  edge.Acks(*response);

  XdsClient other(server_->port());
  other.Sends(Type::kCluster, {"*"}, {.node = "other-1"});
  EXPECT_EQ(NamesIn(other.Reads()), "+a");

  server_->Publish(SetOf(2, {{Type::kCluster, "b", "1"}}, one_));
  response = edge.Reads();
  EXPECT_EQ(NamesIn(response), "+b-a-mine");
  EXPECT_EQ(NamesIn(other.Reads()), "+b-a");

  edge.Acks(*response);
  Await([&] { return fleet_.Own().size() == 2 && fleet_.Own()[0].accepted_revision == 2; });
  const GatewayStatus status = fleet_.Own()[0];
  EXPECT_EQ(status.node, "edge-1");
  EXPECT_EQ(status.group, "edge");
  EXPECT_EQ(status.protocol, "delta");
  EXPECT_EQ(status.gateway_version, "1.2.3");
  EXPECT_EQ(status.instance, "control-1");
  EXPECT_TRUE(status.connected);
  EXPECT_NE(status.address.find(':'), std::string::npos);
  EXPECT_EQ(status.types[static_cast<size_t>(Type::kCluster)].resources, 1U);
}

TEST_F(XdsServerTest, StateOfTheWorld) {
  Start();
  server_->Publish(one_);
  auto stub = XdsClient::Service::NewStub(grpc::CreateChannel(
      fmt::format("127.0.0.1:{}", server_->port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->StreamAggregatedResources(&context);
  envoy::service::discovery::v3::DiscoveryRequest request;
  request.set_type_url(std::string(TypeUrl(Type::kCluster)));
  stream->Write(request);
  envoy::service::discovery::v3::DiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.resources_size(), 1);
  EXPECT_EQ(response.resources(0).value(), "a=1");
  EXPECT_EQ(fleet_.Own()[0].protocol, "state-of-the-world");
  // Without a node, its address is its name.
  EXPECT_EQ(fleet_.Own()[0].node, fleet_.Own()[0].address);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(XdsServerTest, RevisionZeroTakesNothingAway) {
  Start();
  server_->Publish(SetOf(0, {}));
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {"*"});
  server_->Publish(one_);
  EXPECT_EQ(NamesIn(client.Reads()), "+a") << "the first answer is of revision 1";
}

TEST_F(XdsServerTest, AGatewayThatGoesIsKnownToBeGone) {
  Start();
  server_->Publish(one_);
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {"*"}, {.node = "edge-1"});
  client.Reads();
  EXPECT_EQ(fleet_.connected(), 1U);
  client.Closes();
  EXPECT_TRUE(client.Status().ok());
  Await([&] { return fleet_.connected() == 0; });
  EXPECT_FALSE(fleet_.Own()[0].connected);
}

TEST_F(XdsServerTest, GarbageEndsTheStream) {
  Start();
  server_->Publish(one_);
  auto stub = XdsClient::Service::NewStub(grpc::CreateChannel(
      fmt::format("127.0.0.1:{}", server_->port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  // A type URL that is not UTF-8, which protobuf refuses to read.
  XdsClient::Request request;
  request.set_type_url("\xff\xfe");
  const auto stream = stub->DeltaAggregatedResources(&context);
  stream->Write(request);
  XdsClient::Response response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(XdsServerTest, LongRequestsAreRefused) {
  Start({.max_request_bytes = 1000});
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {std::string(2000, 'x')});
  EXPECT_EQ(client.Status().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(XdsServerTest, AGatewayThatAsksNothingIsDropped) {
  Start({.first_request_timeout = milliseconds(1)});
  XdsClient client(server_->port());
  EXPECT_EQ(client.Status().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitEnds("no_request");
}

TEST_F(XdsServerTest, AGatewayThatDoesNotReadIsDropped) {
  Start({.write_timeout = milliseconds(50)});
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {"*"});
  auto set = SetOf(1, {{Type::kCluster, "large", std::string(size_t{20} << 20, 'x')}});
  server_->Publish(set);
  AwaitEnds("does_not_read");
  EXPECT_EQ(fleet_.connected(), 0U);
}

TEST_F(XdsServerTest, NoMoreStreamsThanAllowed) {
  Start({.max_streams = 1});
  server_->Publish(one_);
  XdsClient first(server_->port());
  first.Sends(Type::kCluster, {"*"});
  first.Reads();
  XdsClient second(server_->port());
  second.Sends(Type::kCluster, {"*"});
  const grpc::Status status = second.Status();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("1 streams"));
}

TEST_F(XdsServerTest, StopSendsGatewaysElsewhere) {
  Start();
  server_->Publish(one_);
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {"*"});
  client.Reads();
  server_->Stop(std::chrono::seconds(30));
  EXPECT_EQ(client.Status().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(fleet_.connected(), 0U);
}

TEST_F(XdsServerTest, MetricsOfAllThatHappened) {
  Start();
  server_->Publish(SetOf(7, {{Type::kCluster, "a", "1"}}));
  XdsClient client(server_->port());
  client.Sends(Type::kCluster, {"*"});
  client.Acks(*client.Reads());
  Await([&] { return fleet_.Own()[0].accepted_revision == 7; });
  XdsClient::Request unknown;
  unknown.set_type_url("type.googleapis.com/other.Type");
  client.Sends(unknown);
  Await([&] { return !fleet_.Own()[0].warnings.empty(); });
  const std::string metrics = server_->RenderMetrics();
  for (const char* line : {
           "gatehouse_control_revision 7\n",
           "gatehouse_control_publishes_total 1\n",
           "gatehouse_control_gateways_connected 1\n",
           "gatehouse_control_oldest_accepted_revision 7\n",
           "gatehouse_control_streams_total{protocol=\"delta\"} 1\n",
           "gatehouse_control_requests_total{type=\"Cluster\"} 2\n",
           "gatehouse_control_responses_total{type=\"Cluster\"} 1\n",
           "gatehouse_control_acks_total{type=\"Cluster\"} 1\n",
           "gatehouse_control_unknown_types_total 1\n",
           "gatehouse_control_push_to_ack_seconds_count 1\n",
           "gatehouse_control_push_to_ack_seconds_bucket{le=\"+Inf\"} 1\n",
           "gatehouse_control_cache_differences 1\n",
       }) {
    EXPECT_THAT(metrics, HasSubstr(line));
  }
}

TEST_F(XdsServerTest, AnAddressThatIsTaken) {
  Start();
  const auto second =
      XdsServer::Start({.address = fmt::format("127.0.0.1:{}", server_->port())}, fleet_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(PeerAddressTest, IsWhatPeopleWrite) {
  EXPECT_EQ(PeerAddress("ipv4:10.0.0.7:51234"), "10.0.0.7:51234");
  EXPECT_EQ(PeerAddress("ipv6:%5B::1%5D:80"), "[::1]:80");
}

TEST(NamesGroupTest, ByNameOrAtTheEnd) {
  EXPECT_TRUE(NamesGroup("edge", "edge"));
  EXPECT_TRUE(NamesGroup("spiffe://example.org/group/edge", "edge"));
  EXPECT_FALSE(NamesGroup("spiffe://example.org/group/edge2", "edge"));
  EXPECT_FALSE(NamesGroup("spiffe://example.org/group/edge", "group/edge/x"));
  EXPECT_FALSE(NamesGroup("spiffe://example.org/other/edge", "edge"));
  EXPECT_FALSE(NamesGroup("edge.example.org", "edge"));
  EXPECT_FALSE(NamesGroup("", ""));
}

TEST_F(XdsServerTest, AThousandStreamsShareTheirResponses) {
  constexpr int kConnections = 10;
  constexpr int kStreams = 100;  // of a connection
  Start();
  std::vector<Written> clusters;
  for (int i = 0; i < 100; ++i) clusters.push_back({Type::kCluster, fmt::format("c{}", i), "1"});
  const auto one = SetOf(1, clusters);
  server_->Publish(one);
  std::vector<std::unique_ptr<XdsClient>> clients;
  for (int i = 0; i < kConnections; ++i) {
    const auto channel = XdsClient::Connect(server_->port());
    for (int j = 0; j < kStreams; ++j) {
      clients.push_back(std::make_unique<XdsClient>(channel));
      clients.back()->Sends(Type::kCluster, {"*"}, {.node = fmt::format("edge-{}-{}", i, j)});
    }
  }
  for (const auto& client : clients) {
    const auto response = client->Reads();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->resources_size(), 100);
    client->Acks(*response);
  }
  clusters[7].version = "2";
  server_->Publish(SetOf(2, clusters, one));
  for (const auto& client : clients) {
    const auto response = client->Reads();
    EXPECT_EQ(NamesIn(response), "+c7");
    client->Acks(*response);
  }
  Await([&] { return fleet_.totals().oldest_accepted == 2; });
  EXPECT_EQ(fleet_.totals().connected, size_t{kConnections} * kStreams);
  // One answer and one change, whatever the number of gateways.
  EXPECT_THAT(server_->RenderMetrics(), HasSubstr("gatehouse_control_cache_misses_total 2\n"));
}

// A gateway that connects while revisions are published ends with the last.
TEST_F(XdsServerTest, AHundredGatewaysOverManyRevisions) {
  Start();
  auto set = one_;
  server_->Publish(set);
  std::vector<std::thread> gateways;
  std::atomic<int> done{0};
  for (int i = 0; i < 100; ++i) {
    gateways.emplace_back([&, i] {
      XdsClient client(server_->port());
      client.Sends(Type::kCluster, {"*"}, {.node = fmt::format("edge-{}", i), .group = "edge"});
      while (const auto response = client.Reads()) {
        client.Acks(*response);
        if (NamesIn(response).find("last") != std::string::npos) break;
      }
      ++done;
      Await([&] { return done == 100; });
    });
  }
  for (uint64_t revision = 2; revision < 50; ++revision) {
    set = SetOf(revision, {{Type::kCluster, "a", std::to_string(revision)}}, set);
    server_->Publish(set);
    std::this_thread::yield();
  }
  server_->Publish(SetOf(50, {{Type::kCluster, "last", "1"}}, set));
  for (std::thread& gateway : gateways) gateway.join();
}

}  // namespace
}  // namespace gatehouse::control
