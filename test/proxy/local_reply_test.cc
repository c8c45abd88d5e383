#include "source/proxy/local_reply.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/base/json.h"

namespace gatehouse::proxy {
namespace {

using http::BodyKind;
using http::Error;
using http::Name;
using testing::HasSubstr;
using What = Error::What;

class LocalReplyTest : public testing::Test {
 protected:
  std::string Write(const LocalReply& reply) {
    return std::string(WriteLocalReply(
        reply, {.head = &request_, .trace_id = trace_id_, .allow = allow_}, response_));
  }
  std::string Header(std::string_view name) const {
    return std::string(response_.headers.Get(name).value_or("-"));
  }

  Arena arena_;
  http::RequestHead request_{arena_};
  http::ResponseHead response_{arena_};
  std::string trace_id_ = "4bf92f3577b34da6a3ce929d0e0e4736";
  std::string allow_;
};

TEST_F(LocalReplyTest, AnErrorBecomesAProblem) {
  const std::string body = Write(ReplyForError(Error::Upstream(What::kUpstreamTimeout)));
  EXPECT_EQ(response_.status, 504);
  EXPECT_EQ(Header("Content-Type"), "application/problem+json");
  EXPECT_EQ(Header("Cache-Control"), "no-store");
  EXPECT_EQ(response_.body, BodyKind::kLength);
  EXPECT_EQ(response_.content_length, body.size());
  EXPECT_EQ(body,
            "{\"type\":\"about:blank\",\"title\":\"The service did not answer in time\","
            "\"status\":504,\"code\":\"upstream_timeout\","
            "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}\n");
}

TEST_F(LocalReplyTest, EveryErrorHasItsOwnCode) {
  std::set<std::string> codes;
  constexpr int kLast = static_cast<int>(What::kUpstreamIdleTimeout);
  for (int what = 1; what <= kLast; ++what) {
    const LocalReply reply = ReplyForError({Error::Where::kGateway, static_cast<What>(what)});
    EXPECT_GE(reply.status, 400);
    EXPECT_LE(reply.status, 599);
    EXPECT_FALSE(reply.title.empty());
    EXPECT_NE(reply.grpc_status, http::GrpcStatus::kOk);
    EXPECT_TRUE(codes.insert(std::string(reply.code)).second) << reply.code;
    for (char c : reply.code) EXPECT_TRUE((c >= 'a' && c <= 'z') || c == '_') << reply.code;
  }
}

TEST_F(LocalReplyTest, TheTable) {
  const struct {
    What what;
    int status;
    const char* code;
    bool close;
    int retry_after;
  } kRows[] = {
      {What::kBadRequest, 400, "bad_request", true, 0},
      {What::kUriTooLong, 414, "uri_too_long", true, 0},
      {What::kHeadersTooLarge, 431, "headers_too_large", true, 0},
      {What::kBodyTooLarge, 413, "body_too_large", true, 0},
      {What::kNotImplemented, 501, "not_implemented", true, 0},
      {What::kVersionNotSupported, 505, "version_not_supported", true, 0},
      {What::kExpectationFailed, 417, "expectation_failed", true, 0},
      {What::kMisdirectedRequest, 421, "misdirected_request", false, 0},
      {What::kTooEarly, 425, "too_early", false, 0},
      {What::kRequestTimeout, 408, "request_timeout", true, 0},
      {What::kNoRoute, 404, "no_route", false, 0},
      {What::kMethodNotAllowed, 405, "method_not_allowed", false, 0},
      {What::kNoHealthyUpstream, 503, "no_healthy_upstream", false, 0},
      {What::kUpstreamOverflow, 503, "upstream_overflow", false, 1},
      {What::kOverload, 503, "overload", false, 1},
      {What::kShuttingDown, 503, "shutting_down", true, 1},
      {What::kFilterFailed, 500, "filter_failed", false, 0},
      {What::kInternal, 500, "internal", false, 0},
      {What::kConnectFailure, 503, "connect_failure", false, 0},
      {What::kConnectTimeout, 504, "connect_timeout", false, 0},
      {What::kUpstreamReset, 502, "upstream_reset", false, 0},
      {What::kUpstreamProtocolError, 502, "upstream_protocol_error", false, 0},
      {What::kResponseTooLarge, 502, "response_too_large", false, 0},
      {What::kUpstreamTimeout, 504, "upstream_timeout", false, 0},
      {What::kUpstreamIdleTimeout, 504, "upstream_idle_timeout", false, 0},
  };
  for (const auto& row : kRows) {
    const LocalReply reply = ReplyForError(Error::Gateway(row.what));
    EXPECT_EQ(reply.status, row.status) << row.code;
    EXPECT_EQ(reply.code, row.code);
    EXPECT_EQ(reply.close, row.close) << row.code;
    Write(reply);
    EXPECT_EQ(Header("Retry-After"), row.retry_after == 0 ? "-" : std::to_string(row.retry_after));
  }
}

TEST_F(LocalReplyTest, MethodNotAllowedNamesTheMethods) {
  allow_ = "GET, HEAD";
  Write(ReplyForError(Error::Gateway(What::kMethodNotAllowed)));
  EXPECT_EQ(Header("Allow"), "GET, HEAD");
}

TEST_F(LocalReplyTest, WhatWasInTheHeadIsGone) {
  response_.headers.Add("X-Origin", "1");
  response_.upgrade = true;
  Write(ReplyForError(Error::Gateway(What::kInternal)));
  EXPECT_EQ(Header("X-Origin"), "-");
  EXPECT_FALSE(response_.upgrade);
}

TEST_F(LocalReplyTest, HeadGetsTheSizeWithoutTheBody) {
  const std::string body = Write(ReplyForError(Error::Gateway(What::kNoRoute)));
  request_.method = http::Method::kHead;
  EXPECT_EQ(Write(ReplyForError(Error::Gateway(What::kNoRoute))), "");
  EXPECT_EQ(response_.status, 404);
  EXPECT_EQ(response_.body, BodyKind::kNone);
  EXPECT_TRUE(response_.has_content_length);
  EXPECT_EQ(response_.content_length, body.size());
}

TEST_F(LocalReplyTest, ARequestWithoutAHeadGetsAnAnswerToo) {
  const std::string_view body =
      WriteLocalReply(ReplyForError(Error::Downstream(What::kBadRequest)), {}, response_);
  EXPECT_EQ(response_.status, 400);
  EXPECT_THAT(std::string(body), HasSubstr("\"code\":\"bad_request\"}"));
}

TEST_F(LocalReplyTest, FiltersReplies) {
  const std::string body = Write(ReplyForFilter({401, "missing_key", "An API key is needed."}));
  EXPECT_EQ(response_.status, 401);
  EXPECT_THAT(body, HasSubstr("\"title\":\"Unauthorized\",\"status\":401,\"code\":\"missing_key\","
                              "\"detail\":\"An API key is needed.\""));
  EXPECT_TRUE(ReplyForFilter({401}).flags.Has(observe::LogFlag::kUnauthorized));
  EXPECT_TRUE(ReplyForFilter({429}).flags.Has(observe::LogFlag::kRateLimited));
  EXPECT_EQ(ReplyForFilter({503, "rate_limited"}).grpc_status,
            http::GrpcStatus::kResourceExhausted);
  EXPECT_EQ(ReplyForFilter({503, "rate_limit_unavailable"}).grpc_status,
            http::GrpcStatus::kUnavailable);
  EXPECT_EQ(ReplyForFilter({400}).code, "refused");
  EXPECT_EQ(ReplyForFilter({500}).code, "filter_failed");
  EXPECT_FALSE(ReplyForFilter({499}).title.empty());
}

TEST_F(LocalReplyTest, AReplyMayNameItsProblem) {
  filters::Reply reply{429, "rate_limited"};
  reply.problem_type = "https://problems.example/quota";
  reply.problem_members = "\"violated-policies\":[\"a\"]";
  const std::string body = Write(ReplyForFilter(reply));
  EXPECT_THAT(body, HasSubstr("{\"type\":\"https://problems.example/quota\","));
  EXPECT_THAT(body, HasSubstr(",\"violated-policies\":[\"a\"]}\n"));
}

TEST_F(LocalReplyTest, AReplyMayHaveABodyOfItsOwn) {
  EXPECT_EQ(Write(ReplyForFilter({.status = 200, .body = "hello"})), "hello");
  EXPECT_EQ(Header("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_EQ(Header("Cache-Control"), "-");
  EXPECT_EQ(Write(ReplyForFilter({.status = 403, .body = "<p>", .content_type = "text/html"})),
            "<p>");
  EXPECT_EQ(Header("Content-Type"), "text/html");
  EXPECT_EQ(response_.content_length, 3u);
}

TEST_F(LocalReplyTest, AReplyMayBeEmpty) {
  EXPECT_EQ(Write(ReplyForFilter({.status = 204, .empty = true})), "");
  EXPECT_EQ(response_.status, 204);
  EXPECT_EQ(response_.body, BodyKind::kNone);
  EXPECT_FALSE(response_.has_content_length);
  EXPECT_TRUE(response_.headers.empty());
  EXPECT_EQ(Write(ReplyForFilter({.status = 200})), "");
  EXPECT_EQ(response_.body, BodyKind::kLength);
  EXPECT_EQ(response_.content_length, 0u);
  EXPECT_EQ(Write(ReplyForFilter({.status = 304, .body = "ignored"})), "");
  EXPECT_FALSE(response_.has_content_length);
}

TEST_F(LocalReplyTest, WhateverAFilterSaysTheBodyIsJson) {
  const std::string detail = std::string("quote \" slash \\ line \n bell \a nul ") +
                             std::string(1, '\0') + " \xc3\xbc and broken \xff\xc3";
  const std::string body = Write(ReplyForFilter({400, "x", detail}));
  const ParsedDocument parsed = ParseJson(body, {});
  ASSERT_TRUE(parsed.document != nullptr) << body;
  EXPECT_EQ(parsed.document->root().Find("code")->text(), "x");
  EXPECT_THAT(body, HasSubstr(R"(quote \" slash \\ line \u000A bell \u0007 nul \u0000)"));
  EXPECT_THAT(body, HasSubstr("\xc3\xbc and broken \\uFFFD\\uFFFD"));
}

TEST_F(LocalReplyTest, GrpcRequestsGetAGrpcStatus) {
  request_.headers.Add("Content-Type", "application/grpc+proto");
  EXPECT_EQ(Write(ReplyForError(Error::Upstream(What::kUpstreamTimeout))), "");
  EXPECT_EQ(response_.status, 200);
  EXPECT_EQ(response_.body, BodyKind::kNone);
  EXPECT_EQ(Header("Content-Type"), "application/grpc");
  EXPECT_EQ(Header("grpc-status"), "4");
  EXPECT_EQ(Header("grpc-message"), "The service did not answer in time");

  Write(ReplyForFilter({429, "rate_limited", "100% used\n"}));
  EXPECT_EQ(Header("grpc-status"), "8");
  EXPECT_EQ(Header("grpc-message"), "100%25 used%0A");
  Write(ReplyForFilter({401, "missing_key", "A key is needed."}));
  EXPECT_EQ(Header("grpc-status"), "16");
}

TEST_F(LocalReplyTest, WhichRequestsAreGrpc) {
  const auto is_grpc = [this](const char* type) {
    request_.headers.Set(Name::kContentType, type);
    return IsGrpcRequest(request_);
  };
  EXPECT_FALSE(IsGrpcRequest(request_));
  EXPECT_TRUE(is_grpc("application/grpc"));
  EXPECT_TRUE(is_grpc("Application/GRPC+json"));
  EXPECT_TRUE(is_grpc("application/grpc;charset=utf-8"));
  EXPECT_FALSE(is_grpc("application/grpc-web"));
  EXPECT_FALSE(is_grpc("application/grpcx"));
  EXPECT_FALSE(is_grpc("application/json"));
}

}  // namespace
}  // namespace gatehouse::proxy
