// RedisClient against real sentinels: a master, a replica, and one sentinel that decides alone.
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/time.h"
#include "test/fakes/redis_process.h"
#include "test/upstream/redis_fixture.h"

namespace gatehouse::upstream {
namespace {

using std::chrono::seconds;
using testing::Contains;
using testing::HasSubstr;

class RedisSentinelTest : public RedisFixture<SystemClock> {
 protected:
  RedisSentinelTest()
      : replica_({"--replicaof", "127.0.0.1", std::to_string(master_.port()), "--requirepass",
                  "inside", "--masterauth", "inside", "--repl-diskless-sync-delay", "0"}),
        sentinel_(RedisProcess::Unstarted{}, {"sentinel.conf", "--sentinel"}) {
    sentinel_.Write("sentinel.conf",
                    "bind 127.0.0.1\nrequirepass outside\n"
                    "sentinel monitor limits 127.0.0.1 " +
                        std::to_string(master_.port()) +
                        " 1\n"
                        "sentinel auth-pass limits inside\n"
                        "sentinel down-after-milliseconds limits 300\n"
                        "sentinel failover-timeout limits 2000\n");
    sentinel_.Start();
    EXPECT_TRUE(Until([&] {
      return Ask({"INFO", "sentinel"}).find("status=ok") != std::string::npos &&
             Ask({"INFO", "sentinel"}).find("slaves=1") != std::string::npos &&
             replica_.Run({"INFO", "replication"}, "inside").find("master_link_status:up") !=
                 std::string::npos;
    }));
    Use({RedisProcess::FreePort(), sentinel_.port()}, {.topology = RedisTopology::kSentinel,
                                                       .sentinel_master = "limits",
                                                       .password = "inside",
                                                       .sentinel_password = "outside"});
  }
  std::string Ask(const std::vector<std::string>& command) {
    return sentinel_.Run(command, "outside");
  }

  RedisProcess master_{
      {"--requirepass", "inside", "--masterauth", "inside", "--repl-diskless-sync-delay", "0"}};
  RedisProcess replica_;
  RedisProcess sentinel_;
};

TEST_F(RedisSentinelTest, AMasterThatDies) {
  EXPECT_EQ(Command("INCR", "n"), "1");
  EXPECT_EQ(master_.Run({"WAIT", "1", "5000"}, "inside"), "1");
  master_.Kill();
  std::string last;
  EXPECT_TRUE(Until([&] { return (last = Command("INCR", "n")) == "2"; })) << last;
  EXPECT_EQ(replica_.Run({"GET", "n"}, "inside"), "2");
  const std::vector<std::string> news = News();
  EXPECT_THAT(
      news,
      Contains(HasSubstr("the master is 127.0.0.1:" + std::to_string(replica_.port()) + " now")));
}

TEST_F(RedisSentinelTest, AFailoverThatIsAskedFor) {
  EXPECT_EQ(Command("INCR", "n"), "1");
  EXPECT_EQ(master_.Run({"WAIT", "1", "5000"}, "inside"), "1");
  // It wants to have heard of the replica lately.
  EXPECT_TRUE(Until([&] { return Ask({"SENTINEL", "failover", "limits"}) == "OK"; }));
  // Until the old one is a replica it still takes writes, which are lost: that is Redis' way.
  EXPECT_TRUE(Until([&] {
    (void)Command("INCR", "m");
    return replica_.Run({"ROLE"}, "inside").starts_with("master") &&
           master_.Run({"ROLE"}, "inside").starts_with("slave");
  }));
  std::string last;
  EXPECT_TRUE(Until([&] { return (last = Command("INCR", "n")) == "2"; })) << last;
  EXPECT_EQ(replica_.Run({"GET", "n"}, "inside"), "2");
}

}  // namespace
}  // namespace gatehouse::upstream
