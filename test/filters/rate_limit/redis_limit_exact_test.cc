// One limit over threads, processes' worth of gateways, servers that fail over, and a Redis
// Cluster.
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/filters/rate_limit/redis_limit_fixture.h"

namespace gatehouse::filters {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using Pending = TestGateway::Pending;

class RedisLimitExactTest : public RedisLimitFixture {
 protected:
  // Each has its own mirror and connections, as a process has.
  int AskFromThreads(const RedisLimitSpec& spec, int threads, int requests) {
    std::vector<int> allowed(static_cast<size_t>(threads));
    // They end here, where they were made.
    std::vector<std::shared_ptr<RedisLimit>> limits;
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) limits.push_back(Limit(spec));
    for (int i = 0; i < threads; ++i) {
      running.emplace_back(
          [&, i, limit = limits[static_cast<size_t>(i)], counters = registry_.NewBlock()] {
            net::Loop loop(clock_);
            http::H1HeadScratch scratch;
            upstream::Upstreams upstreams(loop, *counters, scratch);
            TestGateway gateway(upstreams, limit);
            std::vector<Pending> pending(static_cast<size_t>(requests));
            for (int begun = 0; begun < requests;) {
              for (int burst = 0; burst < 10 && begun < requests; ++burst) {
                gateway.Begin(pending[static_cast<size_t>(begun++)], "k");
              }
              loop.RunTurn(true);
            }
            for (Pending& one : pending) {
              while (!one.outcome) loop.RunTurn(true);
              allowed[static_cast<size_t>(i)] += one.outcome == Outcome::kAllowed ? 1 : 0;
            }
          });
    }
    for (std::thread& thread : running) thread.join();
    int sum = 0;
    for (const int one : allowed) sum += one;
    return sum;
  }
};

TEST_F(RedisLimitExactTest, ThreadsGetExactlyTheLimit) {
  for (const LimitSpec& limit :
       {Bucket(500, 1, hours(1)), Window(500, hours(1000)), Running(500),
        LimitSpec{.kind = LimitKind::kSlidingLog, .amount = 500, .per = hours(1)},
        LimitSpec{.kind = LimitKind::kSlidingWindow, .amount = 500, .per = hours(1000)}}) {
    (void)redis_.Run({"FLUSHALL"});
    EXPECT_EQ(AskFromThreads(Spec({limit}), 4, 300), 500) << RulesOf({limit}).rules()[0].Text();
  }
  (void)redis_.Run({"FLUSHALL"});
  EXPECT_EQ(AskFromThreads(Spec({Bucket(700, 1, hours(1)),
                                 Window(300, hours(1000)),
                                 {.kind = LimitKind::kSlidingLog, .amount = 500, .per = hours(1)}}),
                           3, 300),
            300);
}

TEST_F(RedisLimitExactTest, WorksInARedisCluster) {
  RedisProcess cluster(
      {"--cluster-enabled", "yes", "--cluster-port", std::to_string(RedisProcess::FreePort())});
  (void)cluster.Run({"CLUSTER", "ADDSLOTSRANGE", "0", "16383"});
  ASSERT_TRUE(Until([&] {
    return cluster.Run({"CLUSTER", "INFO"}).find("cluster_state:ok") != std::string::npos;
  }));
  Use({cluster.port()}, {.topology = upstream::RedisTopology::kCluster});
  const RedisLimitSpec spec =
      Spec({Bucket(20, 1, hours(1)),
            Running(15),
            {.kind = LimitKind::kSlidingLog, .amount = 10, .per = hours(1)}});
  TestGateway gateway = Gateway(spec);
  std::vector<Pending> pending(3);
  for (Pending& one : pending) gateway.Begin(one, "k", 3);
  ASSERT_TRUE(Until([&] { return pending[2].outcome.has_value(); }));
  EXPECT_EQ(pending[2].outcome, Outcome::kAllowed);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(Ask(gateway, "key " + std::to_string(i)), Outcome::kAllowed);
  }
  gateway.GiveBack(pending[0]);
  LimitTakes takes;
  EXPECT_TRUE(Until([&] {
    return Ask(gateway, "k", 0, &takes) == Outcome::kAllowed && takes.takes[2].remaining == 4;
  }));
  EXPECT_EQ(takes.takes[1].remaining, 9u);
  EXPECT_EQ(Total(MetricsOf().errands_failed), 0u);
}

