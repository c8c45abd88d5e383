#include "source/base/no_such.h"

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(NoSuchTest, IsASentence) {
  EXPECT_EQ(NoSuch("cluster", "users"), "there is no cluster \"users\"");
}

TEST(NoSuchTest, ReadsWhatItWrites) {
  for (const char* name : {"users", "", "a \"b\" c", "x y"}) {
    const auto missing = ReadNoSuch(NoSuch("route table", name));
    ASSERT_TRUE(missing.has_value());
    EXPECT_EQ(missing->what, "route table");
    EXPECT_EQ(missing->name, name);
  }
}

TEST(NoSuchTest, OtherSentencesAreNothing) {
  for (const char* text : {"", "there is no ", "there is no \"", "there is no  \"x\"", "is wrong",
                           "there is no cluster", "there is no cluster \"x\" here"}) {
    EXPECT_FALSE(ReadNoSuch(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace gatehouse
