// What RedisClient does while a server cannot be used: the circuit, logins that fail, replicas; and
// what the operator hears of it.
#include "source/upstream/redis_circuit.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/upstream/redis_target.h"
#include "test/upstream/redis_fake_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(RedisCircuitTest, OpensAfterFailuresInARow) {
  RedisCircuit circuit;
  for (uint64_t turn = 1; turn < RedisCircuit::kToOpen; ++turn) {
    EXPECT_FALSE(circuit.Fail(turn));
    EXPECT_FALSE(circuit.Fail(turn)) << "all of a turn are one";
  }
  circuit.Succeed();
  for (uint64_t turn = 10; turn < 10 + RedisCircuit::kToOpen - 1; ++turn) {
    EXPECT_FALSE(circuit.Fail(turn));
    EXPECT_TRUE(circuit.closed());
  }
  EXPECT_TRUE(circuit.Fail(20));
  EXPECT_FALSE(circuit.closed());
  EXPECT_FALSE(circuit.Fail(21));
  circuit.Probe();
  EXPECT_FALSE(circuit.Open());
  EXPECT_FALSE(circuit.probing());
  circuit.Close();
  EXPECT_TRUE(circuit.closed());
}

TEST(RedisCircuitTest, DelaysGrowAndAreRandom) {
  Random random(1);
  RedisCircuit circuit;
  for (int round = 0; round < 100; ++round) {
    circuit.Open();
    Duration most = RedisCircuit::kFirstDelay;
    for (int i = 0; i < 20; ++i) {
      const Duration delay = circuit.NextDelay(random);
      EXPECT_GE(delay, most / 2);
      EXPECT_LE(delay, most);
      most = std::min(most * 2, RedisCircuit::kMaxDelay);
    }
    circuit.Close();
    // That alone does not make the next delay short.
    circuit.Open();
    EXPECT_GE(circuit.NextDelay(random), RedisCircuit::kMaxDelay / 2);
    circuit.Close();
    circuit.Succeed();
  }
}

class RedisLossTest : public RedisFakeFixture {
 protected:
  static RedisRequest Get(std::string_view key) {
    return {.command = "GET", .key = key, .timeout = milliseconds(50)};
  }
  // What a call comes to while time passes.
  std::string Try() {
    TestCall call;
    Start(call, Get("a"));
    for (int i = 0; i < 20 && !call.done; ++i) Advance(milliseconds(5));
    return ResultOf(call);
  }
  [[nodiscard]] std::string Name(FakeRedis& redis) {
    return "127.0.0.1:" + std::to_string(redis.port());
  }
  FakeRedis redis_;
};

TEST_F(RedisLossTest, NobodyWaitsForAServerThatIsGone) {
  Use({&redis_});
  redis_.tcp().StopListening();
  EXPECT_EQ(Try(), "<unreachable>");
  EXPECT_EQ(Try(), "<refused>");
  EXPECT_EQ(Value(target_->metrics().open_circuits), 1);
  EXPECT_THAT(News(), ElementsAre(AllOf(HasSubstr("cluster 'store': " + Name(redis_)),
                                        HasSubstr("cannot be used: Connection refused"))));
  // One connect after the other, at growing distances, and no more words.
  Pass(seconds(20));
  const uint64_t connects = Value(target_->metrics().connects);
  EXPECT_GE(connects, 12u);
  EXPECT_LE(connects, 28u);
  EXPECT_THAT(News(), IsEmpty());
  EXPECT_EQ(Try(), "<refused>");
}

TEST_F(RedisLossTest, ItIsTriedWithoutTrafficUntilItIsBack) {
  Use({&redis_});
  redis_.on_login = [](const auto& command) {
    return command.words[0] == "PING" ? "-LOADING Redis is loading the dataset in memory\r\n"
                                      : "+OK\r\n";
  };
  EXPECT_EQ(Try(), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("it is still loading its data")));
  Pass(seconds(3));
  EXPECT_EQ(Value(target_->metrics().open_circuits), 1);
  redis_.on_login = [](const auto&) { return "+OK\r\n"; };
  Pass(seconds(3));
  EXPECT_EQ(Value(target_->metrics().open_circuits), 0);
  EXPECT_THAT(News(), ElementsAre(HasSubstr(Name(redis_) + " is back after ")));
  WarmUp(redis_);
}