TEST_F(RedisLimitExactTest, AReplicaThatIsPromotedGoesOnCounting) {
  RedisProcess replica({"--replicaof", "127.0.0.1 " + std::to_string(redis_.port()),
                        "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db"});
  ASSERT_TRUE(Until([&] {
    return replica.Run({"INFO", "replication"}).find("master_link_status:up") != std::string::npos;
  }));
  Use({redis_.port(), replica.port()});
  RedisLimitSpec spec = Spec(
      {Window(10, hours(1000)), {.kind = LimitKind::kSlidingLog, .amount = 20, .per = hours(1)}});
  spec.on_failure = StoreFailure::kDeny;
  spec.timeout = seconds(1);
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "k", 7), 7);
  // A replica that is just there may have to come again.
  ASSERT_TRUE(Until([&] {
    const std::string replicas = redis_.Run({"WAIT", "1", "100"});
    return replicas == "1" && replica.Run({"DBSIZE"}) == redis_.Run({"DBSIZE"});
  }));
  redis_.Kill();
  (void)replica.Run({"REPLICAOF", "NO", "ONE"});
  ASSERT_TRUE(Until([&] { return Ask(gateway, "other") == Outcome::kAllowed; }));
  EXPECT_EQ(AskMany(gateway, "k", 10), 3);
}

TEST_F(RedisLimitExactTest, ExpiresJustWhenItCountsNoMore) {
  const auto ttl = [&](const LimitSpec& limit) {
    (void)redis_.Run({"FLUSHALL"});
    TestGateway gateway = Gateway(Spec({limit}));
    LimitTakes takes;
    EXPECT_EQ(Ask(gateway, "k", 1, &takes), Outcome::kAllowed);
    std::string key = Keys();
    key = key.substr(0, key.find('}') + 1);
    const int64_t left = std::stoll(redis_.Run({"PTTL", key}));
    const int64_t counts = takes.takes[0].reset_after.count() / 1000;
    EXPECT_LE(left, counts + 3);
    EXPECT_GE(left, counts - 1000);
  };
  ttl(Bucket(10, 1, hours(1)));
  ttl(Window(10, hours(3)));
  ttl({.kind = LimitKind::kSlidingWindow, .amount = 10, .per = hours(3)});
  ttl({.kind = LimitKind::kSlidingLog, .amount = 10, .per = hours(3)});
  ttl({.kind = LimitKind::kCalendar, .amount = 10, .period = CalendarPeriod::kMonth});
  ttl({.kind = LimitKind::kLeakyQueue,
       .amount = 10,
       .per = hours(3),
       .capacity = 4,
       .max_delay = seconds(5)});
}

TEST_F(RedisLimitExactTest, RejectedRequestsAddNothing) {
  TestGateway gateway =
      Gateway(Spec({{.kind = LimitKind::kSlidingLog, .amount = 3, .per = hours(1)}}));
  EXPECT_EQ(AskMany(gateway, "k", 3), 3);
  const std::string before = redis_.Run({"INFO", "commandstats"});
  EXPECT_EQ(AskMany(gateway, "k", 50), 0);
  std::string list = Keys();
  const size_t end = list.find(":1");
  ASSERT_NE(end, std::string::npos);
  const size_t start = list.rfind("gatehouse", end);
  EXPECT_EQ(redis_.Run({"LLEN", list.substr(start, end + 2 - start)}), "3");
  EXPECT_THAT(before, HasSubstr("rpush"));
}

}  // namespace
}  // namespace gatehouse::filters
