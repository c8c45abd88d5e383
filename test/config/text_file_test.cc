#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "source/config/text.h"
#include "test/config/text_test.pb.h"

namespace gatehouse::config {
namespace {

using test::Everything;
using testing::HasSubstr;

class TextFileTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = testing::TempDir() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  bool Load(const std::string& path) {
    DecodeContext context;
    context.errors = &errors_;
    context.limits.max_bytes = 1000;
    return LoadFile(path, &message_, context, &source_);
  }

  Everything message_;
  ErrorList errors_;
  SourceMap source_;
};

TEST_F(TextFileTest, TakesTheFormatFromTheExtension) {
  EXPECT_TRUE(Load(Write("a.yaml", "name: a\n")));
  EXPECT_EQ(message_.name(), "a");
  EXPECT_TRUE(Load(Write("a.json", "{\"name\": \"b\"}")));
  EXPECT_EQ(message_.name(), "b");
  EXPECT_TRUE(Load(Write("a.conf", "\xEF\xBB\xBFname: c\r\n")));
  EXPECT_EQ(message_.name(), "c");
  EXPECT_TRUE(Load(Write("b.conf", "\xEF\xBB\xBF {\"name\": \"d\"}")));
  EXPECT_EQ(message_.name(), "d");
  EXPECT_TRUE(errors_.entries().empty());
  EXPECT_FALSE(Load(Write("b.json", "name: c\n")));
}

TEST_F(TextFileTest, NamesTheFileInErrors) {
  const std::string path = Write("c.yaml", "name: x\nnaem: y\n");
  EXPECT_FALSE(Load(path));
  EXPECT_EQ(errors_.ToString(), path + ":2:1: unknown field \"naem\", did you mean \"name\"?\n");
  EXPECT_EQ(source_.file(), path);
}

TEST_F(TextFileTest, SaysWhyAFileCannotBeRead) {
  EXPECT_FALSE(Load("/nonexistent/x.yaml"));
  EXPECT_EQ(errors_.ToString(), "/nonexistent/x.yaml: cannot be read: there is no such file\n");
  errors_ = {};
  EXPECT_FALSE(Load(testing::TempDir()));
  EXPECT_THAT(errors_.ToString(), HasSubstr("cannot be read: this is a directory, not a file"));
  errors_ = {};
  EXPECT_FALSE(Load(Write("large.yaml", std::string(1001, '#'))));
  EXPECT_THAT(errors_.ToString(), HasSubstr("larger than 1000 bytes"));
  errors_ = {};
  EXPECT_FALSE(Load(Write("empty.yaml", "")));
  EXPECT_THAT(errors_.ToString(), HasSubstr("empty.yaml: there is nothing here; write a map"));
  if (geteuid() == 0) return;  // root reads everything
  const std::string secret = Write("secret.yaml", "name: x\n");
  ASSERT_EQ(chmod(secret.c_str(), 0), 0);
  errors_ = {};
  EXPECT_FALSE(Load(secret));
  EXPECT_THAT(errors_.ToString(), HasSubstr("no permission to read it"));
}

TEST_F(TextFileTest, ReadsTheProcessEnvironment) {
  ASSERT_EQ(setenv("GATEHOUSE_TEXT_FILE_TEST", "v", 1), 0);
  EXPECT_EQ(ProcessEnvironment()("GATEHOUSE_TEXT_FILE_TEST"), "v");
  EXPECT_EQ(ProcessEnvironment()("GATEHOUSE_TEXT_FILE_TEST_UNSET"), std::nullopt);
}

}  // namespace
}  // namespace gatehouse::config
