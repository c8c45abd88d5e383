#include "source/filters/rate_limit/redis_limit.h"

#include <algorithm>
#include <chrono>
#include <string>
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
using testing::Not;
using Pending = TestGateway::Pending;

class RedisLimitTest : public RedisLimitFixture {};

TEST_F(RedisLimitTest, CountsOneLimitOverTwoGateways) {
  TestGateway one = Gateway(Spec({Bucket(5, 1, hours(1))}));
  TestGateway two = Gateway(Spec({Bucket(5, 1, hours(1))}));
  LimitTakes takes;
  EXPECT_EQ(Ask(one, "alice", 1, &takes), Outcome::kAllowed);
  EXPECT_EQ(takes.takes[0].remaining, 4u);
  EXPECT_EQ(Ask(two, "alice", 3, &takes), Outcome::kAllowed);
  EXPECT_EQ(takes.takes[0].remaining, 1u);
  EXPECT_EQ(Ask(one, "alice", 2, &takes), Outcome::kRejected);
  EXPECT_EQ(takes.takes[0].remaining, 1u);
  EXPECT_GT(takes.retry_after(), seconds(3500));
  EXPECT_EQ(Ask(one, "bob"), Outcome::kAllowed);
  EXPECT_EQ(Ask(one, "alice", 6, &takes), Outcome::kRejected);
  EXPECT_EQ(takes.retry_after(), LimitTake::kForever);
}

TEST_F(RedisLimitTest, KeepsNoKeyInRedis) {
  TestGateway gateway = Gateway(Spec({Bucket(5, 1, hours(1))}));
  EXPECT_EQ(Ask(gateway, "secret-api-key"), Outcome::kAllowed);
  EXPECT_THAT(Keys(), Not(HasSubstr("secret")));
  EXPECT_THAT(Keys(), HasSubstr("gatehouse:limit:{p:"));
}

TEST_F(RedisLimitTest, KeepsAllOfAKeyInOneSlotAndForgetsIt) {
  RedisLimitSpec spec = Spec({Bucket(5, 1, milliseconds(100)),
                              {.kind = LimitKind::kSlidingLog, .amount = 9, .per = seconds(2)},
                              Running(3)});
  spec.lease = seconds(2);
  TestGateway gateway = Gateway(std::move(spec));
  Pending pending;
  gateway.Begin(pending, "k");
  ASSERT_TRUE(Until([&] { return pending.outcome.has_value(); }));
  const std::string keys = Keys();
  EXPECT_EQ(std::count(keys.begin(), keys.end(), '{'), 3);
  // What is between the braces is hashed.
  const std::string tag = keys.substr(keys.find('{'), keys.find('}') - keys.find('{') + 1);
  size_t at = 0;
  for (int i = 0; i < 3; ++i, ++at) ASSERT_NE(at = keys.find(tag, at), std::string::npos);
  gateway.Release(pending);
  EXPECT_TRUE(Until([&] { return Keys().empty(); }));
}

TEST_F(RedisLimitTest, TellsOfAllLimitsAndTakesFromAllOrNone) {
  TestGateway gateway = Gateway(Spec({Bucket(2, 1, hours(1)), Window(100, hours(1000))}));
  LimitTakes takes;
  EXPECT_EQ(AskMany(gateway, "k", 10), 2);
  EXPECT_EQ(Ask(gateway, "k", 1, &takes), Outcome::kRejected);
  ASSERT_EQ(takes.count, 2u);
  EXPECT_FALSE(takes.takes[0].allowed);
  EXPECT_TRUE(takes.takes[1].allowed);
  EXPECT_EQ(takes.takes[1].remaining, 98u);
}

