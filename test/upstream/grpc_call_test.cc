#include "source/upstream/grpc_call.h"

#include <string>
#include <utility>

#include "test/fakes/test_certificates.h"
#include "test/upstream/grpc_fixture.h"

namespace gatehouse::upstream {
namespace {

using http::GrpcStatus;

class GrpcCallTest : public GrpcFixture {};

TEST_F(GrpcCallTest, OneMessageEachWay) {
  TestCall call(*upstreams_);
  const std::pair<std::string_view, std::string_view> metadata[] = {{"X-Token", "secret"},
                                                                    {"x-key-bin", "AAEC"}};
  call.Start({.cluster = cluster().get(),
              .path = "/shop.Orders/Get",
              .metadata = metadata,
              .timeout = std::chrono::milliseconds(1500)});
  EXPECT_TRUE(call->Send("question"));
  call->WritesDone();
  H2Origin::Request& request = Arrived();
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  EXPECT_EQ(request.head().method, http::Method::kPost);
  EXPECT_EQ(request.head().path, "/shop.Orders/Get");
  EXPECT_EQ(request.head().authority, "orders");
  EXPECT_EQ(request.Field("te"), "trailers");
  EXPECT_EQ(request.Field("content-type"), "application/grpc");
  EXPECT_EQ(request.Field("user-agent"), "gatehouse");
  EXPECT_EQ(request.Field("grpc-accept-encoding"), "identity");
  EXPECT_EQ(request.Field("grpc-timeout"), "1500m");
  EXPECT_EQ(request.Field("x-token"), "secret");
  EXPECT_EQ(request.Field("x-key-bin"), "AAEC");
  EXPECT_EQ(request.body(), Framed("question"));
  request.Head(200, {{"content-type", "application/grpc+proto"}, {"x-initial", "a"}});
  request.Body(Framed("answer"));
  request.Trailers({{"grpc-status", "0"}, {"x-trailing", "b"}});
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|answer|done 0|");
  EXPECT_EQ(call.metadata, "a");
  EXPECT_EQ(call.trailer, "b");
  EXPECT_EQ(call.words, "");
  Settle();
  EXPECT_FALSE(request.broken());
  EXPECT_EQ(State(*cluster_).idle(), 1u);
  const observe::ClusterMetrics& metrics = cluster_->metrics();
  EXPECT_EQ(Value(metrics.RequestsFor(200)), 1u);
  EXPECT_EQ(Value(metrics.request_bytes), 13u);
  EXPECT_EQ(Value(metrics.response_bytes), 11u);
  EXPECT_EQ(Value(metrics.active), 0);
}

TEST_F(GrpcCallTest, NoDeadlineAndAnAuthority) {
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  std::string authority = "auth.test:90";
  asked.authority = authority;
  call.Start(asked);
  authority = "overwritten..";
  call->WritesDone();
  H2Origin::Request& request = Arrived();
  EXPECT_EQ(request.head().authority, "auth.test:90");
  EXPECT_EQ(request.Field("grpc-timeout"), "(none)");
  EXPECT_TRUE(request.ended());
  EXPECT_EQ(request.body(), "");
  Advance(std::chrono::seconds(100));
  EXPECT_FALSE(call.done);
}

TEST_F(GrpcCallTest, TrailersOnly) {
  TestCall call(*upstreams_);
  Ask(call, [](H2Origin::Request& request) {
    request.Head(200,
                 {{"content-type", "application/grpc"},
                  {"grpc-status", "5"},
                  {"grpc-message", "no order %C3%A4 100%25"},
                  {"x-trailing", "t"}},
                 /*end=*/true);
  });
  EXPECT_EQ(call.log, "started|done 5|");
  EXPECT_EQ(call.words, "no order \xC3\xA4 100%");
  EXPECT_EQ(call.trailer, "t");
  EXPECT_FALSE(call.unprocessed);
}

TEST_F(GrpcCallTest, ErrorAfterMessages) {
  TestCall call(*upstreams_);
  Ask(call, [](H2Origin::Request& request) {
    Answer(request);
    request.Body(Framed("1") + Framed("") + Framed("2"));
    request.Trailers({{"grpc-status", "13"}, {"grpc-message", "out of order"}});
  });
  EXPECT_EQ(call.log, "started|metadata|1||2|done 13|");
  EXPECT_EQ(call.words, "out of order");
}

TEST_F(GrpcCallTest, AnswerByteByByte) {
  TestCall call(*upstreams_);
  call.Start(Request());
  H2Origin::Request& request = Arrived();
  Answer(request);
  for (const char c : Framed("first") + Framed("") + Framed("second")) {
    request.Body({&c, 1});
    Turn();
  }
  request.Trailers({{"grpc-status", "0"}});
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|first||second|done 0|");
}

TEST_F(GrpcCallTest, MessagesBothWaysAsTheyCome) {
  TestCall call(*upstreams_);
  call.then = [&](std::string_view what) {
    if (what == "message" && call.messages < 5) {
      EXPECT_TRUE(call->Send("q" + std::to_string(call.messages)));
    } else if (what == "message") {
      call->WritesDone();
    }
  };
  call.Start(Request());
  EXPECT_TRUE(call->Send("q0"));
  H2Origin::Request& request = Arrived();
  Answer(request);
  std::string expected;
  for (int i = 0; i < 5; ++i) {
    expected += Framed("q" + std::to_string(i));
    ASSERT_TRUE(Until([&] { return request.body() == expected; })) << i;
    request.Body(Framed("a" + std::to_string(i)));
  }
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  request.Trailers({{"grpc-status", "0"}});
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|a0|a1|a2|a3|a4|done 0|");
}

TEST_F(GrpcCallTest, ReaderThatPausesStopsTheServer) {
  TestCall call(*upstreams_);
  call.note_messages = false;
  GrpcRequest asked = Request();
  asked.messages = 0;
  call.Start(asked);
  H2Origin::Request& request = Arrived();
  Answer(request);
  constexpr size_t kCount = 400;
  for (size_t i = 0; i < kCount; ++i) request.Body(Framed(std::string(10000, 'm')));
  Settle();
  Settle();
  EXPECT_EQ(call.messages, 0u);
  const size_t window = cluster()->options().h2.stream_window;
  EXPECT_LE(request.sent(), window);
  call->AllowMessages(1);
  EXPECT_EQ(call.messages, 0u);
  Settle();
  EXPECT_EQ(call.messages, 1u);
  EXPECT_LE(request.sent(), window + 64 * 1024);
  call->AllowMessages(3);
  Settle();
  EXPECT_EQ(call.messages, 4u);
  // A word within a callback counts too.
  call.then = [&](std::string_view what) {
    if (what == "message" && call.messages == 10) call->Pause();
  };
  call->AllowMessages(GrpcCall::kEveryMessage);
  Settle();
  EXPECT_EQ(call.messages, 10u);
  request.Trailers({{"grpc-status", "0"}});
  Settle();
  EXPECT_FALSE(call.done);
  call->AllowMessages(kCount);
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.messages, kCount);
  EXPECT_EQ(call.bytes, kCount * 10000);
}

TEST_F(GrpcCallTest, MessagesThatAreLeftWhenTheServerHasEnded) {
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.messages = 1;
  call.Start(asked);
  H2Origin::Request& request = Arrived();
  Answer(request);
  request.Body(Framed("1") + Framed("2") + Framed("3"));
  request.Trailers({{"grpc-status", "0"}});
  Settle();
  EXPECT_EQ(call.log, "started|metadata|1|");
  // What is sent now goes nowhere.
  EXPECT_TRUE(call->Send("too late"));
  EXPECT_GT(call->Credit(), 0u);
  call->AllowMessages(1);
  Settle();
  EXPECT_EQ(call.log, "started|metadata|1|2|");
  call->WritesDone();
  call->AllowMessages(1);
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|1|2|3|done 0|");
}

TEST_F(GrpcCallTest, EndIsToldToAReaderThatHasAll) {
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.messages = 2;
  call.Start(asked);
  H2Origin::Request& request = Arrived();
  Answer(request);
  request.Body(Framed("1") + Framed("2"));
  request.Trailers({{"grpc-status", "0"}});
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|1|2|done 0|");
}

TEST_F(GrpcCallTest, CreditWhenTheServerDoesNotRead) {
  origin_->set_allow(0);
  TestCall call(*upstreams_);
  call.Start(Request());
  H2Origin::Request& request = Arrived();
  const std::string message(50'000, 'x');
  size_t sent = 0;
  while (call->Credit() > 0) {
    ASSERT_TRUE(call->Send(message));
    ++sent;
    Settle();
    ASSERT_LT(sent, 20u);
  }
  EXPECT_FALSE(call->Send(message));
  EXPECT_EQ(request.body(), "");
  const size_t credits = call.credits;
  request.Allow(SIZE_MAX / 2);
  ASSERT_TRUE(Until([&] { return call.credits > credits && call->Credit() > 0; }));
  EXPECT_TRUE(call->Send("last"));
  call->WritesDone();
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  EXPECT_EQ(request.body().size(), sent * (message.size() + 5) + 9);
}

TEST_F(GrpcCallTest, QueueBeforeTheConnectionIsBounded) {
  TestCall call(*upstreams_);
  call.Start(Request());
  const std::string message(30'000, 'x');
  size_t sent = 0;
  while (call->Send(message)) ++sent;
  EXPECT_EQ(sent, 3u);
  EXPECT_EQ(call->Credit(), 0u);
  H2Origin::Request& request = Arrived();
  ASSERT_TRUE(Until([&] { return call.credits > 0; }));
  EXPECT_TRUE(call->Send("more"));
  call->WritesDone();
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  EXPECT_EQ(request.body().size(), 3 * 30'005u + 9);
}

TEST_F(GrpcCallTest, Deadline) {
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.timeout = std::chrono::seconds(2);
  call.Start(asked);
  H2Origin::Request& request = Arrived();
  Answer(request);
  request.Body(Framed("early"));
  Advance(std::chrono::milliseconds(1900));
  EXPECT_FALSE(call.done);
  Advance(std::chrono::milliseconds(200));
  EXPECT_EQ(call.log, "started|metadata|early|done 4|");
  EXPECT_NE(call.words.find("cluster orders, 127.0.0.1:"), std::string::npos) << call.words;
  EXPECT_EQ(Value(cluster()->metrics().timeouts), 1u);
  ASSERT_TRUE(Until([&] { return request.broken(); }));
  EXPECT_EQ(State(*cluster_).leases(), 0u);
}

// A connection is there, but the server does not speak.
TEST_F(GrpcCallTest, DeadlineBeforeTheConnection) {
  TcpOrigin silent;
  silent.set_auto_answer(false);
  const auto cluster = Make(SpecOf(silent.port()));
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.cluster = cluster.get();
  asked.timeout = std::chrono::seconds(1);
  call.Start(asked);
  Settle();
  Advance(std::chrono::seconds(2));
  EXPECT_EQ(call.log, "done 4|");
  EXPECT_NE(call.words.find("no connection"), std::string::npos) << call.words;
  EXPECT_TRUE(call.unprocessed);
  EXPECT_EQ(State(*cluster).waiting(), 0u);
}

TEST_F(GrpcCallTest, TimeoutThatIsSentIsWhatIsLeft) {
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.timeout = std::chrono::seconds(10);
  call.Start(asked);
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(Arrived().Field("grpc-timeout"), "7S");
}

TEST_F(GrpcCallTest, DestroyedWheneverItMayBe) {
  cluster();
  {
    TestCall at_once(*upstreams_);
    at_once.Start(Request());
    at_once.Destroy();
    TestCall connecting(*upstreams_);
    connecting.Start(Request());
    Turn();
    EXPECT_EQ(State(*cluster_).waiting(), 1u);
    connecting.Destroy();
    EXPECT_EQ(State(*cluster_).waiting(), 0u);
    Settle();
    EXPECT_EQ(at_once.log + connecting.log, "");
  }
  for (const std::string when : {"started", "metadata", "message", "credit", "done"}) {
    TestCall call(*upstreams_);
    call.then = [&](std::string_view what) {
      if (what == when) call.Destroy();
    };
    call.Start(Request());
    ASSERT_TRUE(call->Send("x"));
    if (when == "started") {  // before the head has left
      Settle();
      EXPECT_EQ(origin_->requests(), 0u);
      continue;
    }
    H2Origin::Request& request = Arrived();
    if (!request.over()) {
      Answer(request);
      request.Body(Framed("1") + Framed("2"));
      request.Trailers({{"grpc-status", "0"}});
    }
    Settle();
    EXPECT_EQ(call.done, when == "done") << when;
    EXPECT_LE(call.messages, when == "done" ? 2u : 1u) << when;
    EXPECT_EQ(State(*cluster_).leases(), 0u) << when;
  }
  EXPECT_EQ(Value(cluster_->metrics().active), 0);
}

TEST_F(GrpcCallTest, CancelledCallIsResetAtTheServer) {
  TestCall call(*upstreams_);
  call.Start(Request());
  H2Origin::Request& request = Arrived();
  call.Destroy();
  ASSERT_TRUE(Until([&] { return request.broken(); }));
  // The connection is as good as before.
  TestCall next(*upstreams_);
  Ask(next, [](H2Origin::Request& other) {
    Answer(other);
    other.Trailers({{"grpc-status", "0"}});
  });
  EXPECT_EQ(next.code, GrpcStatus::kOk);
  EXPECT_EQ(origin_->connections(), 1u);
}

TEST_F(GrpcCallTest, ServerEndsBeforeTheClient) {
  TestCall call(*upstreams_);
  call.Start(Request());
  ASSERT_TRUE(call->Send("x"));
  H2Origin::Request& request = Arrived();
  Answer(request);
  request.Trailers({{"grpc-status", "7"}});
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.code, GrpcStatus::kPermissionDenied);
  EXPECT_TRUE(call->Send("goes nowhere"));
  Settle();
  EXPECT_EQ(State(*cluster_).idle(), 1u);
}

TEST_F(GrpcCallTest, OverTls) {
  const net::TestCa ca("Test CA");
  const net::TestCertificate site = ca.Issue({});
  net::TlsClientSpec client;
  client.server.ca = ca.Text();
  client.alpn = {"h2", "http/1.1"};
  const auto trusting = net::TlsClientContext::Create(client);
  ASSERT_TRUE(trusting.ok()) << trusting.status();
  for (const std::string speaks : {"h2", "http/1.1"}) {
    net::TlsServerSpec server;
    server.certificates = {site.Spec("site")};
    server.alpn = {speaks};
    const auto context = net::TlsServerContext::Create(server);
    ASSERT_TRUE(context.ok()) << context.status();
    H2Origin origin(loop_, *context);
    ClusterSpec spec = SpecOf(origin.port(), "secure");
    spec.options.protocol = Protocol::kAuto;
    spec.options.tls = *trusting;
    spec.tls_fingerprint = speaks;
    const auto secure = Make(spec);
    TestCall call(*upstreams_);
    GrpcRequest asked = Request();
    asked.cluster = secure.get();
    call.Start(asked);
    if (speaks == "h2") {
      seen_ = 0;
      H2Origin::Request& request = Arrived(origin);
      Answer(request);
      request.Trailers({{"grpc-status", "0"}});
    }
    ASSERT_TRUE(WaitFor(call));
    if (speaks == "h2") {
      EXPECT_EQ(call.code, GrpcStatus::kOk) << call.words;
    } else {
      EXPECT_EQ(call.code, GrpcStatus::kUnavailable);
      EXPECT_NE(call.words.find("speaks HTTP/1.1; set protocol: http2"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace gatehouse::upstream
