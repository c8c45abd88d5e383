#include "source/http/forwarded.h"

#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

IpAddress Ip(std::string_view text) {
  const std::optional<IpAddress> address = IpAddress::Parse(text);
  EXPECT_TRUE(address.has_value()) << text;
  return address.value_or(IpAddress());
}

TEST(IpAddressTest, ParsesAndPrints) {
  EXPECT_EQ(Ip("10.0.0.1").ToString(), "10.0.0.1");
  EXPECT_EQ(Ip("2001:DB8::1").ToString(), "2001:db8::1");
  EXPECT_EQ(Ip("::ffff:10.0.0.1"), Ip("10.0.0.1"));
  EXPECT_EQ(IpAddress::FromV4(0x0a000001), Ip("10.0.0.1"));
  EXPECT_EQ(IpAddress::FromV6(Ip("::1").bytes()), Ip("::1"));
  EXPECT_TRUE(Ip("1.2.3.4").is_v4());
  EXPECT_FALSE(Ip("::1").is_v4());
  for (std::string_view bad :
       {"", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", "[::1]", "::1%lo", "x",
        "1.2.3.4:80", ":", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"}) {
    EXPECT_FALSE(IpAddress::Parse(bad).has_value()) << bad;
  }
  EXPECT_FALSE(IpAddress::Parse(std::string_view("1.2.3.4\0", 8)).has_value());
}

TEST(CidrTest, ContainsByPrefix) {
  const auto contains = [](std::string_view cidr, std::string_view address) {
    const std::optional<Cidr> parsed = Cidr::Parse(cidr);
    EXPECT_TRUE(parsed.has_value()) << cidr;
    return parsed.has_value() && parsed->Contains(Ip(address));
  };
  EXPECT_TRUE(contains("10.0.0.0/8", "10.255.0.1"));
  EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.1"));
  EXPECT_TRUE(contains("192.168.4.0/22", "192.168.7.255"));
  EXPECT_FALSE(contains("192.168.4.0/22", "192.168.8.0"));
  EXPECT_TRUE(contains("10.1.2.3", "10.1.2.3"));
  EXPECT_FALSE(contains("10.1.2.3", "10.1.2.4"));
  EXPECT_TRUE(contains("0.0.0.0/0", "1.2.3.4"));
  EXPECT_FALSE(contains("0.0.0.0/0", "2001:db8::1"));
  EXPECT_TRUE(contains("::/0", "1.2.3.4"));
  EXPECT_TRUE(contains("fd00::/8", "fdff::1"));
  EXPECT_FALSE(contains("fd00::/8", "fe00::1"));
  EXPECT_TRUE(contains("2001:db8::1", "2001:db8::1"));
  for (std::string_view bad : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.1/8",
                               "10.0.0.0/8x", "10.0.0.0/-1", "10.0.0.0/1000"}) {
    EXPECT_FALSE(Cidr::Parse(bad).has_value()) << bad;
  }
}

struct Row {
  std::string_view peer;
  std::vector<std::string_view> fields;
  std::string_view client;
  bool peer_trusted;
};

void Check(const Row& row, const TrustedProxies& trusted) {
  Arena arena;
  HeaderMap headers(arena);
  headers.Add("X-Other", "9.9.9.9");
  for (std::string_view field : row.fields) {
    headers.Add("X-Forwarded-For", field);
    headers.Add("X-Other", "9.9.9.9");
  }
  const ClientAddressResult result = ClientAddress(Ip(row.peer), headers, trusted);
  EXPECT_EQ(result.address.ToString(), row.client)
      << row.peer << " with " << (row.fields.empty() ? "nothing" : row.fields[0]);
  EXPECT_EQ(result.peer_trusted, row.peer_trusted);
}

TEST(ClientAddressTest, NobodyIsTrusted) {
  Check({"1.1.1.1", {}, "1.1.1.1", false}, {});
  Check({"10.0.0.1", {"5.5.5.5"}, "10.0.0.1", false}, {});
}

TEST(ClientAddressTest, TrustedNetworks) {
  TrustedProxies trusted;
  trusted.networks = {*Cidr::Parse("10.0.0.0/8"), *Cidr::Parse("fd00::/8")};
  const Row rows[] = {
      {"1.1.1.1", {"5.5.5.5"}, "1.1.1.1", false},
      {"10.0.0.1", {}, "10.0.0.1", true},
      {"10.0.0.1", {"5.5.5.5"}, "5.5.5.5", true},
      {"fd00::1", {"2001:db8::5"}, "2001:db8::5", true},
      // What the client itself wrote is left of the first address that we do not trust.
      {"10.0.0.1", {"6.6.6.6, 5.5.5.5, 10.0.0.2"}, "5.5.5.5", true},
      {"10.0.0.1", {"6.6.6.6", "5.5.5.5,10.0.0.2 ", "10.0.0.3"}, "5.5.5.5", true},
      {"10.0.0.1", {"10.0.0.9, 10.0.0.8"}, "10.0.0.9", true},
      {"10.0.0.1", {"", ", 5.5.5.5,,", ""}, "5.5.5.5", true},
      // An entry that is none ends the walk.
      {"10.0.0.1", {"5.5.5.5, unknown, 10.0.0.2"}, "10.0.0.2", true},
      {"10.0.0.1", {"unknown"}, "10.0.0.1", true},
      {"10.0.0.1", {"5.5.5.5:4711"}, "5.5.5.5", true},
      {"10.0.0.1", {"[2001:db8::5]:4711"}, "2001:db8::5", true},
      {"10.0.0.1", {"[2001:db8::5]"}, "2001:db8::5", true},
      {"10.0.0.1", {"[2001:db8::5"}, "10.0.0.1", true},
      {"10.0.0.1", {"[2001:db8::5]x"}, "10.0.0.1", true},
      {"10.0.0.1", {"::ffff:10.0.0.7, ::ffff:5.5.5.5"}, "5.5.5.5", true},
  };
  for (const Row& row : rows) Check(row, trusted);
}

TEST(ClientAddressTest, TrustedHops) {
  TrustedProxies trusted;
  trusted.hops = 1;
  Check({"10.0.0.1", {"6.6.6.6, 5.5.5.5"}, "5.5.5.5", true}, trusted);
  Check({"10.0.0.1", {}, "10.0.0.1", true}, trusted);
  trusted.hops = 2;
  Check({"10.0.0.1", {"6.6.6.6, 5.5.5.5", "10.0.0.2"}, "5.5.5.5", true}, trusted);
  Check({"10.0.0.1", {"5.5.5.5"}, "10.0.0.1", true}, trusted);
  Check({"10.0.0.1", {"junk, 5.5.5.5"}, "10.0.0.1", true}, trusted);
}

}  // namespace
}  // namespace gatehouse::http
