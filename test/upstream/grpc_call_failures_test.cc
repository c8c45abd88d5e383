// What a GrpcCall makes of servers, networks and configurations that are not as they should be.
#include <string>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "source/upstream/grpc_call.h"
#include "test/upstream/grpc_fixture.h"

namespace gatehouse::upstream {
namespace {

using http::GrpcStatus;

class GrpcCallFailuresTest : public GrpcFixture {
 protected:
  // The status of a call whose answer is these bytes and this status.
  GrpcStatus StatusAfter(const std::string& body, std::string_view status,
                         std::string* words = nullptr) {
    TestCall call(*upstreams_);
    Ask(call, [&](H2Origin::Request& request) {
      Answer(request);
      request.Body(body);
      request.Trailers({{"grpc-status", std::string(status)}});
    });
    if (words != nullptr) *words = call.words;
    return call.code;
  }
};

TEST_F(GrpcCallFailuresTest, StatusThatIsMissingOrNone) {
  TestCall missing(*upstreams_);
  Ask(missing, [](H2Origin::Request& request) {
    Answer(request);
    request.Trailers({{"x-other", "1"}});
  });
  EXPECT_EQ(missing.code, GrpcStatus::kUnknown);
  EXPECT_NE(missing.words.find("without a grpc-status"), std::string::npos) << missing.words;
  EXPECT_NE(missing.words.find("cluster orders, 127.0.0.1:"), std::string::npos) << missing.words;

  TestCall no_trailers(*upstreams_);
  Ask(no_trailers, [](H2Origin::Request& request) {
    Answer(request);
    request.Body(Framed("x"), /*end=*/true);
  });
  EXPECT_EQ(no_trailers.log, "started|metadata|x|done 2|");

  TestCall nothing(*upstreams_);
  Ask(nothing, [](H2Origin::Request& request) {
    request.Head(200, {{"content-type", "application/grpc"}}, /*end=*/true);
  });
  EXPECT_EQ(nothing.code, GrpcStatus::kUnknown);

  EXPECT_EQ(StatusAfter("", "zero"), GrpcStatus::kUnknown);
  EXPECT_EQ(StatusAfter("", "99"), GrpcStatus::kUnknown);
  for (int code = 0; code <= 16; ++code) {
    EXPECT_EQ(static_cast<int>(StatusAfter("", std::to_string(code))), code);
  }
}

TEST_F(GrpcCallFailuresTest, AnswersThatAreNotGrpc) {
  const std::pair<uint16_t, GrpcStatus> table[] = {
      {400, GrpcStatus::kInternal},         {401, GrpcStatus::kUnauthenticated},
      {403, GrpcStatus::kPermissionDenied}, {404, GrpcStatus::kUnimplemented},
      {429, GrpcStatus::kUnavailable},      {502, GrpcStatus::kUnavailable},
      {503, GrpcStatus::kUnavailable},      {504, GrpcStatus::kUnavailable},
      {302, GrpcStatus::kUnknown},          {500, GrpcStatus::kUnknown}};
  for (const auto& [status, code] : table) {
    TestCall call(*upstreams_);
    Ask(call, [status = status](H2Origin::Request& request) {
      request.Head(status, {{"content-type", "text/html"}});
      request.Body("<html>");
    });
    EXPECT_EQ(call.code, code) << status;
    EXPECT_NE(call.words.find("HTTP status " + std::to_string(status)), std::string::npos);
  }
  for (const std::string type : {"text/html", "application/grpc-web", "application/json"}) {
    TestCall call(*upstreams_);
    Ask(call, [&](H2Origin::Request& request) {
      request.Head(200, {{"content-type", type}});
      request.Body("<html>", true);
    });
    EXPECT_EQ(call.code, GrpcStatus::kUnknown);
    EXPECT_NE(call.words.find(type), std::string::npos) << call.words;
  }
  // A proxy that knows gRPC says both.
  TestCall both(*upstreams_);
  Ask(both, [](H2Origin::Request& request) {
    request.Head(503, {{"content-type", "application/grpc"}, {"grpc-status", "8"}}, true);
  });
  EXPECT_EQ(both.code, GrpcStatus::kResourceExhausted);
}

TEST_F(GrpcCallFailuresTest, MessagesThatAreRefused) {
  std::string words;
  std::string compressed = Framed("x");
  compressed[0] = 1;
  EXPECT_EQ(StatusAfter(compressed, "0", &words), GrpcStatus::kInternal);
  EXPECT_NE(words.find("compressed"), std::string::npos) << words;
  std::string unknown_flag = Framed("x");
  unknown_flag[0] = 2;
  EXPECT_EQ(StatusAfter(unknown_flag, "0"), GrpcStatus::kInternal);
  EXPECT_EQ(StatusAfter(Framed(std::string(1000, 'x')), "0"), GrpcStatus::kOk);
  EXPECT_EQ(StatusAfter(Framed(std::string(1001, 'x')), "0", &words),
            GrpcStatus::kResourceExhausted);
  EXPECT_NE(words.find("more than 1000 bytes"), std::string::npos) << words;
  // Refused by its prefix, before it comes, and the server is told.
  TestCall call(*upstreams_);
  Ask(call, [](H2Origin::Request& request) {
    Answer(request);
    request.Body(Framed(std::string(2000, 'x')).substr(0, http::kGrpcPrefix));
  });
  EXPECT_EQ(call.code, GrpcStatus::kResourceExhausted);
  ASSERT_TRUE(Until([&] { return origin_->request(origin_->requests() - 1).broken(); }));
  EXPECT_EQ(origin_->connections(), 1u);
}

TEST_F(GrpcCallFailuresTest, EndWithinAMessage) {
  std::string words;
  const std::string half = Framed("whole") + Framed("half").substr(0, 7);
  EXPECT_EQ(StatusAfter(half, "0", &words), GrpcStatus::kInternal);
  EXPECT_NE(words.find("within a message"), std::string::npos) << words;
  EXPECT_EQ(StatusAfter(half, "9"), GrpcStatus::kFailedPrecondition);
  EXPECT_EQ(StatusAfter(Framed("x").substr(0, 3), "0"), GrpcStatus::kInternal);
}

TEST_F(GrpcCallFailuresTest, ResetsByTheServer) {
  const std::pair<uint32_t, GrpcStatus> table[] = {
      {NGHTTP2_NO_ERROR, GrpcStatus::kInternal},
      {NGHTTP2_PROTOCOL_ERROR, GrpcStatus::kInternal},
      {NGHTTP2_INTERNAL_ERROR, GrpcStatus::kInternal},
      {NGHTTP2_REFUSED_STREAM, GrpcStatus::kUnavailable},
      {NGHTTP2_CANCEL, GrpcStatus::kCancelled},
      {NGHTTP2_ENHANCE_YOUR_CALM, GrpcStatus::kResourceExhausted},
      {NGHTTP2_INADEQUATE_SECURITY, GrpcStatus::kPermissionDenied}};
  for (const auto& [code, status] : table) {
    TestCall call(*upstreams_);
    Ask(call, [code = code](H2Origin::Request& request) { request.Reset(code); });
    EXPECT_EQ(call.code, status) << nghttp2_http2_strerror(code);
    EXPECT_EQ(call.unprocessed, code == NGHTTP2_REFUSED_STREAM);
    if (code != NGHTTP2_REFUSED_STREAM) {
      EXPECT_NE(call.words.find(nghttp2_http2_strerror(code)), std::string::npos) << call.words;
    }
  }
  EXPECT_EQ(Value(cluster()->metrics().resets), 6u);
}

TEST_F(GrpcCallFailuresTest, ConnectionThatBreaks) {
  TestCall call(*upstreams_);
  call.Start(Request());
  H2Origin::Request& request = Arrived();
  Answer(request);
  request.Body(Framed("1") + Framed("2").substr(0, 3));
  Settle();
  origin_->Kill();
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.log, "started|metadata|1|done 14|");
  EXPECT_NE(call.words.find("connection broke"), std::string::npos) << call.words;
  EXPECT_FALSE(call.unprocessed);
}

TEST_F(GrpcCallFailuresTest, ServerThatGoesAway) {
  TestCall first(*upstreams_);
  first.Start(Request());
  H2Origin::Request& request = Arrived();
  TestCall second(*upstreams_);
  second.Start(Request());
  (void)Arrived();
  request.GoAway(/*last_id=*/1);
  ASSERT_TRUE(WaitFor(second));
  EXPECT_EQ(second.code, GrpcStatus::kUnavailable);
  EXPECT_TRUE(second.unprocessed);
  // The one that it promised to serve ends well, later ones go over another connection.
  TestCall third(*upstreams_);
  third.Start(Request());
  H2Origin::Request& other = Arrived();
  EXPECT_EQ(origin_->connections(), 2u);
  for (H2Origin::Request* each : {&request, &other}) {
    Answer(*each);
    each->Trailers({{"grpc-status", "0"}});
  }
  ASSERT_TRUE(WaitFor(first) && WaitFor(third));
  EXPECT_EQ(first.log + third.log, "started|metadata|done 0|started|metadata|done 0|")
      << first.words;
}

TEST_F(GrpcCallFailuresTest, NoConnection) {
  cluster();
  origin_->StopListening();
  TestCall refused(*upstreams_);
  refused.Start(Request());
  ASSERT_TRUE(WaitFor(refused));
  EXPECT_EQ(refused.log, "done 14|");
  EXPECT_TRUE(refused.unprocessed);
  EXPECT_NE(refused.words.find("cluster orders: 127.0.0.1:"), std::string::npos) << refused.words;

  ClusterSpec spec = SpecOf(1, "empty");
  spec.endpoints.clear();
  const auto empty = Make(spec);
  TestCall nobody(*upstreams_);
  GrpcRequest asked = Request();
  asked.cluster = empty.get();
  nobody.Start(asked);
  ASSERT_TRUE(WaitFor(nobody));
  EXPECT_EQ(nobody.code, GrpcStatus::kUnavailable);
  EXPECT_EQ(nobody.words, "cluster empty: it has no endpoint that could be asked");
}

TEST_F(GrpcCallFailuresTest, ClusterThatSpeaksHttp1) {
  constexpr std::string_view kWords = "the cluster speaks HTTP/1.1; set protocol: http2";
  for (const Protocol protocol : {Protocol::kHttp1, Protocol::kAuto}) {
    ClusterSpec spec = SpecOf(origin_->port(), "old");
    spec.options.protocol = protocol;
    const auto old = Make(spec);
    TestCall call(*upstreams_);
    GrpcRequest asked = Request();
    asked.cluster = old.get();
    call.Start(asked);
    ASSERT_TRUE(WaitFor(call));
    EXPECT_EQ(call.code, GrpcStatus::kUnavailable);
    EXPECT_EQ(call.words, "cluster old: " + std::string(kWords));
  }
  // The server itself does, whatever the cluster hopes for.
  TcpOrigin origin;
  origin.set_auto_answer(false);
  const auto hopeful = Make(SpecOf(origin.port()));
  origins_ = {&origin};
  TestCall call(*upstreams_);
  GrpcRequest asked = Request();
  asked.cluster = hopeful.get();
  call.Start(asked);
  ASSERT_TRUE(Until([&] { return origin.connections() == 1; }));
  origin.connection(0).Send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(WaitFor(call));
  EXPECT_EQ(call.code, GrpcStatus::kUnavailable);
}

TEST_F(GrpcCallFailuresTest, MetadataThatCannotBeSent) {
  const std::pair<std::string_view, std::string_view> all[] = {
      {"x-line", "a\nb"}, {"x key", "v"}, {"grpc-timeout", "1S"}, {"Content-Type", "text/x"}};
  for (const auto& one : all) {
    TestCall call(*upstreams_);
    GrpcRequest asked = Request();
    asked.metadata = {&one, 1};
    call.Start(asked);
    ASSERT_TRUE(call->Send("x"));
    ASSERT_TRUE(WaitFor(call));
    EXPECT_EQ(call.log, "done 13|");
    EXPECT_NE(call.words.find(one.first), std::string::npos) << call.words;
  }
  EXPECT_EQ(origin_->connections(), 0u);
}

}  // namespace
}  // namespace gatehouse::upstream
