// The story of a request, told by its client and its origin.
#include "test/proxy/exchange_bench.h"

namespace gatehouse::proxy {
namespace {

constexpr const char* kConfig = R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- name: all
  domains: ["*"]
  routes:
  - { name: users, match: { path_prefix: /users }, forward: { cluster: origin, rewrite_prefix: /internal }, timeout: 2s }
  - { name: small, match: { path_prefix: /small }, forward: origin, max_body_bytes: 10B }
  - { name: ws, match: { path: /ws }, forward: origin, upgrade: [websocket] }
  - { name: hello, match: { path: /hello }, respond: { body: "hi\n" } }
  - { name: old, match: { path: /old }, redirect: { path: /new } }
  - { name: retry, match: { path_prefix: /retry }, forward: origin, retry: { attempts: 2, on: [5xx, reset] } }
  - { name: grpc, match: { path_prefix: /pkg.Service/ }, forward: origin, filters: [ { grpc_web: {} } ] }
  - { name: rest, match: { path_prefix: / }, forward: origin }
clusters:
- { name: origin, endpoints: ["ORIGIN"] }
)";

std::string Get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: shop.example\r\n\r\n";
}
std::string Answer(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

TEST(ExchangeTest, ForwardsAndKeepsBothConnectionsAlive) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  for (int i = 0; i < 3; ++i) {
    client->Push(Get("/x"));
    const std::string response = bench.Response(*client, "ok");
    EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n")) << response;
    EXPECT_NE(response.find("content-length: 2\r\n"), std::string::npos) << response;
  }
  EXPECT_EQ(bench.origin().connections(), 1u);
  EXPECT_EQ(bench.origin().requests(), 3u);
  EXPECT_FALSE(client->closed());
}

TEST(ExchangeTest, EveryRequestMayComeByteByByte) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  const std::string request =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (char c : request) {
    client->Push(std::string_view(&c, 1));
    bench.Turn();
  }
  EXPECT_TRUE(bench.Response(*client, "ok").starts_with("HTTP/1.1 200"));
  // What came is sent on as it came; chunks are framed anew.
  EXPECT_TRUE(bench.origin().connection(0).received().ends_with(
      "\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"));
}

TEST(ExchangeTest, RewritesThePrefixAndTellsTheOriginWhoAsks) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push(Get("/users/7?x=1"));
  (void)bench.Response(*client, "ok");
  const std::string seen = bench.origin().connection(0).received();
  EXPECT_TRUE(seen.starts_with("GET /internal/7?x=1 HTTP/1.1\r\n")) << seen;
  EXPECT_NE(seen.find("x-forwarded-for: 192.0.2.1\r\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("x-forwarded-proto: http\r\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("traceparent: 00-"), std::string::npos) << seen;
}

TEST(ExchangeTest, PipelinedRequestsAreAnsweredInOrder) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push(Get("/hello") + Get("/a") + Get("/hello"));
  EXPECT_TRUE(bench.RunUntil([&] {
    size_t count = 0;
    for (size_t at = 0; (at = client->written().find("HTTP/1.1 200", at)) != std::string::npos;
         ++at)
      ++count;
    return count == 3 && client->written().ends_with("hi\n");
  })) << client->written();
}

TEST(ExchangeTest, LocalAnswers) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push(Get("/hello"));
  EXPECT_TRUE(bench.Response(*client, "hi\n").starts_with("HTTP/1.1 200 OK\r\n"));
  client->Push(Get("/old"));
  const std::string redirect = bench.Response(*client, "\r\n\r\n");
  EXPECT_TRUE(redirect.starts_with("HTTP/1.1 301")) << redirect;
  EXPECT_NE(redirect.find("location: http://shop.example/new\r\n"), std::string::npos) << redirect;
  EXPECT_EQ(bench.origin().connections(), 0u);
}

TEST(ExchangeTest, MalformedRequestIsRefusedAndTheConnectionClosed) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push("GET / HTTP/1.1\nHost: a\n\n");
  const std::string response = bench.Response(*client, "}\n");
  EXPECT_TRUE(response.starts_with("HTTP/1.1 400")) << response;
  EXPECT_NE(response.find("connection: close\r\n"), std::string::npos) << response;
  EXPECT_NE(response.find("\"code\":\"bad_request\""), std::string::npos) << response;
  bench.Advance(std::chrono::seconds(3));
  EXPECT_TRUE(client->closed());
}

