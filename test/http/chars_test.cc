#include "source/http/chars.h"

#include <cstring>
#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

TEST(CharsTest, Classes) {
  for (int i = 0; i < 256; ++i) {
    const auto c = static_cast<char>(i);
    const bool alnum = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    const bool any = i != 0;
    EXPECT_EQ(IsTokenChar(c), alnum || (any && std::strchr("!#$%&'*+-.^_`|~", i) != nullptr)) << i;
    EXPECT_EQ(IsHostChar(c), alnum || i == '-' || i == '_') << i;
    EXPECT_EQ(IsUnreserved(c), alnum || (any && std::strchr("-._~", i) != nullptr)) << i;
    EXPECT_EQ(IsControl(c), (i < 0x20 && i != '\t') || i == 0x7f) << i;
    EXPECT_EQ(IsTargetChar(c), i > 0x20 && i < 0x7f) << i;
  }
  EXPECT_EQ(HexValue('0'), 0);
  EXPECT_EQ(HexValue('f'), 15);
  EXPECT_EQ(HexValue('F'), 15);
  EXPECT_EQ(HexValue('g'), -1);
  EXPECT_EQ(HexValue('@'), -1);
  EXPECT_EQ(HexValue('\x10'), -1);  // '0' without bit 5
}

// The vector searches agree with the classes for every byte, size and position.
TEST(CharsTest, Searches) {
  for (size_t size = 1; size <= 50; ++size) {
    auto text = std::make_unique<char[]>(size);
    const char* end = text.get() + size;
    for (size_t at = 0; at < size; ++at) {
      for (int i = 0; i < 256; ++i) {
        const auto c = static_cast<char>(i);
        std::memset(text.get(), 'a', size);
        text[at] = c;
        for (size_t from : {size_t{0}, at / 2, at}) {
          const char* begin = text.get() + from;
          const char* here = text.get() + at;
          ASSERT_EQ(FindControl(begin, end, text.get()), IsControl(c) ? here : end);
          ASSERT_EQ(FindTargetEnd(begin, end, text.get()), IsTargetChar(c) ? end : here);
          ASSERT_EQ(FindColon(begin, end, text.get()), c == ':' ? here : end);
        }
        // What is in front of the start does not count.
        ASSERT_EQ(FindControl(text.get() + at + 1, end, text.get()), end);
      }
    }
  }
}

}  // namespace
}  // namespace gatehouse::http