TEST_F(RedisLimitTest, GivesBack) {
  TestGateway gateway = Gateway(Spec(
      {Bucket(2, 1, hours(1)), {.kind = LimitKind::kSlidingLog, .amount = 9, .per = hours(1)}}));
  Pending pending;
  gateway.Begin(pending, "k", 2);
  ASSERT_TRUE(Until([&] { return pending.outcome.has_value(); }));
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kRejected);
  gateway.GiveBack(pending);
  LimitTakes takes;
  EXPECT_TRUE(Until([&] {
    return Ask(gateway, "k", 0, &takes) == Outcome::kAllowed && takes.takes[0].remaining >= 1;
  }));
  EXPECT_EQ(takes.takes[1].remaining, 9u);
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kAllowed);
}

TEST_F(RedisLimitTest, AShorterLeaseIsRenewedInTime) {
  RedisLimitSpec spec = Spec({Running(2)});
  spec.lease = hours(1);
  TestGateway gateway = Gateway(spec);
  Pending before;
  gateway.Begin(before, "k");
  ASSERT_TRUE(Until([&] { return before.outcome.has_value(); }));
  spec.lease = seconds(1);
  gateway.limit().Change(spec, loop_.WallMicros());
  Pending after;
  gateway.Begin(after, "k");
  ASSERT_TRUE(Until([&] { return after.outcome.has_value(); }));
  EXPECT_EQ(after.outcome, Outcome::kAllowed);
  EXPECT_TRUE(Until([&] { return Total(MetricsOf().places_renewed) > 0; }));
}

TEST_F(RedisLimitTest, PlacesAreHeldReleasedAndRenewed) {
  RedisLimitSpec spec = Spec({Running(2)});
  spec.lease = seconds(1);
  TestGateway gateway = Gateway(spec);
  Pending first;
  Pending second;
  gateway.Begin(first, "k");
  gateway.Begin(second, "k");
  ASSERT_TRUE(Until([&] { return first.outcome && second.outcome; }));
  EXPECT_EQ(first.outcome, Outcome::kAllowed);
  EXPECT_EQ(second.outcome, Outcome::kAllowed);
  EXPECT_TRUE(second.takes.holds);
  LimitTakes rejected;
  EXPECT_EQ(Ask(gateway, "k", 1, &rejected), Outcome::kRejected);
  EXPECT_FALSE(rejected.holds);
  // For longer than a lease.
  const RedisLimitMetrics metrics = MetricsOf();
  ASSERT_TRUE(Until([&] { return Total(metrics.places_renewed) >= 10; }));
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kRejected);
  gateway.Release(first);
  // The script may have to be loaded first.
  Pending third;
  ASSERT_TRUE(Until([&] {
    if (third.outcome == Outcome::kRejected) third.outcome.reset(), third.check.reset();
    if (!third.check) gateway.Begin(third, "k");
    return third.outcome == Outcome::kAllowed;
  }));
  // Lost places come back with their renewal.
  (void)redis_.Run({"FLUSHALL"});
  ASSERT_TRUE(Until([&] { return !Keys().empty(); }));
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kRejected);
}

TEST_F(RedisLimitTest, PlacesOfADeadGatewayComeBack) {
  RedisLimitSpec spec = Spec({Running(1)});
  spec.lease = seconds(1);
  {
    // Its worker ends without a word.
    net::Loop loop(clock_);
    http::H1HeadScratch scratch;
    upstream::Upstreams upstreams(loop, *counters_, scratch);
    TestGateway dead(upstreams, Limit(spec));
    Pending pending;
    dead.Begin(pending, "k");
    while (!pending.outcome) loop.RunTurn(true);
    EXPECT_EQ(pending.outcome, Outcome::kAllowed);
  }
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kRejected);
  EXPECT_TRUE(Until([&] { return Ask(gateway, "k") == Outcome::kAllowed; }));
}

TEST_F(RedisLimitTest, APlaceThatNobodyWaitsForAnyMoreIsGivenBack) {
  TestGateway gateway = Gateway(Spec({Running(1)}));
  {
    Pending pending;
    gateway.Begin(pending, "k");
    loop_.RunTurn(false);
  }
  Pending pending;
  EXPECT_TRUE(Until([&] { return Ask(gateway, "k") == Outcome::kAllowed; }));
}