TEST(ExchangeTest, BodyOverTheRoutesLimitIs413) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
  EXPECT_TRUE(bench.Response(*client, "}\n").starts_with("HTTP/1.1 413"));
  auto chunked = bench.Connect();
  chunked->Push("POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  chunked->Push("b\r\n0123456789a\r\n");
  EXPECT_TRUE(bench.Response(*chunked, "}\n").starts_with("HTTP/1.1 413"));
}

TEST(ExchangeTest, RefusedConnectIs503WithACode) {
  ExchangeBench bench(kConfig);
  bench.origin().StopListening();
  auto client = bench.Connect();
  client->Push(Get("/x"));
  const std::string response = bench.Response(*client, "}\n");
  EXPECT_TRUE(response.starts_with("HTTP/1.1 503")) << response;
  EXPECT_NE(response.find("\"code\":\"connect_failure\""), std::string::npos) << response;
}

TEST(ExchangeTest, SilentOriginIs504AfterTheRoutesTimeout) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(Get("/users/1"));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  bench.Advance(std::chrono::milliseconds(1900));
  EXPECT_EQ(client->written(), "");
  bench.Advance(std::chrono::milliseconds(200));
  EXPECT_TRUE(bench.Response(*client, "}\n").starts_with("HTTP/1.1 504"));
}

TEST(ExchangeTest, RetriesAFailedTry) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(Get("/retry"));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  bench.origin().connection(0).Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
  bench.Settle();
  bench.Advance(std::chrono::seconds(1));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 2; }));
  const size_t last = bench.origin().connections() - 1;
  bench.origin().connection(last).Send(Answer("better"));
  EXPECT_TRUE(bench.Response(*client, "better").starts_with("HTTP/1.1 200"));
}

// The origin breaks off at every byte of its response: the client gets a 502, or what came and then
// a broken connection, never a response that looks whole.
TEST(ExchangeTest, ResetAtEveryByteOfAResponse) {
  const std::string answer = Answer("0123456789");
  for (size_t cut = 0; cut < answer.size(); ++cut) {
    SCOPED_TRACE(cut);
    ExchangeBench bench(kConfig);
    bench.origin().set_auto_answer(false);
    auto client = bench.Connect();
    client->Push(Get("/x"));
    ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
    bench.origin().connection(0).Send(answer.substr(0, cut));
    bench.Settle();
    bench.origin().connection(0).Reset();
    ASSERT_TRUE(
        bench.RunUntil([&] { return client->closed() || client->written().ends_with("}\n"); }));
    const bool whole_head = client->written().starts_with("HTTP/1.1 200");
    if (whole_head) {
      EXPECT_TRUE(client->aborted());
    } else {
      EXPECT_TRUE(client->written().starts_with("HTTP/1.1 502")) << client->written();
    }
  }
}

TEST(ExchangeTest, SlowReaderStopsTheOrigin) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->SetWindow(1000);
  client->Push(Get("/x"));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  const std::string body(8 << 20, 'x');
  bench.origin().connection(0).Send(Answer(body));
  bench.Settle();
  EXPECT_LT(bench.loop().slabs().in_use_bytes(), size_t{1} << 20);
  client->SetWindow(SIZE_MAX);
  ASSERT_TRUE(bench.RunUntil([&] { return client->written().size() >= body.size(); }));
  bench.Settle();
  EXPECT_TRUE(client->written().ends_with("x"));
  EXPECT_EQ(client->written().size() - client->written().find("\r\n\r\n") - 4, body.size());
}

TEST(ExchangeTest, WebSocketBytesPassBothWays) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  ASSERT_TRUE(bench.RunUntil([&] {
    return bench.origin().connections() == 1 &&
           bench.origin().connection(0).received().ends_with("\r\n\r\n");
  }));
  EXPECT_NE(bench.origin().connection(0).received().find("pgrade: websocket\r\n"),
            std::string::npos);
  bench.origin().connection(0).Send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst");
  const std::string head = bench.Response(*client, "first");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 101")) << head;
  client->Push("to the origin");
  ASSERT_TRUE(bench.RunUntil(
      [&] { return bench.origin().connection(0).received().ends_with("to the origin"); }));
  // Longer than any request may take: its own idle time rules.
  bench.Advance(std::chrono::minutes(10));
  EXPECT_FALSE(client->closed());
  bench.origin().connection(0).Close();
  EXPECT_TRUE(bench.RunUntil([&] { return client->closed(); }));
}

