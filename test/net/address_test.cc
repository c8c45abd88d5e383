#include "source/net/address.h"

#include <cstring>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse::net {
namespace {

IpAddress Ip(std::string_view text) {
  IpAddress ip{};
  EXPECT_TRUE(IpAddress::Parse(text, &ip)) << text;
  return ip;
}

TEST(IpAddressTest, TextGoesInAndComesOut) {
  for (const char* text : {"0.0.0.0", "1.2.3.4", "255.255.255.255", "192.0.2.10", "::", "::1",
                           "2001:db8::1", "fe80::1", "2001:db8:1:2:3:4:5:6"}) {
    EXPECT_EQ(Ip(text).ToString(), text);
  }
  EXPECT_EQ(Ip("2001:DB8:0:0::1").ToString(), "2001:db8::1");
  EXPECT_EQ(Ip("::ffff:1.2.3.4").ToString(), "1.2.3.4");
  EXPECT_EQ(Ip("::ffff:1.2.3.4"), Ip("1.2.3.4"));
  EXPECT_TRUE(Ip("1.2.3.4").is_v4());
  EXPECT_FALSE(Ip("::1.2.3.4").is_v4());
}

TEST(IpAddressTest, RefusesWhatIsNoAddress) {
  IpAddress ip{};
  for (std::string_view text :
       {"", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "0x1.2.3.4", "a",
        "localhost", "1::2::3", "::g", "[::1]", "fe80::1%lo", ":", "::1/128", "1.2.3.4:80",
        "2001:db8:1:2:3:4:5:6:7", "1234567890123456789012345678901234567890123456789"}) {
    EXPECT_FALSE(IpAddress::Parse(text, &ip)) << text;
  }
  EXPECT_FALSE(IpAddress::Parse(std::string_view("1.2.3.4\0x", 9), &ip));
  EXPECT_FALSE(IpAddress::Parse(std::string_view("::1\0x", 5), &ip));
}

TEST(IpAddressTest, MasksByFamily) {
  EXPECT_EQ(Ip("10.20.30.40").Masked(8, 64).ToString(), "10.0.0.0");
  EXPECT_EQ(Ip("10.20.30.40").Masked(12, 64).ToString(), "10.16.0.0");
  EXPECT_EQ(Ip("10.20.30.40").Masked(0, 64).ToString(), "0.0.0.0");
  EXPECT_EQ(Ip("10.20.30.40").Masked(32, 64).ToString(), "10.20.30.40");
  EXPECT_EQ(Ip("10.20.30.40").Masked(99, 64).ToString(), "10.20.30.40");
  EXPECT_EQ(Ip("2001:db8:1:2:3:4:5:6").Masked(8, 64).ToString(), "2001:db8:1:2::");
  EXPECT_EQ(Ip("2001:db8:1:2:3:4:5:6").Masked(8, 33).ToString(), "2001:db8::");
  EXPECT_EQ(Ip("2001:db8:1:2:3:4:5:6").Masked(8, 128).ToString(), "2001:db8:1:2:3:4:5:6");
}

TEST(AddressTest, ParsesAndPrints) {
  for (const char* text : {"127.0.0.1:8080", "0.0.0.0:0", "[::1]:443", "[2001:db8::1]:65535"}) {
    const absl::StatusOr<Address> address = Address::Parse(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
    EXPECT_EQ(Address(address->raw()), *address);
  }
  EXPECT_EQ(Address::Parse("1.2.3.4:80")->family(), AF_INET);
  EXPECT_EQ(Address::Parse("[::1]:80")->family(), AF_INET6);
}

TEST(AddressTest, RefusesAndSaysWhatToWrite) {
  for (const char* text :
       {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:+1", "127.0.0.1: 80", "127.0.0.1:80 ", "::1:80", "[::1]", "[::1:80", "::1]:80",
        "[]:80", "localhost:80", "1.2.3:80", "[1.2.3.4]:80", "127.0.0.1:4294967376"}) {
    const absl::StatusOr<Address> address = Address::Parse(text);
    EXPECT_FALSE(address.ok()) << text;
    EXPECT_NE(address.status().message().find(text), std::string::npos) << address.status();
  }
  EXPECT_NE(Address::Parse("::1:80").status().message().find("[::1]:8080"), std::string::npos);
}

TEST(AddressTest, ComparesByValue) {
  Address a(Ip("1.2.3.4"), 80);
  Address b = *Address::Parse("1.2.3.4:80");
  EXPECT_EQ(a, b);
  b.set_port(81);
  EXPECT_EQ(b.port(), 81);
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(a == Address(Ip("1.2.3.5"), 80));
  EXPECT_EQ(a.raw_size(), sizeof(sockaddr_in));
  EXPECT_EQ(Address(Ip("::1"), 80).raw_size(), sizeof(sockaddr_in6));
  EXPECT_EQ(Address().family(), AF_UNSPEC);
  EXPECT_EQ(Address(Ip("::1"), 7).ip(), Ip("::1"));
}

TEST(HostPortTest, NamesAndAddresses) {
  absl::StatusOr<HostPort> parts = ParseHostPort("users.internal:8080", false);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(parts->host, "users.internal");
  EXPECT_EQ(parts->port, 8080);
  parts = ParseHostPort("[::1]:1", false);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(parts->host, "::1");
  for (const char* text : {"a:0", "a", "a:", "", ":1", "a:b:1", "[]:1", "[a]:1", "[1.2.3.4]:1",
                           "http://a:1", "a b:1", "a/b:1"}) {
    EXPECT_FALSE(ParseHostPort(text, false).ok()) << text;
  }
  EXPECT_TRUE(ParseHostPort("a:0", true).ok());
}

struct CidrCase {
  const char* network;
  const char* inside;
  const char* outside;
};

TEST(CidrTest, TellsWhatIsInside) {
  for (const CidrCase& c : {
           CidrCase{"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
           CidrCase{"10.1.2.3/8", "10.255.0.1", "9.255.255.255"},
           CidrCase{"192.0.2.7", "192.0.2.7", "192.0.2.6"},
           CidrCase{"192.0.2.8/31", "192.0.2.9", "192.0.2.10"},
           CidrCase{"0.0.0.0/0", "203.0.113.9", "::1"},
           CidrCase{"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"},
           CidrCase{"::1", "::1", "::2"},
           CidrCase{"fe80::/10", "febf::1", "fec0::"},
           CidrCase{"::ffff:10.0.0.0/104", "10.1.1.1", "11.0.0.1"},
           CidrCase{"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
           CidrCase{"::ffff:0:0/96", "10.1.1.1", "2001:db8::1"},
       }) {
    const absl::StatusOr<Cidr> cidr = Cidr::Parse(c.network);
    ASSERT_TRUE(cidr.ok()) << cidr.status();
    EXPECT_TRUE(cidr->Contains(Ip(c.inside))) << c.network;
    EXPECT_FALSE(cidr->Contains(Ip(c.outside))) << c.network;
  }
}

TEST(CidrTest, RefusesWhatIsNoNetwork) {
  for (const char* text :
       {"", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0/8", "::/129",
        "::1/x", "/8", "10.0.0.0 /8", "10.0.0.0/ 8", "all"}) {
    EXPECT_FALSE(Cidr::Parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace gatehouse::net
