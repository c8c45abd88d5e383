#include "source/http/names.h"

#include <cctype>
#include <string>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

TEST(NamesTest, EveryNameIsFoundInAnyCase) {
  for (size_t i = 1; i < kNameCount; ++i) {
    const auto name = static_cast<Name>(i);
    const std::string text(NameText(name));
    ASSERT_FALSE(text.empty()) << i;
    EXPECT_EQ(FindName(text), name) << text;
    EXPECT_EQ(FindName(Upper(text)), name) << text;
    std::string mixed = text;
    mixed[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(mixed[0])));
    EXPECT_EQ(FindName(mixed), name) << text;
  }
}

TEST(NamesTest, NothingElseIsFound) {
  EXPECT_EQ(FindName(""), Name::kUnknown);
  EXPECT_EQ(FindName("a"), Name::kUnknown);
  EXPECT_EQ(FindName("x-something"), Name::kUnknown);
  EXPECT_EQ(FindName(std::string(39, '-')), Name::kUnknown);
  EXPECT_EQ(FindName(std::string(1000, 'x')), Name::kUnknown);
  EXPECT_EQ(NameText(Name::kUnknown), "");
  EXPECT_EQ(FindName("x_user_id"), Name::kUnknown);
}

// Each byte replaced by each other one: found only when the two differ in the case of a letter.
TEST(NamesTest, OneWrongByteIsEnough) {
  for (size_t i = 1; i < kNameCount; ++i) {
    const std::string text(NameText(static_cast<Name>(i)));
    for (size_t at = 0; at < text.size(); ++at) {
      for (int c = 0; c < 256; ++c) {
        std::string other = text;
        other[at] = static_cast<char>(c);
        const bool same =
            std::isalpha(static_cast<unsigned char>(text[at])) != 0 && std::tolower(c) == text[at];
        if (c == static_cast<unsigned char>(text[at]) || same) continue;
        const Name found = FindName(other);
        EXPECT_TRUE(found == Name::kUnknown || EqualsIgnoreCase(NameText(found), other))
            << text << " with byte " << c << " at " << at;
      }
    }
    EXPECT_NE(FindName(text.substr(1)), static_cast<Name>(i));
    EXPECT_NE(FindName(text + "x"), static_cast<Name>(i));
  }
}

TEST(NamesTest, Sets) {
  constexpr NameSet kSet({Name::kHost, Name::kGrpcTimeout, Name::kVia});
  for (size_t i = 0; i < kNameCount; ++i) {
    const auto name = static_cast<Name>(i);
    EXPECT_EQ(kSet.Has(name),
              name == Name::kHost || name == Name::kGrpcTimeout || name == Name::kVia);
  }
  EXPECT_TRUE(kHopByHopNames.Has(Name::kConnection));
  EXPECT_FALSE(kHopByHopNames.Has(Name::kUnknown));
}

TEST(NamesTest, EqualsIgnoreCase) {
  EXPECT_TRUE(EqualsIgnoreCase("", ""));
  EXPECT_TRUE(EqualsIgnoreCase("Keep-Alive", "kEEP-aLIVE"));
  EXPECT_FALSE(EqualsIgnoreCase("a", "ab"));
  EXPECT_FALSE(EqualsIgnoreCase("-", "\r"));  // differ in bit 5 only
  EXPECT_FALSE(EqualsIgnoreCase("@", "`"));
  EXPECT_FALSE(EqualsIgnoreCase("[", "{"));
}

}  // namespace
}  // namespace gatehouse::http