TEST_F(RedisLimitTest, RequestsWaitForTheirTurn) {
  TestGateway one = Gateway(Spec({{.kind = LimitKind::kLeakyQueue,
                                   .amount = 10,
                                   .per = seconds(1),
                                   .capacity = 100,
                                   .max_delay = milliseconds(450)}}));
  std::vector<Pending> pending(10);
  for (Pending& each : pending) one.Begin(each, "k");
  ASSERT_TRUE(Until([&] {
    return std::all_of(pending.begin(), pending.end(), [](auto& each) { return each.outcome; });
  }));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(pending[i].outcome, i < 5 ? Outcome::kAllowed : Outcome::kRejected) << i;
    if (i == 0 || i >= 5) continue;
    const Duration delay = pending[i].takes.delay();
    EXPECT_LE(delay, milliseconds(100) * i);
    EXPECT_GT(delay, milliseconds(100) * (i - 1));
  }
}

TEST_F(RedisLimitTest, AChangeKeepsWhatWasCounted) {
  TestGateway gateway = Gateway(Spec({Window(10, hours(1000))}));
  EXPECT_EQ(AskMany(gateway, "k", 8), 8);
  gateway.limit().Change(Spec({Window(9, hours(1000))}), loop_.WallMicros());
  EXPECT_EQ(AskMany(gateway, "k", 8), 1);
  gateway.limit().Change(Spec({Window(20, hours(1000))}), loop_.WallMicros());
  EXPECT_EQ(AskMany(gateway, "k", 20), 11);
}

TEST_F(RedisLimitTest, AKeyOfAnotherTypeIsAnError) {
  RedisLimitSpec spec = Spec({Bucket(5, 1, hours(1))});
  spec.on_failure = StoreFailure::kDeny;
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kAllowed);
  std::string key = Keys();
  while (!key.empty() && key.back() != '}') key.pop_back();
  (void)redis_.Run({"DEL", key});
  (void)redis_.Run({"LPUSH", key, "x"});
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kUnavailable);
  (void)redis_.Run({"DEL", key});
  (void)redis_.Run({"SET", key, "somebody else's"});
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kUnavailable);
  (void)redis_.Run({"DEL", key});
  EXPECT_EQ(Ask(gateway, "k"), Outcome::kAllowed);
  EXPECT_EQ(Total(MetricsOf().checks[static_cast<size_t>(upstream::RedisFailure::kError)]), 2u);
}

TEST_F(RedisLimitTest, SurvivesFlushes) {
  TestGateway gateway = Gateway(Spec({Bucket(5, 1, hours(1))}));
  EXPECT_EQ(AskMany(gateway, "k", 9), 5);
  (void)redis_.Run({"SCRIPT", "FLUSH"});
  EXPECT_EQ(AskMany(gateway, "k", 3), 0);
  (void)redis_.Run({"FLUSHALL"});
  EXPECT_EQ(AskMany(gateway, "k", 9), 5);
}

