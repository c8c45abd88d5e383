#include "source/config/text_scalars.h"

#include <limits>

#include "gtest/gtest.h"

namespace gatehouse::config {
namespace {

using std::chrono::nanoseconds;

int64_t Duration(std::string_view text) {
  nanoseconds value{};
  return ParseDuration(text, &value).empty() ? value.count() : -1;
}

TEST(TextScalarsTest, Durations) {
  EXPECT_EQ(Duration("2s"), 2'000'000'000);
  EXPECT_EQ(Duration("150ms"), 150'000'000);
  EXPECT_EQ(Duration("1m30s"), 90'000'000'000);
  EXPECT_EQ(Duration("1h"), 3'600'000'000'000);
  EXPECT_EQ(Duration("500us"), 500'000);
  EXPECT_EQ(Duration("7ns"), 7);
  EXPECT_EQ(Duration("0"), 0);
  EXPECT_EQ(Duration("0s"), 0);
  EXPECT_EQ(Duration("1.5s"), 1'500'000'000);
  EXPECT_EQ(Duration("0.000000001s"), 1);
  EXPECT_EQ(Duration("2d"), 172'800'000'000'000);
  for (const std::string_view wrong :
       {"", "2", "s", "2 s", "-2s", "2sec", "30s1m", "1s1s", "1.s", ".5s", "1e3s", "0.5ns",
        "1000000000h", "99999999999999999999999s", "2S", "١s"}) {
    EXPECT_EQ(Duration(wrong), -1) << wrong;
  }
}

TEST(TextScalarsTest, DurationsAreWrittenAsTheyAreRead) {
  for (const std::string_view text :
       {"2s", "150ms", "1m30s", "1h", "500us", "0s", "1h1ns", "36h"}) {
    EXPECT_EQ(FormatDuration(nanoseconds(Duration(text))), text);
  }
  EXPECT_EQ(FormatDuration(nanoseconds(-1)), "-1ns");
  EXPECT_FALSE(FormatDuration(nanoseconds::min()).empty());
}

uint64_t Size(std::string_view text) {
  uint64_t value = 0;
  return ParseSize(text, &value).empty() ? value : 1234567;
}

TEST(TextScalarsTest, Sizes) {
  EXPECT_EQ(Size("64KiB"), 65536u);
  EXPECT_EQ(Size("1MiB"), 1048576u);
  EXPECT_EQ(Size("10MB"), 10'000'000u);
  EXPECT_EQ(Size("512B"), 512u);
  EXPECT_EQ(Size("4096"), 4096u);
  EXPECT_EQ(Size("1.5MiB"), 1572864u);
  EXPECT_EQ(Size("1 GiB"), 1073741824u);
  EXPECT_EQ(Size("16777215TiB"), 18446742974197923840u);
  for (const std::string_view wrong :
       {"", "KiB", "64K", "64kib", "-1", "0.3B", "16777216TiB", "1e3", "1 KiB ", "0x10"}) {
    EXPECT_EQ(Size(wrong), 1234567u) << wrong;
  }
  for (const std::string_view text : {"64KiB", "1MiB", "10MB", "513B", "0B", "3TiB", "5GB"}) {
    EXPECT_EQ(FormatSize(Size(text)), text);
  }
}

TEST(TextScalarsTest, Ratios) {
  double value = 0;
  EXPECT_EQ(ParseRatio("5%", &value), "");
  EXPECT_DOUBLE_EQ(value, 0.05);
  EXPECT_EQ(ParseRatio("0.25", &value), "");
  EXPECT_DOUBLE_EQ(value, 0.25);
  EXPECT_EQ(ParseRatio("100%", &value), "");
  EXPECT_DOUBLE_EQ(value, 1);
  EXPECT_EQ(ParseRatio("5", &value),
            "expected a ratio from 0 to 1 such as 0.05, or 5%; for 5 percent write 5%");
  for (const std::string_view wrong : {"", "%", "-1%", "101%", "x", "1.1.1", "nan", "inf", "5 %"}) {
    EXPECT_NE(ParseRatio(wrong, &value), "") << wrong;
  }
}

TEST(TextScalarsTest, Rates) {
  for (const std::string_view text :
       {"10/s", "600/m", "5000/h", "1/d", "20/30s", "5/100ms", "0/s"}) {
    RateValue rate;
    EXPECT_EQ(ParseRate(text, &rate), "") << text;
    EXPECT_EQ(FormatRate(rate), text);
  }
  RateValue rate;
  for (const std::string_view wrong :
       {"", "10", "/s", "10/", "-1/s", "1.5/s", "10/0s", "10/x", "10/s/s", "10 / s"}) {
    EXPECT_NE(ParseRate(wrong, &rate), "") << wrong;
  }
}

TEST(TextScalarsTest, WholeNumbers) {
  const auto parse = [](std::string_view text) -> std::string {
    int64_t value = 0;
    std::string wrong = ParseSigned(text, std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<int64_t>::max(), &value);
    return wrong.empty() ? std::to_string(value) : wrong;
  };
  EXPECT_EQ(parse("12"), "12");
  EXPECT_EQ(parse("-12"), "-12");
  EXPECT_EQ(parse("+12"), "12");
  EXPECT_EQ(parse("1e3"), "1000");
  EXPECT_EQ(parse("1.5e1"), "15");
  EXPECT_EQ(parse("2.0"), "2");
  EXPECT_EQ(parse("1200e-2"), "12");
  EXPECT_EQ(parse("0e999999"), "0");
  EXPECT_EQ(parse("0x1F"), "31");
  EXPECT_EQ(parse("0o17"), "15");
  EXPECT_EQ(parse("9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(parse("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(parse("9223372036854775808"),
            "must be from -9223372036854775808 to 9223372036854775807");
  EXPECT_EQ(parse("99999999999999999999"), "the number is out of range");
  EXPECT_EQ(parse("1e30"), "the number is out of range");
  EXPECT_EQ(parse("1.5"), "expected a whole number");
  EXPECT_EQ(parse("1e-1"), "expected a whole number");
  EXPECT_EQ(parse(""), "expected a number");
  EXPECT_EQ(parse("1e99999999999"), "expected a number");
  uint64_t value = 0;
  EXPECT_EQ(ParseUnsigned("18446744073709551615", UINT64_MAX, &value), "");
  EXPECT_EQ(value, UINT64_MAX);
  EXPECT_EQ(ParseUnsigned("-0", 10, &value), "");
  EXPECT_EQ(ParseUnsigned("-1", 10, &value), "must be from 0 to 10");
  EXPECT_EQ(ParseUnsigned("11", 10, &value), "must be from 0 to 10");
  double number = 0;
  EXPECT_EQ(ParseDouble("+.5", &number), "");
  EXPECT_DOUBLE_EQ(number, 0.5);
  EXPECT_EQ(ParseDouble("1e999", &number), "the number is out of range");
  EXPECT_EQ(ParseDouble("nan", &number), "expected a number");
}

}  // namespace
}  // namespace gatehouse::config
