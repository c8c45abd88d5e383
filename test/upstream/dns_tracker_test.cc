#include "source/upstream/dns_tracker.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/observe/metric_registry.h"
#include "test/fakes/fake_dns_server.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::upstream {
namespace {

using Texts = std::vector<std::string>;

class DnsTrackerTest : public testing::Test {
 protected:
  struct Published {
    ClusterKey key;
    Texts texts;
  };

  static constexpr Duration kSecond = std::chrono::seconds(1);

  void Turn() {
    loop_.RunTurn(false);
    dns_.Step();
  }
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < 20000; ++i) {
      if (done()) return true;
      Turn();
    }
    return done();
  }
  void Settle() {
    for (int i = 0; i < 30; ++i) Turn();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Settle();
  }
  std::shared_ptr<const Cluster> Make(const std::string& name, std::vector<EndpointSpec> endpoints,
                                      Duration min_ttl = kSecond, uint32_t max_idle = 128) {
    ClusterSpec spec;
    spec.name = name;
    spec.endpoints = std::move(endpoints);
    spec.dns.resolvers = {dns_.address()};
    spec.dns.min_ttl = min_ttl;
    spec.dns.max_ttl = 60 * kSecond;
    spec.options.max_idle = max_idle;
    auto cluster = Cluster::Make(spec, nullptr, slots_, registry_);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    return *cluster;
  }
  // Watches and waits for the first answer.
  void Watch(const std::shared_ptr<const Cluster>& cluster) {
    tracker_.Watch(cluster);
    ASSERT_TRUE(Until([&] { return tracker_.resolved(); }));
    Settle();
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  FakeDnsServer dns_;
  observe::MetricRegistry registry_;
  ClusterSlots slots_;
  std::vector<Published> published_;
  std::vector<std::shared_ptr<const EndpointSet>> sets_;
  DnsTracker tracker_{
      loop_, [this](ClusterKey key, std::shared_ptr<const EndpointSet> set) {
        Texts texts;
        for (const EndpointSet::Entry& entry : *set) {
          texts.push_back(std::string(entry.endpoint->text()) + "*" + std::to_string(entry.weight));
        }
        published_.push_back({key, texts});
        sets_.push_back(std::move(set));
      }};
};

TEST_F(DnsTrackerTest, PublishesAllAddressesAndTheStaticOnes) {
  dns_.Answer("users.test", {"10.0.0.2", "10.0.0.1"}, 30);
  const auto cluster = Make("users", {{"192.0.2.1", 81, 1}, {"users.test", 80, 3}});
  Watch(cluster);
  ASSERT_EQ(published_.size(), 1u);
  EXPECT_EQ(published_[0].key, cluster->key());
  EXPECT_EQ(published_[0].texts, (Texts{"192.0.2.1:81*1", "10.0.0.1:80*3", "10.0.0.2:80*3"}));
  EXPECT_EQ(tracker_.EndpointsOf(cluster->key()), sets_[0]);
  EXPECT_EQ((*sets_[0])[0].endpoint->host(), "192.0.2.1");
  EXPECT_EQ((*sets_[0])[1].endpoint->host(), "users.test");
  EXPECT_EQ(tracker_.FailureOf(cluster->key()), "");
}

TEST_F(DnsTrackerTest, AsksAgainWhenTheTtlIsOverAndPublishesChangesOnly) {
  dns_.Answer("users.test", {"10.0.0.1", "10.0.0.2"}, 30);
  Watch(Make("users", {{"users.test", 80, 1}}));
  const size_t first = dns_.queries();
  Advance(29 * kSecond);
  EXPECT_EQ(dns_.queries(), first);
  Advance(2 * kSecond);
  EXPECT_GT(dns_.queries(), first);
  EXPECT_EQ(published_.size(), 1u);

  dns_.Answer("users.test", {"10.0.0.3", "10.0.0.2"}, 30);
  Advance(31 * kSecond);
  ASSERT_EQ(published_.size(), 2u);
  EXPECT_EQ(published_[1].texts, (Texts{"10.0.0.2:80*1", "10.0.0.3:80*1"}));
  // The endpoint that stays is the same object: its connections are kept.
  EXPECT_EQ((*sets_[1])[0].endpoint, (*sets_[0])[1].endpoint);
}

