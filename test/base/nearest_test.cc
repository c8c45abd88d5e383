#include "source/base/nearest.h"

#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

const std::vector<std::string_view> kFields = {"name",        "timeout",        "retry",
                                               "path_prefix", "path",           "cluster",
                                               "match",       "rewrite_prefix", "filters"};

TEST(NearestTest, FindsTypingErrors) {
  EXPECT_EQ(Nearest("tiemout", kFields), "timeout");  // swapped
  EXPECT_EQ(Nearest("timout", kFields), "timeout");   // dropped
  EXPECT_EQ(Nearest("timeoutt", kFields), "timeout");
  EXPECT_EQ(Nearest("rettry", kFields), "retry");
  EXPECT_EQ(Nearest("mach", kFields), "match");
  EXPECT_EQ(Nearest("filter", kFields), "filters");
}

TEST(NearestTest, FindsOtherSpellings) {
  EXPECT_EQ(Nearest("pathPrefix", kFields), "path_prefix");
  EXPECT_EQ(Nearest("path-prefix", kFields), "path_prefix");
  EXPECT_EQ(Nearest("TIMEOUT", kFields), "timeout");
}

TEST(NearestTest, FindsPartsOfNamesWhenOnlyOneFits) {
  EXPECT_EQ(Nearest("rewrite", kFields), "rewrite_prefix");
  EXPECT_EQ(Nearest("cluster_name", kFields), "");  // of `cluster` and of `name`
  EXPECT_EQ(Nearest("request_timeout", kFields), "timeout");
  EXPECT_EQ(Nearest("prefix", kFields), "");  // of two names
}

TEST(NearestTest, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(Nearest("zebra", kFields), "");
  EXPECT_EQ(Nearest("", kFields), "");
  EXPECT_EQ(Nearest("x", kFields), "");
  EXPECT_EQ(Nearest(std::string(1000, 'a'), kFields), "");
  EXPECT_EQ(Nearest("name", {}), "");
  const std::vector<std::string_view> letters = {"a", "b"};
  EXPECT_EQ(Nearest("c", letters), "");
}

}  // namespace
}  // namespace gatehouse
