// RedisClient and one server that does what the test says: order, deadlines, cancelling, losses.
#include "source/upstream/redis_client.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/check.h"
#include "test/upstream/redis_fake_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const RedisScript kScript("return 1");

class RedisClientTest : public RedisFakeFixture {
 protected:
  static RedisRequest Get(std::string_view key) {
    return {.command = "GET", .key = key, .timeout = milliseconds(50)};
  }
  FakeRedis redis_;
};

TEST_F(RedisClientTest, CallsArePipelinedAndAnsweredInOrder) {
  Use({&redis_});
  WarmUp(redis_);
  std::vector<TestCall> calls(3);
  Start(calls[0], Get("a"));
  Start(calls[1], Get("b"));
  Start(calls[2], Get("c"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 4; }));
  EXPECT_EQ(redis_.commands()[2].Text(), "GET b");
  EXPECT_EQ(redis_.tcp().connections(), 1u);
  redis_.Send(0, "$1\r\nA\r\n$1\r\nB\r\n*2\r\n:1\r\n$-1\r\n");
  ASSERT_TRUE(Until([&] { return calls[2].done; }));
  EXPECT_EQ(ResultOf(calls[0]), "A");
  EXPECT_EQ(ResultOf(calls[1]), "B");
  EXPECT_EQ(ResultOf(calls[2]), "[1 null]");
}

TEST_F(RedisClientTest, AnswersInPieces) {
  Use({&redis_});
  WarmUp(redis_);
  for (int i = 0; i < 3; ++i) {
    TestCall a;
    TestCall b;
    Start(a, Get("a"));
    Start(b, Get("b"));
    const size_t sent = redis_.commands().size();
    ASSERT_TRUE(Until([&] { return redis_.commands().size() == sent + 2; }));
    for (const char c : std::string("*2\r\n:-7\r\n$3\r\nx\ry\r\n-ERR no\r\n")) {
      redis_.Send(0, {&c, 1});
      Settle();
    }
    EXPECT_EQ(ResultOf(a), "[-7 x\ry]");
    EXPECT_EQ(ResultOf(b), "<error ERR no>");
  }
}

TEST_F(RedisClientTest, LargeAnswersAndArguments) {
  Use({&redis_});
  WarmUp(redis_);
  const std::string large(300'000, 'x');
  TestCall call;
  const std::string_view args[] = {large};
  Start(call, {.command = "SET", .key = "k", .args = args});
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 2; }));
  EXPECT_EQ(redis_.commands()[1].words[2], large);
  redis_.Send(0, "$300000\r\n" + large + "\r\n");
  ASSERT_TRUE(Until([&] { return call.done; }));
  EXPECT_EQ(call.text, large);
}

TEST_F(RedisClientTest, ALateAnswerBelongsToNobody) {
  Use({&redis_});
  WarmUp(redis_);
  TestCall late;
  Start(late, Get("a"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 2; }));
  Advance(milliseconds(49));
  EXPECT_FALSE(late.done);
  Advance(milliseconds(3));
  EXPECT_EQ(ResultOf(late), "<timeout>");
  TestCall next;
  Start(next, Get("b"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 3; }));
  redis_.Send(0, "+old\r\n+new\r\n");
  ASSERT_TRUE(Until([&] { return next.done; }));
  EXPECT_EQ(ResultOf(next), "new");
  EXPECT_EQ(redis_.tcp().connections(), 1u);
}

TEST_F(RedisClientTest, AServerThatOwesAnAnswerForLongIsDead) {
  Use({&redis_});
  WarmUp(redis_);
  TestCall call;
  Start(call, Get("a"));
  Settle();
  Advance(milliseconds(60));
  EXPECT_EQ(ResultOf(call), "<timeout>");
  Pass(milliseconds(900));
  EXPECT_FALSE(redis_.tcp().connection(0).ended());
  Pass(milliseconds(200));
  EXPECT_TRUE(redis_.tcp().connection(0).ended());
  EXPECT_EQ(redis_.tcp().connections(), 2u);
  TestCall next;
  Start(next, Get("b"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 3; }));
  redis_.Answer(2, "+new\r\n");
  ASSERT_TRUE(Until([&] { return next.done; }));
  EXPECT_EQ(ResultOf(next), "new");
}

TEST_F(RedisClientTest, ACallWithMoreTimeBeforeItDoesNotHideThat) {
  Use({&redis_});
  WarmUp(redis_);
  TestCall patient;
  RedisRequest request = Get("a");
  request.timeout = seconds(60);
  Start(patient, request);
  TestCall other;
  Start(other, Get("b"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 3; }));
  redis_.Send(0, "+A\r\n");
  ASSERT_TRUE(Until([&] { return patient.done; }));
  Pass(milliseconds(1200));
  EXPECT_EQ(ResultOf(other), "<timeout>");
  EXPECT_TRUE(redis_.tcp().connection(0).ended());
}

