#include "source/upstream/cluster_state.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "test/upstream/upstream_fixture.h"

namespace gatehouse::upstream {
namespace {

using http::Error;
using What = http::Error::What;

class ClusterStateTest : public UpstreamFixture {};

TEST_F(ClusterStateTest, FirstRequestWaitsForAConnectionAndTheSecondReusesIt) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  const observe::ClusterMetrics& metrics = cluster->metrics();

  TestAttempt first(*upstreams_);
  ASSERT_EQ(first.Acquire(*cluster), AcquireStatus::kWaiting);
  EXPECT_TRUE(first.waiting());
  EXPECT_EQ(Value(metrics.pending), 1);
  ASSERT_TRUE(Until([&] { return first.decided(); }));
  EXPECT_FALSE(first.waiting());
  EXPECT_FALSE(first.lease.reused());
  EXPECT_EQ(first.lease.endpoint().text(), "127.0.0.1:" + std::to_string(origin.port()));
  EXPECT_EQ(Value(metrics.pending), 0);
  EXPECT_EQ(Value(metrics.active), 1);
  first.Send("/first");
  ASSERT_TRUE(Until([&] { return first.ended; }));
  EXPECT_EQ(first.status, 200);
  Settle();
  EXPECT_EQ(State(*cluster).idle(), 1u);

  TestAttempt second(*upstreams_);
  ASSERT_EQ(second.Acquire(*cluster), AcquireStatus::kReady);
  EXPECT_TRUE(second.lease.reused());
  second.Send("/second");
  ASSERT_TRUE(Until([&] { return second.ended; }));
  EXPECT_EQ(origin.connections(), 1u);
  EXPECT_EQ(Value(metrics.connects), 1u);
  EXPECT_EQ(Value(metrics.pool_hits), 1u);
  Settle();
  EXPECT_EQ(Value(metrics.connections), 1);
  EXPECT_EQ(Value(metrics.idle_connections), 1);
  EXPECT_EQ(Value(metrics.active), 0);
}

TEST_F(ClusterStateTest, MostRecentlyUsedConnectionIsTakenFirst) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  TestAttempt a(*upstreams_);
  TestAttempt b(*upstreams_);
  Get(a, *cluster);
  Get(b, *cluster);
  a.Send("/a");
  ASSERT_TRUE(Until([&] { return a.ended; }));
  Settle();
  b.Send("/b");
  ASSERT_TRUE(Until([&] { return b.ended; }));
  Settle();
  ASSERT_EQ(State(*cluster).idle(), 2u);

  TestAttempt c(*upstreams_);
  Get(c, *cluster);
  c.Send("/c");
  ASSERT_TRUE(Until([&] { return c.ended; }));
  size_t with_c = 0;
  for (size_t i = 0; i < origin.connections(); ++i) {
    const std::string& received = origin.connection(i).received();
    if (received.find("GET /c ") == std::string::npos) continue;
    ++with_c;
    EXPECT_NE(received.find("GET /b "), std::string::npos);
  }
  EXPECT_EQ(with_c, 1u);
}

TEST_F(ClusterStateTest, LeaseThatWasNotUsedGivesACleanConnectionBack) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  {
    TestAttempt attempt(*upstreams_);
    Get(attempt, *cluster);
  }
  EXPECT_EQ(State(*cluster).idle(), 1u);
  EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(origin.connections(), 1u);
}

TEST_F(ClusterStateTest, LeaseHeldAfterTheExchangeKeepsTheConnectionToItself) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  attempt.release_at_end = false;
  Get(attempt, *cluster);
  attempt.Send();
  ASSERT_TRUE(Until([&] { return attempt.ended; }));
  Settle();
  EXPECT_TRUE(attempt.lease.response_started());
  EXPECT_FALSE(attempt.lease.reused());
  EXPECT_EQ(State(*cluster).idle(), 0u);
  attempt.Release();
  EXPECT_EQ(State(*cluster).idle(), 1u);
}

