// Redis Clusters and sentinels that do what the test says: redirections, loops, lookups.
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/upstream/redis_slots.h"
#include "source/upstream/redis_target.h"
#include "test/upstream/redis_fake_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Bulk(std::string_view text) {
  return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}
std::string Integer(int64_t number) { return ":" + std::to_string(number) + "\r\n"; }

std::string Master(const FakeRedis& redis) {
  return "*2\r\n" + Bulk("127.0.0.1") + Bulk(std::to_string(redis.port()));
}

class RedisRoutingTest : public RedisFakeFixture {
 protected:
  static std::string Name(const FakeRedis& redis) {
    return "127.0.0.1:" + std::to_string(redis.port());
  }
  static std::string Range(int first, int last, const FakeRedis& redis,
                           std::string_view host = "127.0.0.1") {
    return "*3\r\n" + Integer(first) + Integer(last) + "*3\r\n" + Bulk(host) +
           Integer(redis.port()) + Bulk("id");
  }
  // All that a server says: to CLUSTER, ASKING, and else.
  static auto Says(const std::string& slots, const std::string& answer) {
    return [slots, answer](const FakeRedis::Command& command) -> std::string {
      if (command.words[0] == "CLUSTER" || command.words[0] == "SENTINEL") return slots;
      return command.words[0] == "ASKING" ? "+OK\r\n" : answer;
    };
  }
  static size_t Count(const FakeRedis& redis, std::string_view text) {
    size_t count = 0;
    for (const auto& command : redis.commands()) count += command.Text() == text ? 1 : 0;
    return count;
  }
  std::string Get(std::string_view key) {
    return Do({.command = "GET", .key = key, .timeout = milliseconds(50)});
  }
  // While time passes, for what waits for it.
  std::string Try(std::string_view key) {
    TestCall call;
    Start(call, {.command = "GET", .key = key, .timeout = milliseconds(50)});
    for (int i = 0; i < 20 && !call.done; ++i) Advance(milliseconds(5));
    return ResultOf(call);
  }
  FakeRedis a_;
  FakeRedis b_;
  const RedisSpec cluster_spec_{.topology = RedisTopology::kCluster};
  const RedisSpec sentinel_spec_{.topology = RedisTopology::kSentinel,
                                 .sentinel_master = "limits",
                                 .password = "inside",
                                 .sentinel_password = "outside"};
};

