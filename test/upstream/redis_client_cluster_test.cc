// RedisClient against a real Redis Cluster: three masters and a replica.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/time.h"
#include "source/upstream/redis_slots.h"
#include "test/fakes/redis_process.h"
#include "test/upstream/redis_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::seconds;

const RedisScript kAdd("return redis.call('INCRBY', KEYS[1], ARGV[1])");

class RedisClusterTest : public RedisFixture<SystemClock> {
 protected:
  static constexpr int kMasters = 3;
  static constexpr int kSlotsEach = kRedisSlots / kMasters;

  RedisClusterTest() {
    for (int i = 0; i <= kMasters; ++i) {
      nodes_.push_back(std::make_unique<RedisProcess>(
          std::vector<std::string>{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
                                   "--cluster-require-full-coverage", "no", "--cluster-port",
                                   std::to_string(RedisProcess::FreePort())}));
    }
    for (int i = 0; i < kMasters; ++i) {
      const int last = i == kMasters - 1 ? kRedisSlots - 1 : (i + 1) * kSlotsEach - 1;
      Expect(i, {"CLUSTER", "ADDSLOTSRANGE", std::to_string(i * kSlotsEach), std::to_string(last)});
    }
    for (int i = 1; i <= kMasters; ++i) {
      const std::string bus = nodes_[0]->Run({"CONFIG", "GET", "cluster-port"});
      Expect(i, {"CLUSTER", "MEET", "127.0.0.1", std::to_string(nodes_[0]->port()),
                 bus.substr(bus.find(' ') + 1)});
    }
    EXPECT_TRUE(Until([&] {
      return std::ranges::all_of(nodes_, [](const auto& node) {
        const std::string slots = node->Run({"CLUSTER", "INFO"});
        return slots.find("cluster_state:ok") != std::string::npos &&
               slots.find("cluster_known_nodes:4") != std::string::npos &&
               slots.find("cluster_slots_ok:16384") != std::string::npos;
      });
    }));
    Expect(kMasters, {"CLUSTER", "REPLICATE", nodes_[0]->Run({"CLUSTER", "MYID"})});
  }
  void Expect(int node, const std::vector<std::string>& command) {
    EXPECT_EQ(nodes_[static_cast<size_t>(node)]->Run(command), "OK") << command[1];
  }
  // A key of a slot of that master.
  static std::string KeyOf(int master, int which = 0) {
    for (int i = 0;; ++i) {
      std::string key = "key" + std::to_string(i);
      if (std::min(RedisSlotOf(key) / kSlotsEach, kMasters - 1) == master && which-- == 0) {
        return key;
      }
    }
  }
  std::string Add(std::string_view key) {
    const std::string_view args[] = {"1"};
    return Do({.script = &kAdd, .key = key, .args = args, .timeout = seconds(5)});
  }
  void Use() { RedisFixture::Use({nodes_[0]->port()}, {.topology = RedisTopology::kCluster}); }

  std::vector<std::unique_ptr<RedisProcess>> nodes_;
};

TEST_F(RedisClusterTest, ASlotThatMovesWhileCallsRun) {
  Use();
  for (int i = 0; i < kMasters; ++i) EXPECT_EQ(Add(KeyOf(i)), "1");
  EXPECT_EQ(Value(target_->metrics().moved), 0u);
  const std::string key = KeyOf(0, 1);
  const std::string slot = std::to_string(RedisSlotOf(key));
  const std::string ids[] = {nodes_[0]->Run({"CLUSTER", "MYID"}),
                             nodes_[1]->Run({"CLUSTER", "MYID"})};
  int sum = 0;
  const auto add = [&](int times) {
    std::vector<TestCall> calls(static_cast<size_t>(times));
    const std::string_view args[] = {"1"};
    for (TestCall& call : calls) {
      Start(call, {.script = &kAdd, .key = key, .args = args, .timeout = seconds(5)});
    }
    ASSERT_TRUE(Until([&] { return calls.back().done && Client().running() == 0; }));
    for (const TestCall& call : calls) {
      EXPECT_EQ(call.failure, RedisFailure::kNone) << call.text;
      EXPECT_EQ(call.text, std::to_string(++sum));
    }
  };
  add(50);
  Expect(1, {"CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0]});
  Expect(0, {"CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1]});
  add(50);
  EXPECT_EQ(Value(target_->metrics().asked), 0u);
  EXPECT_EQ(
      nodes_[0]->Run({"MIGRATE", "127.0.0.1", std::to_string(nodes_[1]->port()), key, "0", "5000"}),
      "OK");
  add(50);
  EXPECT_EQ(Value(target_->metrics().asked), 50u);
  Expect(1, {"CLUSTER", "SETSLOT", slot, "NODE", ids[1]});
  Expect(0, {"CLUSTER", "SETSLOT", slot, "NODE", ids[1]});
  add(50);
  EXPECT_EQ(Value(target_->metrics().moved), 50u) << "all went out before the first was moved";
  add(50);
  EXPECT_EQ(Value(target_->metrics().moved), 50u);
  EXPECT_EQ(nodes_[1]->Run({"GET", key}), std::to_string(sum));
}

TEST_F(RedisClusterTest, AReplicaTakesOver) {
  Use();
  for (int i = 0; i < kMasters; ++i) EXPECT_EQ(Add(KeyOf(i)), "1");
  EXPECT_TRUE(Until([&] {
    return nodes_[kMasters]->Run({"INFO", "replication"}).find("master_link_status:up") !=
           std::string::npos;
  }));
  EXPECT_EQ(nodes_[0]->Run({"WAIT", "1", "5000"}), "1");
  nodes_[0]->Kill();
  // Neither the seed nor the slots' master is there; what is known of the others does.
  EXPECT_EQ(Add(KeyOf(1)), "2");
  Expect(kMasters, {"CLUSTER", "FAILOVER", "TAKEOVER"});
  std::string last;
  EXPECT_TRUE(Until([&] { return (last = Add(KeyOf(0))) == "2"; })) << last;
  EXPECT_EQ(Add(KeyOf(2)), "2");
}

TEST_F(RedisClusterTest, KeysAreCountedAsTheServersCountThem) {
  for (const std::string key : {"", "a", "user:{42}:minute", "{}x", "{a}{b}", "\xff\x00z"}) {
    EXPECT_EQ(nodes_[0]->Run({"CLUSTER", "KEYSLOT", key}), std::to_string(RedisSlotOf(key)));
  }
}

}  // namespace
}  // namespace gatehouse::upstream