TEST_F(ClusterStateTest, LeaseThatEndsEarlyAbortsTheExchange) {
  TcpOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  Get(attempt, *cluster);
  attempt.Send();
  ASSERT_TRUE(Until([&] { return origin.requests() == 1; }));
  attempt.Release();
  ASSERT_TRUE(Until([&] { return origin.connection(0).ended(); }));
  EXPECT_EQ(State(*cluster).connections(), 0u);
  EXPECT_EQ(Value(cluster->metrics().connections), 0);
  EXPECT_EQ(Value(cluster->metrics().active), 0);
}

TEST_F(ClusterStateTest, UncleanConnectionIsNotPooled) {
  TcpOrigin origin;
  origin.set_auto_answer(false);
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  Get(attempt, *cluster);
  attempt.Send();
  ASSERT_TRUE(Until([&] { return origin.requests() == 1; }));
  origin.connection(0).Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  ASSERT_TRUE(Until([&] { return attempt.ended; }));
  Settle();
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

TEST_F(ClusterStateTest, IdleTimeoutClosesTheOldestFirst) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.idle_timeout = std::chrono::seconds(10);
  const auto cluster = Make(spec);
  TestAttempt a(*upstreams_);
  TestAttempt b(*upstreams_);
  Get(a, *cluster);
  Get(b, *cluster);
  a.Release();
  Advance(std::chrono::seconds(6));
  b.Release();
  EXPECT_EQ(State(*cluster).idle(), 2u);
  Advance(std::chrono::seconds(5));
  EXPECT_EQ(State(*cluster).idle(), 1u);
  Advance(std::chrono::seconds(4));
  EXPECT_EQ(State(*cluster).idle(), 1u);
  Advance(std::chrono::seconds(2));
  EXPECT_EQ(State(*cluster).idle(), 0u);
  EXPECT_EQ(Value(cluster->metrics().connections), 0);
  EXPECT_EQ(Value(cluster->metrics().idle_connections), 0);
  EXPECT_TRUE(Until([&] { return origin.connection(0).ended() && origin.connection(1).ended(); }));
}

TEST_F(ClusterStateTest, UseKeepsAConnectionFromItsIdleTimeout) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.idle_timeout = std::chrono::seconds(10);
  const auto cluster = Make(spec);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Exchange(*cluster), 200);
    Advance(std::chrono::seconds(7));
  }
  EXPECT_EQ(origin.connections(), 1u);
}

TEST_F(ClusterStateTest, IdleConnectionThatTheOriginClosesIsDropped) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  ASSERT_EQ(State(*cluster).idle(), 1u);
  origin.connection(0).Close();
  EXPECT_TRUE(Until([&] { return State(*cluster).connections() == 0; }));
  EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(origin.connections(), 2u);
}

// The pool learns of it at the end of the turn, and must not lend it before.
TEST_F(ClusterStateTest, ConnectionThatWasClosedInThisTurnIsNotLent) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  ASSERT_EQ(State(*cluster).idle(), 1u);
  origin.connection(0).Close();
  TestAttempt attempt(*upstreams_);
  AcquireStatus status = AcquireStatus::kFailed;
  loop_.Post([&] { status = attempt.Acquire(*cluster); });  // after the events of the turn
  Turn();
  EXPECT_EQ(status, AcquireStatus::kWaiting);
  ASSERT_TRUE(Until([&] { return attempt.decided(); }));
  EXPECT_FALSE(attempt.lease.reused());
}

TEST_F(ClusterStateTest, IdleConnectionWithStrayBytesIsDropped) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  origin.connection(0).Send("HTTP/1.1 200 OK\r\n");
  EXPECT_TRUE(Until([&] { return State(*cluster).connections() == 0; }));
}

TEST_F(ClusterStateTest, MaxIdleKeepsTheMostRecentlyUsed) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_idle = 2;
  const auto cluster = Make(spec);
  std::vector<std::unique_ptr<TestAttempt>> attempts;
  for (int i = 0; i < 4; ++i) {
    attempts.push_back(std::make_unique<TestAttempt>(*upstreams_));
    Get(*attempts.back(), *cluster);
  }
  EXPECT_EQ(State(*cluster).connections(), 4u);
  for (auto& attempt : attempts) {
    attempt->Release();
    Settle();
  }
  EXPECT_EQ(State(*cluster).idle(), 2u);
  EXPECT_EQ(State(*cluster).connections(), 2u);
  ASSERT_TRUE(Until([&] { return origin.connection(0).ended() && origin.connection(1).ended(); }));
  EXPECT_FALSE(origin.connection(2).ended());
  EXPECT_FALSE(origin.connection(3).ended());
}