// Of slots 12182 ("foo") and 5061 ("bar").
TEST_F(RedisRoutingTest, KeysGoToWhoHasTheirSlot) {
  Use({&a_}, cluster_spec_);
  Also(b_);
  const std::string slots = "*2\r\n" + Range(0, 8000, a_) + Range(8001, 16383, b_);
  a_.on_command = Says(slots, "+a\r\n");
  b_.on_command = Says(slots, "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("bar"), "a");
  EXPECT_EQ(Get("x{foo}y"), "b");
  EXPECT_EQ(Value(target_->metrics().moved), 0u);
  EXPECT_EQ(Value(target_->metrics().lookups), 1u);
}

TEST_F(RedisRoutingTest, MovedIsFollowedAndRemembered) {
  Use({&a_}, cluster_spec_);
  Also(b_);
  const std::string before = "*1\r\n" + Range(0, 16383, a_);
  a_.on_command = Says(before, "-MOVED 12182 " + Name(b_) + "\r\n");
  b_.on_command = Says(before, "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Value(target_->metrics().moved), 1u);
  // The map is asked for again, once, however many were moved.
  a_.on_command = Says("*2\r\n" + Range(0, 8000, a_) + Range(8001, 16383, b_), "+a\r\n");
  Pass(seconds(2));
  EXPECT_EQ(Value(target_->metrics().lookups), 2u);
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("bar"), "a");
}

TEST_F(RedisRoutingTest, MovedWithoutAHostIsTheSameHost) {
  Use({&a_}, cluster_spec_);
  Also(b_);
  const std::string slots = "*1\r\n" + Range(0, 16383, a_, "");
  a_.on_command = Says(slots, "-MOVED 12182 :" + std::to_string(b_.port()) + "\r\n");
  b_.on_command = Says(slots, "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
}

TEST_F(RedisRoutingTest, AskIsFollowedAndNotRemembered) {
  Use({&a_}, cluster_spec_);
  Also(b_);
  const std::string slots = "*1\r\n" + Range(0, 16383, a_);
  a_.on_command = Says(slots, "-ASK 12182 " + Name(b_) + "\r\n");
  b_.on_command = Says(slots, "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Value(target_->metrics().asked), 2u);
  EXPECT_EQ(Count(a_, "GET foo"), 2u);
  std::vector<std::string> heard;
  for (const auto& command : b_.commands()) heard.push_back(command.Text());
  EXPECT_THAT(heard, ElementsAre("ASKING", "GET foo", "ASKING", "GET foo"));
}

TEST_F(RedisRoutingTest, LoopsEnd) {
  for (const std::string kind : {"MOVED", "ASK"}) {
    upstreams_.reset();
    upstreams_.emplace(loop_, *counters_, scratch_);
    Use({&a_}, cluster_spec_);
    Also(b_);
    const std::string slots = "*1\r\n" + Range(0, 16383, a_);
    a_.on_command = Says(slots, "-" + kind + " 12182 " + Name(b_) + "\r\n");
    b_.on_command = Says(slots, "-" + kind + " 12182 " + Name(a_) + "\r\n");
    const size_t before = Count(a_, "GET foo") + Count(b_, "GET foo");
    EXPECT_THAT(Get("foo"), HasSubstr("<error " + kind));
    EXPECT_EQ(Count(a_, "GET foo") + Count(b_, "GET foo") - before, 1u + RedisClient::kMaxTurns);
  }
}

TEST_F(RedisRoutingTest, RedirectionsThatMakeNoSense) {
  Use({&a_}, cluster_spec_);
  const std::string slots = "*1\r\n" + Range(0, 16383, a_);
  for (const std::string error :
       {"MOVED", "MOVED 1", "MOVED 99999 127.0.0.1:1", "MOVED 1 127.0.0.1", "MOVED x 127.0.0.1:1",
        "MOVED 1 127.0.0.1:0", "MOVED 1 127.0.0.1:65536", "ASK 1 no.such.name:1", "ASK 1 :x"}) {
    a_.on_command = Says(slots, "-" + error + "\r\n");
    EXPECT_EQ(Get("foo"), "<error " + error + ">");
  }
  EXPECT_EQ(Value(target_->metrics().connects), 1u);
}

TEST_F(RedisRoutingTest, TheNextSeedIsAskedWhenOneIsGone) {
  Use({&a_, &b_}, cluster_spec_);
  a_.tcp().StopListening();
  b_.on_command = Says("*1\r\n" + Range(0, 16383, b_), "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_THAT(News(), IsEmpty());
}

TEST_F(RedisRoutingTest, AClusterThatCannotBeFound) {
  Use({&a_, &b_}, cluster_spec_);
  a_.on_command = Says("-ERR This instance has cluster support disabled\r\n", "+a\r\n");
  b_.on_command = Says("*0\r\n", "+b\r\n");
  EXPECT_EQ(Try("foo"), "<unreachable>");
  EXPECT_EQ(Try("foo"), "<refused>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("the Redis Cluster cannot be used: " + Name(b_) +
                                            ": it knows of no slots")));
  EXPECT_EQ(Value(target_->metrics().open_circuits), 1);
  Pass(seconds(10));
  EXPECT_LE(Value(target_->metrics().lookups), 20u);
  b_.on_command = Says("*1\r\n" + Range(0, 16383, b_), "+b\r\n");
  Pass(seconds(3));
  EXPECT_THAT(News(), ElementsAre(HasSubstr("the Redis Cluster is back after")));
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Value(target_->metrics().open_circuits), 0);
}

TEST_F(RedisRoutingTest, SeedsThatSayNothing) {
  Use({&a_}, cluster_spec_);
  a_.on_login = [](const auto&) { return ""; };
  std::vector<std::string> results;
  for (int i = 0; i < 8; ++i) results.push_back(Try("foo"));
  EXPECT_EQ(results[0], "<unreachable>");
  EXPECT_EQ(results[7], "<refused>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("the Redis Cluster cannot be used: nobody answers")));
  a_.on_login = [](const auto&) { return "+OK\r\n"; };
  a_.on_command = Says("*1\r\n" + Range(0, 16383, a_), "+a\r\n");
  Pass(seconds(5));
  EXPECT_EQ(Get("foo"), "a");
}

TEST_F(RedisRoutingTest, AnswersToTheLookupThatMakeNoSense) {
  Use({&a_}, cluster_spec_);
  for (const std::string& slots :
       {std::string("+OK\r\n"), std::string("*1\r\n:1\r\n"), "*1\r\n" + Range(5, 4, a_),
        "*1\r\n" + Range(0, 16384, a_), "*1\r\n" + Range(-1, 5, a_),
        "*1\r\n*3\r\n" + Integer(0) + Integer(5) + "*1\r\n" + Bulk("127.0.0.1"),
        "*1\r\n*3\r\n" + Integer(0) + Integer(5) + "*2\r\n" + Bulk("127.0.0.1") + Integer(70000),
        "*1\r\n" + Range(0, 16383, a_, "no.such.name")}) {
    upstreams_.reset();
    upstreams_.emplace(loop_, *counters_, scratch_);
    a_.on_command = Says(slots, "+a\r\n");
    EXPECT_EQ(Try("foo"), "<unreachable>") << slots;
  }
}

TEST_F(RedisRoutingTest, ASlotThatNobodyHas) {
  Use({&a_}, cluster_spec_);
  a_.on_command = Says("*1\r\n" + Range(0, 8000, a_), "+a\r\n");
  EXPECT_EQ(Get("bar"), "a");
  EXPECT_EQ(Try("foo"), "<unreachable>");
  EXPECT_EQ(Get("bar"), "a");
}

TEST_F(RedisRoutingTest, LookupsThatFailWhileThereIsATable) {
  Use({&a_}, cluster_spec_);
  a_.on_command = Says("*1\r\n" + Range(0, 8000, a_), "+a\r\n");
  EXPECT_EQ(Get("bar"), "a");
  a_.on_login = [](const auto&) { return ""; };
  std::vector<std::string> results;
  for (int i = 0; i < 20; ++i) results.push_back(Try("foo"));
  EXPECT_EQ(results.back(), "<refused>");
  Pass(seconds(5));
  EXPECT_EQ(Try("foo"), "<refused>");
  EXPECT_EQ(Get("bar"), "a");
  a_.on_login = [](const auto&) { return "+OK\r\n"; };
  a_.on_command = Says("*1\r\n" + Range(0, 16383, a_), "+a\r\n");
  Pass(seconds(5));
  EXPECT_EQ(Get("foo"), "a");
}

// The former master does not know yet, and nothing breaks.
TEST_F(RedisRoutingTest, SentinelsAreAskedNowAndThen) {
  Use({&a_}, sentinel_spec_);
  Also(b_);
  FakeRedis next;
  Also(next);
  a_.on_command = Says(Master(b_), "");
  b_.on_command = Says("", "+b\r\n");
  next.on_command = Says("", "+next\r\n");
  EXPECT_EQ(Get("foo"), "b");
  a_.on_command = Says(Master(next), "");
  Pass(seconds(12), milliseconds(100));
  EXPECT_EQ(Get("foo"), "next");
}

TEST_F(RedisRoutingTest, ANodeThatFailsIsReplaced) {
  Use({&a_, &b_}, cluster_spec_);
  const std::string before = "*2\r\n" + Range(0, 8000, a_) + Range(8001, 16383, b_);
  a_.on_command = Says(before, "+a\r\n");
  b_.on_command = Says(before, "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("bar"), "a");
  b_.tcp().StopListening();
  for (size_t i = 0; i < b_.tcp().connections(); ++i) b_.tcp().connection(i).Close();
  Pass(milliseconds(100));
  EXPECT_EQ(Try("foo"), "<refused>");
  EXPECT_EQ(Get("bar"), "a") << "the others do not suffer";
  a_.on_command = Says("*1\r\n" + Range(0, 16383, a_), "+a\r\n");
  Pass(seconds(4));
  EXPECT_EQ(Get("foo"), "a");
  // It has left: nobody tries it any more.
  Pass(seconds(12), milliseconds(100));
  EXPECT_EQ(Value(target_->metrics().open_circuits), 0);
}

TEST_F(RedisRoutingTest, SentinelsAreAskedWhoTheMasterIs) {
  Use({&a_}, sentinel_spec_);
  Also(b_);
  std::vector<std::string> logins;
  a_.on_login = b_.on_login = [&](const FakeRedis::Command& command) {
    if (command.words[0] == "AUTH") logins.push_back(command.Text());
    return "+OK\r\n";
  };
  a_.on_command = Says(Master(b_), "");
  b_.on_command = Says("", "+b\r\n");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(Get("foo"), "b");
  EXPECT_EQ(a_.commands()[0].Text(), "SENTINEL get-master-addr-by-name limits");
  EXPECT_THAT(logins, ElementsAre("AUTH outside", "AUTH inside"));
  EXPECT_EQ(Value(target_->metrics().lookups), 1u);
  EXPECT_EQ(Value(target_->metrics().connections), 1);
}

TEST_F(RedisRoutingTest, AFailoverIsFollowed) {
  FakeRedis next;
  Use({&a_}, sentinel_spec_);
  Also(b_);
  Also(next);
  a_.on_command = Says(Master(b_), "");
  b_.on_command = Says("", "+b\r\n");
  next.on_command = Says("", "+next\r\n");
  EXPECT_EQ(Get("foo"), "b");
  // The old one is a replica now and does not say so until it is written to.
  Pass(seconds(1));
  a_.on_command = Says(Master(next), "");
  b_.on_command = Says("", "-READONLY You can't write against a read only replica.\r\n");
  EXPECT_EQ(Get("foo"), "next");
  EXPECT_EQ(Get("foo"), "next");
  EXPECT_THAT(News(), ElementsAre(HasSubstr(Name(b_) + " cannot be used: it takes no writes"),
                                  HasSubstr("the master is " + Name(next) + " now")));
  // It comes back as the master.
  Pass(seconds(1));
  a_.on_command = Says(Master(b_), "");
  b_.on_command = Says("", "+b\r\n");
  next.tcp().StopListening();
  for (size_t i = 0; i < next.tcp().connections(); ++i) next.tcp().connection(i).Close();
  Pass(seconds(5));
  EXPECT_EQ(Get("foo"), "b");
}

TEST_F(RedisRoutingTest, SentinelsWithoutAnAnswer) {
  Use({&a_, &b_}, sentinel_spec_);
  a_.on_command = Says("*-1\r\n", "");
  b_.on_command = Says("*2\r\n" + Bulk("redis.internal") + Bulk("6379"), "");
  EXPECT_EQ(Try("foo"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("master 'limits' cannot be used: " + Name(b_) +
                                            ": it names 'redis.internal' as the master")));
  for (const std::string port : {"0", "65536", "x", "", "99999999999999999999"}) {
    upstreams_.reset();
    upstreams_.emplace(loop_, *counters_, scratch_);
    b_.on_command = Says("*2\r\n" + Bulk("127.0.0.1") + Bulk(port), "");
    EXPECT_EQ(Try("foo"), "<unreachable>") << port;
  }
}

// The sentinels name a server that has not been promoted yet.
TEST_F(RedisRoutingTest, AMasterThatIsStillAReplica) {
  Use({&a_}, sentinel_spec_);
  Also(b_);
  a_.on_command = Says(Master(b_), "");
  b_.on_command = Says("", "+b\r\n");
  b_.on_login = [](const FakeRedis::Command& command) -> std::string {
    return command.words[0] == "ROLE" ? "*1\r\n$5\r\nslave\r\n" : "+OK\r\n";
  };
  EXPECT_EQ(Try("foo"), "<unreachable>");
  EXPECT_THAT(News(), ElementsAre(HasSubstr("it is a replica")));
  b_.on_login = [](const auto&) { return "+OK\r\n"; };
  Pass(seconds(3));
  EXPECT_EQ(Get("foo"), "b");
}

TEST(RedisSlotsTest, SlotsOfKeys) {
  // The specification's example, and what redis-cli says.
  EXPECT_EQ(RedisSlotOf("123456789"), 0x31c3);
  EXPECT_EQ(RedisSlotOf(""), 0);
  EXPECT_EQ(RedisSlotOf("foo"), 12182);
  EXPECT_EQ(RedisSlotOf("bar"), 5061);
  EXPECT_EQ(RedisSlotOf("{foo}.bar"), 12182);
  EXPECT_EQ(RedisSlotOf("x{foo}{bar}"), 12182);
  EXPECT_EQ(RedisSlotOf("foo{}{bar}"), RedisSlotOf("foo{}{bar}"));
  EXPECT_NE(RedisSlotOf("foo{}{bar}"), 5061);
  EXPECT_NE(RedisSlotOf("{foo"), 12182);
  EXPECT_EQ(RedisSlotOf("foo{{bar}}zap"), RedisSlotOf("{bar"));
}

}  // namespace
}  // namespace gatehouse::upstream
