#include "source/filters/rate_limit/limit_key.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "source/filters/rate_limit/key_hash.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;

TEST(KeyHashTest, IsSeeded) {
  const KeyHash one(1, 2);
  const KeyHash other(1, 3);
  EXPECT_EQ(one("user-17"), KeyHash(1, 2)("user-17"));
  EXPECT_NE(one("user-17"), other("user-17"));
  EXPECT_NE(one("user-17"), one("user-18"));
  EXPECT_NE(one(""), one(std::string_view("\0", 1)));
  EXPECT_NE(one("12345678"), one("123456789"));
}

class LimitKeyTest : public FilterFixture {
 protected:
  absl::StatusOr<LimitKey> Compile(const std::string& text) {
    gatehouse::v1::RateLimit config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config));
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    return LimitKey::Build(config.key(), "key", *build_);
  }
  // The key's bytes; nullopt: no part is present.
  std::optional<std::string> BytesOf(const std::string& text) {
    const auto key = Compile(text);
    EXPECT_TRUE(key.ok()) << key.status();
    LimitKey::Bytes bytes(arena_);
    if (!key->Write(context_, bytes)) return std::nullopt;
    return std::string(bytes.view());
  }
  std::string Describe(const std::string& text) {
    return Compile(text)->Describe(context_).value_or("-");
  }
  // "name=value", joined by commas.
  std::string Entries(const std::string& text) {
    std::string all;
    const auto key = Compile(text);
    for (const auto& [name, value] : key->Entries(context_)) {
      if (!all.empty()) all += ",";
      all += std::string(name) + "=" + std::string(value);
    }
    return all;
  }
  void From(std::string_view ip) {
    EXPECT_TRUE(net::IpAddress::Parse(ip, &context_.facts().client_ip));
  }
  static int64_t Lines(const std::string& text) { return std::ranges::count(text, '\n'); }
  std::string ErrorsOf(const std::string& text) {
    EXPECT_FALSE(Compile(text).ok());
    return Errors();
  }
};

TEST_F(LimitKeyTest, NoPartsIsOneKeyForAll) {
  From("192.0.2.1");
  const auto one = BytesOf("");
  From("192.0.2.2");
  EXPECT_TRUE(one.has_value());
  EXPECT_EQ(BytesOf(""), one);
}

TEST_F(LimitKeyTest, ClientsAreTakenTogetherByNetwork) {
  From("192.0.2.1");
  const auto v4 = BytesOf("key { client_ip {} }");
  const auto v4_net = BytesOf("key { client_ip { ipv4_prefix: 24 } }");
  From("192.0.2.2");
  EXPECT_NE(BytesOf("key { client_ip {} }"), v4);
  EXPECT_EQ(BytesOf("key { client_ip { ipv4_prefix: 24 } }"), v4_net);
  From("192.0.3.2");
  EXPECT_NE(BytesOf("key { client_ip { ipv4_prefix: 24 } }"), v4_net);

  From("2001:db8:1:2:3::1");
  const auto v6 = BytesOf("key { client_ip {} }");
  const auto v6_exact = BytesOf("key { client_ip { ipv6_prefix: 128 } }");
  From("2001:db8:1:2:ffff::2");
  EXPECT_EQ(BytesOf("key { client_ip {} }"), v6);
  EXPECT_NE(BytesOf("key { client_ip { ipv6_prefix: 128 } }"), v6_exact);
  From("2001:db8:1:3::1");
  EXPECT_NE(BytesOf("key { client_ip {} }"), v6);
}

TEST_F(LimitKeyTest, TheFirstPartThatIsPresent) {
  const std::string keys = "key { header: 'X-API-Key' } key { client_ip {} }";
  From("192.0.2.1");
  const auto by_ip = BytesOf(keys);
  request_.headers.Add("X-Api-Key", "k1");
  const auto by_key = BytesOf(keys);
  EXPECT_TRUE(by_ip && by_key && by_ip != by_key);
  From("192.0.2.2");
  EXPECT_EQ(BytesOf(keys), by_key);
  request_.headers.Set("X-Api-Key", "k2");
  EXPECT_NE(BytesOf(keys), by_key);
}

TEST_F(LimitKeyTest, AMissingOrEmptyHeaderIsNoKey) {
  EXPECT_EQ(BytesOf("key { header: 'X-Tenant-Name' }"), std::nullopt);
  request_.headers.Add("X-Tenant-Name", "");
  EXPECT_EQ(BytesOf("key { header: 'X-Tenant-Name' }"), std::nullopt);
}

