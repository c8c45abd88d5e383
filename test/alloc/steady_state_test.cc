// Once warm, a worker proxies without the heap: neither malloc nor free per request, also not
// inside of the libraries that it calls.
//
// A whole worker runs in the test's thread, with real sockets at both of its sides. Its turns are
// watched; what the client and the origin do between them is not.
//
// When a case fails: GATEHOUSE_HEAP_STACKS=8 makes it print the stacks of the first eight calls.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/net/listener.h"
#include "source/observe/log_writer.h"
#include "test/alloc/heap_watch.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

constexpr int kWarmUp = 50;
constexpr int kMeasured = 200;
// The first latency of its magnitude takes a piece of a histogram, the deepest queue so far a few
// more slabs: such things happen a few times, not with every so many requests.
constexpr int kWindows = 5;

constexpr std::string_view kConfig = R"yaml(
listeners:
- name: edge
  address: "127.0.0.1:0"
  route_tables: [all]
  access_log: { path: "LOG", request_headers: [X-User], response_headers: [Content-Type] }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - name: plain
    match: { path_prefix: /plain }
    forward: { cluster: origin, rewrite_prefix: /internal }
  - name: hello
    match: { path: /hello }
    respond: { template: "Hello $(host) from $(client_ip)\nend" }
  - name: old
    match: { path_prefix: /old }
    redirect: { prefix: /new }
  - name: numbers
    match: { path_regex: "/numbers/[0-9]+(/[a-z]+)*" }
    forward: origin
  - name: user
    match: { path_template: "/user/{id}/orders" }
    forward: { cluster: origin, rewrite: { template: "/orders/{id}" } }
  - name: retry
    match: { path_prefix: /retry }
    forward: origin
    retry: { attempts: 2, on: [5xx, reset] }
  - name: limited
    match: { path_prefix: /limited }
    forward: origin
    filters: [ { rate_limit: [one] } ]
  - name: limits
    match: { path_prefix: /limits }
    forward: origin
    filters: [ { rate_limit: { policies: [several, planned, at-once], cost: 2 } } ]
  - name: filters
    match: { path_prefix: /filters }
    forward: origin
    filters:
    - request_id: { accept_from_clients: true }
    - cors: { allow_origins: ["https://*.example"], allow_methods: [GET, PUT] }
    - rate_limit: [per-user, per-address]
    - headers:
        request:
          remove: [X-Debug]
          rename: { X-Tenant: X-Shop }
          set:
            X-Client: "$(client_ip)/$(route)/$(uuid)"
            X-Query: "$(query.q)"
            X-Time: "$(time)"
          append: { X-Path: "$(original_path)" }
        response:
          set: { X-Upstream: "$(upstream_address) $(response.status) $(request_id)" }
          add: { Cache-Control: no-store }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
rate_limits:
- { name: one, token_bucket: { rate: 1/h, burst: 1 } }
- name: several
  limits: [ { sliding_window: 1000000/s }, { quota: { limit: 1000000000, per: month } }, { concurrency: 100 } ]
  key: [ { all: [ { header: X-User }, { query: q }, { cookie: session }, { route: {} }, { method: {} }, { client_ip: {} } ] } ]
- name: planned
  fixed_window: 1/h
  plan: { header: Accept }
  plans: [ { name: "*/*", leaky_bucket: { rate: 1000000/s, capacity: 1000000, max_delay: 1s } } ]
  cost: { header: X-User }
- { name: at-once, concurrency: 100, dry_run: true }
- name: per-user
  token_bucket: { rate: 1000000/s, burst: 1000000 }
  key: [ { header: X-User } ]
- name: per-address
  token_bucket: { rate: 1000000/s, burst: 1000000 }
  key: [ { client_ip: {} } ]
)yaml";

constexpr std::string_view kFields =
    "Host: shop.example\r\nUser-Agent: browser/1.0 (of some length, as they have)\r\n"
    "Accept: */*\r\nAccept-Encoding: gzip, br\r\nX-User: 1234\r\nCookie: a=b; "
    "session=0123456789\r\n";

