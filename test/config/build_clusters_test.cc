#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(BuildClustersTest, DefaultsAreThoseOfTheProtos) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build("clusters: [{name: a, endpoints: ['127.0.0.1:1']}]");
  ASSERT_THAT(snapshot->clusters, SizeIs(1));
  const upstream::ClusterOptions& options = snapshot->clusters[0]->options();
  EXPECT_EQ(options.connect_timeout, seconds(5));
  EXPECT_EQ(options.response_header_timeout, kNoTimeout);
  EXPECT_EQ(options.idle_timeout, seconds(55));
  EXPECT_EQ(options.max_idle, 1024u);
  EXPECT_EQ(options.max_requests_per_connection, 0u);
  EXPECT_EQ(options.max_connections, 10000u);
  EXPECT_EQ(options.max_pending, 1024u);
  EXPECT_EQ(options.response_limits.max_head_bytes, 60u * 1024);
  EXPECT_EQ(options.response_limits.max_headers, 100);
  EXPECT_FALSE(snapshot->clusters[0]->has_dns());
}

TEST(BuildClustersTest, EveryFieldArrives) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
clusters:
- name: a
  endpoints: [ "[::1]:81", { address: "service.internal:82", weight: 3 } ]
  dns: { min_ttl: 2s, max_ttl: 10m, family: ipv4, resolvers: ["10.0.0.2:53"], timeout: 1s }
  load_balancing: round_robin
  connect_timeout: 250ms
  response_header_timeout: 2s
  pool: { max_idle: 0, idle_timeout: 10s, max_requests_per_connection: 7 }
  limits: { max_connections: 5, max_pending: 0, max_header_bytes: 8KiB, max_headers: 20 }
)");
  const upstream::Cluster& cluster = *snapshot->clusters.at(0);
  const upstream::ClusterOptions& options = cluster.options();
  EXPECT_EQ(options.connect_timeout, milliseconds(250));
  EXPECT_EQ(options.response_header_timeout, seconds(2));
  EXPECT_EQ(options.max_idle, 0u);
  EXPECT_EQ(options.idle_timeout, seconds(10));
  EXPECT_EQ(options.max_requests_per_connection, 7u);
  EXPECT_EQ(options.max_connections, 5u);
  EXPECT_EQ(options.max_pending, 0u);
  EXPECT_EQ(options.response_limits.max_head_bytes, 8u * 1024);
  EXPECT_EQ(options.response_limits.max_headers, 20);
  ASSERT_TRUE(cluster.has_dns());
  ASSERT_THAT(cluster.dns().names, SizeIs(1));
  EXPECT_EQ(cluster.dns().names[0].host, "service.internal");
  EXPECT_EQ(cluster.dns().names[0].weight, 3u);
  EXPECT_EQ(cluster.dns().options.min_ttl, seconds(2));
  EXPECT_EQ(cluster.dns().options.max_ttl, minutes(10));
  EXPECT_EQ(cluster.dns().options.family, net::DnsFamily::kIpv4);
  EXPECT_THAT(cluster.dns().options.resolvers, ElementsAre("10.0.0.2:53"));
  ASSERT_EQ(cluster.endpoints()->size(), 1u);
  EXPECT_EQ((*cluster.endpoints())[0].endpoint->text(), "[::1]:81");
}

TEST(BuildClustersTest, ALongMinimumTtlMovesTheDefaultMaximum) {
  ConfigBuilder builder;
  const auto snapshot =
      builder.Build("clusters: [{name: a, endpoints: ['x:1'], dns: {min_ttl: 1h}}]");
  EXPECT_EQ(snapshot->clusters.at(0)->dns().options.max_ttl, std::chrono::hours(1));
}