TEST_F(RedisLossTest, TimeoutsInARowOpenItAndAPingClosesIt) {
  Use({&redis_});
  WarmUp(redis_);
  for (uint32_t i = 0; i < RedisCircuit::kToOpen; ++i) EXPECT_EQ(Try(), "<timeout>");
  EXPECT_EQ(Try(), "<refused>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("it does not answer in time")));
  // It was only slow: what it owes comes, and then the answer to the probe on the same connection.
  for (uint32_t i = 0; i < RedisCircuit::kToOpen; ++i) redis_.Send(0, "+late\r\n");
  Settle();
  EXPECT_EQ(Try(), "<refused>");
  Pass(milliseconds(200));
  EXPECT_THAT(News(), ElementsAre(HasSubstr("is back after")));
  EXPECT_EQ(redis_.tcp().connections(), 1u);
  WarmUp(redis_);
}

TEST_F(RedisLossTest, CallsInBetweenThatSucceedKeepItClosed) {
  Use({&redis_});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Try(), "<timeout>") << i;
    redis_.Send(0, "+late\r\n");
    WarmUp(redis_);
  }
}

TEST_F(RedisLossTest, AServerThatTakesConnectionsAndSaysNothing) {
  Use({&redis_});
  redis_.on_login = [](const auto&) { return ""; };
  std::vector<std::string> results;
  for (int i = 0; i < 8; ++i) results.push_back(Try());
  EXPECT_EQ(results[0], "<unreachable>");
  EXPECT_EQ(results[7], "<refused>");
  Pass(seconds(3));
  redis_.on_login = [](const auto&) { return "+OK\r\n"; };
  Pass(seconds(5));
  WarmUp(redis_);
}

TEST_F(RedisLossTest, LoginsThatAreRefused) {
  struct Case {
    std::string command;
    std::string answer;
    std::string words;
  };
  const std::vector<Case> cases = {
      {"AUTH", "-WRONGPASS invalid username-password pair\r\n", "refuses user or password: WRONG"},
      {"AUTH", "-ERR AUTH <password> called without any password configured\r\n",
       "refuses user or password: ERR AUTH"},
      {"SELECT", "-ERR DB index is out of range\r\n", "database 7: ERR DB index"},
      {"PING", "-NOAUTH Authentication required.\r\n", "not logged in"},
      {"PING", "-MASTERDOWN Link with MASTER is down\r\n", "a replica whose master is down"},
      {"PING", "-DENIED Redis is running in protected mode\r\n", "it refuses: DENIED"},
      {"ROLE", "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$1\r\nx\r\n:2\r\n", "it is a replica"},
      {"PING", "HTTP/1.0 400 Bad Request\r\n\r\n", "does not speak Redis' protocol"},
  };
  for (const Case& test : cases) {
    upstreams_.reset();
    upstreams_.emplace(loop_, *counters_, scratch_);
    (void)News();
    Use({&redis_}, {.username = "gate", .password = "secret", .database = 7});
    redis_.on_login = [&](const FakeRedis::Command& command) -> std::string {
      if (command.words[0] == "AUTH") {
        EXPECT_EQ(command.Text(), "AUTH gate secret");
      }
      return command.words[0] == test.command ? test.answer : "+OK\r\n";
    };
    EXPECT_EQ(Try(), "<unreachable>") << test.words;
    EXPECT_THAT(News(), ElementsAre(HasSubstr(test.words)));
  }
  // What a proxy in between, or an ACL, does not allow is done without.
  Use({&redis_});
  redis_.on_login = [&](const FakeRedis::Command& command) -> std::string {
    if (command.words[0] == "ROLE") return "-NOPERM this user has no permissions\r\n";
    return "-ERR unknown command\r\n";
  };
  WarmUp(redis_);
}

// A server without AUTH (renamed, or a proxy) repeats what it was told.
TEST_F(RedisLossTest, PasswordsAreNotToldToTheOperator) {
  const std::string long_one(300, 'p');
  for (const std::string& password : {std::string("secret"), long_one}) {
    for (const std::string& answer : {"-ERR unknown command `AUTH`, with args beginning with: `" +
                                          password.substr(0, 128) + "`, \r\n",
                                      "-ERR " + std::string(195, 'x') + password + "\r\n"}) {
      upstreams_.reset();
      upstreams_.emplace(loop_, *counters_, scratch_);
      (void)News();
      Use({&redis_}, {.password = password});
      redis_.on_login = [&](const FakeRedis::Command& command) -> std::string {
        return command.words[0] == "AUTH" ? answer : "+OK\r\n";
      };
      EXPECT_EQ(Try(), "<unreachable>");
      const std::vector<std::string> news = News();
      ASSERT_EQ(news.size(), 1u);
      EXPECT_THAT(news[0], AllOf(HasSubstr("refuses user or password"),
                                 testing::Not(HasSubstr(password.substr(0, 5)))));
    }
  }
}

