// Gateways that count by their mirrors, and one real Redis.
#include <algorithm>
#include <chrono>
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
using Pending = TestGateway::Pending;

class RedisLimitSyncedTest : public RedisLimitFixture {
 protected:
  [[nodiscard]] RedisLimitSpec Synced(std::vector<LimitSpec> limits, uint64_t max_unsynced = 0) {
    RedisLimitSpec spec = Spec(std::move(limits));
    spec.sync_interval = milliseconds(20);
    spec.max_unsynced = max_unsynced;
    return spec;
  }
  // What another gateway, which knows nothing yet, is told.
  uint64_t UsedInRedis(const RedisLimitSpec& like, const std::string& key) {
    RedisLimitSpec spec = like;
    spec.sync_interval = {};
    spec.max_unsynced = 0;
    TestGateway exact = Gateway(spec);
    LimitTakes takes;
    EXPECT_EQ(Ask(exact, key, 0, &takes), Outcome::kAllowed);
    return takes.takes[0].limit - takes.takes[0].remaining;
  }
};

TEST_F(RedisLimitSyncedTest, DecidesHereAndTellsRedis) {
  const RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  TestGateway gateway = Gateway(spec);
  Pending pending;
  gateway.Begin(pending, "k", 4);
  EXPECT_EQ(pending.outcome, Outcome::kAllowed);
  EXPECT_FALSE(pending.asked);
  EXPECT_EQ(pending.takes.takes[0].remaining, 96u);
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "k") == 4; }));
}

TEST_F(RedisLimitSyncedTest, AsksWhenTooMuchIsUnsynced) {
  TestGateway gateway = Gateway(Synced({Window(100, hours(1000))}, 10));
  std::vector<Pending> pending(12);
  for (Pending& one : pending) gateway.Begin(one, "k");
  for (int i = 0; i < 12; ++i) EXPECT_EQ(pending[i].asked, i >= 10) << i;
  ASSERT_TRUE(Until([&] { return pending[10].outcome && pending[11].outcome; }));
  EXPECT_EQ(pending[11].outcome, Outcome::kAllowed);
  // More than may be unsynced at all.
  LimitTakes takes;
  EXPECT_EQ(Ask(gateway, "k", 60, &takes), Outcome::kAllowed);
  EXPECT_EQ(Ask(gateway, "k", 60, &takes), Outcome::kRejected);
  EXPECT_EQ(takes.takes[0].remaining, 28u);
}

TEST_F(RedisLimitSyncedTest, KeysWithoutAPlaceAskRedis) {
  RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  spec.sync_interval = std::chrono::seconds(30);
  spec.max_keys = 1;
  TestGateway gateway = Gateway(spec);
  std::vector<Pending> pending(9);
  for (int i = 0; i < 9; ++i) gateway.Begin(pending[i], "k" + std::to_string(i));
  // Seven are there, and are not given up before Redis knows of them.
  EXPECT_FALSE(pending[6].asked);
  EXPECT_TRUE(pending[7].asked);
  ASSERT_TRUE(Until([&] { return pending[7].outcome && pending[8].outcome; }));
  EXPECT_EQ(pending[8].outcome, Outcome::kAllowed);
  EXPECT_EQ(Total(MetricsOf().crowded_out), 2u);
}

TEST_F(RedisLimitSyncedTest, GatewaysLearnOfEachOther) {
  const RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  TestGateway one = Gateway(spec);
  TestGateway two = Gateway(spec);
  EXPECT_EQ(AskMany(one, "k", 60), 60);
  LimitTakes takes;
  ASSERT_TRUE(Until([&] {
    (void)Ask(two, "k", 1, &takes);
    return takes.takes[0].remaining < 40;
  }));
  const uint64_t left = takes.takes[0].remaining;
  EXPECT_GE(AskMany(two, "k", 100), static_cast<int>(left) - 1);
  // Its view is an old one; it learns before it has let more through than it may.
  EXPECT_LE(AskMany(one, "k", 100), 10);
  EXPECT_EQ(AskMany(one, "k", 100), 0);
}

