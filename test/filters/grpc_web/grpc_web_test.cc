#include "source/filters/grpc_web/grpc_web.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "api/gatehouse/filters/v1/grpc_web.pb.h"
#include "source/base/crypto.h"
#include "test/filters/filter_fixture.h"
#include "test/filters/scripted_filter.h"

namespace gatehouse::filters {
namespace {

const std::string kMessage("\0\0\0\0\3abc", 8);

std::string Text(std::string_view bytes) { return Base64Encode(bytes, Base64::kStandard); }
std::string Frame(std::string_view fields) {
  return std::string("\x80\0\0\0", 4) + static_cast<char>(fields.size()) + std::string(fields);
}

class GrpcWebTest : public FilterFixture {
 protected:
  void Ask(std::string_view type, std::string_view accept = {}) {
    Use(Built<GrpcWeb, v1::GrpcWeb>(""));
    request_.method = http::Method::kPost;
    request_.headers.Add("Content-Type", type);
    request_.headers.Add("X-Grpc-Web", "1");
    if (!accept.empty()) request_.headers.Add("Accept", accept);
    EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  }
  std::string Send(std::string_view body, bool end) {
    Chain data;
    data.AppendCopy(body, loop_.slabs());
    const Progress progress = run_.RequestBody(data, end);
    if (progress == Progress::kReply) return "reply " + std::to_string(run_.reply().status);
    EXPECT_EQ(progress, Progress::kDone);
    return ToString(data);
  }
  // The origin's head.
  void Answer(std::string_view type = "application/grpc", bool body = true) {
    response_.status = 200;
    response_.headers.Add("Content-Type", type);
    response_.headers.Add("Content-Length", "7");
    response_.headers.Add("Trailer", "grpc-status");
    response_.body = body ? http::BodyKind::kChunked : http::BodyKind::kNone;
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  }
  std::string Receive(std::string_view body, bool end) {
    Chain data;
    data.AppendCopy(body, loop_.slabs());
    EXPECT_EQ(run_.ResponseBody(data, end), Progress::kDone);
    return ToString(data);
  }
};

TEST_F(GrpcWebTest, BinaryGoesOnAsGrpc) {
  Ask("application/grpc-web+proto");
  EXPECT_EQ(Request("Content-Type"), "application/grpc+proto");
  EXPECT_EQ(Request("TE"), "trailers");
  EXPECT_EQ(Request("X-Grpc-Web"), "-");
  EXPECT_EQ(Send(kMessage, true), kMessage);
}

TEST_F(GrpcWebTest, ContentTypes) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"application/grpc-web", "application/grpc"},
      {"Application/GRPC-Web-Text", "application/grpc"},
      {"application/grpc-web-text+json", "application/grpc+json"},
      {"application/grpc-web;charset=utf-8", "application/grpc;charset=utf-8"},
      {"application/grpc-webs", "application/grpc-webs"},
      {"application/grpc-web-texts", "application/grpc-web-texts"},
      {"application/grpc", "application/grpc"},
      {"application/json", "application/json"}};
  for (const auto& [asked, sent] : rows) {
    Ask(asked);
    EXPECT_EQ(Request("Content-Type"), sent);
    EXPECT_EQ(Request("X-Grpc-Web"), run_.wants_request_body() ? "-" : "1");
    NextRequest();
  }
}

TEST_F(GrpcWebTest, OtherRequestsPassAsTheyAre) {
  Ask("application/json");
  EXPECT_FALSE(run_.wants_request_body());
  EXPECT_FALSE(run_.wants_response_body());
  EXPECT_EQ(Request("TE"), "-");
  Answer("application/grpc");
  EXPECT_EQ(Response("Content-Type"), "application/grpc");
  EXPECT_EQ(Response("Content-Length"), "7");
}

TEST_F(GrpcWebTest, TextIsDecodedAsItComes) {
  Ask("application/grpc-web-text");
  const std::string text = Text(kMessage) + Text(kMessage);
  std::string sent;
  for (size_t i = 0; i < text.size(); ++i) sent += Send(text.substr(i, 1), i + 1 == text.size());
  EXPECT_EQ(sent, kMessage + kMessage);
}

TEST_F(GrpcWebTest, WhatIsNoTextIsRefused) {
  Ask("application/grpc-web-text");
  EXPECT_EQ(Send("aGVs", false), "hel");
  EXPECT_EQ(Send("***", false), "");
  EXPECT_EQ(Send("*", false), "reply 400");
  NextRequest();
  Ask("application/grpc-web-text");
  EXPECT_EQ(Send("aGVsb", true), "reply 400");
}

TEST_F(GrpcWebTest, TrailersBecomeAFrame) {
  Ask("application/grpc-web+proto");
  Answer();
  EXPECT_EQ(Response("Content-Type"), "application/grpc-web+proto");
  EXPECT_EQ(Response("Content-Length"), "-");
  EXPECT_EQ(Response("Trailer"), "-");
  EXPECT_EQ(Receive(kMessage, false), kMessage);
  response_trailers_.Add("Grpc-Status", "0");
  response_trailers_.Add("X-Cost", "3");
  EXPECT_EQ(Receive("", true), Frame("grpc-status:0\r\nx-cost:3\r\n"));
  EXPECT_TRUE(response_trailers_.empty());
  EXPECT_TRUE(context_.response_body().empty());
}

