#include "source/filters/cors/cors.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/filters/v1/cors.pb.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;

constexpr char kShop[] = R"(allow_origins: "https://shop.example")";

class CorsTest : public FilterFixture {
 protected:
  void UseCors(const std::string& config) { Use(Built<Cors, v1::Cors>(config)); }
  void Request(const std::string& origin, http::Method method = http::Method::kGet) {
    request_.method = method;
    if (!origin.empty()) request_.headers.Add("Origin", origin);
  }
  void Preflight(const std::string& origin, const std::string& method = "PUT",
                 const std::string& headers = "") {
    Request(origin, http::Method::kOptions);
    request_.headers.Add("Access-Control-Request-Method", method);
    if (!headers.empty()) request_.headers.Add("Access-Control-Request-Headers", headers);
  }
  // The status of the filter's own answer; 0: the request goes on.
  int Answer() {
    if (run_.RequestHeaders() != Progress::kReply) return 0;
    const int status = run_.reply().status;
    run_.BeginReply();
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
    return status;
  }
  void Respond() { EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone); }
  std::string Allowed(const char* what) {
    return Response(std::string("Access-Control-Allow-") + what);
  }
  std::string ErrorsOf(const std::string& config) {
    const auto built = Build<Cors, v1::Cors>(config);
    EXPECT_FALSE(built.ok());
    return Errors();
  }
};

TEST_F(CorsTest, AnAllowedOriginIsToldSo) {
  UseCors(kShop);
  Request("https://shop.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "https://shop.example");
  EXPECT_EQ(Allowed("Credentials"), "-");
  EXPECT_EQ(Allowed("Methods"), "-");
  EXPECT_EQ(Response("Vary"), "Origin");
}

TEST_F(CorsTest, OthersGetNothingButTheVary) {
  UseCors(kShop);
  Request("https://evil.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "-");
  EXPECT_EQ(Response("Vary"), "Origin");
}

TEST_F(CorsTest, ARequestWithoutOriginIsToldApartByCachesToo) {
  UseCors(kShop);
  Request("");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "-");
  EXPECT_EQ(Response("Vary"), "Origin");
}

TEST_F(CorsTest, TwoOriginsAreNone) {
  UseCors(kShop);
  Request("https://shop.example");
  request_.headers.Add("Origin", "https://shop.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "-");
}

TEST_F(CorsTest, VaryIsAddedOnce) {
  UseCors(kShop);
  Request("https://shop.example");
  response_.headers.Add("Vary", "Accept-Encoding, origin");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Response("Vary"), "Accept-Encoding, origin");
}

TEST_F(CorsTest, VaryIsAppended) {
  UseCors(kShop);
  Request("https://shop.example");
  response_.headers.Add("Vary", "Accept-Encoding");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Response("Vary"), "Accept-Encoding, Origin");
}

TEST_F(CorsTest, TheOriginServersOwnFieldsAreReplaced) {
  for (const char* origin : {"https://shop.example", "https://evil.example"}) {
    UseCors(kShop);
    Request(origin);
    response_.headers.Add("Access-Control-Allow-Origin", "*");
    response_.headers.Add("Access-Control-Allow-Credentials", "true");
    response_.headers.Add("Access-Control-Expose-Headers", "X-Secret");
    EXPECT_EQ(Answer(), 0);
    Respond();
    EXPECT_EQ(Allowed("Credentials"), "-");
    EXPECT_EQ(Response("Access-Control-Expose-Headers"), "-");
    EXPECT_EQ(Allowed("Origin"), std::string(origin) == "https://shop.example" ? origin : "-");
    NextRequest();
  }
}

TEST_F(CorsTest, TheStar) {
  UseCors(R"(allow_origins: "*")");
  Request("https://anything.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "*");
}

TEST_F(CorsTest, TheStarIsNotForNull) {
  UseCors(R"(allow_origins: "*")");
  Request("null");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "-");
}