TEST_F(RedisLimitSyncedTest, StaysInsideItsBoundAndRepaysDebts) {
  constexpr int kGateways = 5;
  constexpr int kUnsynced = 8;
  const RedisLimitSpec spec = Synced({Window(100, hours(1000))}, kUnsynced);
  std::vector<TestGateway> gateways;
  for (int i = 0; i < kGateways; ++i) gateways.push_back(Gateway(spec));
  int allowed = 0;
  std::vector<std::vector<Pending>> pending(kGateways);
  for (int g = 0; g < kGateways; ++g) {
    pending[g] = std::vector<Pending>(200);
    for (Pending& one : pending[g]) gateways[g].Begin(one, "k");
  }
  for (auto& each : pending) {
    for (Pending& one : each) {
      ASSERT_TRUE(Until([&] { return one.outcome.has_value(); }));
      allowed += one.outcome == Outcome::kAllowed ? 1 : 0;
    }
  }
  for (int round = 0; round < 10; ++round) {
    WaitMillis(15);
    for (TestGateway& gateway : gateways) allowed += AskMany(gateway, "k", 5);
  }
  EXPECT_GE(allowed, 100);
  EXPECT_LE(allowed, 100 + kGateways * kUnsynced);
}

TEST_F(RedisLimitSyncedTest, WorkersOfAProcessShareTheMirror) {
  const RedisLimitSpec spec = Synced({Window(1000, hours(1000))}, 50);
  const std::shared_ptr<RedisLimit> shared = Limit(spec);
  std::vector<int> allowed(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i, counters = registry_.NewBlock()] {
      net::Loop loop(clock_);
      http::H1HeadScratch scratch;
      upstream::Upstreams upstreams(loop, *counters, scratch);
      TestGateway worker(upstreams, shared);
      for (int turn = 0; turn < 500; ++turn) {
        Pending pending;
        worker.Begin(pending, "k");
        while (!pending.outcome) loop.RunTurn(true);
        allowed[i] += pending.outcome == Outcome::kAllowed ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // What was under way when an answer came, or a worker ended, may be counted twice.
  const int sum = allowed[0] + allowed[1] + allowed[2];
  EXPECT_GE(sum, 1000 - 50);
  EXPECT_LE(sum, 1000 + 50);
  // What the workers had not told when they ended is told by another one.
  TestGateway last(*upstreams_, shared);
  (void)AskMany(last, "k", 1);
  EXPECT_TRUE(
      Until([&] { return UsedInRedis(spec, "k") >= static_cast<uint64_t>(std::min(sum, 1000)); }));
}

TEST_F(RedisLimitSyncedTest, NothingThatPassedIsLostWhileRedisIsGone) {
  RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  spec.gateways = 2;
  spec.timeout = milliseconds(300);
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "warm", 1), 1);
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "warm") == 1; }));
  redis_.Kill();
  // Ten, and the half of hundred that is this gateway's share.
  const int allowed = AskMany(gateway, "k", 200);
  EXPECT_GE(allowed, 50);
  EXPECT_LE(allowed, 60);
  EXPECT_EQ(AskMany(gateway, "k", 50), 0);
  redis_.Start();
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "k") == static_cast<uint64_t>(allowed); }));
  EXPECT_EQ(Total(MetricsOf().units_given_up), 0u);
}

