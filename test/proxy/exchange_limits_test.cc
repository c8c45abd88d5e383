// What bounds an exchange: its times, what it may hold in memory, what it may turn into. And what
// is counted of it when it fails.
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "api/gatehouse/filters/v1/request_id.pb.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr const char* kConfig = R"(
listeners:
- name: edge
  address: "127.0.0.1:0"
  route_tables: [all]
  access_log: { path: "off" }
  timeouts: { stream_idle: 20s, min_response_rate: 0 }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: hello, match: { path: /hello }, respond: { body: "hi\n" } }
  - { name: ws, match: { path: /ws }, forward: origin, upgrade: [websocket], retry: { attempts: 0, per_try_timeout: 1s } }
  - { name: tries, match: { path: /tries }, forward: origin, timeout: 60s, retry: { attempts: 0, per_try_timeout: 10s } }
  - { name: one, match: { path: /one }, forward: { cluster: narrow }, timeout: 2s }
  - { name: hold, match: { path: /hold }, forward: { cluster: narrow }, timeout: 0s }
  - { name: idle, match: { path: /idle }, forward: { cluster: narrow }, timeout: 0s, idle_timeout: 3s }
  - { name: rest, match: { path_prefix: / }, forward: origin, timeout: 5s }
clusters:
- { name: origin, endpoints: ["ORIGIN"], response_header_timeout: 4s }
- { name: narrow, endpoints: ["ORIGIN"], limits: { max_connections: 1 } }
)";

std::string Get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: shop.example\r\n\r\n";
}

class ExchangeLimitsTest : public testing::Test {
 protected:
  ExchangeLimitsTest() { bench_.origin().set_auto_answer(false); }

  // A client whose request has reached the origin as the `nth`.
  std::shared_ptr<PipeEnd> Ask(std::string_view request, size_t nth = 1) {
    std::shared_ptr<PipeEnd> client = bench_.Connect();
    client->Push(request);
    EXPECT_TRUE(bench_.RunUntil([&] { return bench_.origin().requests() == nth; }));
    return client;
  }
  const config::Route& RouteOf(std::string_view name) {
    for (const auto& route : bench_.listener().config().routes) {
      if (route->name == name) return *route;
    }
    ADD_FAILURE() << name;
    return *bench_.listener().config().routes.front();
  }
  const upstream::Cluster& ClusterOf(std::string_view route) {
    return *RouteOf(route).targets[0].cluster;
  }
  uint64_t Value(observe::CounterId id) { return bench_.shard().counters().Value(id); }

  ExchangeBench bench_{kConfig};
};

TEST_F(ExchangeLimitsTest, ABodyInTinyPiecesPinsNoMemory) {
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 2000; ++i) {
    client->Push("1\r\nx\r\n");
    bench_.Turn();
  }
  bench_.Settle();
  ASSERT_TRUE(bench_.origin().connection(0).received().ends_with("1\r\nx\r\n"));
  // It is kept for a retry: the bytes, not the buffers in which they came.
  EXPECT_LT(bench_.loop().slabs().in_use_bytes(), 8 * SlabPool::kSlabBytes);
}

TEST_F(ExchangeLimitsTest, TheTimeForAResponseHeadIsOverWhenItIsThere) {
  std::shared_ptr<PipeEnd> client = Ask(Get("/tries"));
  bench_.Advance(seconds(3));
  bench_.origin().connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  bench_.Settle();
  bench_.Advance(seconds(3));
  bench_.origin().connection(0).Send("cd");
  EXPECT_TRUE(bench_.Response(*client, "abcd").starts_with("HTTP/1.1 200"));
}

TEST_F(ExchangeLimitsTest, TheTimeOfATryGoesOnBehindTheHead) {
  std::shared_ptr<PipeEnd> client = Ask(Get("/tries"));
  bench_.Advance(seconds(3));
  bench_.origin().connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  bench_.Settle();
  bench_.Advance(milliseconds(6900));
  EXPECT_FALSE(client->closed());
  bench_.Advance(milliseconds(200));
  bench_.Settle();
  EXPECT_TRUE(client->aborted());
}

constexpr std::string_view kUpgrade =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
constexpr std::string_view kSwitching =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

TEST_F(ExchangeLimitsTest, ATunnelOutlivesTheTimeOfATry) {
  std::shared_ptr<PipeEnd> client = Ask(kUpgrade);
  bench_.origin().connection(0).Send(kSwitching);
  EXPECT_TRUE(bench_.Response(*client, "\r\n\r\n").starts_with("HTTP/1.1 101"));
  bench_.Advance(minutes(2));
  bench_.Settle();
  EXPECT_FALSE(client->closed());
  client->Push("still here");
  EXPECT_TRUE(bench_.RunUntil(
      [&] { return bench_.origin().connection(0).received().ends_with("still here"); }));
}

