#include "source/base/printable.h"

#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(Printable, NobodyWritesLinesOfTheirOwn) {
  EXPECT_EQ(Printable("a name\ngatehouse: ready"), "a name\\ngatehouse: ready");
  EXPECT_EQ(Printable("\x1b[31m\r\t\x7f"), "\\x1b[31m\\x0d\\t\\x7f");
  EXPECT_EQ(Printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(Printable("\xc2\x9b 31m"), "\\xc2\\x9b 31m");  // U+009B, as ESC [
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("plain, \"quoted\", C:\\x, caf\xc3\xa9 \xe2\x9c\x93"),
            "plain, \"quoted\", C:\\x, caf\xc3\xa9 \xe2\x9c\x93");
}

}  // namespace
}  // namespace gatehouse