TEST_F(RedisClientTest, CancelledInEveryState) {
  Use({&redis_});
  TestCall connecting;
  Start(connecting, Get("a"));
  connecting.Cancel();
  WarmUp(redis_);
  TestCall unsent;
  Start(unsent, Get("b"));
  unsent.Cancel();
  TestCall sent;
  Start(sent, Get("c"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 3; }));
  sent.Cancel();
  TestCall kept;
  Start(kept, Get("d"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 4; }));
  redis_.Send(0, "+b\r\n+c\r\n+d\r\n");
  ASSERT_TRUE(Until([&] { return kept.done; }));
  EXPECT_EQ(ResultOf(kept), "d");
  // One that is about to be told that it was refused.
  redis_.tcp().StopListening();
  redis_.tcp().connection(0).Close();
  Pass(milliseconds(100));
  TestCall refused;
  Start(refused, Get("e"));
  refused.Cancel();
  Settle();
  EXPECT_EQ(connecting.results + unsent.results + sent.results + refused.results, 0);
  EXPECT_EQ(Client().running(), 0u);
  EXPECT_EQ(Value(target_->metrics().cancelled), 4u);
  EXPECT_EQ(Value(target_->metrics().active), 0);
}

TEST_F(RedisClientTest, DoneMayDestroyAndStartCalls) {
  Use({&redis_});
  WarmUp(redis_);
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(std::make_unique<TestCall>());
  for (const auto& call : calls) Start(*call, Get("a"));
  TestCall again;
  calls[0]->on_done = [&] {
    calls[1].reset();
    Start(again, Get("again"));
  };
  calls[2]->on_done = [&] { calls[2]->Cancel(); };
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 5; }));
  redis_.Send(0, "+0\r\n+1\r\n+2\r\n+3\r\n");
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 6; }));
  redis_.Send(0, "+again\r\n");
  ASSERT_TRUE(Until([&] { return again.done; }));
  EXPECT_EQ(ResultOf(*calls[0]), "0");
  EXPECT_EQ(calls[2]->text, "2");
  EXPECT_EQ(ResultOf(*calls[3]), "3");
  EXPECT_EQ(ResultOf(again), "again");
}

TEST_F(RedisClientTest, ScriptsThatAreNotKnown) {
  Use({&redis_});
  WarmUp(redis_);
  const std::string_view args[] = {"5"};
  std::vector<TestCall> calls(3);
  for (TestCall& call : calls) Start(call, {.script = &kScript, .key = "k", .args = args});
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 4; }));
  EXPECT_EQ(redis_.commands()[1].Text(), "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 k 5");
  const std::string unknown = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
  redis_.Send(0, unknown + unknown + ":3\r\n");
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 6; }));
  EXPECT_EQ(redis_.commands()[4].Text(), "EVAL return 1 1 k 5");
  EXPECT_EQ(redis_.commands()[5].words[0], "EVALSHA");
  redis_.Send(0, ":1\r\n:2\r\n");
  ASSERT_TRUE(Until([&] { return calls[1].done; }));
  EXPECT_EQ(ResultOf(calls[0]), "1");
  EXPECT_EQ(ResultOf(calls[1]), "2");
  EXPECT_EQ(ResultOf(calls[2]), "3");
  EXPECT_EQ(Value(target_->metrics().scripts_loaded), 1u);
  // A server that never learns it.
  redis_.on_command = [&](const auto&) { return unknown; };
  EXPECT_EQ(Do({.script = &kScript}), "<error NOSCRIPT No matching script. Please use EVAL.>");
  EXPECT_EQ(redis_.commands().size(), 8u);
}

TEST_F(RedisClientTest, WhatIsNoRespEndsTheConnection) {
  Use({&redis_});
  for (const std::string_view bytes :
       {"HTTP/1.1 200 OK\r\n\r\n", "$99999999999\r\n", "*1000000\r\n", ":12x\r\n", "$3\r\nabcd\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"}) {
    WarmUp(redis_);
    TestCall call;
    Start(call, Get("a"));
    const size_t sent = redis_.commands().size();
    ASSERT_TRUE(Until([&] { return redis_.commands().size() > sent; }));
    redis_.Answer(sent, bytes);
    ASSERT_TRUE(Until([&] { return call.done; })) << bytes;
    EXPECT_EQ(ResultOf(call), "<broken>");
    Pass(milliseconds(40));
  }
}

TEST_F(RedisClientTest, WhoSpeaksUnaskedIsNoRedis) {
  Use({&redis_});
  WarmUp(redis_);
  redis_.Send(0, "+hello\r\n");
  ASSERT_TRUE(Until([&] { return redis_.tcp().connection(0).ended(); }));
  Pass(milliseconds(40));
  WarmUp(redis_);
}

TEST_F(RedisClientTest, ALostConnectionFailsWhatWasSentAndNothingElse) {
  Use({&redis_});
  WarmUp(redis_);
  TestCall sent;
  Start(sent, Get("a"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 2; }));
  redis_.tcp().connection(0).Reset();
  // It is not yet known here; what is asked now never leaves.
  TestCall unsent;
  Start(unsent, Get("b"));
  ASSERT_TRUE(Until([&] { return sent.done; }));
  EXPECT_EQ(ResultOf(sent), "<broken>");
  Pass(milliseconds(40));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 3; }));
  EXPECT_EQ(redis_.commands()[2].Text(), "GET b");
  redis_.Answer(2, "+b\r\n");
  ASSERT_TRUE(Until([&] { return unsent.done; }));
  EXPECT_EQ(ResultOf(unsent), "b");
  EXPECT_EQ(Value(target_->metrics().lost), 1u);
}

