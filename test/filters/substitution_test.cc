#include "source/filters/substitution.h"

#include <regex>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/base/status.h"
#include "source/net/tls_spec.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;

class SubstitutionTest : public FilterFixture {
 protected:
  SubstitutionTest() {
    request_.method_text = "GET";
    request_.scheme = "https";
    request_.authority = "shop.example:8443";
    request_.path = "/v2/users?name=Ada+L&x=%0d%0aSet-Cookie:%20a";
    request_.headers.Add("X-Tenant", "acme");
    request_.headers.Add("User-Agent", "curl");
    request_.headers.Add("Cookie", "session=s1; theme=dark");
    response_.status = 200;
    response_.headers.Add("Content-Type", "text/html");
    ExchangeFacts& facts = context_.facts();
    CHECK(net::IpAddress::Parse("203.0.113.7", &facts.client_ip));
    net::IpAddress peer;
    CHECK(net::IpAddress::Parse("2001:db8::1", &peer));
    facts.peer = net::Address(peer, 4711);
    facts.listener = "edge";
    facts.table = "shop";
    facts.route = "users";
    facts.cluster = "users-v1";
    facts.upstream_address = "10.0.0.1:80";
    facts.original_path = "/users?name=Ada+L";
    facts.request_id = "r1";
    facts.trace_id = "t1";
    facts.captures = {nullptr, [](const void*, std::string_view name) -> std::string_view {
                        return name == "id" ? "42" : "";
                      }};
    context_.SetNote("sub", "ada");
  }
  // The value, or "error: ...".
  std::string Eval(std::string_view text, Substitution::Scope scope = Substitution::kResponse) {
    const auto compiled = Substitution::Compile(text, scope);
    if (!compiled.ok()) return "error: " + MessageOf(compiled.status());
    return std::string(compiled->Evaluate(context_));
  }
};

TEST_F(SubstitutionTest, TextWithoutVariablesIsItself) {
  EXPECT_EQ(Eval("plain text"), "plain text");
  EXPECT_EQ(Eval(""), "");
  EXPECT_EQ(Eval("5$$ and $$(route)"), "5$ and $(route)");
  const auto compiled = Substitution::Compile("a$$b", Substitution::kRequest);
  ASSERT_TRUE(compiled.ok());
  EXPECT_TRUE(compiled->is_literal());
  EXPECT_EQ(compiled->literal(), "a$b");
}

TEST_F(SubstitutionTest, EveryVariable) {
  EXPECT_EQ(Eval("$(client_ip)"), "203.0.113.7");
  EXPECT_EQ(Eval("$(peer)"), "2001:db8::1");
  EXPECT_EQ(Eval("$(request.header.x-tenant)"), "acme");
  EXPECT_EQ(Eval("$(request.header.User-Agent)"), "curl");
  EXPECT_EQ(Eval("$(response.header.content-type)"), "text/html");
  EXPECT_EQ(Eval("$(response.status)"), "200");
  EXPECT_EQ(Eval("$(query.name)"), "Ada L");
  EXPECT_EQ(Eval("$(cookie.theme)"), "dark");
  EXPECT_EQ(Eval("$(capture.id)"), "42");
  EXPECT_EQ(Eval("$(note.sub)"), "ada");
  EXPECT_EQ(Eval("$(listener)"), "edge");
  EXPECT_EQ(Eval("$(table)"), "shop");
  EXPECT_EQ(Eval("$(route)"), "users");
  EXPECT_EQ(Eval("$(cluster)"), "users-v1");
  EXPECT_EQ(Eval("$(upstream_address)"), "10.0.0.1:80");
  EXPECT_EQ(Eval("$(method)"), "GET");
  EXPECT_EQ(Eval("$(scheme)"), "https");
  EXPECT_EQ(Eval("$(host)"), "shop.example");
  EXPECT_EQ(Eval("$(authority)"), "shop.example:8443");
  EXPECT_EQ(Eval("$(path)"), "/v2/users");
  EXPECT_EQ(Eval("$(query)"), "name=Ada+L&x=%0d%0aSet-Cookie:%20a");
  EXPECT_EQ(Eval("$(original_path)"), "/users?name=Ada+L");
  EXPECT_EQ(Eval("$(request_id)"), "r1");
  EXPECT_EQ(Eval("$(trace_id)"), "t1");
  EXPECT_EQ(Eval("$(tls.server_name)$(tls.client.subject)$(tls.client.uri)"), "");
  net::TlsFacts tls;
  context_.facts().tls = &tls;
  EXPECT_EQ(Eval("$(tls.client.fingerprint)$(tls.client.uri)"), "");
  tls.server_name = "shop.example";
  tls.subject = "CN=ada,O=Example";
  tls.fingerprint = "00ff";
  tls.uris = {"spiffe://example/ada", "urn:other"};
  EXPECT_EQ(Eval("$(tls.server_name)"), "shop.example");
  EXPECT_EQ(Eval("$(tls.client.subject)"), "CN=ada,O=Example");
  EXPECT_EQ(Eval("$(tls.client.fingerprint)"), "00ff");
  EXPECT_EQ(Eval("$(tls.client.uri)", Substitution::kRequest), "spiffe://example/ada");
  EXPECT_EQ(Eval("$(time)"), "2026-01-01T00:00:00Z");
  EXPECT_EQ(Eval("$(time_unix)"), "1767225600");
}

