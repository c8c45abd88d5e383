#include "source/upstream/cluster.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/observe/metric_registry.h"

namespace gatehouse::upstream {
namespace {

using testing::HasSubstr;

class ClusterTest : public testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<const Cluster>> TryMake(
      const ClusterSpec& spec, const std::shared_ptr<const Cluster>& previous = nullptr) {
    return Cluster::Make(spec, previous, slots_, registry_);
  }
  std::shared_ptr<const Cluster> Make(const ClusterSpec& spec,
                                      const std::shared_ptr<const Cluster>& previous = nullptr) {
    auto cluster = TryMake(spec, previous);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    return cluster.ok() ? *cluster : nullptr;
  }

  observe::MetricRegistry registry_;
  ClusterSlots slots_;
  ClusterSpec spec_{.name = "users", .endpoints = {{"10.0.0.1", 80, 1}, {"::1", 8080, 3}}};
};

TEST_F(ClusterTest, StaticEndpoints) {
  const auto cluster = Make(spec_);
  EXPECT_EQ(cluster->name(), "users");
  EXPECT_FALSE(cluster->has_dns());
  ASSERT_EQ(cluster->endpoints()->size(), 2u);
  const EndpointSet& set = *cluster->endpoints();
  EXPECT_EQ(set[0].endpoint->text(), "10.0.0.1:80");
  EXPECT_EQ(set[0].endpoint->address().ToString(), "10.0.0.1:80");
  EXPECT_EQ(set[1].endpoint->text(), "[::1]:8080");
  EXPECT_EQ(set[1].endpoint->host(), "::1");
  EXPECT_EQ(set[1].weight, 3u);
  EXPECT_TRUE(set[0].endpoint->healthy());
}

TEST_F(ClusterTest, NamesAreForDns) {
  spec_.endpoints.push_back({"users.internal", 80, 2});
  const auto cluster = Make(spec_);
  ASSERT_TRUE(cluster->has_dns());
  ASSERT_EQ(cluster->dns().names.size(), 1u);
  EXPECT_EQ(cluster->dns().names[0].host, "users.internal");
  EXPECT_EQ(cluster->endpoints()->size(), 2u);
}

TEST_F(ClusterTest, BadSpecsNameTheField) {
  const auto error_of = [&](const EndpointSpec& endpoint) {
    ClusterSpec spec = spec_;
    spec.endpoints.push_back(endpoint);
    return MessageOf(TryMake(spec).status());
  };
  EXPECT_THAT(error_of({"bad host", 80, 1}), HasSubstr("endpoints[2].address: 'bad host'"));
  EXPECT_THAT(error_of({"a..b", 80, 1}), HasSubstr("endpoints[2].address"));
  EXPECT_THAT(error_of({"", 80, 1}), HasSubstr("endpoints[2].address"));
  EXPECT_THAT(error_of({std::string(64, 'a'), 80, 1}), HasSubstr("endpoints[2].address"));
  EXPECT_THAT(error_of({"host", 0, 1}), HasSubstr("the port must not be 0"));
  EXPECT_EQ(error_of({"host.", 80, 1}), "");
  spec_.endpoints = {{"host", 80, 1}};
  spec_.dns.resolvers = {"10.0.0.2", "[::1]:53", "dns.google:53"};
  EXPECT_THAT(MessageOf(TryMake(spec_).status()), HasSubstr("dns.resolvers[2]: 'dns.google:53'"));
}

TEST_F(ClusterTest, NothingChangedIsTheSameCluster) {
  const auto before = Make(spec_);
  EXPECT_EQ(Make(spec_, before), before);
}

TEST_F(ClusterTest, ChangedEndpointsKeepTheGeneration) {
  const auto before = Make(spec_);
  before->endpoints()->SetHealth(0, false);
  spec_.endpoints = {{"10.0.0.9", 80, 1}, {"10.0.0.1", 80, 5}};
  const auto after = Make(spec_, before);
  EXPECT_NE(after, before);
  EXPECT_EQ(after->key(), before->key());
  EXPECT_EQ(after->fingerprint(), before->fingerprint());
  // The endpoint itself, with its health.
  EXPECT_EQ((*after->endpoints())[1].endpoint, (*before->endpoints())[0].endpoint);
  EXPECT_EQ((*after->endpoints())[1].weight, 5u);
  EXPECT_FALSE((*after->endpoints())[1].endpoint->healthy());
  // Metrics go on.
  EXPECT_EQ(after->metrics().connects.slot, before->metrics().connects.slot);
}

TEST_F(ClusterTest, AnythingElseIsANewGeneration) {
  const auto before = Make(spec_);
  spec_.options.max_idle = 7;
  const auto after = Make(spec_, before);
  EXPECT_NE(after->key(), before->key());
  EXPECT_NE(after->key().slot, before->key().slot);
  EXPECT_EQ((*after->endpoints())[0].endpoint, (*before->endpoints())[0].endpoint);
  spec_.options.response_limits.max_headers = 7;
  EXPECT_NE(Make(spec_, after)->key(), after->key());
}

TEST_F(ClusterTest, HowItIsSpokenToIsAGeneration) {
  auto last = Make(spec_);
  const auto expect_new_generation = [&](const char* what) {
    const auto next = Make(spec_, last);
    EXPECT_NE(next->key(), last->key()) << what;
    last = next;
    EXPECT_EQ(Make(spec_, last), last) << what;
  };
  spec_.options.protocol = Protocol::kHttp2;
  expect_new_generation("protocol");
  spec_.options.h2.max_streams = 7;
  expect_new_generation("h2.max_streams");
  spec_.options.h2.ping_interval = std::chrono::seconds(1);
  expect_new_generation("h2.ping_interval");
  spec_.options.proxy_header = ProxyHeader::kV2;
  expect_new_generation("proxy_header");
  spec_.tls_fingerprint = "a";
  expect_new_generation("tls");
  spec_.tls_fingerprint = "b";
  expect_new_generation("tls");
}

TEST_F(ClusterTest, WithNamesEndpointsMakeAGenerationToo) {
  spec_.endpoints.push_back({"users.internal", 80, 1});
  const auto before = Make(spec_);
  EXPECT_EQ(Make(spec_, before), before);
  spec_.endpoints[0].weight = 9;
  EXPECT_NE(Make(spec_, before)->key(), before->key());
}

TEST_F(ClusterTest, SlotsAreUsedAgainWhenTheLastClusterIsGone) {
  auto a = Make(spec_);
  const ClusterKey key = a->key();
  auto a2 = [&] {
    ClusterSpec spec = spec_;
    spec.endpoints.pop_back();
    return Make(spec, a);
  }();
  a = nullptr;
  auto b = Make(spec_);
  EXPECT_NE(b->key().slot, key.slot);
  a2 = nullptr;
  auto c = Make(spec_);
  EXPECT_EQ(c->key().slot, key.slot);
  EXPECT_GT(c->key().generation, b->key().generation);
}

}  // namespace
}  // namespace gatehouse::upstream