std::string Get(std::string_view path, std::string_view more = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\n" + std::string(kFields) + std::string(more) +
         "\r\n";
}
std::string Post(std::string_view path, std::string_view body) {
  return "POST " + std::string(path) + " HTTP/1.1\r\n" + std::string(kFields) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string Answer(std::string_view status, std::string_view body) {
  return "HTTP/1.1 " + std::string(status) +
         "\r\nContent-Type: text/plain\r\nServer: origin\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string Chunked(std::string_view head, size_t chunks, size_t chunk) {
  std::string text = std::string(head) + "Transfer-Encoding: chunked\r\n\r\n";
  char size[16];
  std::snprintf(size, sizeof(size), "%zx\r\n", chunk);
  for (size_t i = 0; i < chunks; ++i) text += size + std::string(chunk, 'c') + "\r\n";
  return text + "0\r\n\r\n";
}
// Responses are whole when they end like this.
std::string Body(size_t size) { return std::string(size - 3, 'x') + "end"; }

// A client with a socket.
class Client {
 public:
  explicit Client(const net::Address& gateway)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    CHECK(connect(fd_, gateway.raw(), gateway.raw_size()) == 0);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Send(std::string_view bytes) { unsent_ = bytes; }
  void Step() {
    if (!unsent_.empty()) {
      const ssize_t sent = send(fd_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) unsent_.remove_prefix(static_cast<size_t>(sent));
    }
    char buffer[65536];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) received_.append(buffer, static_cast<size_t>(got));
  }
  [[nodiscard]] bool Ends(std::string_view tail) const { return received_.ends_with(tail); }
  [[nodiscard]] std::string Take() { return std::exchange(received_, {}); }

 private:
  int fd_;
  std::string_view unsent_;
  std::string received_;
};

// One kind of request, again and again.
struct Story {
  std::string request;
  std::vector<std::string> answers;  // of the origin, in turn
  std::string tail = "end";          // of the response
  std::string_view status = "200";
  size_t clients = 1;
  enum class Close { kNever, kAfterFirstAnswer, kAtSecondRequest };
  Close close = Close::kNever;  // by the origin
};