// A reload that changes an option of a cluster must not serve it without its endpoints.
TEST_F(DnsTrackerTest, AClusterWhoseNameIsKnownIsResolvedWhenItsEndpointsArePublished) {
  dns_.Answer("users.test", {"10.0.0.1"}, 30);
  Watch(Make("users", {{"users.test", 80, 1}}));
  const auto changed = Make("users", {{"users.test", 80, 1}}, kSecond, /*max_idle=*/7);
  tracker_.WatchOnly({changed});
  EXPECT_FALSE(tracker_.resolved());
  EXPECT_EQ(tracker_.EndpointsOf(changed->key()), nullptr);
  bool done = false;
  tracker_.WhenResolved(kSecond, [&] {
    done = true;
    EXPECT_NE(tracker_.EndpointsOf(changed->key()), nullptr);
  });
  ASSERT_TRUE(Until([&] { return done; }));
  EXPECT_TRUE(tracker_.resolved());
}

TEST_F(DnsTrackerTest, TtlIsBounded) {
  dns_.Answer("short.test", {"10.0.0.1"}, 0);
  dns_.Answer("long.test", {"10.0.0.1"}, 86400);
  Watch(Make("short", {{"short.test", 80, 1}}, 10 * kSecond));
  size_t before = dns_.queries();
  Advance(9 * kSecond);
  EXPECT_EQ(dns_.queries(), before);
  Advance(2 * kSecond);
  EXPECT_GT(dns_.queries(), before);
  tracker_.WatchOnly({});
  Watch(Make("long", {{"long.test", 80, 1}}));
  before = dns_.queries();
  Advance(59 * kSecond);
  EXPECT_EQ(dns_.queries(), before);
  Advance(2 * kSecond);
  EXPECT_GT(dns_.queries(), before);
}

TEST_F(DnsTrackerTest, FailuresKeepTheLastGoodAddresses) {
  dns_.Answer("users.test", {"10.0.0.1"}, 10);
  const auto cluster = Make("users", {{"users.test", 80, 1}});
  Watch(cluster);
  for (const auto mode : {FakeDnsServer::Mode::kServerFailure, FakeDnsServer::Mode::kSilent}) {
    dns_.set_mode(mode);
    Advance(61 * kSecond);
    Advance(6 * kSecond);
    EXPECT_NE(tracker_.FailureOf(cluster->key()), "");
  }
  dns_.set_mode(FakeDnsServer::Mode::kAnswer);
  dns_.Forget("users.test");
  Advance(61 * kSecond);
  EXPECT_EQ(published_.size(), 1u);
  EXPECT_EQ(tracker_.EndpointsOf(cluster->key())->size(), 1u);

  dns_.Answer("users.test", {"10.0.0.7"}, 10);
  Advance(61 * kSecond);
  ASSERT_EQ(published_.size(), 2u);
  EXPECT_EQ(published_[1].texts, (Texts{"10.0.0.7:80*1"}));
  EXPECT_EQ(tracker_.FailureOf(cluster->key()), "");
}

TEST_F(DnsTrackerTest, FailuresAreTriedAgainLessAndLessOften) {
  const auto cluster = Make("users", {{"missing.test", 80, 1}});
  Watch(cluster);
  EXPECT_TRUE(published_.empty());
  EXPECT_EQ(tracker_.FailureOf(cluster->key()).substr(0, 14), "missing.test: ");
  std::vector<size_t> tries;
  for (int minute = 0; minute < 4; ++minute) {
    const size_t before = dns_.queries();
    for (int second = 0; second < 60; ++second) Advance(kSecond);
    tries.push_back((dns_.queries() - before) / 2);  // A and AAAA
  }
  EXPECT_GE(tries[0], 4u);
  EXPECT_LE(tries[0], 9u);
  EXPECT_GE(tries[3], 1u);
  EXPECT_LE(tries[3], 2u);
}