TEST_F(LimitKeyTest, AllNeedsAllOfItsParts) {
  const std::string keys = "key { all { parts { header: 'X-A' } parts { header: 'X-B' } } }";
  request_.headers.Add("X-A", "1");
  EXPECT_EQ(BytesOf(keys), std::nullopt);
  request_.headers.Add("X-B", "23");
  const auto one = BytesOf(keys);
  request_.headers.Set("X-A", "12");
  request_.headers.Set("X-B", "3");
  EXPECT_TRUE(one.has_value());
  EXPECT_NE(BytesOf(keys), one);
}

TEST_F(LimitKeyTest, APresentPartOfNoMatterWhatLengthDecides) {
  request_.headers.Add("X-A", std::string(5000, 'a') + "1");
  const auto one = BytesOf("key { header: 'X-A' }");
  request_.headers.Set("X-A", std::string(5000, 'a') + "2");
  EXPECT_NE(BytesOf("key { header: 'X-A' }"), one);
}

TEST_F(LimitKeyTest, APartOfAnotherPlaceIsAnotherKey) {
  const std::string keys = "key { header: 'X-A' } key { header: 'X-B' }";
  request_.headers.Add("X-B", "same");
  const auto second = BytesOf(keys);
  request_.headers.Add("X-A", "same");
  EXPECT_NE(BytesOf(keys), second);
}

TEST_F(LimitKeyTest, TheRequestsOwnWords) {
  request_.path = "/a?x=1&User%20Id=a%2Bb+c&user=second&empty=";
  request_.method_text = "PATCH";
  request_.headers.Add("Cookie", "theme=dark; session=s1");
  context_.facts().table = "shop";
  context_.facts().route = "users";
  EXPECT_EQ(Describe("key { query: 'User Id' }"), "query User Id=a+b c");
  EXPECT_EQ(Describe("key { cookie: 'session' }"), "cookie session=s1");
  EXPECT_EQ(Describe("key { method {} }"), "method PATCH");
  EXPECT_EQ(Describe("key { route {} }"), "route shop/users");
  EXPECT_EQ(Describe("key { literal: 'x' }"), "literal x");
  EXPECT_EQ(Describe("key { all { parts { method {} } parts { route {} } } }"),
            "method PATCH and route shop/users");
  for (const char* absent : {"query: 'empty'", "query: 'none'", "cookie: 'none'"}) {
    EXPECT_EQ(BytesOf(std::string("key { ") + absent + " }"), std::nullopt) << absent;
  }
  const auto route = BytesOf("key { route {} }");
  context_.facts().table = "sho";
  context_.facts().route = "pusers";
  EXPECT_NE(BytesOf("key { route {} }"), route);
}

TEST_F(LimitKeyTest, WhatAuthenticationHasFound) {
  for (const char* part : {"claim: 'sub'", "consumer {}", "plan {}"}) {
    EXPECT_EQ(BytesOf(std::string("key { ") + part + " }"), std::nullopt) << part;
  }
  Identity& identity = context_.facts().identity;
  identity.consumer = "acme";
  identity.plan = "gold";
  identity.claims = {nullptr, [](const void*, std::string_view name) -> std::string_view {
                       return name == "realm.tenant" ? "t1" : "";
                     }};
  EXPECT_EQ(Describe("key { consumer {} }"), "consumer acme");
  EXPECT_EQ(Describe("key { plan {} }"), "plan gold");
  EXPECT_EQ(Describe("key { claim: 'sub' } key { claim: 'realm.tenant' }"),
            "claim realm.tenant=t1");
}

TEST_F(LimitKeyTest, EqualValuesOfDifferentPartsAreDifferentKeys) {
  request_.headers.Add("A", "x");
  request_.headers.Add("Cookie", "A=x");
  request_.path = "/?A=x";
  context_.facts().identity.consumer = "x";
  context_.facts().identity.plan = "x";
  std::set<std::string> keys;
  for (const char* part : {"header: 'A'", "cookie: 'A'", "query: 'A'", "consumer {}", "plan {}",
                           "literal: 'x'", "literal: 'A'"}) {
    keys.insert(*BytesOf(std::string("key { ") + part + " }"));
  }
  EXPECT_EQ(keys.size(), 7u);
  EXPECT_FALSE(keys.contains(std::string(LimitKey::kMissing)));
}