TEST(BuildClustersTest, ErrorsNameTheField) {
  ConfigBuilder builder;
  EXPECT_THAT(
      builder.Errors(R"(
clusters:
- name: a
  endpoints: ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "a_b!:80"]
- name: b
  endpoints: [ { address: "127.0.0.1:1", weight: 0 } ]
  connect_timeout: 0s
  pool: { idle_timeout: 400us }
- name: c
  dns: { min_ttl: 5s, max_ttl: 1s, resolvers: [dns.example] }
  limits: { max_header_bytes: 10MiB, max_headers: 100000 }
)"),
      ElementsAre(HasSubstr("4: clusters[0].endpoints[0].address: "),
                  HasSubstr("4: clusters[0].endpoints[1].address: "),
                  HasSubstr("4: clusters[0].endpoints[2].address: "),
                  HasSubstr("4: clusters[0].endpoints[3].address: \"a_b!:80\" is not host:port"),
                  "6: clusters[1].endpoints: all weights are 0, so none would get a request",
                  "7: clusters[1].connect_timeout: must be more than 0s",
                  "8: clusters[1].pool.idle_timeout: must be at least 1ms",
                  "10: clusters[2].dns.max_ttl: is less than min_ttl",
                  HasSubstr("10: clusters[2].dns.resolvers[0]: \"dns.example\" is not an IP"),
                  "11: clusters[2].limits.max_header_bytes: 10MiB is not in the range of "
                  "256B to 1MiB",
                  "11: clusters[2].limits.max_headers: 100000 is not in the range of 1 to "
                  "10000"));
  // Found by the cluster itself, once the rest is right.
  EXPECT_THAT(builder.Errors("clusters: [{name: a, endpoints: ['a..b:80']}]"),
              ElementsAre(HasSubstr("1: clusters[0].endpoints[0].address: 'a..b' is neither")));
}

TEST(BuildClustersTest, EndpointsComeOnTheirOwn) {
  ConfigBuilder builder;
  const auto snapshot = builder.Build(R"(
clusters: [ { name: a } ]
endpoints: [ { cluster: a, endpoints: ["127.0.0.1:1", "127.0.0.1:2"] } ]
)");
  EXPECT_EQ(snapshot->clusters.at(0)->endpoints()->size(), 2u);
  EXPECT_THAT(
      builder.Errors(R"(
clusters: [ { name: users, endpoints: ["127.0.0.1:1"] }, { name: other } ]
endpoints:
- { cluster: users, endpoints: ["127.0.0.1:2"] }
- { cluster: usres, endpoints: ["127.0.0.1:2"] }
- { cluster: other, endpoints: ["127.0.0.1:2"] }
- { cluster: other, endpoints: ["127.0.0.1:3"] }
)"),
      ElementsAre("4: endpoints[0].cluster: cluster \"users\" has endpoints of its own; write "
                  "them in one place",
                  "5: endpoints[1].cluster: there is no cluster \"usres\", did you mean \"users\"?",
                  "7: endpoints[3].cluster: \"other\" is the name of endpoints[2] already"));
}

TEST(BuildClustersTest, NamesAreUniqueAndNotEmpty) {
  ConfigBuilder builder;
  EXPECT_THAT(builder.Errors("clusters:\n- name: a\n- name: a\n"),
              ElementsAre("3: clusters[1].name: \"a\" is the name of clusters[0] already"));
}

TEST(BuildClustersTest, UnchangedClustersAreShared) {
  ConfigBuilder builder;
  const auto first = builder.Build(
      "clusters: [{name: a, endpoints: ['127.0.0.1:1']}, {name: b, endpoints: ['127.0.0.1:1']},"
      " {name: c, endpoints: ['127.0.0.1:1']}]");
  const auto second = builder.Build(
      "clusters: [{name: a, endpoints: ['127.0.0.1:1']}, {name: b, endpoints: ['127.0.0.1:2']},"
      " {name: c, endpoints: ['127.0.0.1:1'], connect_timeout: 1s}]");
  EXPECT_EQ(second->version, first->version + 1);
  EXPECT_EQ(second->clusters[0], first->clusters[0]);
  EXPECT_NE(second->clusters[1], first->clusters[1]);
  EXPECT_EQ(second->clusters[1]->key(), first->clusters[1]->key());  // its pools live on
  EXPECT_NE(second->clusters[2]->key(), first->clusters[2]->key());
}