TEST(ExchangeTest, AnUpgradeToSomethingElseIsRefused) {
  for (const std::string_view field : {"Upgrade: h2c\r\n", ""}) {
    ExchangeBench bench(kConfig);
    bench.origin().set_auto_answer(false);
    auto client = bench.Connect();
    client->Push(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    ASSERT_TRUE(bench.RunUntil([&] {
      return bench.origin().connections() == 1 &&
             bench.origin().connection(0).received().ends_with("\r\n\r\n");
    }));
    bench.origin().connection(0).Send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + std::string(field) +
        "\r\n");
    ASSERT_TRUE(bench.RunUntil([&] { return !client->written().empty(); }));
    EXPECT_TRUE(client->TakeWritten().starts_with("HTTP/1.1 502")) << field;
  }
}

TEST(ExchangeTest, ExpectContinueIsAnsweredWhenTheBodyIsWanted) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(bench.RunUntil([&] { return !client->written().empty(); }));
  EXPECT_EQ(client->TakeWritten(), "HTTP/1.1 100 Continue\r\n\r\n");
  client->Push("abc");
  EXPECT_TRUE(bench.Response(*client, "ok").starts_with("HTTP/1.1 200"));
  EXPECT_EQ(bench.origin().connection(0).received().find("xpect"), std::string::npos);
}

TEST(ExchangeTest, HalfClosedClientGetsItsAnswer) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push(Get("/x"));
  client->PushEof();
  EXPECT_TRUE(bench.Response(*client, "ok").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(bench.RunUntil([&] { return client->closed(); }));
}

TEST(ExchangeTest, ClientThatLeavesEndsTheTryAtTheOrigin) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(Get("/x"));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  client->Break();
  EXPECT_TRUE(bench.RunUntil([&] { return bench.origin().connection(0).ended(); }));
  EXPECT_TRUE(client->closed());
}

TEST(ExchangeTest, AnExchangeEndsOnTheConfigThatItBeganWith) {
  ExchangeBench bench(kConfig);
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push(Get("/x"));
  ASSERT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  bench.Adopt(R"(
listeners:
- { name: edge, address: "127.0.0.1:0", route_tables: [all], access_log: { path: "off" } }
route_tables:
- { name: all, domains: ["*"], routes: [ { name: only, match: { path: /hello }, respond: { body: new } } ] }
)");
  EXPECT_EQ(bench.retired(), 0u);
  bench.origin().connection(0).Send(Answer("from the old"));
  EXPECT_TRUE(bench.Response(*client, "from the old").starts_with("HTTP/1.1 200"));
  client->Push(Get("/hello"));
  EXPECT_TRUE(bench.Response(*client, "new").starts_with("HTTP/1.1 200"));
  bench.Settle();
  EXPECT_EQ(bench.retired(), 1u);
}

// The modes are client_cert_header_test's; here, that the config is heard.
TEST(ExchangeTest, AClientCertificateOfTheClientsOwnIsRemovedUnlessTheListenerKeepsIt) {
  const std::string request =
      "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: Hash=1\r\n"
      "X.Forwarded-Client-Cert: Hash=2\r\nEarly-Data: 1\r\n\r\n";
  for (const bool keep : {false, true}) {
    std::string config = kConfig;
    if (keep) {
      config.insert(config.find("access_log:"),
                    "headers: { forwarded_client_cert: { mode: always_forward_only } }, ");
    }
    ExchangeBench bench(config);
    auto client = bench.Connect();
    client->Push(request);
    EXPECT_TRUE(bench.Response(*client, "ok").starts_with("HTTP/1.1 200"));
    const std::string& received = bench.origin().connection(0).received();
    EXPECT_EQ(received.find("Hash=1") != std::string::npos, keep) << received;
    EXPECT_EQ(received.find("Hash=2"), std::string::npos) << received;
    EXPECT_EQ(received.find("Early-Data"), std::string::npos) << received;
  }
}