TEST_F(CorsTest, CredentialsAndExposedHeaders) {
  UseCors(std::string(kShop) +
          R"( allow_credentials: true expose_headers: "X-Total" expose_headers: "ETag")");
  Request("https://shop.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "https://shop.example");
  EXPECT_EQ(Allowed("Credentials"), "true");
  EXPECT_EQ(Response("Access-Control-Expose-Headers"), "X-Total, ETag");
}

TEST_F(CorsTest, APreflightIsAnsweredHere) {
  UseCors(kShop);
  Preflight("https://shop.example", "PUT", "X-Token, content-type");
  EXPECT_EQ(Answer(), 204);
  EXPECT_EQ(Allowed("Origin"), "https://shop.example");
  EXPECT_EQ(Allowed("Methods"), "GET, HEAD, POST");
  EXPECT_EQ(Allowed("Headers"), "X-Token, content-type");
  EXPECT_EQ(Response("Access-Control-Max-Age"), "600");
  EXPECT_EQ(Allowed("Private-Network"), "-");
  EXPECT_EQ(Response("Vary"),
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
}

TEST_F(CorsTest, APreflightGetsWhatTheConfigSays) {
  UseCors(std::string(kShop) + R"(
    allow_methods: "GET" allow_methods: "PUT" allow_headers: "X-Token" max_age { seconds: 5 }
    expose_headers: "X-Total")");
  Preflight("https://shop.example", "PUT", "X-Token, X-Other");
  EXPECT_EQ(Answer(), 204);
  EXPECT_EQ(Allowed("Methods"), "GET, PUT");
  EXPECT_EQ(Allowed("Headers"), "X-Token");
  EXPECT_EQ(Response("Access-Control-Max-Age"), "5");
  EXPECT_EQ(Response("Access-Control-Expose-Headers"), "-");
}

TEST_F(CorsTest, StarsInListsAreWhatWasAskedFor) {
  UseCors(std::string(kShop) + R"( allow_credentials: true allow_methods: "*" allow_headers: "*")");
  Preflight("https://shop.example", "PURGE", "X-Any");
  EXPECT_EQ(Answer(), 204);
  EXPECT_EQ(Allowed("Methods"), "PURGE");
  EXPECT_EQ(Allowed("Headers"), "X-Any");
}

TEST_F(CorsTest, WhatIsAskedForIsNotRepeatedUnlessItIsNames) {
  UseCors(std::string(kShop) + R"( allow_methods: "*")");
  Preflight("https://shop.example", "PUT; x", "X-Any, (broken)");
  EXPECT_EQ(Answer(), 204);
  EXPECT_EQ(Allowed("Methods"), "-");
  EXPECT_EQ(Allowed("Headers"), "-");
}

TEST_F(CorsTest, APreflightOfAnotherOriginIsRefused) {
  UseCors(kShop);
  Preflight("https://evil.example");
  EXPECT_EQ(Answer(), 403);
  EXPECT_EQ(Allowed("Origin"), "-");
  EXPECT_EQ(Allowed("Methods"), "-");
  EXPECT_EQ(Response("Vary"),
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
}

TEST_F(CorsTest, OtherOptionsRequestsAreNoPreflights) {
  UseCors(kShop);
  Request("https://shop.example", http::Method::kOptions);
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "https://shop.example");
  NextRequest();
  UseCors(kShop);
  Request("", http::Method::kOptions);
  request_.headers.Add("Access-Control-Request-Method", "PUT");
  EXPECT_EQ(Answer(), 0);
  NextRequest();
  UseCors(kShop);
  Preflight("https://shop.example");
  request_.method = http::Method::kGet;
  EXPECT_EQ(Answer(), 0);
}

TEST_F(CorsTest, PrivateNetworkOnlyWhenAllowedAndAskedFor) {
  for (const bool asked : {false, true}) {
    UseCors(std::string(kShop) + " allow_private_network: true");
    Preflight("https://shop.example");
    if (asked) request_.headers.Add("Access-Control-Request-Private-Network", "true");
    EXPECT_EQ(Answer(), 204);
    EXPECT_EQ(Allowed("Private-Network"), asked ? "true" : "-");
    NextRequest();
  }
}

TEST_F(CorsTest, AForwardedPreflightIsTheOriginServers) {
  UseCors(std::string(kShop) + " forward_preflight: true");
  Preflight("https://evil.example");
  response_.headers.Add("Access-Control-Allow-Origin", "https://evil.example");
  EXPECT_EQ(Answer(), 0);
  Respond();
  EXPECT_EQ(Allowed("Origin"), "https://evil.example");
  EXPECT_EQ(Response("Vary"), "-");
}

TEST_F(CorsTest, ShadowDecidesAndChangesNothing) {
  for (const char* origin : {"https://shop.example", "https://evil.example", ""}) {
    UseCors(std::string(kShop) + " shadow: true");
    Preflight(origin);
    response_.headers.Add("Access-Control-Allow-Origin", "*");
    EXPECT_EQ(Answer(), 0);
    Respond();
    EXPECT_EQ(response_.headers.size(), 1u);
    EXPECT_EQ(context_.GetNote("cors"), *origin == 0       ? ""
                                        : origin[8] == 's' ? "allowed"
                                                           : "denied");
    NextRequest();
  }
}

TEST_F(CorsTest, CredentialsForEverybodyAreRefused) {
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "*" allow_credentials: true)"),
              HasSubstr("filters[0].tested.allow_credentials: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "null" allow_credentials: true)"),
              HasSubstr("filters[0].tested.allow_credentials: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origin_regexes: ".*" allow_credentials: true)"),
              HasSubstr("allow every site"));
}

TEST_F(CorsTest, BadConfigsSayWhere) {
  EXPECT_THAT(ErrorsOf(""), HasSubstr("allow_origins: must name an origin"));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "*" allow_methods: "GET,PUT")"),
              HasSubstr("allow_methods[0]: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "*" allow_headers: "a b")"),
              HasSubstr("allow_headers[0]: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "*" expose_headers: "")"),
              HasSubstr("expose_headers[0]: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "*" max_age { seconds: -1 })"), HasSubstr("max_age: "));
  EXPECT_THAT(ErrorsOf(std::string(kShop) + R"(allow_credentials: true expose_headers: "*")"),
              HasSubstr("expose_headers: "));
  EXPECT_THAT(ErrorsOf(R"(allow_origins: "a" allow_origin_regexes: "(")"),
              testing::AllOf(HasSubstr("allow_origins[0]"), HasSubstr("allow_origin_regexes[0]")));
}

}  // namespace
}  // namespace gatehouse::filters
