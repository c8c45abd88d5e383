// As steady_state_test: once warm, a worker proxies HTTP/2 without the heap, whichever side speaks
// it; nghttp2 gets its memory from H2Memory.
//
// When a case fails: GATEHOUSE_HEAP_STACKS=8 makes it print the stacks of the first eight calls.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/net/listener.h"
#include "test/alloc/heap_watch.h"
#include "test/fakes/h2_peer.h"
#include "test/fakes/h2_peer_origin.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

constexpr int kWarmUp = 100;
constexpr int kMeasured = 100;
// As in steady_state_test: some things happen a few times.
constexpr int kWindows = 8;

constexpr std::string_view kConfig = R"yaml(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- name: all
  domains: ["*"]
  routes: [ { name: all, match: { path_prefix: / }, forward: CLUSTER } ]
clusters:
- { name: h1, endpoints: ["ORIGIN"] }
- { name: h2, endpoints: ["H2"], protocol: http2 }
)yaml";

struct Case {
  friend void PrintTo(const Case& test, std::ostream* to) { *to << test.name; }
  const char* name;
  bool client_h2;
  bool origin_h2;
  size_t request;  // bytes of body; 0: GET
  size_t response;
  int streams = 1;  // at once
};

class SteadyStateHttp2Test : public testing::TestWithParam<Case> {
 protected:
  SteadyStateHttp2Test() : bench_(Config(origin_)), answer_(Answer()) {
    bench_.origin().set_auto_answer(false);
    origin_.set_body(std::string(GetParam().response, 'x'));
    const absl::StatusOr<int> fd = net::OpenListenSocket(*net::Address::Parse("127.0.0.1:0"), 64);
    CHECK(fd.ok());
    const net::Address gateway = net::LocalAddress(*fd);
    bench_.listener().Listen({&*fd, 1});
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd_, gateway.raw(), gateway.raw_size()) == 0);
    client_.Open(0, 1 << 30);
    if (const char* stacks = std::getenv("GATEHOUSE_HEAP_STACKS"))
      stacks_ = std::strtoul(stacks, nullptr, 10);
  }
  ~SteadyStateHttp2Test() override { close(fd_); }

  static std::string Config(H2PeerOrigin& origin) {
    std::string text(kConfig);
    text.replace(text.find("CLUSTER"), 7, GetParam().origin_h2 ? "h2" : "h1");
    text.replace(text.find("\"H2\"") + 1, 2, "127.0.0.1:" + std::to_string(origin.tcp().port()));
    return text;
  }
  static std::string Answer() {
    return "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: " +
           std::to_string(GetParam().response) + "\r\n\r\n" + std::string(GetParam().response, 'x');
  }
  // One round: so many requests at once, each answered. False: it was not.
  [[nodiscard]] bool Round(HeapCalls& calls) {
    const Case& test = GetParam();
    const std::string body(test.request, 'b');
    if (test.client_h2) {
      ids_.clear();
      for (int i = 0; i < test.streams; ++i) {
        ids_.push_back(client_.Request(
            {{":path", "/path"}, {"user-agent", "some/1.0"}, {"x-some", "field of some length"}},
            body.empty() ? std::nullopt : std::optional<std::string_view>(body)));
      }
    } else {
      unsent_ = (body.empty() ? "GET" : "POST") +
                std::string(" /path HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: some/1.0\r\n") +
                (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") +
                "\r\n" + body;
      received_.clear();
    }
    for (int turn = 0; turn < 20000; ++turn) {
      StepClient();
      if (Answered()) return true;
      StepOrigins();
      bench_.clock().Advance(std::chrono::milliseconds(1));
      const size_t before = calls.allocations + calls.frees;
      {
        HeapWatch watch(calls, stacks_left_);
        bench_.loop().RunTurn(/*wait=*/false);
      }
      stacks_left_ -= std::min(stacks_left_, calls.allocations + calls.frees - before);
    }
    return false;
  }
  [[nodiscard]] HeapCalls Run(int count) {
    HeapCalls calls;
    for (int i = 0; i < count && !HasFailure(); ++i) EXPECT_TRUE(Round(calls)) << "round " << i;
    return calls;
  }

  size_t stacks_ = 0;
  size_t stacks_left_ = 0;

 private:
  void StepClient() {
    if (GetParam().client_h2) unsent_ += client_.Take();
    const ssize_t sent = send(fd_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) unsent_.erase(0, static_cast<size_t>(sent));
    char buffer[65536];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got <= 0) return;
    const std::string_view bytes(buffer, static_cast<size_t>(got));
    if (GetParam().client_h2) {
      client_.Feed(bytes);
    } else {
      received_ += bytes;
    }
  }
  [[nodiscard]] bool Answered() {
    const size_t size = GetParam().response;
    if (GetParam().client_h2) {
      return std::all_of(ids_.begin(), ids_.end(), [&](int32_t id) {
        return client_.stream(id).log == "200|end|" && client_.stream(id).body.size() == size;
      });
    }
    const size_t head = received_.find("\r\n\r\n");
    return head != std::string::npos && received_.size() == head + 4 + size;
  }
  void StepOrigins() {
    origin_.Step();
    bench_.origin().Step();
    answered_.resize(bench_.origin().connections());
    for (size_t i = 0; i < answered_.size(); ++i) {
      TcpOrigin::Connection& connection = bench_.origin().connection(i);
      for (; answered_[i] < connection.requests(); ++answered_[i]) connection.Send(answer_);
    }
  }

  H2PeerOrigin origin_;
  ExchangeBench bench_;
  const std::string answer_;
  http::H2Peer client_{{.settings = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}}}};
  int fd_ = -1;
  std::string unsent_;
  std::string received_;
  std::vector<int32_t> ids_;
  std::vector<size_t> answered_;
};

INSTANTIATE_TEST_SUITE_P(All, SteadyStateHttp2Test,
                         testing::Values(Case{"H2ToH1Get", true, false, 0, 300},
                                         Case{"H2ToH1Bodies", true, false, 20000, 65536},
                                         Case{"H2ToH1TenStreams", true, false, 1000, 3000, 10},
                                         Case{"H1ToH2Get", false, true, 0, 300},
                                         Case{"H1ToH2Bodies", false, true, 20000, 65536},
                                         Case{"H2ToH2Get", true, true, 0, 300},
                                         Case{"H2ToH2Bodies", true, true, 20000, 65536},
                                         Case{"H2ToH2TenStreams", true, true, 1000, 3000, 10}),
                         [](const auto& test) { return test.param.name; });

TEST_P(SteadyStateHttp2Test, AsksNothingOfTheHeap) {
  (void)Run(kWarmUp);
  HeapCalls calls;
  for (int i = 0; i < kWindows && !HasFailure(); ++i) {
    stacks_left_ = i + 1 == kWindows ? stacks_ : 0;
    calls = Run(kMeasured);
    if (calls.allocations + calls.frees == 0) break;
  }
  EXPECT_EQ(calls.allocations, 0u) << "in " << kMeasured << " rounds";
  EXPECT_EQ(calls.frees, 0u) << "in " << kMeasured << " rounds";
}

}  // namespace
}  // namespace gatehouse::proxy
