#include "source/http/grpc_frame.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::http {
namespace {

using Result = GrpcFrameDecoder::Result;

std::string TextOf(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}
std::string Frame(std::string_view message, char flag = 0) {
  char prefix[kGrpcPrefix];
  WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
  prefix[0] = flag;
  return std::string(prefix, kGrpcPrefix) + std::string(message);
}

// The messages of the pieces, "," behind each, and what it ended with.
std::string Decode(const std::vector<std::string_view>& pieces, size_t limit = 100) {
  GrpcFrameDecoder decoder(limit);
  std::string read;
  for (const std::string_view piece : pieces) {
    Chain data;
    data.Append(Slice::Unowned(piece));
    Chain message;
    Result result;
    while ((result = decoder.Next(data, message)) == Result::kMessage) {
      read += TextOf(message) + ",";
    }
    if (result == Result::kNeedMore) {
      EXPECT_TRUE(data.empty());
      continue;
    }
    EXPECT_EQ(decoder.Next(data, message), result);
    EXPECT_FALSE(decoder.at_boundary());
    return read + (result == Result::kTooLarge     ? "too large"
                   : result == Result::kCompressed ? "compressed"
                                                   : "malformed");
  }
  return read + (decoder.at_boundary() ? "" : "?");
}

TEST(GrpcFrameTest, Prefix) {
  char prefix[kGrpcPrefix];
  WriteGrpcPrefix(0x01020304, prefix);
  EXPECT_EQ(std::string_view(prefix, kGrpcPrefix), std::string_view("\0\1\2\3\4", 5));
  SlabPool pool;
  Chain chain;
  AppendGrpcMessage("abc", chain, pool);
  AppendGrpcMessage("", chain, pool);
  EXPECT_EQ(TextOf(chain), Frame("abc") + Frame(""));
}

TEST(GrpcFrameTest, MessagesAreFoundHoweverTheyCome) {
  const std::string bytes = Frame("abc") + Frame("") + Frame("hello world");
  const std::string_view view = bytes;
  EXPECT_EQ(Decode({}), "");
  for (size_t i = 0; i <= bytes.size(); ++i) {
    for (size_t j = i; j <= bytes.size(); ++j) {
      EXPECT_EQ(Decode({view.substr(0, i), view.substr(i, j - i), view.substr(j)}),
                "abc,,hello world,");
    }
    const bool boundary = i == 0 || i == 8 || i == 13 || i == bytes.size();
    EXPECT_EQ(Decode({view.substr(0, i)}).ends_with('?'), !boundary) << i;
  }
}

TEST(GrpcFrameTest, WhatIsRefused) {
  EXPECT_EQ(Decode({Frame("abc"), Frame("abc", 1)}), "abc,compressed");
  EXPECT_EQ(Decode({Frame("abc", 2)}), "malformed");
  EXPECT_EQ(Decode({Frame("abc", '\x80')}), "malformed");
  EXPECT_EQ(Decode({Frame("abcd")}, 4), "abcd,");
  // Before any of it has come.
  EXPECT_EQ(Decode({Frame("abcde").substr(0, 5)}, 4), "too large");
  EXPECT_EQ(Decode({std::string_view("\0\xff\xff\xff\xff", 5)}), "too large");
}

TEST(GrpcFrameTest, Status) {
  EXPECT_EQ(ParseGrpcStatus("0"), GrpcStatus::kOk);
  EXPECT_EQ(ParseGrpcStatus("16"), GrpcStatus::kUnauthenticated);
  EXPECT_EQ(ParseGrpcStatus("17"), GrpcStatus::kUnknown);
  EXPECT_EQ(ParseGrpcStatus("99999999999999999999"), GrpcStatus::kUnknown);
  for (const char* text : {"", "-1", "+1", " 0", "0 ", "x", "0x1", "1.0"}) {
    EXPECT_EQ(ParseGrpcStatus(text), std::nullopt) << text;
  }
}

TEST(GrpcFrameTest, Messages) {
  Arena arena;
  EXPECT_EQ(EncodeGrpcMessage("not 100% \xc3\xa9\r\n", arena), "not 100%25 %C3%A9%0D%0A");
  EXPECT_EQ(DecodeGrpcMessage("not 100%25 %C3%a9%0D%0A", arena), "not 100% \xc3\xa9\r\n");
  EXPECT_EQ(DecodeGrpcMessage("plain", arena), "plain");
  // Not an error.
  EXPECT_EQ(DecodeGrpcMessage("100%", arena), "100%");
  EXPECT_EQ(DecodeGrpcMessage("%4", arena), "%4");
  EXPECT_EQ(DecodeGrpcMessage("%zz%4x%%41", arena), "%zz%4x%A");
}

std::string Format(int64_t micros) {
  char out[kMaxGrpcTimeout];
  return {out, FormatGrpcTimeout(Duration(micros), out)};
}

TEST(GrpcFrameTest, TimeoutsAreParsed) {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  using std::chrono::minutes;
  using std::chrono::seconds;
  EXPECT_EQ(ParseGrpcTimeout("100m"), Duration(milliseconds(100)));
  EXPECT_EQ(ParseGrpcTimeout("1S"), Duration(seconds(1)));
  EXPECT_EQ(ParseGrpcTimeout("2M"), Duration(minutes(2)));
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), Duration(hours(99'999'999)));
  EXPECT_EQ(ParseGrpcTimeout("7u"), Duration(7));
  EXPECT_EQ(ParseGrpcTimeout("1000n"), Duration(1));
  EXPECT_EQ(ParseGrpcTimeout("1001n"), Duration(2));
  EXPECT_EQ(ParseGrpcTimeout("0n"), Duration(1));
  EXPECT_EQ(ParseGrpcTimeout("0S"), Duration(1));
  EXPECT_EQ(ParseGrpcTimeout("00000001S"), Duration(seconds(1)));
  for (const char* text : {"", "1", "S", "100000000S", "1s", "1h", "-1S", "+1S", " 1S", "1 S",
                           "1S ", "1.5S", "0x1S", "1SS"}) {
    EXPECT_EQ(ParseGrpcTimeout(text), std::nullopt) << text;
  }
}

TEST(GrpcFrameTest, TimeoutsAreWritten) {
  EXPECT_EQ(Format(100'000), "100m");
  EXPECT_EQ(Format(1'000'000), "1S");
  EXPECT_EQ(Format(120'000'000), "2M");
  EXPECT_EQ(Format(7'200'000'000), "2H");
  EXPECT_EQ(Format(1'234'567), "1234567u");
  EXPECT_EQ(Format(99'999'999), "99999999u");
  // Rounded up where the digits end.
  EXPECT_EQ(Format(100'000'001), "100001m");
  EXPECT_EQ(Format(1), "1u");
  EXPECT_EQ(Format(0), "1u");
  EXPECT_EQ(Format(-5), "1u");
  EXPECT_EQ(Format(INT64_MAX), "99999999H");
}

}  // namespace
}  // namespace gatehouse::http
