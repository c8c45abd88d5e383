#include "source/filters/rate_limit/limit_key.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/v1/rate_limit.pb.h"
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
  std::optional<uint64_t> Hash(const std::string& text) {
    const auto key = Compile(text);
    EXPECT_TRUE(key.ok()) << key.status();
    return key->Hash(context_, KeyHash(1, 2));
  }
  void From(std::string_view ip) {
    EXPECT_TRUE(net::IpAddress::Parse(ip, &context_.facts().client_ip));
  }
  std::string ErrorsOf(const std::string& text) {
    EXPECT_FALSE(Compile(text).ok());
    return Errors();
  }
};

TEST_F(LimitKeyTest, NoPartsIsOneKeyForAll) {
  From("192.0.2.1");
  const auto one = Hash("");
  From("192.0.2.2");
  EXPECT_TRUE(one.has_value());
  EXPECT_EQ(Hash(""), one);
}

TEST_F(LimitKeyTest, ClientsAreTakenTogetherByNetwork) {
  From("192.0.2.1");
  const auto v4 = Hash("key { client_ip {} }");
  const auto v4_net = Hash("key { client_ip { ipv4_prefix: 24 } }");
  From("192.0.2.2");
  EXPECT_NE(Hash("key { client_ip {} }"), v4);
  EXPECT_EQ(Hash("key { client_ip { ipv4_prefix: 24 } }"), v4_net);
  From("192.0.3.2");
  EXPECT_NE(Hash("key { client_ip { ipv4_prefix: 24 } }"), v4_net);

  From("2001:db8:1:2:3::1");
  const auto v6 = Hash("key { client_ip {} }");
  const auto v6_exact = Hash("key { client_ip { ipv6_prefix: 128 } }");
  From("2001:db8:1:2:ffff::2");
  EXPECT_EQ(Hash("key { client_ip {} }"), v6);
  EXPECT_NE(Hash("key { client_ip { ipv6_prefix: 128 } }"), v6_exact);
  From("2001:db8:1:3::1");
  EXPECT_NE(Hash("key { client_ip {} }"), v6);
}

TEST_F(LimitKeyTest, TheFirstPartThatIsPresent) {
  const std::string keys = "key { header: 'X-API-Key' } key { client_ip {} }";
  From("192.0.2.1");
  const auto by_ip = Hash(keys);
  request_.headers.Add("X-Api-Key", "k1");
  const auto by_key = Hash(keys);
  EXPECT_TRUE(by_ip && by_key && by_ip != by_key);
  From("192.0.2.2");
  EXPECT_EQ(Hash(keys), by_key);
  request_.headers.Set("X-Api-Key", "k2");
  EXPECT_NE(Hash(keys), by_key);
}

TEST_F(LimitKeyTest, AMissingOrEmptyHeaderIsNoKey) {
  EXPECT_EQ(Hash("key { header: 'X-Tenant-Name' }"), std::nullopt);
  request_.headers.Add("X-Tenant-Name", "");
  EXPECT_EQ(Hash("key { header: 'X-Tenant-Name' }"), std::nullopt);
}

TEST_F(LimitKeyTest, AllNeedsAllOfItsParts) {
  const std::string keys = "key { all { parts { header: 'X-A' } parts { header: 'X-B' } } }";
  request_.headers.Add("X-A", "1");
  EXPECT_EQ(Hash(keys), std::nullopt);
  request_.headers.Add("X-B", "23");
  const auto one = Hash(keys);
  request_.headers.Set("X-A", "12");
  request_.headers.Set("X-B", "3");
  EXPECT_TRUE(one.has_value());
  EXPECT_NE(Hash(keys), one);
}

TEST_F(LimitKeyTest, APresentPartOfNoMatterWhatLengthDecides) {
  request_.headers.Add("X-A", std::string(5000, 'a') + "1");
  const auto one = Hash("key { header: 'X-A' }");
  request_.headers.Set("X-A", std::string(5000, 'a') + "2");
  EXPECT_NE(Hash("key { header: 'X-A' }"), one);
}

TEST_F(LimitKeyTest, APartOfAnotherPlaceIsAnotherKey) {
  const std::string keys = "key { header: 'X-A' } key { header: 'X-B' }";
  request_.headers.Add("X-B", "same");
  const auto second = Hash(keys);
  request_.headers.Add("X-A", "same");
  EXPECT_NE(Hash(keys), second);
}

TEST_F(LimitKeyTest, BadConfigsSayWhere) {
  EXPECT_EQ(ErrorsOf("key {}"), "rate_limits[0].key[0]: needs client_ip, header or all\n");
  EXPECT_THAT(ErrorsOf("key { header: 'a b' }"), HasSubstr("key[0].header: "));
  EXPECT_THAT(ErrorsOf("key { client_ip { ipv4_prefix: 33 } }"), HasSubstr("ipv4_prefix"));
  EXPECT_THAT(ErrorsOf("key { client_ip { ipv6_prefix: 129 } }"), HasSubstr("ipv6_prefix"));
  EXPECT_THAT(ErrorsOf("key { all {} }"), HasSubstr("key[0].all: needs a part"));
  EXPECT_THAT(ErrorsOf("key { all { parts { header: '' } } }"),
              HasSubstr("key[0].all.parts[0].header"));
}

}  // namespace
}  // namespace gatehouse::filters