TEST_F(RedisLossTest, AMasterThatBecameAReplicaIsLeft) {
  FakeRedis other;
  Use({&redis_, &other});
  WarmUp(redis_);
  std::vector<TestCall> calls(3);
  for (TestCall& call : calls) Start(call, Get("a"));
  ASSERT_TRUE(Until([&] { return redis_.commands().size() == 4; }));
  const std::string error = "-READONLY You can't write against a read only replica.\r\n";
  redis_.Send(0, error);
  redis_.Send(0, "-ERR Error running script (call to f_1): @user_script:1: " + error.substr(0));
  redis_.Send(0, error);
  // They did nothing there, so they may go on elsewhere.
  ASSERT_TRUE(Until([&] { return other.commands().size() == 3; }));
  other.Send(0, "+1\r\n+2\r\n+3\r\n");
  ASSERT_TRUE(Until([&] { return calls[2].done; }));
  EXPECT_EQ(ResultOf(calls[0]), "1");
  EXPECT_THAT(News(), ElementsAre(HasSubstr(Name(redis_) + " cannot be used: it takes no writes")));
  EXPECT_TRUE(redis_.tcp().connection(0).ended());
}

TEST_F(RedisLossTest, AnswersOfAServerThatIsNoUseOpenTheCircuit) {
  Use({&redis_});
  WarmUp(redis_);
  redis_.on_command = [](const auto&) { return "-LOADING Redis is loading\r\n"; };
  EXPECT_EQ(Try(), "<error LOADING Redis is loading>");
  EXPECT_EQ(Try(), "<refused>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("LOADING Redis is loading")));
}

// It answers PING, and refuses whatever is asked of it.
TEST_F(RedisLossTest, AServerThatRefusesAllWorkIsSaidToBeBackWhenItServes) {
  for (const std::string error :
       {"NOPERM this user has no permissions to run the 'evalsha' command",
        "OOM command not allowed", "MISCONF Redis is configured to save RDB snapshots",
        "MOVED 1 127.0.0.1:1"}) {
    upstreams_.reset();
    upstreams_.emplace(loop_, *counters_, scratch_);
    (void)News();
    Use({&redis_});
    redis_.on_command = [&](const auto&) { return "-" + error + "\r\n"; };
    const std::string failed = "<error " + error + ">";
    EXPECT_EQ(Try(), failed);
    int served = 0;
    for (int i = 0; i < 300; ++i) {
      const std::string result = Try();
      if (result == failed) ++served;
      Advance(milliseconds(10));
    }
    EXPECT_LE(served, 12);
    EXPECT_GE(served, 3);
    std::vector<std::string> news = News();
    // It was back once, as far as could be known.
    ASSERT_EQ(news.size(), 3u) << error;
    EXPECT_THAT(news[1], HasSubstr("is back"));
    redis_.on_command = [](const auto&) { return "+fine\r\n"; };
    Pass(seconds(3));
    EXPECT_THAT(News(), IsEmpty());
    EXPECT_EQ(Try(), "fine");
    EXPECT_THAT(News(), ElementsAre(HasSubstr("is back")));
    EXPECT_EQ(Value(target_->metrics().open_circuits), 0);
    redis_.on_command = nullptr;
  }
}

// One connection of two cannot be made, and is tried now and then; then the other one is lost.
TEST_F(RedisLossTest, TheLastConnectionIsMadeAgainAtOnce) {
  Use({&redis_}, {.connections = 2});
  redis_.on_login = [](const FakeRedis::Command& command) {
    return command.connection == 1 ? "-ERR max number of clients reached\r\n" : "+OK\r\n";
  };
  WarmUp(redis_);
  ASSERT_TRUE(Until([&] { return Value(target_->metrics().connect_failures) == 1; }));
  EXPECT_EQ(Value(target_->metrics().connections), 1);
  redis_.tcp().connection(0).Close();
  redis_.on_command = [](const auto&) { return "+fine\r\n"; };
  Settle();
  EXPECT_EQ(Try(), "fine");
}

TEST_F(RedisLossTest, FlappingIsALossToo) {
  Use({&redis_});
  redis_.on_command = [&](const FakeRedis::Command& command) {
    redis_.tcp().connection(command.connection).Close();
    return "";
  };
  std::vector<std::string> results;
  for (int i = 0; i < 10; ++i) {
    results.push_back(Try());
    Pass(milliseconds(25));
  }
  EXPECT_EQ(results[0], "<broken>");
  EXPECT_THAT(results, testing::Contains("<refused>"));
}

TEST_F(RedisLossTest, NoEndpointAtAll) {
  Use(std::vector<FakeRedis*>{});
  EXPECT_EQ(Try(), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("no address of it is known")));
  upstreams_.reset();
  EXPECT_EQ(Value(target_->metrics().open_circuits), 0);
}