TEST_F(DnsTrackerTest, WaitsForTheFirstAnswers) {
  dns_.Answer("a.test", {"10.0.0.1"}, 30);
  tracker_.Watch(Make("a", {{"a.test", 80, 1}}));
  tracker_.Watch(Make("b", {{"missing.test", 80, 1}}));
  int done = 0;
  tracker_.WhenResolved(5 * kSecond, [&] {
    ++done;
    EXPECT_EQ(published_.size(), 1u);  // before it
  });
  EXPECT_EQ(done, 0);
  ASSERT_TRUE(Until([&] { return done > 0; }));
  Advance(10 * kSecond);
  EXPECT_EQ(done, 1);
}

TEST_F(DnsTrackerTest, WaitsNoLongerThanTheDeadline) {
  dns_.set_mode(FakeDnsServer::Mode::kSilent);
  tracker_.Watch(Make("a", {{"a.test", 80, 1}}));
  bool done = false;
  tracker_.WhenResolved(2 * kSecond, [&] { done = true; });
  Advance(kSecond);
  EXPECT_FALSE(done);
  Advance(1100 * std::chrono::milliseconds(1));
  EXPECT_TRUE(done);
  EXPECT_FALSE(tracker_.resolved());
}

TEST_F(DnsTrackerTest, NothingToWaitFor) {
  tracker_.Watch(Make("static", {{"10.0.0.1", 80, 1}}));
  bool done = false;
  tracker_.WhenResolved(5 * kSecond, [&] { done = true; });
  EXPECT_FALSE(done);
  loop_.RunTurn(true);  // does not hang
  EXPECT_TRUE(done);
}

TEST_F(DnsTrackerTest, NewGenerationStartsWithWhatIsKnown) {
  dns_.Answer("users.test", {"10.0.0.1"}, 30);
  const auto before = Make("users", {{"users.test", 80, 1}});
  Watch(before);
  dns_.set_mode(FakeDnsServer::Mode::kSilent);  // an outage, just now
  const auto after = Make("users", {{"users.test", 80, 1}}, kSecond, /*max_idle=*/1);
  ASSERT_NE(after->key(), before->key());
  const size_t queries = dns_.queries();
  tracker_.WatchOnly({after});
  Settle();
  ASSERT_EQ(published_.size(), 2u);
  EXPECT_EQ(published_[1].key, after->key());
  EXPECT_EQ(dns_.queries(), queries);
  EXPECT_EQ(tracker_.EndpointsOf(before->key()), nullptr);
}

TEST_F(DnsTrackerTest, UnwatchedClustersAreForgotten) {
  dns_.Answer("users.test", {"10.0.0.1"}, 5);
  auto cluster = Make("users", {{"users.test", 80, 1}});
  Watch(cluster);
  const std::weak_ptr<const Cluster> weak = cluster;
  const ClusterKey key = cluster->key();
  cluster = nullptr;
  EXPECT_FALSE(weak.expired());
  tracker_.Unwatch(key);
  EXPECT_TRUE(weak.expired());
  const size_t queries = dns_.queries();
  Advance(30 * kSecond);
  EXPECT_EQ(dns_.queries(), queries);
}

TEST_F(DnsTrackerTest, UnwatchingWhatSomebodyWaitsFor) {
  dns_.set_mode(FakeDnsServer::Mode::kSilent);
  const auto cluster = Make("users", {{"users.test", 80, 1}});
  tracker_.Watch(cluster);
  bool done = false;
  tracker_.WhenResolved(5 * kSecond, [&] { done = true; });
  Settle();
  EXPECT_FALSE(done);
  tracker_.Unwatch(cluster->key());
  Settle();
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace gatehouse::upstream