TEST_F(RedisClientTest, TooManyAtOnceAreRefused) {
  Use({&redis_});
  WarmUp(redis_);
  std::vector<TestCall> calls(RedisClient::kMaxInFlight + 1);
  for (TestCall& call : calls) Start(call, {.command = "GET", .key = "a", .timeout = seconds(60)});
  Settle();
  EXPECT_EQ(ResultOf(calls.back()), "<refused>");
  EXPECT_FALSE(calls[0].done);
  EXPECT_EQ(Client().running(), RedisClient::kMaxInFlight);
}

TEST_F(RedisClientTest, SeveralConnections) {
  Use({&redis_}, {.connections = 3});
  WarmUp(redis_);
  ASSERT_TRUE(Until([&] { return Value(target_->metrics().connections) == 3; }));
  std::vector<TestCall> calls(6);
  for (TestCall& call : calls) Start(call, Get("a"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 7; }));
  std::vector<int> on(3);
  for (size_t i = 1; i < 7; ++i) ++on[redis_.commands()[i].connection];
  EXPECT_EQ(on, (std::vector<int>{2, 2, 2}));
  redis_.tcp().connection(1).Close();
  ASSERT_TRUE(Until([&] { return Value(target_->metrics().connections) == 2; }));
  Pass(milliseconds(40));
  EXPECT_EQ(Value(target_->metrics().connections), 3);
}

TEST_F(RedisClientTest, AWorkerThatEndsTakesItsCallsAlong) {
  Use({&redis_});
  WarmUp(redis_);
  TestCall sent;
  Start(sent, Get("b"));
  Settle();
  FakeRedis other;
  const auto second = MakeCluster({other.port()});
  const auto target = RedisTarget::Make({.cluster = second.get()}, registry_);
  TestCall waiting;
  waiting.Start(upstreams_->Redis(**target), Get("a"));
  TestCall failed;
  failed.Start(upstreams_->Redis(**target), Get("a"));
  upstreams_.reset();
  EXPECT_FALSE(sent.call->running());
  EXPECT_FALSE(waiting.call->running());
  EXPECT_EQ(sent.results + waiting.results + failed.results, 0);
  EXPECT_EQ(Value(target_->metrics().active), 0);
  EXPECT_EQ(Value(target_->metrics().connections), 0);
}

TEST_F(RedisClientTest, AnIdleClientIsFreed) {
  Use({&redis_});
  WarmUp(redis_);
  std::weak_ptr<const RedisTarget> target = target_;
  target_.reset();
  Pass(seconds(50), seconds(5));
  EXPECT_FALSE(target.expired());
  EXPECT_FALSE(redis_.tcp().connection(0).ended());
  Pass(seconds(30), seconds(5));
  EXPECT_TRUE(target.expired());
  EXPECT_TRUE(redis_.tcp().connection(0).ended());
}

TEST_F(RedisClientTest, NewEndpointsAreSeenAtTheNextConnect) {
  FakeRedis other;
  Use({&redis_});
  Also(other);
  WarmUp(redis_);
  const auto moved = MakeCluster({other.port()});
  ASSERT_EQ(moved->key(), cluster_->key());
  upstreams_->UpdateEndpoints(moved->key(), moved->endpoints());
  cluster_.reset();
  WarmUp(redis_);
  redis_.tcp().connection(0).Close();
  Pass(milliseconds(40));
  WarmUp(other);
}

// Else gateways that began earlier would count elsewhere than those that began later.
TEST_F(RedisClientTest, AServerThatDnsNamesNoMoreIsLeft) {
  FakeRedis other;
  Use({&redis_});
  Also(other);
  WarmUp(redis_);
  // A resolver that knows nothing for a while changes nothing.
  upstreams_->UpdateEndpoints(cluster_->key(), EndpointSet::Make({}, nullptr));
  Pass(seconds(15), seconds(1));
  WarmUp(redis_);
  TestCall last;
  RedisRequest request = Get("a");
  request.timeout = seconds(60);
  Start(last, request);
  const auto moved = MakeCluster({other.port()});
  upstreams_->UpdateEndpoints(moved->key(), moved->endpoints());
  Pass(seconds(15), seconds(1));
  WarmUp(other);
  EXPECT_EQ(ResultOf(last), "<pending>");
  redis_.Send(0, "+A\r\n");
  ASSERT_TRUE(Until([&] { return last.done; }));
  EXPECT_EQ(ResultOf(last), "A");
  Pass(seconds(15), seconds(1));
  EXPECT_TRUE(redis_.tcp().connection(0).ended());
}

}  // namespace
}  // namespace gatehouse::upstream