TEST_F(RedisLossTest, TheOperatorHearsItOnceForAllWorkers) {
  Use({&redis_});
  redis_.tcp().StopListening();
  Upstreams second(loop_, *counters_, scratch_);
  TestCall there;
  there.Start(second.Redis(*target_), Get("a"));
  EXPECT_EQ(Try(), "<unreachable>");
  ASSERT_TRUE(Until([&] { return there.done; }));
  EXPECT_EQ(News().size(), 1u);
  EXPECT_EQ(Value(target_->metrics().open_circuits), 2);
}

TEST(RedisNewsTest, LostAndBack) {
  (void)observe::Notices::Process().Take();
  RedisNews news("store");
  const TimePoint start{seconds(100)};
  news.Lost("a:1", "gone", start);
  news.Lost("a:1", "gone as well", start + seconds(1));
  news.Back("a:1", start + seconds(2));
  news.Back("a:1", start + milliseconds(3500));
  news.Back("a:1", start + seconds(4));
  news.Lost("b:1", "gone", start);
  news.Forget("b:1");
  news.Back("b:1", start);
  news.Master("a:1");
  news.Master("a:1");
  news.Master("b:1");
  EXPECT_THAT(observe::Notices::Process().Take().lines,
              ElementsAre("redis of cluster 'store': a:1 cannot be used: gone",
                          "redis of cluster 'store': a:1 is back after 3.5 s",
                          "redis of cluster 'store': b:1 cannot be used: gone",
                          "redis of cluster 'store': the master is b:1 now, not a:1"));
}

TEST(RedisTargetTest, SpecsThatMakeNoSense) {
  observe::MetricRegistry registry;
  ClusterSlots slots;
  ClusterSpec plain{.name = "store", .endpoints = {{"127.0.0.1", 1, 1}}};
  const auto cluster = *Cluster::Make(plain, nullptr, slots, registry);
  plain.options.proxy_header = ProxyHeader::kV1;
  const auto proxied = *Cluster::Make(plain, nullptr, slots, registry);
  plain.options = {.protocol = Protocol::kHttp2};
  const auto http2 = *Cluster::Make(plain, nullptr, slots, registry);
  const auto error_of = [&](RedisSpec spec) {
    if (spec.cluster == nullptr) spec.cluster = cluster.get();
    const auto target = RedisTarget::Make(spec, registry);
    return target.ok() ? std::string() : MessageOf(target.status());
  };
  EXPECT_EQ(error_of({}), "");
  EXPECT_THAT(error_of({.cluster = proxied.get()}), HasSubstr("PROXY header"));
  EXPECT_THAT(error_of({.cluster = http2.get()}), HasSubstr("cluster: 'store' speaks http2"));
  EXPECT_THAT(error_of({.username = "me"}), HasSubstr("username"));
  EXPECT_THAT(error_of({.connections = 0}), HasSubstr("connections"));
  EXPECT_THAT(error_of({.topology = RedisTopology::kSentinel}), HasSubstr("sentinel_master"));
  EXPECT_THAT(error_of({.sentinel_master = "m"}), HasSubstr("sentinel_master"));
  EXPECT_THAT(error_of({.sentinel_password = "m"}), HasSubstr("sentinel_password"));
  EXPECT_THAT(error_of({.topology = RedisTopology::kCluster, .database = 1}),
              HasSubstr("database"));
  EXPECT_EQ(RedisTarget::Fingerprint({.cluster = cluster.get()}),
            RedisTarget::Fingerprint({.cluster = cluster.get()}));
  EXPECT_NE(RedisTarget::Fingerprint({.cluster = cluster.get(), .username = "a", .password = "b"}),
            RedisTarget::Fingerprint({.cluster = cluster.get(), .username = "a", .password = "c"}));
}

}  // namespace
}  // namespace gatehouse::upstream