TEST_F(GrpcWebTest, TextComesBackAsText) {
  Ask("application/grpc-web-text+proto");
  Answer("application/grpc+proto");
  EXPECT_EQ(Response("Content-Type"), "application/grpc-web-text+proto");
  // Each piece can be read at once.
  EXPECT_EQ(Receive(kMessage, false), Text(kMessage));
  response_trailers_.Add("grpc-status", "0");
  EXPECT_EQ(Receive("x", true), Text("x" + Frame("grpc-status:0\r\n")));
}

TEST_F(GrpcWebTest, AcceptDecidesTheForm) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"application/grpc-web-text", "application/grpc-web-text"},
      {"application/grpc-web", "application/grpc-web"},
      {"text/html, Application/Grpc-Web-Text+proto;q=0.9", "application/grpc-web-text"},
      {"*/*", ""}};
  for (const char* asked : {"application/grpc-web", "application/grpc-web-text"}) {
    for (const auto& [accept, answered] : rows) {
      Ask(asked, accept);
      Answer();
      EXPECT_EQ(Response("Content-Type"), answered.empty() ? asked : answered);
      NextRequest();
    }
  }
}

TEST_F(GrpcWebTest, AStatusInTheHeadBecomesTheBody) {
  for (const bool text : {false, true}) {
    Ask(text ? "application/grpc-web-text" : "application/grpc-web");
    response_.headers.Add("grpc-status", "5");
    response_.headers.Add("Grpc-Message", "not%20here");
    response_.headers.Add("grpc-status-details-bin", "CAU");
    response_.headers.Add("X-Other", "1");
    Answer("application/grpc", /*body=*/false);
    const std::string frame =
        Frame("grpc-status:5\r\ngrpc-message:not%20here\r\ngrpc-status-details-bin:CAU\r\n");
    EXPECT_EQ(context_.response_body(), text ? Text(frame) : frame);
    EXPECT_EQ(Response("grpc-status"), "-");
    EXPECT_EQ(Response("grpc-message"), "-");
    EXPECT_EQ(Response("X-Other"), "1");
    NextRequest();
  }
}

TEST_F(GrpcWebTest, AStatusInTheHeadOfABodyWithoutTrailersComesLast) {
  Ask("application/grpc-web");
  response_.headers.Add("grpc-status", "13");
  Answer();
  EXPECT_EQ(Receive("", true), Frame("grpc-status:13\r\n"));
}

TEST_F(GrpcWebTest, NothingIsMadeUp) {
  Ask("application/grpc-web");
  Answer();
  EXPECT_EQ(Receive(kMessage, true), kMessage);
}

TEST_F(GrpcWebTest, AnswersThatAreNoGrpcPass) {
  Ask("application/grpc-web-text");
  Answer("text/html");
  EXPECT_EQ(Response("Content-Type"), "text/html");
  response_trailers_.Add("X-Sum", "1");
  EXPECT_EQ(Receive("<p>", true), "<p>");
  EXPECT_EQ(response_trailers_.size(), 1u);
}

// The gateway's own errors, as local_reply writes them for gRPC.
TEST_F(GrpcWebTest, TheGatewaysErrorsBecomeABody) {
  Ask("application/grpc-web-text+proto");
  run_.BeginReply();
  response_.headers.Add("grpc-status", "14");
  Answer("application/grpc", /*body=*/false);
  EXPECT_EQ(Response("Content-Type"), "application/grpc-web-text+proto");
  EXPECT_EQ(context_.response_body(), Text(Frame("grpc-status:14\r\n")));
}

TEST_F(GrpcWebTest, ABodyOfTheGatewayStaysAsItIs) {
  Ask("application/grpc-web-text");
  run_.BeginReply();
  Answer("application/grpc", /*body=*/true);
  EXPECT_EQ(Response("Content-Type"), "application/grpc");
  EXPECT_TRUE(context_.response_body().empty());
}

// A filter in front replies to the response that this one has given a body.
TEST_F(GrpcWebTest, AReplyForgetsTheBodyOfWhatItReplaces) {
  Diary diary;
  std::vector<NamedFilter> filters;
  filters.push_back(
      Scripted({.name = "front", .response_headers = Act::kReply}, diary, EmptyCluster()));
  filters.push_back({"grpc_web", Built<GrpcWeb, v1::GrpcWeb>("")});
  Use(std::move(filters));
  request_.headers.Add("Content-Type", "application/grpc-web");
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  response_.headers.Add("grpc-status", "5");
  response_.headers.Add("Content-Type", "application/grpc");
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kReply);
  EXPECT_FALSE(context_.response_body().empty());
  run_.BeginReply();
  EXPECT_TRUE(context_.response_body().empty());
  run_.Finish();  // before the diary goes
}

}  // namespace
}  // namespace gatehouse::filters