TEST_F(SubstitutionTest, UuidsAreNewEachTime) {
  const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  const std::string one = Eval("$(uuid)");
  EXPECT_TRUE(std::regex_match(one, uuid)) << one;
  EXPECT_NE(Eval("$(uuid)"), one);
}

TEST_F(SubstitutionTest, WhatIsNotThereIsEmpty) {
  EXPECT_EQ(Eval("[$(request.header.x-none)]"), "[]");
  EXPECT_EQ(Eval("[$(query.none)$(cookie.none)$(capture.none)$(note.none)]"), "[]");
}

TEST_F(SubstitutionTest, SeveralInOneText) {
  EXPECT_EQ(Eval("<$(method) $(path)>$(route)"), "<GET /v2/users>users");
}

TEST_F(SubstitutionTest, AValueThatWouldSplitAHeaderDoesNotGetIntoOne) {
  EXPECT_EQ(Eval("$(query.x)"), "\r\nSet-Cookie: a");
  const auto compiled = Substitution::Compile("$(query.x)", Substitution::kRequest);
  EXPECT_FALSE(request_.headers.Set("X-Copied", compiled->Evaluate(context_)));
  EXPECT_EQ(Request("X-Copied"), "-");
}

TEST_F(SubstitutionTest, BeforeThereIsAResponseItsVariablesAreErrors) {
  for (const char* text :
       {"$(response.header.x)", "$(response.status)", "$(cluster)", "$(upstream_address)"}) {
    EXPECT_THAT(Eval(text, Substitution::kRequest),
                HasSubstr("is not known before there is a response"));
  }
  EXPECT_EQ(Eval("$(route)", Substitution::kRequest), "users");
}

TEST_F(SubstitutionTest, UnknownNamesAreErrorsWithTheNearest) {
  EXPECT_EQ(Eval("$(clientip)"),
            "error: unknown variable \"$(clientip)\", did you mean \"$(client_ip)\"?");
  EXPECT_EQ(Eval("$(request.headers.x-tenant)"),
            "error: unknown variable \"$(request.headers.x)\", did you mean "
            "\"$(request.header.x)\"?");
  EXPECT_THAT(Eval("$(zzz)"), HasSubstr("unknown variable \"$(zzz)\""));
  EXPECT_THAT(Eval("$()"), HasSubstr("unknown variable"));
}

TEST_F(SubstitutionTest, BrokenTextsAreErrors) {
  EXPECT_THAT(Eval("$client_ip"), HasSubstr("\"$$\" for a dollar"));
  EXPECT_THAT(Eval("100$"), HasSubstr("\"$$\" for a dollar"));
  EXPECT_THAT(Eval("$(route"), HasSubstr("has no \")\""));
  EXPECT_THAT(Eval("$(request.header.)"), HasSubstr("needs a name"));
  EXPECT_THAT(Eval("$(request.header.a b)"), HasSubstr("needs a name"));
  std::string many;
  for (int i = 0; i < 65; ++i) many += "$(route)";
  EXPECT_THAT(Eval(many), HasSubstr("more than 64 variables"));
}

}  // namespace
}  // namespace gatehouse::filters