// ---- pushed: what is not replaced keeps its message ----

// Clusters that come, go and change, with endpoints of their own or apart, against what each build
// says of them.
TEST(BuildClustersTest, ChangesAreThoseFromTheBase) {
  ConfigBuilder builder;
  std::minstd_rand random(7);
  std::map<std::string, std::shared_ptr<const v1::Cluster>> clusters;
  std::map<std::string, std::shared_ptr<const v1::Endpoints>> endpoints;
  for (int step = 0; step < 500; ++step) {
    const std::string name = fmt::format("c{}", random() % 6);
    const auto address = fmt::format("10.0.0.{}:80", 1 + random() % 3);
    const auto cluster = std::make_shared<v1::Cluster>();
    cluster->set_name(name);
    cluster->mutable_connect_timeout()->set_seconds(1 + static_cast<int>(random() % 2));
    switch (random() % 4) {
      case 0:
        clusters.erase(name);
        endpoints.erase(name);
        break;
      case 1:
        cluster->add_endpoints()->set_address(address);
        clusters[name] = cluster;
        endpoints.erase(name);
        break;
      case 2:
        clusters[name] = cluster;
        [[fallthrough]];
      default: {
        if (!clusters.contains(name) || !clusters[name]->endpoints().empty()) break;
        const auto apart = std::make_shared<v1::Endpoints>();
        apart->set_cluster(name);
        apart->add_endpoints()->set_address(address);
        endpoints[name] = apart;
      }
    }
    Resources resources;
    for (const auto& [key, message] : clusters) resources.clusters.push_back({message, {}});
    for (const auto& [key, message] : endpoints) resources.endpoints.push_back({message, {}});
    if (random() % 2 == 0) std::ranges::reverse(resources.clusters);
    const std::shared_ptr<const Snapshot> before = builder.current;
    const BuildResult result = builder.Try(resources);
    ASSERT_NE(result.snapshot, nullptr) << result.errors.ToString();
    const Snapshot& after = *result.snapshot;
    builder.current = result.snapshot;
    ASSERT_EQ(after.clusters.size(), resources.clusters.size());
    for (size_t i = 0; i < after.clusters.size(); ++i) {
      const v1::Cluster& message = *resources.clusters[i].message;
      const auto& list = message.endpoints().empty() ? endpoints[message.name()]->endpoints()
                                                     : message.endpoints();
      ASSERT_EQ(after.clusters[i]->name(), message.name());
      ASSERT_EQ(after.clusters[i]->options().connect_timeout,
                seconds(message.connect_timeout().seconds()));
      ASSERT_EQ(after.clusters[i]->endpoints()->size(), 1u);
      ASSERT_EQ(after.clusters[i]->endpoints()->begin()->endpoint->text(), list[0].address());
    }
    if (before == nullptr || before == result.snapshot) continue;
    ASSERT_EQ(after.base_id, before->id);
    std::set<std::shared_ptr<const upstream::Cluster>> known(before->clusters.begin(),
                                                             before->clusters.end());
    std::map<uint32_t, uint32_t> generations;  // by slot, as a worker has them
    std::map<uint32_t, uint32_t> expected;
    for (const auto& old : before->clusters) generations[old->key().slot] = old->key().generation;
    for (const auto& changed : after.changed_clusters) {
      ASSERT_TRUE(known.insert(changed).second);
      generations[changed->key().slot] = changed->key().generation;
    }
    for (const upstream::ClusterKey key : after.removed_clusters) generations.erase(key.slot);
    for (const auto& made : after.clusters) {
      ASSERT_TRUE(known.contains(made));
      expected[made->key().slot] = made->key().generation;
    }
    ASSERT_EQ(generations, expected);
  }
}

}  // namespace
}  // namespace gatehouse::config