// A request in gRPC-Web, "abc" in a frame, of which the origin has seen all.
std::shared_ptr<PipeEnd> CallGrpcWeb(ExchangeBench& bench, const std::string& type,
                                     const std::string& body) {
  bench.origin().set_auto_answer(false);
  auto client = bench.Connect();
  client->Push("POST /pkg.Service/Method HTTP/1.1\r\nHost: a\r\nX-Grpc-Web: 1\r\nContent-Type: " +
               type + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_TRUE(bench.RunUntil([&] { return bench.origin().requests() == 1; }));
  const std::string& received = bench.origin().connection(0).received();
  EXPECT_NE(received.find("application/grpc\r\n"), std::string::npos) << received;
  EXPECT_NE(received.find("te: trailers\r\n"), std::string::npos) << received;
  const std::string frame("\r\n\r\n8\r\n\0\0\0\0\3abc\r\n0\r\n\r\n", 22);
  EXPECT_TRUE(received.ends_with(frame)) << received;
  return client;
}
const std::string kWebFrame("\0\0\0\0\3abc", 8);
const std::string kWebTrailers = std::string("\x80\0\0\0\x0f", 5) + "grpc-status:0\r\n";

TEST(ExchangeTest, TrailersComeAsTheBodysEndToGrpcWebClients) {
  ExchangeBench bench(kConfig);
  auto client = CallGrpcWeb(bench, "application/grpc-web", kWebFrame);
  bench.origin().connection(0).Send(
      "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n");
  const std::string response = bench.Response(*client, "\r\n0\r\n\r\n");
  EXPECT_NE(response.find("application/grpc-web\r\n"), std::string::npos) << response;
  EXPECT_NE(response.find("hi"), std::string::npos) << response;
  EXPECT_NE(response.find(kWebTrailers), std::string::npos) << response;
  EXPECT_EQ(response.find("Grpc-Status"), std::string::npos) << response;
  // The connection lives on.
  client->Push(Get("/hello"));
  EXPECT_TRUE(bench.Response(*client, "hi\n").starts_with("HTTP/1.1 200"));
}

TEST(ExchangeTest, AStatusInTheHeadComesAsABodyToGrpcWebClients) {
  ExchangeBench bench(kConfig);
  auto client = CallGrpcWeb(bench, "application/grpc-web-text", "AAAAAANhYmM=");
  bench.origin().connection(0).Send(
      "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 0\r\n"
      "Content-Length: 0\r\n\r\n");
  const std::string response = bench.Response(*client, "\r\n\r\ngAAAAA9ncnBjLXN0YXR1czowDQo=");
  EXPECT_NE(response.find("application/grpc-web-text\r\n"), std::string::npos) << response;
  EXPECT_NE(response.find("content-length: 28\r\n"), std::string::npos) << response;
  EXPECT_EQ(response.find("Grpc-Status"), std::string::npos) << response;
  client->Push(Get("/hello"));
  EXPECT_TRUE(bench.Response(*client, "hi\n").starts_with("HTTP/1.1 200"));
}

TEST(ExchangeTest, OurOwnErrorsComeAsABodyToGrpcWebClients) {
  ExchangeBench bench(kConfig);
  auto client = CallGrpcWeb(bench, "application/grpc-web", kWebFrame);
  bench.origin().connection(0).Reset();
  const std::string response = bench.Response(*client, "grpc-message:The service broke off\r\n");
  EXPECT_TRUE(response.starts_with("HTTP/1.1 200")) << response;
  EXPECT_NE(response.find("application/grpc-web\r\n"), std::string::npos) << response;
  EXPECT_NE(response.find("grpc-status:14\r\n"), std::string::npos) << response;
  // Text that is none.
  auto other = bench.Connect();
  other->Push(
      "POST /pkg.Service/Method HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web-text\r\n"
      "Content-Length: 3\r\n\r\nab*");
  EXPECT_TRUE(bench.Response(*other, "=").starts_with("HTTP/1.1 200"));
}

TEST(ExchangeTest, OtherRequestsOnAGrpcWebRouteKeepTheirLength) {
  ExchangeBench bench(kConfig);
  auto client = bench.Connect();
  client->Push("POST /pkg.Service/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
  EXPECT_TRUE(bench.Response(*client, "ok").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(bench.origin().connection(0).received().ends_with("\r\n\r\nbody"));
}

}  // namespace
}  // namespace gatehouse::proxy