TEST_F(ClusterStateTest, MaxIdleOfZeroPoolsNothing) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_idle = 0;
  const auto cluster = Make(spec);
  EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(State(*cluster).connections(), 0u);
  EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(origin.connections(), 2u);
}

TEST_F(ClusterStateTest, MaxRequestsEndsAConnection) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_requests_per_connection = 3;
  const auto cluster = Make(spec);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(Exchange(*cluster), 200);
  ASSERT_EQ(origin.connections(), 3u);
  EXPECT_EQ(origin.connection(0).requests(), 3u);
  EXPECT_EQ(origin.connection(1).requests(), 3u);
  EXPECT_EQ(origin.connection(2).requests(), 1u);
}

TEST_F(ClusterStateTest, WaitersAreServedInOrderAsConnectionsComeBack) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  TestAttempt holder(*upstreams_);
  Get(holder, *cluster);
  std::vector<int> order;
  std::vector<std::unique_ptr<TestAttempt>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(std::make_unique<TestAttempt>(*upstreams_));
    TestAttempt& attempt = *waiting.back();
    attempt.on_decided = [&, i] {
      order.push_back(i);
      attempt.Send();
    };
    ASSERT_EQ(attempt.Acquire(*cluster), AcquireStatus::kWaiting);
  }
  waiting[1]->Cancel();
  EXPECT_EQ(State(*cluster).waiting(), 3u);
  holder.Release();
  // It is promised to the queue: who comes now does not overtake.
  TestAttempt late(*upstreams_);
  EXPECT_EQ(late.Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_TRUE(Until([&] { return waiting[3]->ended; }));
  EXPECT_EQ(order, (std::vector<int>{0, 2, 3}));
  ASSERT_TRUE(Until([&] { return late.decided(); }));
  EXPECT_TRUE(late.lease.reused());
  EXPECT_EQ(origin.connections(), 1u);
  EXPECT_EQ(Value(cluster->metrics().pending), 0);
}

TEST_F(ClusterStateTest, OverflowWhenNobodyElseMayWait) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_connections = 1;
  spec.options.max_pending = 1;
  const auto cluster = Make(spec);
  TestAttempt connecting(*upstreams_);
  TestAttempt pending(*upstreams_);
  TestAttempt refused(*upstreams_);
  EXPECT_EQ(connecting.Acquire(*cluster), AcquireStatus::kWaiting);
  EXPECT_EQ(pending.Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_EQ(refused.Acquire(*cluster), AcquireStatus::kFailed);
  EXPECT_EQ(refused.error, Error::Gateway(What::kUpstreamOverflow));
  EXPECT_EQ(Value(cluster->metrics().overflows), 1u);
}

TEST_F(ClusterStateTest, IdleConnectionsOfOtherEndpointsGiveWay) {
  TcpOrigin a;
  TcpOrigin b;
  ClusterSpec spec = Spec({&a, &b});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Exchange(*cluster), 200);
  EXPECT_EQ(a.requests(), 3u);
  EXPECT_EQ(b.requests(), 3u);
  EXPECT_EQ(State(*cluster).connections(), 1u);
}

TEST_F(ClusterStateTest, WaiterForOneEndpointGetsTheRoomThatAnotherFrees) {
  TcpOrigin a;
  TcpOrigin b;
  ClusterSpec spec = Spec({&a, &b});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  TestAttempt first(*upstreams_);
  TestAttempt second(*upstreams_);
  Get(first, *cluster);
  ASSERT_EQ(second.Acquire(*cluster), AcquireStatus::kWaiting);
  Settle();
  EXPECT_FALSE(second.decided());
  first.Release();  // becomes idle, is of the other endpoint
  ASSERT_TRUE(Until([&] { return second.decided(); }));
  EXPECT_NE(&second.lease.endpoint(), nullptr);
  EXPECT_EQ(a.connections(), 1u);
  EXPECT_EQ(b.connections(), 1u);
}

