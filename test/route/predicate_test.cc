#include "source/route/predicate.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/route/regex.h"
#include "test/route/fixture.h"

namespace gatehouse::route {
namespace {

using Kind = ValueMatch::Kind;
using Source = Predicate::Source;

Predicate Make(Source source, std::string_view name, Kind kind, std::string_view text,
               bool invert = false) {
  Predicate predicate{.source = source, .kind = kind, .invert = invert};
  predicate.name = name;
  predicate.text = text;
  if (source == Source::kHeader) predicate.header_id = http::FindName(name);
  return predicate;
}

bool Header(Kind kind, std::string_view text, std::vector<std::string_view> values,
            std::string_view name = "x-plan", bool invert = false) {
  TestRequest request("GET", "h", "/");
  for (std::string_view value : values) request.Header(name, value);
  Predicate predicate = Make(Source::kHeader, name, kind, text, invert);
  std::unique_ptr<const re2::RE2> regex;
  if (kind == Kind::kRegex) {
    regex = CompileRegex(text).value();
    predicate.regex = regex.get();
  }
  return Holds(predicate, request.view());
}

bool Query(std::string_view query, std::string_view name, Kind kind, std::string_view text,
           bool invert = false) {
  return Holds(Make(Source::kQuery, name, kind, text, invert),
               {http::Method::kGet, "GET", "h", "/", query, nullptr});
}

TEST(PredicateTest, Kinds) {
  EXPECT_TRUE(Header(Kind::kPresent, "", {""}));
  EXPECT_FALSE(Header(Kind::kPresent, "", {}));
  EXPECT_TRUE(Header(Kind::kExact, "gold", {"gold"}));
  EXPECT_FALSE(Header(Kind::kExact, "gold", {"Gold"}));
  EXPECT_TRUE(Header(Kind::kPrefix, "go", {"gold"}));
  EXPECT_FALSE(Header(Kind::kPrefix, "gold", {"go"}));
  EXPECT_TRUE(Header(Kind::kSuffix, "ld", {"gold"}));
  EXPECT_TRUE(Header(Kind::kContains, "ol", {"gold"}));
  EXPECT_TRUE(Header(Kind::kRegex, "g.*d", {"gold"}));
  EXPECT_FALSE(Header(Kind::kRegex, "g.*", {"a gold"}));
}

TEST(PredicateTest, Range) {
  TestRequest request("GET", "h", "/");
  const auto in_range = [](std::string_view value) {
    Predicate predicate = Make(Source::kHeader, "x-n", Kind::kRange, "");
    predicate.from = -5;
    predicate.to = 10;
    return Holds(predicate, TestRequest("GET", "h", "/").Header("X-N", value).view());
  };
  for (const char* in : {"-5", "0", "10", "007"}) EXPECT_TRUE(in_range(in)) << in;
  for (const char* out : {"-6", "11", "", "1x", "+1", "1.0", "0x1", "99999999999999999999"}) {
    EXPECT_FALSE(in_range(out)) << out;
  }
}

TEST(PredicateTest, KnownAndUnknownNamesInAnyCaseAndAllValues) {
  EXPECT_TRUE(Header(Kind::kExact, "b", {"a", "b"}));
  EXPECT_TRUE(Header(Kind::kExact, "b", {"a", "b"}, "accept"));
  EXPECT_FALSE(Header(Kind::kExact, "c", {"a", "b"}, "accept"));
  TestRequest request("GET", "h", "/");
  request.Header("ACCEPT", "x").Header("X-PLAN", "y");
  EXPECT_TRUE(Holds(Make(Source::kHeader, "accept", Kind::kExact, "x"), request.view()));
  EXPECT_TRUE(Holds(Make(Source::kHeader, "x-plan", Kind::kExact, "y"), request.view()));
}

TEST(PredicateTest, InvertTurnsTheWholeAnswerRound) {
  EXPECT_TRUE(Header(Kind::kExact, "a", {}, "x-plan", true));
  EXPECT_TRUE(Header(Kind::kExact, "a", {"b"}, "x-plan", true));
  EXPECT_FALSE(Header(Kind::kExact, "a", {"b", "a"}, "x-plan", true));
  EXPECT_FALSE(Header(Kind::kPresent, "", {"b"}, "x-plan", true));
  const RequestView none{http::Method::kGet, "GET", "h", "/", "", nullptr};
  EXPECT_TRUE(Holds(Make(Source::kHeader, "x", Kind::kExact, "a", true), none));
  EXPECT_FALSE(Holds(Make(Source::kCookie, "x", Kind::kExact, "a"), none));
}

TEST(PredicateTest, QueryIsComparedDecoded) {
  EXPECT_TRUE(Query("a=1&b=2", "b", Kind::kExact, "2"));
  EXPECT_TRUE(Query("b=1&b=2", "b", Kind::kExact, "2"));
  EXPECT_TRUE(Query("b", "b", Kind::kExact, ""));
  EXPECT_TRUE(Query("b", "b", Kind::kPresent, ""));
  EXPECT_FALSE(Query("bb=1&ab=1", "b", Kind::kPresent, ""));
  EXPECT_FALSE(Query("", "b", Kind::kPresent, ""));
  EXPECT_FALSE(Query("&&", "", Kind::kPresent, ""));
  EXPECT_TRUE(Query("%62=%3D+x", "b", Kind::kExact, "= x"));
  EXPECT_TRUE(Query("a+b=1", "a b", Kind::kExact, "1"));
  EXPECT_TRUE(Query("b=%zz%4", "b", Kind::kExact, "%zz%4"));  // no escapes
  EXPECT_TRUE(Query("b=c=d", "b", Kind::kExact, "c=d"));
  EXPECT_TRUE(Query("b=%61dmin", "b", Kind::kContains, "admin"));
  EXPECT_FALSE(Query("b=%61dmin", "b", Kind::kContains, "admin", true));
}

// What is too long to be decoded must not slip past an inverted matcher.
TEST(PredicateTest, EncodedQueryValuesThatAreTooLong) {
  const std::string most = "b=%61" + std::string(kMaxDecodedValue - 1, 'x');
  EXPECT_TRUE(Query(most, "b", Kind::kPrefix, "ax"));
  EXPECT_FALSE(Query(most + "x", "b", Kind::kPrefix, "ax"));
  EXPECT_FALSE(Query(most + "x", "b", Kind::kPrefix, "q", true));
  EXPECT_TRUE(Query(most + "x", "b", Kind::kPresent, ""));
}

TEST(PredicateTest, Cookies) {
  TestRequest request("GET", "h", "/");
  request.Header("Cookie", "a=1; sid=xy ;b=").Header("cookie", "sid=z;c=d=e");
  const auto holds = [&](std::string_view name, std::string_view value) {
    return Holds(Make(Source::kCookie, name, Kind::kExact, value), request.view());
  };
  EXPECT_TRUE(holds("a", "1"));
  EXPECT_TRUE(holds("sid", "xy"));
  EXPECT_TRUE(holds("sid", "z"));
  EXPECT_TRUE(holds("b", ""));
  EXPECT_TRUE(holds("c", "d=e"));
  EXPECT_FALSE(holds("id", "xy"));
  EXPECT_FALSE(holds("SID", "xy"));
}

TEST(PredicateTest, Described) {
  EXPECT_EQ(Describe(Make(Source::kHeader, "x-plan", Kind::kExact, "gold")),
            "header x-plan: exact 'gold'");
  EXPECT_EQ(Describe(Make(Source::kCookie, "sid", Kind::kPresent, "", true)),
            "cookie sid: not present");
  Predicate range = Make(Source::kQuery, "n", Kind::kRange, "");
  range.from = 1;
  range.to = 3;
  EXPECT_EQ(Describe(range), "query n: range 1 to 3");
}

}  // namespace
}  // namespace gatehouse::route