TEST_F(RedisLimitSyncedTest, ComesThroughKillsStopsAndFlushes) {
  RedisLimitSpec spec = Synced({Bucket(1000, 1000, hours(1))}, 10);
  spec.timeout = milliseconds(50);
  TestGateway one = Gateway(spec);
  TestGateway two = Gateway(spec);
  const auto both = [&](int count) { return AskMany(one, "k", count) + AskMany(two, "k", count); };
  EXPECT_EQ(both(20), 40);
  redis_.Pause();
  EXPECT_EQ(both(20), 40);
  redis_.Resume();
  WaitMillis(100);
  (void)redis_.Run({"SCRIPT", "FLUSH"});
  EXPECT_EQ(both(20), 40);
  redis_.Kill();
  EXPECT_EQ(both(20), 40);
  redis_.Start();
  EXPECT_TRUE(Until([&] { return both(1), UsedInRedis(spec, "k") > 0; }));
  (void)redis_.Run({"FLUSHALL"});
  EXPECT_TRUE(Until([&] { return both(1), UsedInRedis(spec, "k") > 0; }));
}

TEST_F(RedisLimitSyncedTest, WhatIsLeftIsToldWhenThePolicyGoes) {
  RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  spec.sync_interval = std::chrono::seconds(30);
  {
    TestGateway gateway = Gateway(spec);
    EXPECT_EQ(AskMany(gateway, "k", 3), 3);
  }
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "k") == 3; }));
}

TEST_F(RedisLimitSyncedTest, ADrainingWorkerTellsAtOnce) {
  RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  spec.sync_interval = std::chrono::seconds(3000);
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "k", 3), 3);
  upstreams_->Drain();
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "k") == 3; }));
}

TEST_F(RedisLimitSyncedTest, GivesBackWhatIsKnownHereOrThere) {
  const RedisLimitSpec spec = Synced({Window(100, hours(1000))}, 10);
  TestGateway gateway = Gateway(spec);
  Pending first;
  gateway.Begin(first, "k", 5);
  gateway.GiveBack(first);
  Pending second;
  gateway.Begin(second, "k", 5);
  EXPECT_EQ(second.takes.takes[0].remaining, 95u);
  ASSERT_TRUE(Until([&] { return UsedInRedis(spec, "k") == 5; }));
  gateway.GiveBack(second);
  EXPECT_TRUE(Until([&] { return UsedInRedis(spec, "k") == 0; }));
}

TEST_F(RedisLimitSyncedTest, AKeyThatWasGivenBackElsewhereIsLookedAtAgain) {
  const RedisLimitSpec spec = Synced({Window(10, hours(1000))}, 2);
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "k", 20), 10);
  (void)redis_.Run({"FLUSHALL"});
  EXPECT_TRUE(Until([&] { return Ask(gateway, "k") == Outcome::kAllowed; }));
}

TEST_F(RedisLimitSyncedTest, AChangeKeepsWhatWasCounted) {
  TestGateway gateway = Gateway(Synced({Window(100, hours(1000))}, 5));
  EXPECT_EQ(AskMany(gateway, "k", 60), 60);
  WaitMillis(60);
  gateway.limit().Change(Synced({Window(80, hours(1000))}, 5), loop_.WallMicros());
  const int more = AskMany(gateway, "k", 100);
  EXPECT_GE(more, 20);
  EXPECT_LE(more, 25);
  gateway.limit().Change(Spec({Window(200, hours(1000))}), loop_.WallMicros());
  WaitMillis(60);
  EXPECT_EQ(AskMany(gateway, "k", 200), 200 - 60 - more);
}

TEST_F(RedisLimitSyncedTest, SeveralLimitsAreSyncedTogether) {
  const RedisLimitSpec spec = Synced({Bucket(50, 1, hours(1)), Window(30, hours(1000))}, 5);
  TestGateway one = Gateway(spec);
  TestGateway two = Gateway(spec);
  int allowed = 0;
  for (int round = 0; round < 10; ++round) {
    allowed += AskMany(one, "k", 4) + AskMany(two, "k", 4);
    WaitMillis(30);
  }
  EXPECT_GE(allowed, 30);
  EXPECT_LE(allowed, 40);
  const auto peek = one.limit().Peek(one.RequestOf("k", 0));
  ASSERT_TRUE(peek.has_value());
  EXPECT_EQ(peek->takes[1].remaining, 0u);
}

}  // namespace
}  // namespace gatehouse::filters
