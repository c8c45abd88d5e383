#include "source/upstream/grpc_health.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse::upstream {
namespace {

using std::string_view_literals::operator""sv;

TEST(GrpcHealthTest, Requests) {
  EXPECT_EQ(EncodeHealthCheckRequest(""), "\0\0\0\0\0"sv);
  EXPECT_EQ(EncodeHealthCheckRequest("shop"), "\0\0\0\0\6\x0a\4shop"sv);
  const std::string name(300, 'x');
  EXPECT_EQ(EncodeHealthCheckRequest(name), std::string("\0\0\0\1\x2f\x0a\xac\2"sv) + name);
}

TEST(GrpcHealthTest, Responses) {
  EXPECT_EQ(DecodeHealthCheckResponse(""), ServingStatus::kUnknown);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\0"sv), ServingStatus::kUnknown);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\1"sv), ServingStatus::kServing);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\2"sv), ServingStatus::kNotServing);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\3"sv), ServingStatus::kServiceUnknown);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\4"sv), ServingStatus::kUnknown);
  // -1 as an enum.
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"sv),
            ServingStatus::kUnknown);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\1\x08\2"sv), ServingStatus::kNotServing);
}

TEST(GrpcHealthTest, OtherFieldsAreSkipped) {
  const std::string_view others =
      "\x10\x96\1"             // varint
      "\x19\1\2\3\4\5\6\7\10"  // 64 bits
      "\x22\3abc"              // bytes
      "\x2d\1\2\3\4"           // 32 bits
      "\x0a\1x"sv;             // field 1, but bytes
  EXPECT_EQ(DecodeHealthCheckResponse(std::string(others) + "\x08\1"), ServingStatus::kServing);
  EXPECT_EQ(DecodeHealthCheckResponse("\x08\1" + std::string(others)), ServingStatus::kServing);
}

TEST(GrpcHealthTest, WhatIsCutOffOrBrokenIsNoMessage) {
  for (const std::string_view message :
       {"\x08"sv, "\x08\x80"sv, "\x10"sv, "\x19\1\2"sv, "\x22\3ab"sv, "\x22"sv, "\x2d\1\2\3"sv,
        "\x0b"sv, "\x0c"sv, "\x0e"sv, "\0\1"sv, "\x80"sv,
        "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"sv,
        "\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"sv}) {
    EXPECT_EQ(DecodeHealthCheckResponse(message), std::nullopt) << testing::PrintToString(message);
  }
}

}  // namespace
}  // namespace gatehouse::upstream