// They are what gateways agree on in a shared store: a change of them begins all budgets anew.
TEST_F(LimitKeyTest, TheBytesAreFixed) {
  using namespace std::string_literals;
  From("192.0.2.1");
  request_.headers.Add("X-User", "al");
  EXPECT_EQ(BytesOf("key { header: 'X-USER' }"), "h\6\0x-user\2al"s);
  EXPECT_EQ(BytesOf("key { client_ip {} }"), "i\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1"s);
  EXPECT_EQ(BytesOf("key { all { parts { literal: 'a' } parts { header: 'x-user' } } }"),
            "l\1\0ah\6\0x-user\2al"s);
  EXPECT_EQ(BytesOf(""), "");
  request_.headers.Set("X-User", std::string(300, 'u'));
  EXPECT_EQ(BytesOf("key { header: 'x-user' }"),
            "h\6\0x-user\xff\x2c\1\0\0"s + std::string(300, 'u'));
}

TEST_F(LimitKeyTest, EntriesForAService) {
  From("2001:db8::1");
  request_.headers.Add("X-User", "al");
  context_.facts().table = "shop";
  context_.facts().route = "users";
  EXPECT_EQ(Entries("key { client_ip {} }"), "client_ip=2001:db8::/64");
  EXPECT_EQ(Entries("key { header: 'none' } key { all { parts { header: 'X-User' } "
                    "parts { route {} } parts { literal: 'a' } } }"),
            "x-user=al,route=shop/users,literal=a");
  EXPECT_EQ(Entries("key { header: 'none' }"), "");
}

TEST_F(LimitKeyTest, NamesOfPlans) {
  const auto plan = [this](const std::string& text) {
    gatehouse::v1::RateLimitKey config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config));
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    const auto name = LimitPlanName::Build(config, "plan", *build_);
    return name.ok() ? std::string(name->Of(context_)) : Errors();
  };
  request_.headers.Add("X-Plan", "silver");
  context_.facts().identity.plan = "gold";
  EXPECT_EQ(LimitPlanName().Of(context_), "gold");
  EXPECT_EQ(plan("plan {}"), "gold");
  EXPECT_EQ(plan("header: 'x-plan'"), "silver");
  EXPECT_EQ(plan("cookie: 'plan'"), "");
  EXPECT_THAT(plan("client_ip {}"), HasSubstr("rate_limits[0].plan: a plan is named by header, "));
  EXPECT_THAT(plan("header: ''"), HasSubstr("rate_limits[0].plan.header: "));
}

TEST_F(LimitKeyTest, BadConfigsSayWhere) {
  EXPECT_THAT(ErrorsOf("key {}"), HasSubstr("rate_limits[0].key[0]: needs a part: client_ip, "));
  EXPECT_THAT(ErrorsOf("key { cookie: 'a;b' }"), HasSubstr("key[0].cookie: \"a;b\" is not"));
  EXPECT_THAT(ErrorsOf("key { query: '' }"), HasSubstr("key[0].query: must not be empty"));
  EXPECT_THAT(ErrorsOf("key { claim: '' }"), HasSubstr("key[0].claim: must not be empty"));
  EXPECT_THAT(ErrorsOf("key { literal: '' }"), HasSubstr("key[0].literal: must not be empty"));
  EXPECT_THAT(ErrorsOf("key { claim: '" + std::string(257, 'c') + "' }"), HasSubstr("256 bytes"));
  // All of them, not the first alone.
  EXPECT_EQ(Lines(ErrorsOf("key {} key { all { parts {} parts { header: ' ' } } }")), 3);
  EXPECT_THAT(ErrorsOf("key { header: 'a b' }"), HasSubstr("key[0].header: "));
  EXPECT_THAT(ErrorsOf("key { client_ip { ipv4_prefix: 33 } }"), HasSubstr("ipv4_prefix"));
  EXPECT_THAT(ErrorsOf("key { client_ip { ipv6_prefix: 129 } }"), HasSubstr("ipv6_prefix"));
  EXPECT_THAT(ErrorsOf("key { all {} }"), HasSubstr("key[0].all: needs a part"));
  EXPECT_THAT(ErrorsOf("key { all { parts { header: '' } } }"),
              HasSubstr("key[0].all.parts[0].header"));
}

}  // namespace
}  // namespace gatehouse::filters