// RFC 9110, section 7.8: it may be ignored. Where the body ends and the other protocol begins is
// nothing that two proxies need to agree on.
TEST_F(ExchangeLimitsTest, ARequestWithABodyIsNotUpgraded) {
  std::shared_ptr<PipeEnd> client =
      Ask("POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          "Content-Length: 4\r\n\r\nbody");
  EXPECT_EQ(bench_.origin().connection(0).received().find("pgrade"), std::string::npos);
  EXPECT_TRUE(bench_.origin().connection(0).received().ends_with("\r\n\r\nbody"));
}

// Wants the whole of a response before it decides.
class WholeResponse {
 public:
  static constexpr filters::Hooks kHooks = filters::Hooks::kResponseBody;
  static constexpr filters::BodyMode kResponseBody = filters::BodyMode::kWhole;
  static absl::StatusOr<WholeResponse> Build(const gatehouse::filters::v1::RequestId&,
                                             filters::BuildContext&) {
    return WholeResponse();
  }
  [[nodiscard]] size_t WholeBodyLimit() const { return 1000; }
  struct Call {
    filters::Verdict OnResponseBody(const WholeResponse&, filters::FilterContext&, Chain&, bool) {
      return filters::Continue();
    }
  };
};

TEST(ExchangeFiltersTest, AFilterOfWholeResponsesDoesNotHoldAnUpgradeBack) {
  filters::Registry registry;
  registry.Register<WholeResponse, gatehouse::filters::v1::RequestId>("request_id");
  ExchangeBench bench(R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: ws, match: { path: /ws }, forward: origin, upgrade: [websocket], filters: [ { request_id: {} } ] }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
)",
                      &registry);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(kUpgrade);
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  bench.origin().connection(0).Send(kSwitching);
  EXPECT_TRUE(bench.Response(*client, "\r\n\r\n").starts_with("HTTP/1.1 101"));
  bench.origin().connection(0).Send("as it came");
  EXPECT_EQ(bench.Response(*client, "came"), "as it came");
}

TEST_F(ExchangeLimitsTest, WaitingForAConnectionIsPartOfTheRoutesTimeout) {
  (void)Ask(Get("/hold"));
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push(Get("/one"));
  bench_.Settle();
  bench_.Advance(milliseconds(1900));
  EXPECT_EQ(client->written(), "");
  bench_.Advance(milliseconds(200));
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 504"));
}

