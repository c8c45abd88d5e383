// RedisClient against a real redis-server.
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/time.h"
#include "source/upstream/redis_client.h"
#include "test/fakes/redis_process.h"
#include "test/upstream/redis_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

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

}  // namespace
}  // namespace gatehouse::upstream