class SteadyStateTest : public testing::Test {
 protected:
  SteadyStateTest() : SteadyStateTest(testing::TempDir() + "access.log") {}
  explicit SteadyStateTest(const std::string& log)
      : log_writer_(*observe::LogWriter::Create({.workers = 1})),
        bench_(WithLog(log), nullptr, log_writer_.get()) {
    bench_.origin().set_auto_answer(false);
    const absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 64);
    CHECK(fd.ok());
    gateway_ = net::LocalAddress(*fd);
    bench_.listener().Listen({&*fd, 1});
    if (const char* stacks = std::getenv("GATEHOUSE_HEAP_STACKS"))
      stacks_ = std::strtoul(stacks, nullptr, 10);
  }

  // What `count` requests of each client ask of the heap.
  [[nodiscard]] HeapCalls Run(const Story& story, int count) {
    while (clients_.size() < story.clients) clients_.push_back(std::make_unique<Client>(gateway_));
    HeapCalls calls;
    for (int i = 0; i < count && !HasFailure(); ++i) {
      EXPECT_TRUE(RunOnce(story, calls)) << "request " << i << " got: " << clients_[0]->Take();
    }
    return calls;
  }
  [[nodiscard]] HeapCalls RunWarm(const Story& story) {
    stacks_left_ = 0;
    (void)Run(story, kWarmUp);
    HeapCalls calls;
    for (int i = 0; i < kWindows; ++i) {
      stacks_left_ = i + 1 == kWindows ? stacks_ : 0;
      calls = Run(story, kMeasured);
      if (calls.allocations + calls.frees == 0) break;
    }
    return calls;
  }
  void ExpectNoHeapCalls(const Story& story) {
    const HeapCalls calls = RunWarm(story);
    EXPECT_EQ(calls.allocations, 0u) << "in " << kMeasured << " requests";
    EXPECT_EQ(calls.frees, 0u) << "in " << kMeasured << " requests";
  }

  ExchangeBench& bench() { return bench_; }
  observe::LogWriter& log_writer() { return *log_writer_; }

 private:
  static std::string WithLog(const std::string& path) {
    std::string text(kConfig);
    text.replace(text.find("LOG"), 3, path);
    return text;
  }
  // Each client asks once. False when the answers do not come.
  [[nodiscard]] bool RunOnce(const Story& story, HeapCalls& calls) {
    for (auto& client : clients_) client->Send(story.request);
    for (int turn = 0; turn < 20000 && !StepClients(story); ++turn) {
      bench_.origin().Step();
      AnswerRequests(story);
      bench_.clock().Advance(std::chrono::milliseconds(1));
      const size_t before = calls.allocations + calls.frees;
      {
        HeapWatch watch(calls, stacks_left_);
        bench_.loop().RunTurn(/*wait=*/false);
      }
      stacks_left_ -= std::min(stacks_left_, calls.allocations + calls.frees - before);
    }
    for (auto& client : clients_) {
      if (!client->Ends(story.tail)) return false;
      const std::string response = client->Take();
      EXPECT_EQ(response.substr(9, 3), story.status) << response;
    }
    return true;
  }
  // True when each client has its response.
  [[nodiscard]] bool StepClients(const Story& story) {
    bool all = true;
    for (auto& client : clients_) {
      client->Step();
      all = all && client->Ends(story.tail);
    }
    return all;
  }
  void AnswerRequests(const Story& story) {
    TcpOrigin& origin = bench_.origin();
    answered_.resize(origin.connections());
    for (size_t i = 0; i < answered_.size(); ++i) {
      TcpOrigin::Connection& connection = origin.connection(i);
      while (answered_[i] < connection.requests()) {
        if (++answered_[i] == 2 && story.close == Story::Close::kAtSecondRequest) {
          connection.Close();
          break;
        }
        connection.Send(story.answers[next_answer_++ % story.answers.size()]);
        if (story.close == Story::Close::kAfterFirstAnswer) connection.Close();
      }
    }
  }

  std::unique_ptr<observe::LogWriter> log_writer_;
  ExchangeBench bench_;
  net::Address gateway_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<size_t> answered_;  // by connection of the origin
  size_t next_answer_ = 0;
  size_t stacks_ = 0;  // to print when a case fails
  size_t stacks_left_ = 0;
};

// Else the others prove nothing.
TEST(HeapWatchTest, SeesEveryWayToTheHeap) {
  if (!kHeapIsWatched) GTEST_SKIP() << "a sanitizer has the heap";
  HeapCalls calls;
  {
    HeapWatch watch(calls);
    std::string text(100, 'x');
    EXPECT_EQ(calls.allocations, 1u);
    text.reserve(200);
    EXPECT_EQ(calls.allocations, 2u);
    EXPECT_EQ(calls.frees, 1u);
    // Called from inside of libc.
    char* copy = strdup(text.c_str());
    EXPECT_EQ(calls.allocations, 3u);
    copy = static_cast<char*>(std::realloc(copy, 5000));
    EXPECT_EQ(calls.allocations, 4u);
    std::free(copy);
  }
  EXPECT_EQ(calls.allocations, 4u);
  EXPECT_EQ(calls.frees, 4u);
  auto unwatched = std::make_unique<int>(1);
  EXPECT_EQ(calls.allocations, 4u);
}

