// What is special to requests that came over HTTP/2: early data, the deadlines of gRPC, WebSockets.
#include <memory>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/websocket.h"
#include "test/fakes/h2_peer.h"
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

using http::H2Peer;
using std::chrono::seconds;

constexpr const char* kConfig = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: chat, match: { path: /chat }, forward: origin, upgrade: [websocket] }
  - { name: rest, match: { path_prefix: / }, forward: origin }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
)";

class ExchangeHttp2Test : public testing::Test {
 protected:
  ExchangeHttp2Test() {
    bench_.origin().set_auto_answer(false);
    Step();  // the settings of both sides
    Step();
  }

  void Step() {
    end_->Push(client_.Take());
    bench_.Turn();
    client_.Feed(end_->TakeWritten());
  }
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < 20000; ++i) {
      if (done()) return true;
      Step();
    }
    return done();
  }
  // Of the only connection to the origin, once it has got a whole head.
  const std::string& Received() {
    EXPECT_TRUE(Until([&] {
      return bench_.origin().connections() == 1 &&
             bench_.origin().connection(0).received().find("\r\n\r\n") != std::string::npos;
    }));
    return bench_.origin().connection(0).received();
  }
  static std::string Field(const std::string& head, const std::string& name) {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "(none)";
    const size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
  H2Peer::Stream& Answered(int32_t id) {
    EXPECT_TRUE(Until([&] { return !client_.stream(id).log.empty(); }));
    return client_.stream(id);
  }

  ExchangeBench bench_{kConfig};
  std::shared_ptr<PipeEnd> end_ = bench_.Connect();
  H2Peer client_{{}};
};

TEST_F(ExchangeHttp2Test, EarlyRequestsAreServedIfTheyAreSafe) {
  end_->set_early_data(true);
  const int32_t post = client_.Request({}, "body");
  EXPECT_EQ(Answered(post).log, "425|end|");
  EXPECT_EQ(bench_.origin().connections(), 0u);
  const int32_t get = client_.Request({{":path", "/x"}, {"early-data", "0"}});
  EXPECT_EQ(Field(Received(), "early-data"), "1") << Received();
  bench_.origin().connection(0).Send(TcpOrigin::kOk);
  EXPECT_EQ(Answered(get).log, "200|end|");
  // When the handshake is complete the client asks again.
  end_->set_early_data(false);
  const int32_t again = client_.Request({}, "body");
  ASSERT_TRUE(Until([&] { return bench_.origin().requests() == 2; }));
  bench_.origin().connection(0).Send(TcpOrigin::kOk);
  EXPECT_TRUE(Until([&] { return client_.stream(again).ended; }));
}

http::H2TestFields Grpc(std::string_view timeout) {
  return {{":path", "/pkg.Service/Method"},
          {"content-type", "application/grpc"},
          {"te", "trailers"},
          {"grpc-timeout", std::string(timeout)}};
}

TEST_F(ExchangeHttp2Test, WhatIsLeftOfAGrpcTimeoutIsForwarded) {
  (void)client_.Request(Grpc("5S"), "");
  end_->Push(client_.Take());  // waits for a connection
  bench_.clock().Advance(seconds(2));
  const std::string timeout = Field(Received(), "grpc-timeout");
  EXPECT_TRUE(timeout == "3S" || timeout == "3000m" || timeout == "3000000u") << timeout;
  EXPECT_EQ(Field(Received(), "te"), "trailers");
}

TEST_F(ExchangeHttp2Test, AGrpcTimeoutIsCappedAndEndsTheCall) {
  const int32_t id = client_.Request(Grpc("1H"), "");
  const std::string timeout = Field(Received(), "grpc-timeout");
  EXPECT_TRUE(timeout == "15S" || timeout == "15000m" || timeout == "15000000u") << timeout;
  bench_.Advance(seconds(14));
  Step();
  EXPECT_EQ(client_.stream(id).log, "");
  bench_.Advance(seconds(2));
  EXPECT_EQ(Answered(id).log, "200|end|");
  EXPECT_EQ(client_.stream(id).Field("grpc-status"), "4");
}

http::H2TestFields Connect(std::string_view path) {
  return {{":method", "CONNECT"},
          {":protocol", "websocket"},
          {":path", std::string(path)},
          {"sec-websocket-version", "13"}};
}

TEST_F(ExchangeHttp2Test, ExtendedConnectToWhatIsNoTunnelIsRefused) {
  const int32_t id = client_.Request(Connect("/x"), "", false);
  EXPECT_TRUE(Answered(id).log.starts_with("501|")) << client_.stream(id).log;
  EXPECT_EQ(bench_.origin().connections(), 0u);
}

TEST_F(ExchangeHttp2Test, ExtendedConnectIsAWebSocketForAnOriginOfHttp1) {
  for (const bool right : {false, true}) {
    const int32_t id = client_.Request(Connect("/chat"), "", false);
    const size_t index = right ? 1 : 0;
    ASSERT_TRUE(Until([&] {
      return bench_.origin().connections() == index + 1 &&
             bench_.origin().connection(index).received().ends_with("\r\n\r\n");
    }));
    TcpOrigin::Connection& origin = bench_.origin().connection(index);
    EXPECT_TRUE(origin.received().starts_with("GET /chat HTTP/1.1\r\n")) << origin.received();
    const std::string key = Field(origin.received(), "sec-websocket-key");
    EXPECT_EQ(key.size(), 24u) << origin.received();
    Arena arena;
    const std::string accept(http::WebSocketAccept(right ? key : "other", arena));
    origin.Send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: " +
        accept + "\r\n\r\nhello");
    EXPECT_TRUE(Answered(id).log.starts_with(right ? "200|" : "502|")) << client_.stream(id).log;
    if (!right) continue;
    ASSERT_TRUE(Until([&] { return client_.stream(id).body == "hello"; }));
    client_.SendBody(id, "to the origin");
    ASSERT_TRUE(Until([&] { return origin.received().ends_with("to the origin"); }));
    origin.Close();
    EXPECT_TRUE(Until([&] { return client_.stream(id).ended || client_.stream(id).closed; }));
  }
}

}  // namespace
}  // namespace gatehouse::proxy
