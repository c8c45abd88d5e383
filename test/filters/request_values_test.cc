#include "source/filters/request_values.h"

#include <string>

#include "gtest/gtest.h"

namespace gatehouse::filters {
namespace {

TEST(RequestValuesTest, PathAndQuery) {
  EXPECT_EQ(PathOnly("/a?b=c"), "/a");
  EXPECT_EQ(QueryOnly("/a?b=c"), "b=c");
  EXPECT_EQ(PathOnly("/a"), "/a");
  EXPECT_EQ(QueryOnly("/a"), "");
  EXPECT_EQ(QueryOnly("/a?b?c"), "b?c");
  EXPECT_EQ(PathOnly("*"), "*");
}

TEST(RequestValuesTest, QueryValues) {
  Arena arena;
  const std::string_view path = "/?a=1&b=x+y%21&&=empty&c&a=2&%64=d&e=%zz%4&f==g";
  EXPECT_EQ(QueryValue(path, "a", arena), "1");
  EXPECT_EQ(QueryValue(path, "b", arena), "x y!");
  EXPECT_EQ(QueryValue(path, "c", arena), "");
  EXPECT_EQ(QueryValue(path, "d", arena), "d");
  EXPECT_EQ(QueryValue(path, "e", arena), "%zz%4");
  EXPECT_EQ(QueryValue(path, "f", arena), "=g");
  EXPECT_EQ(QueryValue(path, "", arena), "empty");
  EXPECT_EQ(QueryValue(path, "g", arena), std::nullopt);
  EXPECT_EQ(QueryValue("/", "a", arena), std::nullopt);
  EXPECT_EQ(QueryValue("/?", "a", arena), std::nullopt);
  EXPECT_EQ(QueryValue("/?ab=1", "a", arena), std::nullopt);
}

TEST(RequestValuesTest, Cookies) {
  Arena arena;
  http::HeaderMap headers(arena);
  headers.Add("Cookie", "a=1;  b = 2 ; broken; c=x=y");
  headers.Add("Cookie", "d=4; a=5");
  EXPECT_EQ(CookieValue(headers, "a"), "1");
  EXPECT_EQ(CookieValue(headers, "b"), "2");
  EXPECT_EQ(CookieValue(headers, "c"), "x=y");
  EXPECT_EQ(CookieValue(headers, "d"), "4");
  EXPECT_EQ(CookieValue(headers, "broken"), std::nullopt);
  EXPECT_EQ(CookieValue(headers, "A"), std::nullopt);
}

TEST(RequestValuesTest, Hosts) {
  EXPECT_EQ(HostOnly("shop.example:8080"), "shop.example");
  EXPECT_EQ(HostOnly("shop.example"), "shop.example");
  EXPECT_EQ(HostOnly("[2001:db8::1]:80"), "[2001:db8::1]");
  EXPECT_EQ(HostOnly("[2001:db8::1]"), "[2001:db8::1]");
  EXPECT_EQ(HostOnly(""), "");
}

TEST(RequestValuesTest, Timestamps) {
  const auto text = [](int64_t seconds) {
    char to[kTimestampSize];
    WriteTimestamp(seconds * 1'000'000 + 999'999, to);
    return std::string(to, kTimestampSize);
  };
  EXPECT_EQ(text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(text(1709164799), "2024-02-28T23:59:59Z");
  EXPECT_EQ(text(1709164800), "2024-02-29T00:00:00Z");
  EXPECT_EQ(text(1710500000), "2024-03-15T10:53:20Z");
  EXPECT_EQ(text(253402300799), "9999-12-31T23:59:59Z");
}

}  // namespace
}  // namespace gatehouse::filters
