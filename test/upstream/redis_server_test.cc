// RedisClient against a real redis-server.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/time.h"
#include "source/upstream/redis_client.h"
#include "test/fakes/redis_process.h"
#include "test/fakes/test_certificates.h"
#include "test/upstream/redis_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

class RedisServerTest : public RedisFixture<SystemClock> {};

const RedisScript kAdd(
    "local n = redis.call('INCRBY', KEYS[1], ARGV[1])\n"
    "return {n, 'text', false, {1, 2}}");

TEST_F(RedisServerTest, CommandsAndTheirAnswers) {
  RedisProcess redis;
  Use({redis.port()});
  EXPECT_EQ(Command("SET", "a", {"1"}), "OK");
  EXPECT_EQ(Command("GET", "a"), "1");
  EXPECT_EQ(Command("GET", "b"), "null");
  EXPECT_EQ(Command("INCR", "a"), "2");
  EXPECT_EQ(Command("MGET", "a", {"b"}), "[2 null]");
  EXPECT_EQ(Command("LPUSH", "a", {"x"}).substr(0, 17), "<error WRONGTYPE ");
  const std::string large(100'000, 'x');
  EXPECT_EQ(Command("SET", "large", {large}), "OK");
  EXPECT_EQ(Command("GET", "large"), large);
  EXPECT_EQ(Value(target_->metrics().calls[0]), 7u);
  EXPECT_EQ(Value(target_->metrics().connects), 1u);
  EXPECT_EQ(Value(target_->metrics().connections), 1);
  EXPECT_EQ(Value(target_->metrics().active), 0);
}

TEST_F(RedisServerTest, ScriptsAreLoadedOnce) {
  RedisProcess redis;
  Use({redis.port()});
  const std::string_view args[] = {"5"};
  const RedisRequest request{.script = &kAdd, .key = "n", .args = args, .timeout = seconds(5)};
  EXPECT_EQ(Do(request), "[5 text null [1 2]]");
  EXPECT_EQ(Do(request), "[10 text null [1 2]]");
  EXPECT_EQ(Value(target_->metrics().scripts_loaded), 1u);
  EXPECT_EQ(redis.Run({"SCRIPT", "FLUSH"}), "OK");
  EXPECT_EQ(Do(request), "[15 text null [1 2]]");
  EXPECT_EQ(Value(target_->metrics().scripts_loaded), 2u);
  // Of many under way when it is unknown, one takes the text along.
  EXPECT_EQ(redis.Run({"SCRIPT", "FLUSH"}), "OK");
  std::vector<TestCall> calls(1000);
  for (TestCall& call : calls) Start(call, request);
  ASSERT_TRUE(Until([&] { return calls.back().done; }));
  for (size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(calls[i].done) << i;
  EXPECT_EQ(redis.Run({"GET", "n"}), std::to_string(15 + 5 * 1000));
  EXPECT_EQ(Value(target_->metrics().scripts_loaded), 3u);
}

TEST_F(RedisServerTest, PasswordsAndDatabases) {
  RedisProcess redis({"--requirepass", "secret"});
  EXPECT_EQ(redis.Run({"ACL", "SETUSER", "gate", "on", ">word", "~*", "+@all"}, "secret"), "OK");
  Use({redis.port()}, {.username = "gate", .password = "word", .database = 3});
  EXPECT_EQ(Command("SET", "a", {"1"}), "OK");
  EXPECT_EQ(redis.Run({"GET", "a"}, "secret"), "(nil)") << "another database";
  EXPECT_THAT(redis.Run({"CLIENT", "LIST"}, "secret"), HasSubstr("name=gatehouse"));
  Use({redis.port()}, {.password = "secret"});
  EXPECT_EQ(Command("GET", "a"), "null");
  (void)News();
  Use({redis.port()}, {.password = "wrong"});
  EXPECT_EQ(Command("GET", "a"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("it refuses user or password: WRONGPASS")));
  Use({redis.port()});
  EXPECT_EQ(Command("GET", "a"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("it wants a password, and none is configured")));
  // Rights to the scripts alone are enough.
  EXPECT_EQ(redis.Run({"ACL", "SETUSER", "few", "on", ">word", "~*", "-@all", "+eval", "+evalsha",
                       "+incrby"},
                      "secret"),
            "OK");
  Use({redis.port()}, {.username = "few", .password = "word"});
  const std::string_view args[] = {"5"};
  EXPECT_EQ(Do({.script = &kAdd, .key = "n", .args = args, .timeout = seconds(5)}),
            "[5 text null [1 2]]");
}

TEST_F(RedisServerTest, Tls) {
  const net::TestCa ca("Test CA");
  const net::TestCertificate site = ca.Issue({});
  RedisProcess redis(RedisProcess::Unstarted{},
                     {"--port", "0", "--tls-port", "PORT", "--tls-cert-file", "site.pem",
                      "--tls-key-file", "site.key", "--tls-ca-cert-file", "ca.pem",
                      "--tls-auth-clients", "no", "--requirepass", "secret"});
  redis.Write("site.pem", site.pem);
  redis.Write("site.key", site.key_pem);
  redis.Write("ca.pem", ca.Text().text);
  redis.Start();
  const auto context = net::TlsClientContext::Create({.server = {.ca = ca.Text()}});
  ASSERT_TRUE(context.ok()) << context.status();
  Use({redis.port()}, {.password = "secret", .connections = 2}, *context);
  const std::string large(200'000, 'x');
  EXPECT_EQ(Command("SET", "a", {large}), "OK");
  EXPECT_EQ(Command("GET", "a"), large);
  ASSERT_TRUE(Until([&] { return Value(target_->metrics().connections) == 2; }));
  (void)News();
  // In the clear, and with a CA that it is not from.
  Use({redis.port()}, {.password = "secret"});
  EXPECT_EQ(Command("GET", "a"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("does it expect TLS?")));
  const net::TestCa other("Other CA");
  const auto wrong = net::TlsClientContext::Create({.server = {.ca = other.Text()}});
  ASSERT_TRUE(wrong.ok());
  Use({redis.port()}, {.password = "secret"}, *wrong);
  EXPECT_EQ(Command("GET", "a"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("certificate")));
}

// A Redis Cluster that says "as you have reached me" has the certificate of the name that it was
// reached by.
TEST_F(RedisServerTest, TlsOfAClusterWithoutAddresses) {
  const net::TestCa ca("Test CA");
  const net::TestCertificate site = ca.Issue({.names = "DNS:redis.test"});
  RedisProcess redis(RedisProcess::Unstarted{}, {"--port",
                                                 "0",
                                                 "--tls-port",
                                                 "PORT",
                                                 "--tls-cert-file",
                                                 "site.pem",
                                                 "--tls-key-file",
                                                 "site.key",
                                                 "--tls-ca-cert-file",
                                                 "ca.pem",
                                                 "--tls-auth-clients",
                                                 "no",
                                                 "--cluster-enabled",
                                                 "yes",
                                                 "--cluster-port",
                                                 std::to_string(RedisProcess::FreePort()),
                                                 "--tls-cluster",
                                                 "yes",
                                                 "--cluster-preferred-endpoint-type",
                                                 "unknown-endpoint"});
  redis.Write("site.pem", site.pem);
  redis.Write("site.key", site.key_pem);
  redis.Write("ca.pem", ca.Text().text);
  redis.Start();
  const auto context = net::TlsClientContext::Create({.server = {.ca = ca.Text()}});
  ASSERT_TRUE(context.ok()) << context.status();
  const auto use = [&](RedisTopology topology) {
    Use({redis.port()}, {.topology = topology}, *context);
    const net::Address address = cluster_->endpoints()->begin()->endpoint->address();
    upstreams_->UpdateEndpoints(
        cluster_->key(),
        EndpointSet::Make({{.address = address, .text = "redis.test", .host = "redis.test"}},
                          nullptr));
  };
  use(RedisTopology::kSingle);
  EXPECT_EQ(Command("CLUSTER", "ADDSLOTSRANGE", {"0", "16383"}), "OK");
  EXPECT_TRUE(Until([&] { return Command("SET", "a", {"1"}) == "OK"; }));
  use(RedisTopology::kCluster);
  (void)News();
  EXPECT_EQ(Command("GET", "a"), "1");
  EXPECT_THAT(News(), testing::IsEmpty());
}

TEST_F(RedisServerTest, KilledAndStartedAgain) {
  RedisProcess redis;
  Use({redis.port()});
  const std::string_view args[] = {"1"};
  const RedisRequest request{
      .script = &kAdd, .key = "n", .args = args, .timeout = milliseconds(500)};
  EXPECT_EQ(Do(request), "[1 text null [1 2]]");
  redis.Kill();
  std::string last;
  EXPECT_TRUE(Until([&] { return (last = Do(request)) == "<refused>"; })) << last;
  redis.Start();
  EXPECT_TRUE(Until([&] { return (last = Do(request)) == "[1 text null [1 2]]"; })) << last;
  const std::vector<std::string> news = News();
  ASSERT_EQ(news.size(), 2u);
  EXPECT_THAT(news[0], HasSubstr("cannot be used"));
  EXPECT_THAT(news[1], HasSubstr("is back after"));
}

TEST_F(RedisServerTest, Stopped) {
  RedisProcess redis;
  Use({redis.port()});
  EXPECT_EQ(Command("INCR", "n"), "1");
  redis.Pause();
  std::vector<std::string> results;
  EXPECT_TRUE(Until([&] {
    results.push_back(Command("INCR", "n", {}, milliseconds(20)));
    return results.back() == "<refused>";
  }));
  EXPECT_EQ(results[0], "<timeout>");
  EXPECT_LE(results.size(), 8u);
  redis.Resume();
  std::string last;
  EXPECT_TRUE(Until([&] { return (last = Command("INCR", "n"))[0] != '<'; })) << last;
}

// What is slower than its deadline, again and again, and never becomes somebody else's answer.
TEST_F(RedisServerTest, LateAnswersUnderLoad) {
  RedisProcess redis;
  Use({redis.port()}, {.connections = 2});
  int good = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<TestCall> calls(100);
    std::vector<std::string> texts;
    texts.reserve(calls.size());
    for (size_t i = 0; i < calls.size(); ++i) {
      texts.push_back(std::to_string(round) + "." + std::to_string(i));
      Start(calls[i], {.command = "ECHO", .key = texts[i], .timeout = milliseconds(1 + i % 3)});
    }
    ASSERT_TRUE(Until([&] { return Client().running() == 0; }));
    for (size_t i = 0; i < calls.size(); ++i) {
      if (calls[i].failure != RedisFailure::kNone) continue;
      EXPECT_EQ(calls[i].text, texts[i]);
      ++good;
    }
  }
  RecordProperty("good", good);
}

// A worker: a loop with Upstreams in a thread of its own, which asks one thing after the other.
class RedisWorker {
 public:
  RedisWorker(std::shared_ptr<const RedisTarget> target, observe::CounterBlock& counters)
      : target_(std::move(target)), counters_(counters), thread_([this] { Work(); }) {}
  void Stop() { stop_ = true; }
  void Join() { thread_.join(); }
  void Forget() { good_ = 0; }
  [[nodiscard]] uint64_t good() const { return good_; }
  [[nodiscard]] uint64_t refused() const { return refused_; }

 private:
  void Work() {
    SystemClock clock;
    net::Loop loop(clock);
    http::H1HeadScratch scratch;
    Upstreams upstreams(loop, counters_, scratch);
    Timer tick([](void*) {}, nullptr);
    std::vector<TestCall> calls(10);
    while (!stop_) {
      for (TestCall& call : calls) {
        if (call.call->running()) continue;
        if (call.results > 0 && call.failure == RedisFailure::kNone) ++good_;
        if (call.results > 0 && call.failure == RedisFailure::kRefused) ++refused_;
        const std::string_view args[] = {"1"};
        call.Start(upstreams.Redis(*target_),
                   {.script = &kAdd, .key = "n", .args = args, .timeout = seconds(5)});
      }
      loop.Arm(tick, milliseconds(1));
      loop.RunTurn(true);
    }
    calls.clear();
    target_.reset();
  }

  std::shared_ptr<const RedisTarget> target_;
  observe::CounterBlock& counters_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> good_ = 0;
  std::atomic<uint64_t> refused_ = 0;
  std::thread thread_;
};

TEST_F(RedisServerTest, WorkersShareATargetAndOneVoice) {
  RedisProcess redis;
  Use({redis.port()});
  std::vector<std::unique_ptr<RedisWorker>> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(std::make_unique<RedisWorker>(target_, *registry_.NewBlock()));
  }
  const RedisMetrics metrics = target_->metrics();
  target_.reset();
  const auto all_serve = [&] {
    for (const auto& worker : workers) worker->Forget();
    return Until([&] {
      return std::ranges::all_of(workers, [](const auto& worker) { return worker->good() > 0; });
    });
  };
  EXPECT_TRUE(all_serve());
  redis.Kill();
  EXPECT_TRUE(Until([&] {
    return std::ranges::all_of(workers, [](const auto& worker) { return worker->refused() > 0; });
  }));
  redis.Start();
  EXPECT_TRUE(all_serve());
  EXPECT_TRUE(Until([&] { return registry_.Total(metrics.open_circuits) == 0; }));
  const std::vector<std::string> news = News();
  EXPECT_EQ(news.size(), 2u) << testing::PrintToString(news);
  for (const auto& worker : workers) worker->Stop();
  for (const auto& worker : workers) worker->Join();
  EXPECT_EQ(registry_.Total(metrics.connections), 0);
  EXPECT_EQ(registry_.Total(metrics.active), 0);
}

}  // namespace
}  // namespace gatehouse::upstream
