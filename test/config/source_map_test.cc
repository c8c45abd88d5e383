#include "source/config/source_map.h"

#include "gtest/gtest.h"

#include "source/base/yaml.h"

namespace gatehouse::config {
namespace {

class SourceMapTest : public testing::Test {
 protected:
  SourceMapTest() {
    const ParsedDocument parsed = ParseYaml(
        "tables:\n"
        "- name: a\n"
        "  routes:\n"
        "  - match: { path: /x }\n"
        "    labels:\n"
        "      'a.b[\"': 1\n"
        "    upgrade: [websocket,\n"
        "      h2c]\n"
        "  - match: {}\n");
    map_ = SourceMap("gateway.yaml", parsed.document);
  }
  int Line(std::string_view path) { return map_.Locate(path).line; }
  SourceMap map_;
};

TEST_F(SourceMapTest, FindsFields) {
  EXPECT_EQ(Line("tables"), 2);
  EXPECT_EQ(Line("tables[0].name"), 2);
  EXPECT_EQ(Line("tables[0].routes[0].match.path"), 4);
  EXPECT_EQ(Line("tables[0].routes[0].labels[\"a.b[\\\"\"]"), 6);
  EXPECT_EQ(Line("tables[0].routes[1].match"), 9);
}

TEST_F(SourceMapTest, FallsBackToTheNearestAncestor) {
  EXPECT_EQ(Line(""), 1);
  EXPECT_EQ(Line("nothing.at.all"), 1);
  EXPECT_EQ(Line("tables[7]"), 2);
  EXPECT_EQ(Line("tables[0].routes[1].match.path"), 9);
  EXPECT_EQ(Line("tables[0].name.deeper"), 2);
  for (const std::string_view broken : {"[", "tables[", "tables[x]", "tables[\"", "tables[\"a",
                                        "..", "tables[0]]", "tables[99999999999999999999]"}) {
    EXPECT_GT(Line(broken), 0) << broken;
  }
}

TEST_F(SourceMapTest, SeesThroughShorthands) {
  EXPECT_EQ(Line("tables[0].routes[0].upgrade.protocols[1]"), 8);
}

TEST_F(SourceMapTest, GivesTheMapOfAPart) {
  const SourceMap route = map_.Below("tables[0]").Below("routes[0]");
  EXPECT_EQ(route.Error("match.path", "must not be so", "y").ToString(),
            "gateway.yaml:4: tables[0].routes[0].match.path: must not be so, did you mean \"y\"?");
  EXPECT_EQ(route.Error("", "is bad").ToString(), "gateway.yaml:4: tables[0].routes[0]: is bad");
}

TEST_F(SourceMapTest, MayBeEmpty) {
  EXPECT_EQ(SourceMap().Error("a.b", "is bad").ToString(), "a.b: is bad");
  EXPECT_EQ(SourceMap().Below("a").Error("[1]", "is bad").ToString(), "a[1]: is bad");
}

TEST(PathTest, IsPutTogether) {
  std::string path;
  AppendField(&path, "a");
  AppendIndex(&path, 3);
  AppendField(&path, "b");
  AppendKey(&path, "x\"y");
  EXPECT_EQ(path, "a[3].b[\"x\\\"y\"]");
}

TEST(ErrorListTest, SortsCountsAndCuts) {
  ErrorList errors;
  EXPECT_TRUE(errors.ok());
  EXPECT_TRUE(errors.ToStatus().ok());
  errors.Add({.file = "b", .line = 2, .column = 7, .message = "syntax"});
  errors.Add({.file = "a", .line = 9, .column = 1, .path = "x", .message = "later"});
  errors.Add({.file = "a",
              .line = 3,
              .path = "y",
              .message = "old",
              .severity = ConfigError::Severity::kWarning});
  EXPECT_EQ(errors.ToString(), "a:3: warning: y: old\na:9: x: later\nb:2:7: syntax\n");
  EXPECT_EQ(errors.ToStatus().message(), "a:9: x: later\nb:2:7: syntax");
  ErrorList many;
  for (size_t i = 0; i < ErrorList::kMaxKept + 5; ++i) many.Add({.message = "m"});
  errors.Append(many);
  EXPECT_EQ(errors.error_count(), ErrorList::kMaxKept + 7);
  EXPECT_TRUE(errors.ToString().ends_with("\nand 8 more\n"));
}

}  // namespace
}  // namespace gatehouse::config