TEST_F(ExchangeLimitsTest, AClientWhoseBodyIsNotWantedYetIsNotLate) {
  (void)Ask(Get("/hold"));
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("POST /idle HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
  bench_.Settle();
  bench_.Advance(milliseconds(3100));
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 504"));
}

TEST_F(ExchangeLimitsTest, AClientThatStopsInItsBodyIsLate) {
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("POST /idle HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
  bench_.Settle();
  bench_.Advance(milliseconds(3100));
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 408"));
}

TEST_F(ExchangeLimitsTest, AnAnswerOfOursThatNobodyReadsEnds) {
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->SetWindow(10);
  client->Push(Get("/hello"));
  bench_.Settle();
  bench_.Advance(seconds(19));
  bench_.Settle();
  EXPECT_FALSE(client->closed());
  bench_.Advance(seconds(2));
  bench_.Settle();
  EXPECT_TRUE(client->closed());
}

TEST_F(ExchangeLimitsTest, AnOriginThatBreaksOffIsNoClientThatLeft) {
  std::shared_ptr<PipeEnd> client = Ask(Get("/x"));
  bench_.origin().connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  bench_.Settle();
  bench_.origin().connection(0).Reset();
  ASSERT_TRUE(bench_.RunUntil([&] { return client->closed(); }));
  EXPECT_EQ(Value(RouteOf("rest").metrics->client_aborts), 0u);
  EXPECT_EQ(Value(ClusterOf("rest").metrics().resets), 1u);

  std::shared_ptr<PipeEnd> leaver = Ask(Get("/x"), 2);
  leaver->Break();
  bench_.Settle();
  EXPECT_EQ(Value(RouteOf("rest").metrics->client_aborts), 1u);
}

TEST_F(ExchangeLimitsTest, ATryThatTheRoutesTimeoutEndsIsCounted) {
  std::shared_ptr<PipeEnd> client = Ask(Get("/tries"));
  bench_.Advance(seconds(3));
  bench_.origin().connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  bench_.Settle();
  EXPECT_EQ(Value(ClusterOf("tries").metrics().timeouts), 0u);
  bench_.Advance(seconds(60));
  bench_.Settle();
  EXPECT_EQ(Value(ClusterOf("tries").metrics().timeouts), 1u);
  client = Ask(Get("/one"), 2);
  bench_.Advance(milliseconds(2100));
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 504"));
  EXPECT_EQ(Value(ClusterOf("one").metrics().timeouts), 1u);
}

TEST_F(ExchangeLimitsTest, ProtocolErrorsAreCountedByKind) {
  using observe::ProtocolErrorKind;
  const auto count = [&](ProtocolErrorKind kind) {
    return Value(bench_.listener().config().metrics->ErrorsOf(kind));
  };
  for (std::string_view request :
       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"}) {
    std::shared_ptr<PipeEnd> client = bench_.Connect();
    client->Push(request);
    EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 400"));
  }
  EXPECT_EQ(count(ProtocolErrorKind::kFraming), 3u);
  EXPECT_EQ(count(ProtocolErrorKind::kMalformed), 0u);
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 400"));
  EXPECT_EQ(count(ProtocolErrorKind::kMalformed), 1u);
}

TEST_F(ExchangeLimitsTest, WhatHeadDoesNotGetIsNotCounted) {
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string response = bench_.Response(*client, "\r\n\r\n");
  EXPECT_NE(response.find("content-length: 3\r\n"), std::string::npos) << response;
  bench_.Settle();
  EXPECT_EQ(Value(RouteOf("hello").metrics->response_bytes), 0u);
}

TEST_F(ExchangeLimitsTest, TrailersOfResponsesMayHaveUnderscores) {
  std::shared_ptr<PipeEnd> client = Ask(Get("/x"));
  bench_.origin().connection(0).Send(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx_sum: 7\r\n\r\n");
  EXPECT_TRUE(bench_.Response(*client, "x_sum: 7\r\n\r\n").starts_with("HTTP/1.1 200"));
}

TEST(ExchangeHostTest, EachTryNamesItsOwnEndpointForAClientWithoutAHost) {
  TcpOrigin other;
  other.set_auto_answer(false);
  std::string config = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" }, headers: { via: edge-1 } }
route_tables:
- name: all
  domains: ["*"]
  routes: [ { name: all, forward: both, retry: { attempts: 1, on: [5xx] } } ]
clusters:
- { name: both, endpoints: ["ORIGIN", "127.0.0.1:OTHER"] }
)";
  config.replace(config.find("OTHER"), 5, std::to_string(other.port()));
  ExchangeBench bench(config);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push("GET /x HTTP/1.0\r\nVia: 1.0 before\r\n\r\n");
  const auto asked = [&](TcpOrigin& origin) {
    other.Step();
    return origin.requests() == 1;
  };
  ASSERT_TRUE(bench.RunUntil([&] { return asked(bench.origin()) || asked(other); }));
  TcpOrigin& first = asked(other) ? other : bench.origin();
  TcpOrigin& second = &first == &other ? bench.origin() : other;
  first.connection(0).Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
  bench.Settle();
  bench.Advance(seconds(1));
  ASSERT_TRUE(bench.RunUntil([&] { return asked(second); }));
  for (TcpOrigin* origin : {&first, &second}) {
    const std::string& request = origin->connection(0).received();
    EXPECT_NE(request.find("host: " + origin->address().ToString() + "\r\n"), std::string::npos)
        << request;
    EXPECT_NE(request.find("ia: 1.0 before, 1.1 edge-1\r\n"), std::string::npos) << request;
  }
}

// RFC 9110, section 7.6.2.
TEST_F(ExchangeLimitsTest, MaxForwardsOfOptionsIsHeeded) {
  std::shared_ptr<PipeEnd> client = bench_.Connect();
  client->Push("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
  EXPECT_TRUE(bench_.Response(*client, "\r\n\r\n").starts_with("HTTP/1.1 204"));
  client->Push("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(bench_.Response(*client, "\r\n\r\n").starts_with("HTTP/1.1 204"));
  EXPECT_EQ(bench_.origin().connections(), 0u);
  (void)Ask("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 7\r\n\r\n");
  EXPECT_NE(bench_.origin().connection(0).received().find("ax-Forwards: 6\r\n"), std::string::npos);
}

// --- Rate limits over changes of the config ---

std::string Limited(std::string_view limit, std::string_view more = "") {
  return std::string(R"(
listeners: [ { name: edge, address: "127.0.0.1:0", route_tables: [all] } ]
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: hello, match: { path: /hello }, respond: { body: "end\n" }, filters: [ { rate_limit: [limit] } ] })") +
         std::string(more) + "\nrate_limits: [ { name: limit, " + std::string(limit) + " } ]\n";
}

class RateLimitChangeTest : public testing::Test {
 protected:
  // How many of so many requests pass.
  int Passed(int count) {
    int passed = 0;
    for (int i = 0; i < count; ++i) {
      std::shared_ptr<PipeEnd> client = bench_.Connect();
      client->Push("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      EXPECT_TRUE(bench_.RunUntil([&] { return client->closed() || client->shut_down(); }));
      passed += client->written().starts_with("HTTP/1.1 200 ") ? 1 : 0;
    }
    return passed;
  }

  ExchangeBench bench_{Limited("token_bucket: { rate: 1/h, burst: 4 }")};
};

TEST_F(RateLimitChangeTest, WhatWasCountedStaysCounted) {
  EXPECT_EQ(Passed(3), 3);
  bench_.Adopt(Limited("token_bucket: { rate: 1/h, burst: 6 }"));
  EXPECT_EQ(Passed(9), 3);
  bench_.Adopt(Limited("token_bucket: { rate: 1/h, burst: 2 }"));
  EXPECT_EQ(Passed(9), 0);
  bench_.Adopt(
      Limited("token_bucket: { rate: 1/h, burst: 20 }", "\n  - { name: new, respond: {} }"));
  EXPECT_EQ(Passed(30), 18);
  bench_.Adopt(Limited("token_bucket: { rate: 1/h, burst: 20 }, key: [ { method: {} } ]"));
  EXPECT_EQ(Passed(30), 20);
}

TEST_F(RateLimitChangeTest, WhatIsBuiltAndNeverServedChangesNothing) {
  EXPECT_EQ(Passed(3), 3);
  {
    const auto refused = bench_.Build(Limited("token_bucket: { rate: 1/h, burst: 600 }"));
    EXPECT_EQ(Passed(9), 1);
  }
  const auto other = bench_.Build(Limited("fixed_window: 600/h"));
  bench_.Adopt(Limited("token_bucket: { rate: 1/h, burst: 4 }, dry_run: false"));
  EXPECT_EQ(Passed(9), 0);
}

// --- Requests that wait for their turn ---

class RateLimitQueueTest : public testing::Test {
 protected:
  static constexpr std::string_view kHello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

  // One that passes at once, and one that waits for ten seconds.
  std::shared_ptr<PipeEnd> Wait(std::string_view second = kHello) {
    EXPECT_TRUE(bench_.Response(*Ask(kHello), "end\n").starts_with("HTTP/1.1 200 "));
    std::shared_ptr<PipeEnd> client = Ask(second);
    EXPECT_EQ(client->written(), "");
    return client;
  }
  std::shared_ptr<PipeEnd> Ask(std::string_view request) {
    std::shared_ptr<PipeEnd> client = bench_.Connect();
    client->Push(request);
    bench_.Settle();
    return client;
  }
  // Its turn is the next: it waits no longer than the one before it would have.
  void ExpectATurnOf(Duration after) {
    std::shared_ptr<PipeEnd> client = Ask("GET /patient HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_.Advance(after - milliseconds(10));
    bench_.Settle();
    EXPECT_EQ(client->written(), "");
    bench_.Advance(milliseconds(20));
    EXPECT_TRUE(bench_.Response(*client, "end\n").starts_with("HTTP/1.1 200 "));
  }

  ExchangeBench bench_{R"(
listeners: [ { name: edge, address: "127.0.0.1:0", route_tables: [all] } ]
route_tables:
- name: all
  domains: ["*"]
  filters: [ { rate_limit: [limit] } ]
  routes:
  - { name: hello, match: { path: /hello }, respond: { body: "end\n" }, timeout: 4s }
  - { name: patient, match: { path: /patient }, respond: { body: "end\n" }, timeout: 0s }
rate_limits: [ { name: limit, leaky_bucket: { rate: 6/m, capacity: 2, max_delay: 1m } } ]
)"};
};

TEST_F(RateLimitQueueTest, NobodyWaitsForLongerThanTheRoutesTimeout) {
  std::shared_ptr<PipeEnd> client = Wait();
  bench_.Advance(milliseconds(3900));
  bench_.Settle();
  EXPECT_EQ(client->written(), "");
  bench_.Advance(milliseconds(200));
  EXPECT_TRUE(bench_.Response(*client, "}\n").starts_with("HTTP/1.1 504 "));
  ExpectATurnOf(milliseconds(5900));
}

TEST_F(RateLimitQueueTest, WhoGoesAwayGivesItsTurnToTheNext) {
  std::shared_ptr<PipeEnd> client = Wait();
  bench_.Advance(seconds(2));
  client->Break();
  bench_.Settle();
  ExpectATurnOf(seconds(8));
}

TEST_F(RateLimitQueueTest, ATurnComesAlsoForARequestWithABody) {
  std::shared_ptr<PipeEnd> client =
      Wait("POST /patient HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
  bench_.Advance(seconds(5));
  client->Push("56789");
  bench_.Settle();
  EXPECT_EQ(client->written(), "");
  bench_.Advance(milliseconds(5010));
  EXPECT_TRUE(bench_.Response(*client, "end\n").starts_with("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace gatehouse::proxy