TEST_F(ClusterStateTest, RefusedConnectionFailsOneWaiter) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  origin.StopListening();
  TestAttempt attempt(*upstreams_);
  if (attempt.Acquire(*cluster) == AcquireStatus::kWaiting) {
    ASSERT_TRUE(Until([&] { return attempt.decided(); }));
  }
  EXPECT_EQ(attempt.error, Error::Upstream(What::kConnectFailure, true));
  EXPECT_EQ(Value(cluster->metrics().connect_failures), 1u);
  EXPECT_EQ(State(*cluster).connections(), 0u);
  EXPECT_EQ(Value(cluster->metrics().pending), 0);
}

TEST_F(ClusterStateTest, RetryAvoidsTheEndpointThatFailed) {
  TcpOrigin dead;
  TcpOrigin alive;
  const auto cluster = Make(Spec({&dead, &alive}));
  dead.StopListening();
  for (int i = 0; i < 4; ++i) {
    TestAttempt retry(*upstreams_);
    const Endpoint* avoid = (*cluster->endpoints())[0].endpoint.get();
    if (retry.Acquire(*cluster, {.avoid = avoid}) == AcquireStatus::kWaiting) {
      ASSERT_TRUE(Until([&] { return retry.decided(); }));
    }
    ASSERT_FALSE(retry.error);
    EXPECT_EQ(retry.lease.endpoint().address(), alive.address());
  }
}

// A listener whose queue is full drops SYNs, so a connect stays open.
class FullListener {
 public:
  FullListener() : origin_(0) {
    origin_.set_accepting(false);
    for (int i = 0; i < 8; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      static_cast<void>(connect(fd, origin_.address().raw(), origin_.address().raw_size()));
      fds_.push_back(fd);
    }
  }
  ~FullListener() {
    for (const int fd : fds_) close(fd);
  }
  TcpOrigin& origin() { return origin_; }

 private:
  TcpOrigin origin_;
  std::vector<int> fds_;
};

TEST_F(ClusterStateTest, ConnectTimeout) {
  FullListener full;
  ClusterSpec spec = Spec({&full.origin()});
  spec.options.connect_timeout = std::chrono::seconds(3);
  const auto cluster = Make(spec);
  TestAttempt first(*upstreams_);
  TestAttempt second(*upstreams_);
  ASSERT_EQ(first.Acquire(*cluster), AcquireStatus::kWaiting);
  Advance(std::chrono::seconds(2));
  ASSERT_EQ(second.Acquire(*cluster), AcquireStatus::kWaiting);
  EXPECT_FALSE(first.decided());
  Advance(std::chrono::milliseconds(1100));
  EXPECT_EQ(first.error, Error::Upstream(What::kConnectTimeout, true));
  EXPECT_FALSE(second.decided());
  Advance(std::chrono::seconds(2));
  EXPECT_EQ(second.error, Error::Upstream(What::kConnectTimeout, true));
  EXPECT_EQ(Value(cluster->metrics().connect_timeouts), 2u);
  EXPECT_EQ(Value(cluster->metrics().connect_failures), 0u);
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

TEST_F(ClusterStateTest, ConnectionThatComesBackServesWhoWaitsForAConnect) {
  FullListener full;
  const auto cluster = Make(Spec({&full.origin()}));
  TestAttempt waiter(*upstreams_);
  ASSERT_EQ(waiter.Acquire(*cluster), AcquireStatus::kWaiting);
  waiter.Cancel();
  EXPECT_EQ(State(*cluster).waiting(), 0u);
  EXPECT_EQ(State(*cluster).connections(), 1u);
  // The connect that is under way is for whoever comes next.
  TestAttempt next(*upstreams_);
  ASSERT_EQ(next.Acquire(*cluster), AcquireStatus::kWaiting);
  EXPECT_EQ(State(*cluster).connections(), 1u);
}

TEST_F(ClusterStateTest, NoEndpoints) {
  const auto cluster = Make(Spec({}));
  TestAttempt attempt(*upstreams_);
  ASSERT_EQ(attempt.Acquire(*cluster), AcquireStatus::kFailed);
  EXPECT_EQ(attempt.error, Error::Gateway(What::kNoHealthyUpstream));
  EXPECT_EQ(Value(cluster->metrics().no_endpoint), 1u);
}

TEST_F(ClusterStateTest, FreshTakesNoPooledConnection) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  ASSERT_EQ(State(*cluster).idle(), 1u);
  clock_.Advance(std::chrono::milliseconds(10));
  Turn();
  TestAttempt retry(*upstreams_);
  ASSERT_EQ(retry.Acquire(*cluster, {.fresh = true}), AcquireStatus::kWaiting);
  // Others still take it at once.
  TestAttempt other(*upstreams_);
  EXPECT_EQ(other.Acquire(*cluster), AcquireStatus::kReady);
  EXPECT_TRUE(other.lease.reused());
  ASSERT_TRUE(Until([&] { return retry.decided(); }));
  EXPECT_FALSE(retry.lease.reused());
}

