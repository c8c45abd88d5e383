#include "source/base/yaml.h"

#include <string>

#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/base/json.h"

namespace gatehouse {
namespace {

std::string ErrorOf(std::string_view text, const DocumentLimits& limits = {}) {
  const ParsedDocument parsed = ParseYaml(text, limits);
  if (parsed.errors.size() != 1) return fmt::format("{} errors", parsed.errors.size());
  const DocumentError& error = parsed.errors[0];
  return fmt::format("{}:{}: {}", error.position.line, error.position.column, error.message);
}

// As JSON, which shows what every scalar was taken for.
std::string AsJson(std::string_view text) {
  const ParsedDocument parsed = ParseYaml(text);
  return parsed.ok() ? WriteJson(parsed.document->root()) : ErrorOf(text);
}

TEST(YamlTest, ResolvesScalarsByTheCoreSchema) {
  EXPECT_EQ(AsJson("[1, -2, +3, 2.5, .5, 1e3, 0x1F, 0o17, 0]"), "[1,-2,+3,2.5,.5,1e3,0x1F,0o17,0]");
  EXPECT_EQ(AsJson("[true, False, TRUE]"), "[true,False,TRUE]");
  EXPECT_EQ(AsJson("[null, ~, Null, ]"), "[null,null,null]");
  EXPECT_EQ(AsJson("[yes, on, off, n, 010, 1_000, 1:30, 0x, 1e, ., -, 2001-01-01, .inf]"),
            R"(["yes","on","off","n","010","1_000","1:30","0x","1e",".","-","2001-01-01",".inf"])");
  EXPECT_EQ(AsJson("['1', \"true\", 'it''s', \"\\u00e9\\n\", !!str 12, !!int 12]"),
            R"(["1","true","it's","é\n","12",12])");
  EXPECT_EQ(AsJson("a:\nb: text with spaces # comment\nc: x#y\n"),
            R"({"a":null,"b":"text with spaces","c":"x#y"})");
  EXPECT_EQ(AsJson("a: |\n  one\n   two\nb: >-\n  x\n  y\n"), R"({"a":"one\n two\n","b":"x y"})");
}

TEST(YamlTest, KeepsPlainAndQuotedApart) {
  const ParsedDocument parsed = ParseYaml("[8080, '8080', text, |-\n 1\n]");
  const ParsedDocument list = ParseYaml("- 8080\n- '8080'\n- text\n- |-\n  1\n");
  ASSERT_TRUE(list.ok());
  const auto items = list.document->root().items();
  EXPECT_TRUE(items[0].plain());
  EXPECT_FALSE(items[1].plain());
  EXPECT_TRUE(items[2].plain());
  EXPECT_FALSE(items[3].plain());
}

TEST(YamlTest, KnowsWhereEveryValueStands) {
  const ParsedDocument parsed = ParseYaml("# c\na: 1\r\nb:\r\n- {c: 'x'}\r\n-   y\r\n");
  ASSERT_TRUE(parsed.ok());
  const auto at = [](const Node& node) {
    return fmt::format("{}:{}", node.position().line, node.position().column);
  };
  const auto members = parsed.document->root().members();
  EXPECT_EQ(at(members[0].key), "2:1");
  EXPECT_EQ(at(members[0].value), "2:4");
  EXPECT_EQ(at(members[1].value), "4:1");
  const auto items = members[1].value.items();
  EXPECT_EQ(at(items[0]), "4:3");
  EXPECT_EQ(at(items[0].members()[0].value), "4:7");
  EXPECT_EQ(at(items[1]), "5:5");
}

TEST(YamlTest, ResolvesAliasesAndMergeKeys) {
  EXPECT_EQ(AsJson("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, p: 3}\n"),
            R"({"a":{"p":1,"q":2},"b":{"p":1,"q":2},"c":{"p":3,"q":2}})");
  EXPECT_EQ(AsJson("a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}\n"),
            R"({"a":{"p":1},"b":{"p":2,"r":3},"c":{"p":1,"r":3}})");
  EXPECT_EQ(AsJson("a: &x k\n*x : 1\n"), R"({"a":"k","k":1})");
  EXPECT_EQ(AsJson("'<<': 1\n"), R"({"<<":1})");
  EXPECT_EQ(ErrorOf("<<: 1\n"), "1:5: the merge key \"<<\" needs a map or a list of maps");
  EXPECT_EQ(ErrorOf("<<: [1]\n"), "1:6: the merge key \"<<\" needs a map or a list of maps");
  EXPECT_EQ(ErrorOf("a: *x\n"), "1:4: the referenced anchor is not defined");
  EXPECT_EQ(ErrorOf("a: &x [*x]\n"), "1:8: an alias stands inside the value that it names");
}

TEST(YamlTest, BoundsWhatAliasesExpandTo) {
  std::string text = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n";
  for (int i = 1; i < 30; ++i) {
    text += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i, i - 1);
  }
  EXPECT_TRUE(ErrorOf(text).ends_with("aliases expand to too many values")) << ErrorOf(text);
  std::string merges = "a0: &a0 {k: 1}\n";
  for (int i = 1; i < 2000; ++i)
    merges += fmt::format("a{0}: &a{0} {{<<: *a{1}, k{0}: 1}}\n", i, i - 1);
  DocumentLimits limits;
  limits.max_alias_nodes = 100'000;
  EXPECT_TRUE(ErrorOf(merges, limits).ends_with("aliases expand to too many values"));
}

TEST(YamlTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf("a:\n\tb: 1\n"), "2:1: a tab indents this line; YAML indents with spaces only");
  EXPECT_EQ(ErrorOf("a: 1\n---\nb: 2\n"),
            "2:1: a second document begins here; a file holds one (remove the \"---\")");
  EXPECT_EQ(ErrorOf("a: [1,2\n"), "2:1: a list in brackets has no ']' (or lacks a ',')");
  EXPECT_EQ(ErrorOf("a: \"x\n"), "1:4: a quoted text has no closing quote");
  EXPECT_EQ(ErrorOf("a: &b 'it''s\n"), "1:4: a quoted text has no closing quote");
  EXPECT_EQ(
      ErrorOf("a: b: c\n"),
      "1:5: a map cannot begin here; is the indentation right, or does a text with \": \" need "
      "quotes?");
  EXPECT_EQ(ErrorOf("a: {b: 1,\n b: 2}\n"), "2:2: the key \"b\" is written twice; first in line 1");
  EXPECT_EQ(ErrorOf("? [1]\n: 2\n"), "1:3: a map key must be a scalar");
  EXPECT_EQ(ErrorOf(": 2\n"), "1:1: a map key is missing");
  EXPECT_EQ(ErrorOf("a: @x\n"),
            "1:4: this character cannot begin a value; put the value in quotes");
  EXPECT_EQ(ErrorOf("a: !x 1\n"), "1:4: unknown tag \"!x\", or it does not fit its value");
  EXPECT_EQ(ErrorOf("a: !x [1]\n"), "1:4: unknown tag \"!x\"");
  EXPECT_EQ(ErrorOf("a: !!int x\n"),
            "1:4: unknown tag \"tag:yaml.org,2002:int\", or it does not fit its value");
  EXPECT_EQ(ErrorOf(""), "1:1: the text is empty");
  EXPECT_EQ(ErrorOf("# only this\n"), "1:1: the text is empty");
}

TEST(YamlTest, TakesUtf8AndNothingElse) {
  EXPECT_EQ(AsJson("\xEF\xBB\xBF"
                   "a: é\n"),
            R"({"a":"é"})");
  EXPECT_EQ(ErrorOf("a: é\xff\n"), "1:5: not UTF-8");
  EXPECT_EQ(ErrorOf("a: 1\nb: \x04\n"), "2:4: a control character (0x04)");
  EXPECT_EQ(ErrorOf(std::string_view("a\0b", 3)), "1:2: a control character (0x00)");
}

TEST(YamlTest, HasLimits) {
  DocumentLimits limits;
  limits.max_bytes = 4;
  EXPECT_EQ(ErrorOf("a: 12", limits), "0:0: larger than 4 bytes");
  EXPECT_EQ(ErrorOf(std::string(1'000'000, '[')), "1:1001: nested too deep");
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_EQ(ErrorOf(dashes), "1:129: nested deeper than 64 levels");
}

TEST(YamlTest, WritesWhatItReadsAgain) {
  constexpr std::string_view kText =
      "name: edge\n"
      "text: \"two words\"\n"
      "number: 12\n"
      "like_number: \"12\"\n"
      "like_bool: \"on\"\n"
      "size: 64KiB\n"
      "rate: 10/s\n"
      "path: /a/b\n"
      "empty: \"\"\n"
      "nothing: null\n"
      "list:\n"
      "  - a\n"
      "  - - 1\n"
      "    - k: v\n"
      "      l: \"#w\"\n"
      "  - {}\n"
      "  - []\n"
      "map:\n"
      "  \"a: b\": true\n";
  const ParsedDocument parsed = ParseYaml(kText);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(WriteYaml(parsed.document->root()), kText);
}

TEST(YamlTest, EveryPrefixEndsInAValueOrAnError) {
  constexpr std::string_view kText =
      "a: &x {p: 1, 'q': \"\\u00e9\"}\nb:\n- *x\n- |\n  text\n- <<: *x\n  c: ~\n? d\n: [e, f]\n";
  for (size_t size = 0; size <= kText.size(); ++size) {
    const ParsedDocument parsed = ParseYaml(kText.substr(0, size));
    EXPECT_NE(parsed.document == nullptr, parsed.errors.empty()) << size;
  }
}

}  // namespace
}  // namespace gatehouse