TEST_F(SteadyStateTest, SmallResponse) {
  ExpectNoHeapCalls({.request = Get("/plain/x?a=b"), .answers = {Answer("200 OK", Body(300))}});
  EXPECT_EQ(bench().origin().connections(), 1u);
  // All of them were logged.
  EXPECT_TRUE(log_writer().Flush(std::chrono::minutes(1)));
  EXPECT_GE(log_writer().totals().lines_written, uint64_t{kWarmUp} + kMeasured);
}
TEST_F(SteadyStateTest, ResponseOf64KiB) {
  ExpectNoHeapCalls({.request = Get("/plain/x"), .answers = {Answer("200 OK", Body(65536))}});
}
TEST_F(SteadyStateTest, ResponseOf1MiB) {
  ExpectNoHeapCalls({.request = Get("/plain/x"), .answers = {Answer("200 OK", Body(1 << 20))}});
}
TEST_F(SteadyStateTest, RequestOf16KiB) {
  ExpectNoHeapCalls(
      {.request = Post("/plain/x", Body(16384)), .answers = {Answer("200 OK", Body(30))}});
}
TEST_F(SteadyStateTest, ChunksBothWays) {
  ExpectNoHeapCalls(
      {.request = Chunked("POST /plain/x HTTP/1.1\r\n" + std::string(kFields), 20, 700),
       .answers = {Chunked("HTTP/1.1 200 OK\r\nServer: origin\r\n", 40, 900)},
       .tail = "\r\n0\r\n\r\n"});
}
TEST_F(SteadyStateTest, RegexAndTemplate) {
  ExpectNoHeapCalls(
      {.request = Get("/numbers/123/abc/def"), .answers = {Answer("200 OK", Body(30))}});
  ExpectNoHeapCalls({.request = Get("/user/77/orders"), .answers = {Answer("200 OK", Body(30))}});
}
TEST_F(SteadyStateTest, Filters) {
  ExpectNoHeapCalls({.request = Get("/filters/x?q=a%20b",
                                    "Origin: https://shop.example\r\nX-Debug: 1\r\nX-Tenant: t\r\n"
                                    "X-Request-ID: 7f2c1c9a-0000-4000-8000-000000000000\r\n"),
                     .answers = {Answer("200 OK", Body(300))}});
}
TEST_F(SteadyStateTest, RateLimits) {
  ExpectNoHeapCalls({.request = Get("/limits?q=a%20b"), .answers = {Answer("200 OK", Body(30))}});
}
TEST_F(SteadyStateTest, AnswersOfFilters) {
  ExpectNoHeapCalls({.request = "OPTIONS /filters/x HTTP/1.1\r\n" + std::string(kFields) +
                                "Origin: https://shop.example\r\n"
                                "Access-Control-Request-Method: PUT\r\n\r\n",
                     .answers = {},
                     .tail = "\r\n\r\n",
                     .status = "204"});
  (void)Run({.request = Get("/limited"), .answers = {Answer("200 OK", Body(30))}}, 1);
  ExpectNoHeapCalls({.request = Get("/limited"), .answers = {}, .tail = "}\n", .status = "429"});
}
TEST_F(SteadyStateTest, SeveralClients) {
  ExpectNoHeapCalls({.request = Post("/filters/x", Body(3000)),
                     .answers = {Answer("200 OK", Body(5000))},
                     .clients = 16});
}
TEST_F(SteadyStateTest, NotFound) {
  ExpectNoHeapCalls({.request = Get("/nowhere"), .answers = {}, .tail = "}\n", .status = "404"});
}
TEST_F(SteadyStateTest, OwnResponses) {
  ExpectNoHeapCalls({.request = Get("/hello"), .answers = {}});
  ExpectNoHeapCalls({.request = Get("/old/x"), .answers = {}, .tail = "\r\n\r\n", .status = "301"});
}
TEST_F(SteadyStateTest, RetriedRequest) {
  ExpectNoHeapCalls(
      {.request = Get("/retry"), .answers = {Answer("503 No", ""), Answer("200 OK", Body(300))}});
}
// A new connection to an origin may ask the heap, for itself; the retry that needs it must not.
TEST_F(SteadyStateTest, StaleConnectionCostsANewOneAndNoMore) {
  Story story{.request = Get("/retry"), .answers = {Answer("200 OK", Body(300))}};
  story.close = Story::Close::kAfterFirstAnswer;
  (void)Run(story, kWarmUp);
  EXPECT_LE(Run(story, kMeasured).allocations, size_t{2} * kMeasured);
  story.close = Story::Close::kAtSecondRequest;
  (void)Run(story, kWarmUp);
  const size_t before = bench().origin().connections();
  EXPECT_LE(Run(story, kMeasured).allocations, size_t{2} * kMeasured);
  EXPECT_EQ(bench().origin().connections() - before, size_t{kMeasured});
}

}  // namespace
}  // namespace gatehouse::proxy