TEST_F(ClusterStateTest, ConnectionThatDiesBeforeTheResponseIsKnownAsStale) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  EXPECT_EQ(Exchange(*cluster), 200);
  TestAttempt attempt(*upstreams_);
  Get(attempt, *cluster);
  attempt.Send();
  origin.connection(0).Reset();
  ASSERT_TRUE(Until([&] { return static_cast<bool>(attempt.error); }));
  EXPECT_EQ(attempt.error.what, What::kUpstreamReset);
  EXPECT_TRUE(attempt.lease.reused());
  EXPECT_FALSE(attempt.lease.response_started());
  attempt.Release();
  Settle();
  EXPECT_EQ(State(*cluster).connections(), 0u);
}

TEST_F(ClusterStateTest, OriginThatSpeaksFirstIsNotUsed) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  TestAttempt attempt(*upstreams_);
  ASSERT_EQ(attempt.Acquire(*cluster), AcquireStatus::kWaiting);
  origin.Step();
  ASSERT_EQ(origin.connections(), 1u);
  origin.connection(0).Send("220 smtp.test\r\n");
  ASSERT_TRUE(Until([&] { return attempt.decided(); }));
  EXPECT_EQ(attempt.error, Error::Upstream(What::kConnectFailure, true));
}

TEST_F(ClusterStateTest, OutOfFileDescriptors) {
  TcpOrigin origin;
  const auto cluster = Make(Spec({&origin}));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;  // below what is open: no socket can be made
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  TestAttempt attempt(*upstreams_);
  const AcquireStatus status = attempt.Acquire(*cluster);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(status, AcquireStatus::kFailed);
  EXPECT_EQ(attempt.error, Error::Gateway(What::kUpstreamOverflow));
  EXPECT_EQ(Value(cluster->metrics().overflows), 1u);
}

TEST_F(ClusterStateTest, DoneMayDestroyWaitersAndAskAgain) {
  TcpOrigin origin;
  ClusterSpec spec = Spec({&origin});
  spec.options.max_connections = 1;
  const auto cluster = Make(spec);
  auto first = std::make_unique<TestAttempt>(*upstreams_);
  auto second = std::make_unique<TestAttempt>(*upstreams_);
  TestAttempt third(*upstreams_);
  ASSERT_EQ(first->Acquire(*cluster), AcquireStatus::kWaiting);
  ASSERT_EQ(second->Acquire(*cluster), AcquireStatus::kWaiting);
  first->on_decided = [&] {
    second.reset();
    EXPECT_EQ(third.Acquire(*cluster), AcquireStatus::kWaiting);
    first->Release();
  };
  ASSERT_TRUE(Until([&] { return third.decided(); }));
  EXPECT_TRUE(static_cast<bool>(third.lease));
}

}  // namespace
}  // namespace gatehouse::upstream
