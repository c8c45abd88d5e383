#include "source/base/json.h"

#include <string>

#include "gtest/gtest.h"

#include "fmt/format.h"

namespace gatehouse {
namespace {

// "line:column: message" of the one error.
std::string ErrorOf(std::string_view text, const DocumentLimits& limits = {}) {
  const ParsedDocument parsed = ParseJson(text, limits);
  if (parsed.errors.size() != 1) return fmt::format("{} errors", parsed.errors.size());
  const DocumentError& error = parsed.errors[0];
  return fmt::format("{}:{}: {}", error.position.line, error.position.column, error.message);
}

std::string Again(std::string_view text) {
  const ParsedDocument parsed = ParseJson(text);
  return parsed.ok() ? WriteJson(parsed.document->root()) : ErrorOf(text);
}

TEST(JsonTest, KeepsWhatItReads) {
  for (const std::string_view text :
       {R"({"a":[1,-0,1.50,12345678901234567890123,2E+3],"b":{},"c":[],"d":null})",
        R"(["x\n\u0000\"\\","é","😀",true,false])", R"("root")", "12", "null"}) {
    EXPECT_EQ(Again(text), text);
  }
  EXPECT_EQ(Again(" [ 1 ,\r\n\t2 ] "), "[1,2]");
  EXPECT_EQ(Again(R"(["\u00e9\ud83d\ude00\/"])"), "[\"é😀/\"]");
  EXPECT_EQ(Again("\xEF\xBB\xBF[1]"), "[1]");
}

TEST(JsonTest, KnowsWhereEveryValueStands) {
  const ParsedDocument parsed =
      ParseJson("{\n  \"a\\\"b\\\\\": [true,\n null, -12.5],\n  \"c\": {\"d\": \"e\"}\n}");
  ASSERT_TRUE(parsed.ok());
  const auto members = parsed.document->root().members();
  ASSERT_EQ(members.size(), 2u);
  const auto at = [](const Node& node) {
    return fmt::format("{}:{}", node.position().line, node.position().column);
  };
  EXPECT_EQ(at(parsed.document->root()), "1:1");
  EXPECT_EQ(members[0].key.text(), "a\"b\\");
  EXPECT_EQ(at(members[0].key), "2:3");
  EXPECT_EQ(at(members[0].value), "2:13");
  EXPECT_EQ(at(members[0].value.items()[0]), "2:14");
  EXPECT_EQ(at(members[0].value.items()[1]), "3:2");
  EXPECT_EQ(at(members[0].value.items()[2]), "3:8");
  EXPECT_EQ(at(members[1].value), "4:8");
  EXPECT_EQ(at(*members[1].value.Find("d")), "4:14");
}

TEST(JsonTest, IsStrict) {
  EXPECT_EQ(ErrorOf(R"({"a":1,})"), "1:8: expected a name in double quotes (no comma before '}')");
  EXPECT_EQ(ErrorOf("[1,]"), "1:4: expected a value");
  EXPECT_EQ(ErrorOf("[1] x"), "1:5: there is more text behind the end of the JSON value");
  EXPECT_EQ(ErrorOf("{\"a\":1\n \"b\":2}"), "2:2: expected ',' or '}' in an object");
  EXPECT_EQ(ErrorOf("[NaN]"), "1:2: expected a value");
  EXPECT_EQ(ErrorOf(""), "1:1: the text is empty");
  EXPECT_EQ(ErrorOf(std::string_view("[1]\0[2]", 7)), "1:4: a NUL character");
  for (const std::string_view text :
       {"[01]", "[+1]", "[.5]", "[1.]", "[1e]", "[0x1]", "{a:1}", "// c\n1", "[\"\t\"]", "\"\xff\"",
        "\"\xc0\x80\"", "[\"\\ud800\"]", "[\"\\x\"]", "[1 2]", "[", "{\"a\"", "tru", "[1}"}) {
    EXPECT_EQ(ParseJson(text).document, nullptr) << text;
  }
}

TEST(JsonTest, RefusesDuplicateKeys) {
  EXPECT_EQ(ErrorOf("{\"a\":1,\n\"a\":2}"), "2:1: the key \"a\" is written twice; first in line 1");
  EXPECT_EQ(ErrorOf(R"({"a":1,"\u0061":2})"),
            "1:8: the key \"a\" is written twice; first in line 1");
}

TEST(JsonTest, HasLimits) {
  DocumentLimits limits;
  limits.max_bytes = 4;
  EXPECT_EQ(ErrorOf("[1,2]", limits), "0:0: larger than 4 bytes");
  EXPECT_EQ(ErrorOf(std::string(1'000'000, '[')), "1:65: nested deeper than 64 levels");
}

TEST(JsonTest, WritesIndented) {
  const ParsedDocument parsed = ParseJson(R"({"a":[1,{}],"b":[]})");
  EXPECT_EQ(WriteJson(parsed.document->root(), 2),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(JsonTest, EscapesAnyBytes) {
  std::string out;
  AppendJsonString(&out, std::string_view("a\"\\\n\r\t\x01\x7f\0é\xff\xe2\x82", 14));
  EXPECT_EQ(out,
            "\"a\\\"\\\\\\n\\r\\t\\u0001\\u007f\\u0000é\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_TRUE(ParseJson(out).ok());
}

}  // namespace
}  // namespace gatehouse
