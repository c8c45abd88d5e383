#include "source/control_plane/diff.h"

#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/control_plane/resource_file.h"

namespace gatehouse::control {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(UnifiedDiffTest, ShowsThreeLinesAroundAndJoinsNearHunks) {
  EXPECT_EQ(UnifiedDiff("a\nb\n", "a\nb\n"), "");
  EXPECT_EQ(UnifiedDiff("", "a\n"), "@@ -0,0 +1,1 @@\n+a\n");
  EXPECT_EQ(UnifiedDiff("a\n", ""), "@@ -1,1 +0,0 @@\n-a\n");
  EXPECT_EQ(UnifiedDiff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n6\n7\n8\n9\n"),
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n");
  EXPECT_EQ(UnifiedDiff("1\n2\n3\n4\n5\n6\n7\n8\n", "x\n2\n3\n4\n5\n6\n7\ny\n"),
            "@@ -1,8 +1,8 @@\n-1\n+x\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+y\n");
}

std::vector<std::string> LinesOf(std::string_view text) {
  std::vector<std::string> lines;
  for (; !text.empty(); text.remove_prefix(text.find('\n') + 1)) {
    lines.emplace_back(text.substr(0, text.find('\n')));
  }
  return lines;
}

// What a patch program would make of it.
std::string Patched(const std::string& before, const std::string& diff) {
  const std::vector<std::string> old = LinesOf(before);
  size_t at = 0;
  std::string out;
  for (const std::string& line : LinesOf(diff)) {
    if (line.starts_with("@@")) {
      size_t start = std::stoul(line.substr(4));
      const size_t count = std::stoul(line.substr(line.find(',') + 1));
      if (count > 0) --start;
      while (at < start) out += old.at(at++) + "\n";
    } else if (line[0] == '+') {
      out += line.substr(1) + "\n";
    } else {
      EXPECT_EQ(old.at(at), line.substr(1));
      if (line[0] == ' ') out += old.at(at) + "\n";
      ++at;
    }
  }
  while (at < old.size()) out += old.at(at++) + "\n";
  return out;
}

TEST(UnifiedDiffTest, AppliedToTheFirstTextItMakesTheSecond) {
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::string before;
    std::string after;
    for (unsigned n = random() % 40; n > 0; --n) {
      const std::string line(1, static_cast<char>('a' + random() % 4));
      const unsigned what = random() % 6;
      if (what != 0) before += line + "\n";
      if (what != 1) after += (what == 2 ? "z" : line) + "\n";
    }
    EXPECT_EQ(Patched(before, UnifiedDiff(before, after)), after) << before << "---\n" << after;
  }
}

TEST(UnifiedDiffTest, LargeTextsWithFewAndWithOnlyDifferences) {
  std::string before;
  std::string other;
  for (int i = 0; i < 60'000; ++i) {
    before += "line " + std::to_string(i) + "\n";
    other += "other " + std::to_string(i) + "\n";
  }
  std::string after = before;
  after.insert(after.find("line 30000"), "new\n");
  EXPECT_EQ(UnifiedDiff(before, after).size(), std::string("@@ -29998,6 +29998,7 @@\n").size() +
                                                   6 * std::string(" line 29998\n").size() + 5);
  EXPECT_EQ(Patched(before, UnifiedDiff(before, other)), other);
}

std::shared_ptr<const ResourceSet> Set(const std::string& text) {
  config::ErrorList errors;
  ResourceSet::All all;
  AddResources(ParseResourceFile({.name = "a.yaml", .text = text}, errors), &all, errors);
  EXPECT_TRUE(errors.ok()) << errors.ToString();
  return std::make_shared<const ResourceSet>(1, std::move(all), nullptr);
}

TEST(ChangesTest, NamesWhatIsAddedRemovedAndChanged) {
  const auto before =
      Set("clusters: [{name: a, endpoints: [\"h:1\"]}, {name: b, endpoints: [\"h:1\"]}]");
  const auto after =
      Set("\n\nclusters:\n- {name: b, endpoints: [\"h:2\"]}\n- {name: c, endpoints: [\"h:1\"]}\n");
  const std::vector<ResourceChange> changes = Changes(*before, *after);
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].after, nullptr);
  EXPECT_EQ(changes[1].any().name, "b");
  EXPECT_EQ(changes[2].before, nullptr);
  EXPECT_TRUE(Changes(*before, *Set("clusters:\n- {name: a, endpoints: [\"h:1\"]}\n"
                                    "- {name: b, endpoints: [\"h:1\"]}\n"))
                  .empty());
}

TEST(ChangesTest, ASecretIsNotShownAndItsChangeIs) {
  const auto before = Set("secrets: [{name: pw, inline: hunter2}]");
  const auto after = Set("secrets: [{name: pw, inline: hunter3}]");
  const std::string text = ToText(Changes(*before, *after));
  EXPECT_THAT(text, HasSubstr("A secret value has changed"));
  EXPECT_THAT(text, Not(HasSubstr("hunter")));
  const std::string moved = ToText(Changes(*before, *Set("secrets: [{name: pw, file: /pw}]")));
  EXPECT_THAT(moved, HasSubstr("+file: /pw"));
  EXPECT_THAT(moved, Not(HasSubstr("hunter")));
}

}  // namespace
}  // namespace gatehouse::control
