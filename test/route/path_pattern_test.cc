#include "source/route/path_pattern.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "re2/re2.h"
#include "source/route/route_spec.h"

namespace gatehouse::route {
namespace {

TEST(PathPatternTest, LiteralPrefixOfRegex) {
  EXPECT_EQ(LiteralPrefixOfRegex("/api/v[0-9]+/x"), "/api/v");
  EXPECT_EQ(LiteralPrefixOfRegex("/api"), "/api");
  EXPECT_EQ(LiteralPrefixOfRegex("/api/.*"), "/api/");
  EXPECT_EQ(LiteralPrefixOfRegex("/api/(a|b)"), "/api/");
  EXPECT_EQ(LiteralPrefixOfRegex("/api/[|(]x"), "/api/");
  EXPECT_EQ(LiteralPrefixOfRegex("/ab*"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/ab?c"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/ab{0,2}"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/ab+"), "/ab");
  EXPECT_EQ(LiteralPrefixOfRegex("/a\\.b"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/a|/b"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/a(x)|/b"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/a[)]|/b"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/a[]|](b|c)"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/a[[:alpha:]](b|c)"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("/a\\Q(\\E|/b"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/a\\(|/b"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/a[\\]|](x)"), "/a");
  EXPECT_EQ(LiteralPrefixOfRegex("(?i)/api"), "");
  EXPECT_EQ(LiteralPrefixOfRegex("/api/(?:v1|v2)"), "/api/");
  EXPECT_EQ(LiteralPrefixOfRegex("/api/(?i:v1)*"), "/api/");
  EXPECT_EQ(LiteralPrefixOfRegex("/api(?i)x"), "/api");
  EXPECT_EQ(LiteralPrefixOfRegex("/api(?i)(?-s)*"), "/ap");
  EXPECT_EQ(LiteralPrefixOfRegex(""), "");
}

// Whatever matches must start with the literal, for every regex over a small alphabet.
TEST(PathPatternTest, LiteralPrefixHoldsForAllShortRegexes) {
  const std::string_view alphabet = "a|()[]*?\\QE:";
  const std::vector<std::string> texts = {"",    "a",  "b",  "aa", "ab", "ba", "bb", "aab",
                                          "aba", "(",  ")",  "|",  "*",  "[",  "]",  "Q",
                                          "a|",  "a(", "|b", "(b", "a*", "bab"};
  re2::RE2::Options options;
  options.set_log_errors(false);
  int checked = 0;
  for (size_t number = 0; number < 12u * 12 * 12 * 12 * 12; ++number) {
    std::string regex;
    for (size_t rest = number, i = 0; i < 5; ++i, rest /= 12) regex += alphabet[rest % 12];
    const std::string_view literal = LiteralPrefixOfRegex(regex);
    if (literal.empty()) continue;
    const re2::RE2 compiled(regex, options);
    if (!compiled.ok()) continue;
    ++checked;
    for (const std::string& text : texts) {
      if (re2::RE2::FullMatch(text, compiled)) {
        EXPECT_TRUE(std::string_view(text).starts_with(literal)) << regex << " " << text;
      }
    }
  }
  EXPECT_GT(checked, 5000);
}

TEST(PathPatternTest, ATemplateWithoutCapturesIsAnExactPath) {
  std::vector<std::string> errors;
  const PathMatch match = PathMatch::Template("/a/b/");
  const PathPattern pattern = ParsePathPattern(match, errors);
  EXPECT_EQ(pattern.kind, PathPattern::Kind::kExact);
  EXPECT_EQ(pattern.text, "/a/b/");
}

TEST(PathPatternTest, LiesUnder) {
  const auto under = [](const PathMatch& match, std::string_view prefix) {
    std::vector<std::string> errors;
    const bool lies = LiesUnder(ParsePathPattern(match, errors), prefix);
    EXPECT_TRUE(errors.empty());
    return lies;
  };
  EXPECT_TRUE(under(PathMatch::Exact("/x"), ""));
  EXPECT_TRUE(under(PathMatch::Prefix("/a/b/"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Prefix("/a"), "/a/b"));
  EXPECT_TRUE(under(PathMatch::Template("/a/b/{c}"), "/a/b"));
  EXPECT_TRUE(under(PathMatch::Template("/a/b/**"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Template("/a/{b}"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Template("/a/bc/{d}"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Template("/a/**"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Template("/ab/{x}"), "/a"));
  EXPECT_TRUE(under(PathMatch::Regex("/a/b/.*"), "/a/b"));
  EXPECT_FALSE(under(PathMatch::Regex("/a/b.*"), "/a/b"));
  EXPECT_TRUE(under(PathMatch{}, "/a"));
}

}  // namespace
}  // namespace gatehouse::route
