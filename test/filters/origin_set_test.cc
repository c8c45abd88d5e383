#include "source/filters/origin_set.h"

#include <initializer_list>
#include <string>

#include "gtest/gtest.h"

namespace gatehouse::filters {
namespace {

OriginSet Patterns(std::initializer_list<const char*> patterns) {
  OriginSet origins;
  std::string error;
  for (const char* pattern : patterns) EXPECT_TRUE(origins.AddPattern(pattern, error)) << error;
  return origins;
}

OriginSet Regex(const char* regex) {
  OriginSet origins;
  std::string error;
  EXPECT_TRUE(origins.AddRegex(regex, error)) << error;
  return origins;
}

TEST(OriginSetTest, Exact) {
  const OriginSet origins = Patterns({"https://shop.example", "http://localhost:3000"});
  EXPECT_TRUE(origins.Allows("https://shop.example"));
  EXPECT_TRUE(origins.Allows("http://localhost:3000"));
  EXPECT_FALSE(origins.Allows("http://shop.example"));
  EXPECT_FALSE(origins.Allows("https://shop.example:8443"));
  EXPECT_FALSE(origins.Allows("https://shop.example.evil"));
  EXPECT_FALSE(origins.Allows("https://evil-shop.example"));
  EXPECT_FALSE(origins.Allows("http://localhost"));
  EXPECT_FALSE(origins.Allows(""));
  EXPECT_FALSE(origins.Allows("null"));
}

TEST(OriginSetTest, PatternsAreReadAsBrowsersWriteOrigins) {
  const OriginSet origins = Patterns({"HTTPS://Shop.Example:443", "http://plain.example:80"});
  EXPECT_TRUE(origins.Allows("https://shop.example"));
  EXPECT_TRUE(origins.Allows("http://plain.example"));
}

TEST(OriginSetTest, WildcardsStandForOneOrMoreLabels) {
  const OriginSet origins = Patterns({"https://*.shop.example", "https://*.dev.example:8443"});
  EXPECT_TRUE(origins.Allows("https://www.shop.example"));
  EXPECT_TRUE(origins.Allows("https://a.b.shop.example"));
  EXPECT_TRUE(origins.Allows("https://a.dev.example:8443"));
  EXPECT_FALSE(origins.Allows("https://shop.example"));
  EXPECT_FALSE(origins.Allows("https://.shop.example"));
  EXPECT_FALSE(origins.Allows("https://evilshop.example"));
  EXPECT_FALSE(origins.Allows("http://www.shop.example"));
  EXPECT_FALSE(origins.Allows("https://www.shop.example:8443"));
  EXPECT_FALSE(origins.Allows("https://a.dev.example"));
  EXPECT_FALSE(origins.Allows("https://evil.example/.shop.example"));
  EXPECT_FALSE(origins.Allows("https://evil.example?.shop.example"));
  EXPECT_FALSE(origins.Allows("https://evil.example#@.shop.example"));
}

TEST(OriginSetTest, TheStarIsEverySiteButNotNull) {
  const OriginSet origins = Patterns({"*"});
  EXPECT_TRUE(origins.Allows("https://anything.example"));
  EXPECT_FALSE(origins.Allows("null"));
  EXPECT_TRUE(origins.IsOpen());
}

TEST(OriginSetTest, NullOnlyByItsName) {
  EXPECT_TRUE(Patterns({"null"}).Allows("null"));
  EXPECT_FALSE(Regex(".*").Allows("null"));
}

TEST(OriginSetTest, RegexesMatchTheWholeOrigin) {
  const OriginSet origins = Regex("https://shop[0-9]+\\.example");
  EXPECT_TRUE(origins.Allows("https://shop12.example"));
  EXPECT_FALSE(origins.Allows("https://shop12.example.evil"));
  EXPECT_FALSE(origins.Allows("xhttps://shop12.example"));
  EXPECT_FALSE(origins.IsOpen());
  EXPECT_TRUE(Regex("https://.*").IsOpen());
}

TEST(OriginSetTest, BadPatternsSayWhy) {
  OriginSet origins;
  for (const char* pattern :
       {"shop.example", "https://shop.example/", "https://", "://x", "https://*", "https://a.*.b",
        "https://*shop.example", "*.shop.example", "https://shop.example:0", "https://a b",
        "https://user@shop.example"}) {
    std::string error;
    EXPECT_FALSE(origins.AddPattern(pattern, error)) << pattern;
    EXPECT_NE(error, "") << pattern;
  }
  std::string error;
  EXPECT_FALSE(origins.AddRegex("(", error));
  EXPECT_TRUE(origins.empty());
}

}  // namespace
}  // namespace gatehouse::filters
