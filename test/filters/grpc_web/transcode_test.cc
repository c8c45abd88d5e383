#include "source/filters/grpc_web/transcode.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/crypto.h"

namespace gatehouse::filters {
namespace {

std::string TextOf(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

class TranscodeTest : public ::testing::Test {
 protected:
  // `pieces` one after the other; "!" when it is malformed, "?" when its end is missing.
  std::string Decode(const std::vector<std::string_view>& pieces) {
    TextDecoder decoder;
    std::string bytes;
    for (const std::string_view piece : pieces) {
      Chain data;
      // Two slices, so that groups are split in a chain, too.
      data.Append(Slice::Unowned(piece.substr(0, piece.size() / 2)));
      data.Append(Slice::Unowned(piece.substr(piece.size() / 2)));
      if (!decoder.Decode(data, pool_)) return "!";
      bytes += TextOf(data);
    }
    return decoder.complete() ? bytes : bytes + "?";
  }

  SlabPool pool_;
};

TEST_F(TranscodeTest, TextMayEndAnywhereAndBePaddedAnywhere) {
  const std::string text = "aGVsbG8=IHdvcmxkIQ==eA==YWJj";
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t j = i; j <= text.size(); ++j) {
      const std::string_view view = text;
      EXPECT_EQ(Decode({view.substr(0, i), view.substr(i, j - i), view.substr(j)}),
                "hello world!xabc");
    }
  }
  std::vector<std::string_view> bytes;
  for (const char& c : text) bytes.emplace_back(&c, 1);
  EXPECT_EQ(Decode(bytes), "hello world!xabc");
  EXPECT_EQ(Decode({}), "");
}

TEST_F(TranscodeTest, WhatIsNoBase64IsRefused) {
  for (const std::string_view text : {"aGVs\nbG8=", "aGV_", "=aaa", "a=aa", "aa=a",
                                      "====", "a===", "aGVsbG9=", "aGVs bG8=", "\xc3\xa9 aa"}) {
    EXPECT_EQ(Decode({text}), "!") << text;
    std::vector<std::string_view> bytes;
    for (const char& c : text) bytes.emplace_back(&c, 1);
    EXPECT_EQ(Decode(bytes), "!") << text;
  }
  EXPECT_EQ(Decode({"aGVsb"}), "hel?");
  EXPECT_EQ(Decode({"aGVsbG8"}), "hel?");
}

TEST_F(TranscodeTest, LongTextsGoThroughManySlabs) {
  std::string bytes;
  for (int i = 0; i < 100000; ++i) bytes += static_cast<char>(i * 7);
  const std::string text = Base64Encode(bytes, Base64::kStandard);
  EXPECT_EQ(Decode({text}), bytes);
  Chain data;
  data.Append(Slice::Unowned(std::string_view(bytes).substr(0, 40001)));
  data.Append(Slice::Unowned(std::string_view(bytes).substr(40001)));
  EncodeText(data, pool_);
  EXPECT_EQ(TextOf(data), text);
}

TEST_F(TranscodeTest, SlicesAreEncodedAsOne) {
  const std::string bytes = "hello world!!";
  for (size_t i = 0; i <= bytes.size(); ++i) {
    for (size_t j = i; j <= bytes.size(); ++j) {
      const std::string_view view = bytes;
      Chain data;
      data.Append(Slice::Unowned(view.substr(0, i)));
      data.Append(Slice::Unowned(view.substr(i, j - i)));
      data.Append(Slice::Unowned(view.substr(j)));
      EncodeText(data, pool_);
      EXPECT_EQ(TextOf(data), "aGVsbG8gd29ybGQhIQ==");
    }
  }
  Chain none;
  EncodeText(none, pool_);
  EXPECT_TRUE(none.empty());
}

TEST_F(TranscodeTest, Frames) {
  Arena arena;
  http::HeaderMap fields(arena);
  EXPECT_EQ(TrailerFrame(fields, FrameOf::kAll, arena), "");
  fields.Add("Content-Type", "application/grpc");
  EXPECT_EQ(TrailerFrame(fields, FrameOf::kStatus, arena), "");
  fields.Add("Grpc-Status", "5");
  fields.Add("grpc-message", "not here");
  fields.Add("Grpc-Status-Details-Bin", "CAU");
  fields.Add("X-Count", "");
  EXPECT_EQ(TrailerFrame(fields, FrameOf::kStatus, arena),
            std::string("\x80\0\0\0\x43", 5) +
                "grpc-status:5\r\ngrpc-message:not here\r\ngrpc-status-details-bin:CAU\r\n");
  EXPECT_EQ(TrailerFrame(fields, FrameOf::kAll, arena).size(), 5 + 0x43 + 31 + 10u);
}

}  // namespace
}  // namespace gatehouse::filters