TEST_F(RedisLimitTest, DoesAsThePolicySaysWithoutMemory) {
  RedisLimitSpec spec = Spec({Bucket(8, 1, hours(1))});
  spec.gateways = 2;
  TestGateway gateway = Gateway(spec);
  (void)redis_.Run({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  (void)redis_.Run({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_EQ(AskMany(gateway, "k", 20), 4);
  (void)redis_.Run({"CONFIG", "SET", "maxmemory", "0"});
  // Nobody asked while it had no room.
  const auto ok = MetricsOf().checks[0];
  ASSERT_TRUE(Until([&] { return Ask(gateway, "other", 0), Total(ok) > 0; }));
  EXPECT_EQ(AskMany(gateway, "k", 20), 8);
}

TEST_F(RedisLimitTest, WhenRedisIsGone) {
  RedisLimitSpec spec = Spec({Bucket(8, 1, hours(1))});
  spec.gateways = 4;
  spec.timeout = milliseconds(300);
  TestGateway gateway = Gateway(spec);
  spec.policy = "deny";
  spec.on_failure = StoreFailure::kDeny;
  TestGateway strict = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "k", 4), 4);
  redis_.Kill();
  // Two of eight is a gateway's share.
  EXPECT_EQ(AskMany(gateway, "k", 20), 2);
  EXPECT_EQ(AskMany(gateway, "k", 20), 0);
  EXPECT_EQ(Ask(strict, "k"), Outcome::kUnavailable);
  EXPECT_EQ(Total(MetricsOf().fallback_allowed), 2u);
  EXPECT_EQ(Total(MetricsOf().fallback_rejected), 38u);
  redis_.Start();
  ASSERT_TRUE(Until([&] { return Ask(strict, "other") == Outcome::kAllowed; }));
  EXPECT_EQ(AskMany(gateway, "fresh", 20), 8);
}

TEST_F(RedisLimitTest, APlaceThatWasHadWithoutRedisIsGivenBackOnce) {
  TestGateway gateway = Gateway(Spec({Bucket(100, 1, hours(1)), Running(3)}));
  redis_.Kill();
  std::vector<Pending> pending(3);
  for (Pending& one : pending) gateway.Begin(one, "k");
  ASSERT_TRUE(Until([&] {
    return std::ranges::all_of(pending, [](const Pending& one) { return one.outcome.has_value(); });
  }));
  for (const Pending& one : pending) EXPECT_TRUE(one.takes.holds);
  gateway.GiveBack(pending.front());
  EXPECT_EQ(AskMany(gateway, "k", 5), 1);
}

// Redis is back by then: what was counted here comes back here, and nothing there.
TEST_F(RedisLimitTest, WhatWasHadWithoutRedisIsNotGivenBackToIt) {
  TestGateway gateway = Gateway(Spec({Bucket(4, 1, hours(1))}));
  redis_.Kill();
  Pending pending;
  gateway.Begin(pending, "k");
  ASSERT_TRUE(Until([&] { return pending.outcome.has_value(); }));
  EXPECT_TRUE(pending.takes.alone);
  redis_.Start();
  LimitTakes takes;
  ASSERT_TRUE(
      Until([&] { return Ask(gateway, "other", 1, &takes) == Outcome::kAllowed && !takes.alone; }));
  EXPECT_EQ(AskMany(gateway, "k", 9), 4);
  gateway.GiveBack(pending);
  EXPECT_EQ(AskMany(gateway, "k", 9), 0);
}

// A limit of places may be gone by the time that a place is given back: then it is not renewed.
TEST_F(RedisLimitTest, PlacesAreGivenBackByWhateverTermsThereAre) {
  RedisLimitSpec running = Spec({Bucket(100, 1, hours(1)), Running(1)});
  running.lease = seconds(1);
  TestGateway gateway = Gateway(running);
  Pending pending;
  gateway.Begin(pending, "k");
  ASSERT_TRUE(Until([&] { return pending.outcome.has_value(); }));
  gateway.limit().Change(Spec({Bucket(100, 1, hours(1))}), pending.request.micros);
  gateway.GiveBack(pending);
  gateway.limit().Change(running, pending.request.micros);
  ASSERT_TRUE(Until([&] { return Ask(gateway, "k") == Outcome::kAllowed; }));
}

TEST_F(RedisLimitTest, WhenRedisStands) {
  RedisLimitSpec spec = Spec({Bucket(50, 1, hours(1))});
  spec.timeout = milliseconds(50);
  TestGateway gateway = Gateway(spec);
  EXPECT_EQ(AskMany(gateway, "k", 10), 10);
  redis_.Pause();
  // Deadlines first; then nobody waits.
  const RedisLimitMetrics metrics = MetricsOf();
  const auto refused = metrics.checks[static_cast<size_t>(upstream::RedisFailure::kRefused)];
  ASSERT_TRUE(Until([&] {
    EXPECT_NE(Ask(gateway, "k"), Outcome::kUnavailable);
    return Total(refused) > 3;
  }));
  uint64_t unanswered = 0;
  for (const auto failure : {upstream::RedisFailure::kTimeout, upstream::RedisFailure::kUnreachable,
                             upstream::RedisFailure::kBroken}) {
    unanswered += Total(metrics.checks[static_cast<size_t>(failure)]);
  }
  EXPECT_GT(unanswered, 0u);
  redis_.Resume();
  const auto ok = metrics.checks[0];
  const uint64_t before = Total(ok);
  EXPECT_TRUE(Until([&] { return Ask(gateway, "k", 0), Total(ok) > before; }));
}

TEST_F(RedisLimitTest, ChecksItsSpec) {
  const auto wrong = [&](auto&& change) {
    RedisLimitSpec spec = Spec({Bucket(5, 1, hours(1))});
    change(spec);
    return std::string(RedisLimit::Check(spec).message());
  };
  EXPECT_EQ(wrong([](RedisLimitSpec&) {}), "");
  EXPECT_THAT(wrong([](RedisLimitSpec& spec) { spec.sync_interval = milliseconds(1); }),
              HasSubstr("sync_interval"));
  EXPECT_THAT(wrong([](RedisLimitSpec& spec) { spec.max_unsynced = 3; }),
              HasSubstr("max_unsynced"));
  EXPECT_THAT(wrong([](RedisLimitSpec& spec) { spec.key_prefix = "{x}"; }), HasSubstr("braces"));
  EXPECT_THAT(wrong([](RedisLimitSpec& spec) { spec.key_prefix.assign(300, 'x'); }),
              HasSubstr("key_prefix"));
  EXPECT_THAT(wrong([](RedisLimitSpec& spec) { spec.lease = milliseconds(3); }),
              HasSubstr("lease"));
  for (const LimitSpec& limit :
       {Running(4), LimitSpec{.kind = LimitKind::kSlidingLog, .amount = 5, .per = seconds(1)},
        LimitSpec{.kind = LimitKind::kLeakyQueue,
                  .amount = 5,
                  .per = seconds(1),
                  .capacity = 5,
                  .max_delay = seconds(1)}}) {
    EXPECT_THAT(wrong([&](RedisLimitSpec& spec) {
                  spec.rules = RulesOf({limit});
                  spec.sync_interval = seconds(1);
                }),
                HasSubstr("sync_interval"));
  }
}

TEST_F(RedisLimitTest, SaysWhatItIs) {
  EXPECT_EQ(Limit(Spec({Bucket(5, 1, hours(1))}))->Text(), "redis \"store\", exact");
  RedisLimitSpec spec = Spec({Bucket(100, 1, hours(1))});
  spec.sync_interval = milliseconds(200);
  EXPECT_EQ(Limit(spec)->Text(), "redis \"store\", synced every 200ms, at most 5 unsynced");
}

// A Redis that was left for another one, because it is dead.
class RedisLimitWithoutRedisTest : public upstream::RedisFixture<ManualClock> {};

TEST_F(RedisLimitWithoutRedisTest, APolicyThatHasGoneIsNotToldOfForEver) {
  Use({1});
  const std::weak_ptr<const upstream::RedisTarget> target = target_;
  RedisLimitSpec spec;
  spec.policy = "p";
  spec.rules = RulesOf({Window(100, hours(1000))});
  spec.max_keys = 10;
  spec.target = std::move(target_);
  spec.sync_interval = milliseconds(20);
  {
    const auto limit = std::make_shared<RedisLimit>(std::move(spec), registry_);
    TestGateway gateway(*upstreams_, limit);
    Pending pending;
    gateway.Begin(pending, "k");
    EXPECT_EQ(pending.outcome, Outcome::kAllowed);
  }
  const auto pass = [&](Duration time) {
    for (Duration passed{}; passed < time; passed += milliseconds(100)) {
      clock_.Advance(milliseconds(100));
      Turn();
    }
  };
  pass(seconds(30));
  EXPECT_FALSE(target.expired());
  // The client goes when it is idle.
  pass(seconds(120));
  EXPECT_TRUE(target.expired());
}

}  // namespace
}  // namespace gatehouse::filters
