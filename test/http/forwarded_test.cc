#include "source/http/forwarded.h"

#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

net::IpAddress Ip(std::string_view text) {
  net::IpAddress address{};
  EXPECT_TRUE(net::IpAddress::Parse(text, &address)) << text;
  return address;
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
  trusted.networks = {*net::Cidr::Parse("10.0.0.0/8"), *net::Cidr::Parse("fd00::/8")};
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
