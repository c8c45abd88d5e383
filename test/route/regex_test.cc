#include "source/route/regex.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::route {
namespace {

TEST(RegexTest, MatchesTheWholeText) {
  const auto regex = CompileRegex("a|ab");
  EXPECT_TRUE(FullMatch(**regex, "ab"));
  EXPECT_FALSE(FullMatch(**regex, "abc"));
  EXPECT_EQ(MessageOf(CompileRegex("a(").status()), "is not a valid RE2 regex: missing ): a(");
}

// At every length around those at which the tree over the list grows.
TEST(RegexTest, AListFindsEveryMatchInOrder) {
  for (size_t count = 0; count <= 40; ++count) {
    std::vector<std::unique_ptr<const re2::RE2>> regexes;
    std::vector<RegexList::Entry> entries;
    for (size_t i = 0; i < count; ++i) {
      regexes.push_back(CompileRegex(fmt::format("/({}|x{})", i, i % 5)).value());
      entries.push_back({"/", regexes.back().get(), static_cast<uint32_t>(i)});
    }
    const RegexList list = RegexList::Build(entries);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(list.Next(fmt::format("/{}", i), 0), i);
      EXPECT_EQ(list.Next(fmt::format("/{}", i), i + 1), RegexList::kEnd);
    }
    std::vector<size_t> found;
    for (size_t at = list.Next("/x3", 0); at != RegexList::kEnd; at = list.Next("/x3", at + 1)) {
      found.push_back(at);
    }
    std::vector<size_t> expected;
    for (size_t i = 3; i < count; i += 5) expected.push_back(i);
    EXPECT_EQ(found, expected) << count;
    EXPECT_EQ(list.Next("/none", 0), RegexList::kEnd);
  }
}

// Automatons with very many states.
TEST(RegexTest, AListOfHeavyRegexes) {
  std::vector<std::unique_ptr<const re2::RE2>> regexes;
  std::vector<RegexList::Entry> entries;
  for (uint32_t i = 0; i < 16; ++i) {
    regexes.push_back(CompileRegex(fmt::format("/.*a.{{{}}}b.*c{}", 10 + i, i)).value());
    entries.push_back({"/", regexes.back().get(), i});
  }
  const RegexList list = RegexList::Build(entries);
  std::string noise = "/";
  for (uint32_t i = 0, state = 1; i < 1500; ++i, state = state * 1664525 + 1013904223) {
    noise += (state >> 24) % 2 == 0 ? 'a' : 'b';
  }
  for (size_t i : {0, 9, 15}) EXPECT_EQ(list.Next(fmt::format("{}c{}", noise, i), 0), i);
}

}  // namespace
}  // namespace gatehouse::route
