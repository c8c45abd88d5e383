#include "source/http/h1_body.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

using enum H1Fault;

// Whole, cut at every byte, and byte by byte; all must agree with the first.
Decoded DecodeEveryWay(std::string_view bytes, BodyKind kind, uint64_t length,
                       const H1Limits& limits) {
  const Decoded whole = DecodeInPieces(bytes, kind, length, limits, {});
  std::vector<size_t> each;
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    EXPECT_EQ(DecodeInPieces(bytes, kind, length, limits, {cut}), whole) << "cut at " << cut;
    each.push_back(cut);
  }
  EXPECT_EQ(DecodeInPieces(bytes, kind, length, limits, each), whole) << "byte by byte";
  return whole;
}

Decoded DecodeChunked(std::string_view bytes, const H1Limits& limits = {}) {
  return DecodeEveryWay(bytes, BodyKind::kChunked, 0, limits);
}

TEST(H1BodyTest, NoneAndEmpty) {
  EXPECT_EQ(DecodeEveryWay("next", BodyKind::kNone, 0, {}).status, H1BodyStatus::kDone);
  const Decoded empty = DecodeEveryWay("next", BodyKind::kLength, 0, {});
  EXPECT_EQ(empty.status, H1BodyStatus::kDone);
  EXPECT_EQ(empty.consumed, 0u);
}

TEST(H1BodyTest, Length) {
  const Decoded exact = DecodeEveryWay("hellonext", BodyKind::kLength, 5, {});
  EXPECT_EQ(exact.status, H1BodyStatus::kDone);
  EXPECT_EQ(exact.payload, "hello");
  EXPECT_EQ(exact.consumed, 5u);
  const Decoded partial = DecodeEveryWay("hel", BodyKind::kLength, 5, {});
  EXPECT_EQ(partial.status, H1BodyStatus::kNeedMore);
  EXPECT_EQ(partial.payload, "hel");
}

TEST(H1BodyTest, UntilClose) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kUntilClose, 0);
  EXPECT_EQ(decoder.Decode("abc", {}, scratch).data, "abc");
  EXPECT_EQ(decoder.Decode("", {}, scratch).status, H1BodyStatus::kNeedMore);
  EXPECT_FALSE(decoder.done());
  EXPECT_TRUE(decoder.FinishAtEof());
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(decoder.payload_bytes(), 3u);
}

TEST(H1BodyTest, EofInTheMiddleIsNoEnd) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kLength, 5);
  EXPECT_EQ(decoder.remaining(), 5u);
  EXPECT_EQ(decoder.Decode("abc", {}, scratch).status, H1BodyStatus::kData);
  EXPECT_EQ(decoder.remaining(), 2u);
  EXPECT_FALSE(decoder.FinishAtEof());
  decoder.Start(BodyKind::kChunked, 0);
  EXPECT_EQ(decoder.remaining(), 0u);
  EXPECT_EQ(decoder.Decode("10\r\nabc", {}, scratch).data, "abc");
  EXPECT_EQ(decoder.remaining(), 13u);
  EXPECT_FALSE(decoder.FinishAtEof());
  decoder.Start(BodyKind::kNone, 0);
  EXPECT_TRUE(decoder.FinishAtEof());
}

TEST(H1BodyTest, DataIsPartOfTheInput) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kChunked, 0);
  const std::string_view in = "5\r\nhello\r\n0\r\n\r\nnext";
  const H1BodyDecoder::Step data = decoder.Decode(in, {}, scratch);
  EXPECT_EQ(data.data.data(), in.data() + 3);
  EXPECT_EQ(data.consumed, 8u);
  const H1BodyDecoder::Step end = decoder.Decode(in.substr(data.consumed), {}, scratch);
  EXPECT_EQ(end.status, H1BodyStatus::kDone);
  EXPECT_EQ(end.consumed, 7u);
  EXPECT_FALSE(decoder.has_trailers());
}

TEST(H1BodyTest, Chunks) {
  struct Row {
    std::string_view bytes;
    std::string_view payload;
    std::string_view trailers;
  };
  constexpr Row kRows[] = {
      {"0\r\n\r\n", "", ""},
      {"5\r\nhello\r\n0\r\n\r\n", "hello", ""},
      {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ""},
      {"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ""},
      {"0000000000000005\r\nhello\r\n0000\r\n\r\n", "hello", ""},
      {"5;ext\r\nhello\r\n0;a=\"b; c\"\r\n\r\n", "hello", ""},
      {"5;\r\nhello\r\n0\r\n\r\n", "hello", ""},
      {"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", ""},
      {"1\r\nx\r\n0\r\nA: 1\r\nHost: b\r\nB: 2\r\n\r\n", "x", "[A: 1][B: 2]"},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.bytes);
    const Decoded decoded = DecodeChunked(row.bytes);
    EXPECT_EQ(decoded.status, H1BodyStatus::kDone);
    EXPECT_EQ(decoded.payload, row.payload);
    EXPECT_EQ(decoded.trailers, row.trailers);
    EXPECT_EQ(decoded.consumed, row.bytes.size());
    const Decoded followed = DecodeChunked(std::string(row.bytes) + "GET / HTTP/1.1\r\n");
    EXPECT_EQ(followed.consumed, row.bytes.size());
    EXPECT_EQ(followed.trailers, row.trailers);
  }
}

TEST(H1BodyTest, BrokenChunks) {
  struct Row {
    std::string_view bytes;
    H1Fault fault;
  };
  constexpr Row kRows[] = {
      {"\r\n", kBadChunkSize},
      {"x\r\n", kBadChunkSize},
      {"-5\r\n", kBadChunkSize},
      {"+5\r\n", kBadChunkSize},
      {" 5\r\n", kBadChunkSize},
      {"0x5\r\n", kBadChunkSize},
      {";a\r\n", kBadChunkSize},
      {"5 \r\nhello\r\n", kBadChunkSize},
      {"5 ;a\r\nhello\r\n", kBadChunkSize},
      {"5,\r\nhello\r\n", kBadChunkSize},
      {"5\nhello\r\n", kBareLf},
      {"5\rhello\r\n", kBareCr},
      {"5\r\r\nhello\r\n", kBareCr},
      {"5;a\nhello\r\n", kBareLf},
      {"5;a\rb\r\nhello\r\n", kBareCr},
      {"5;a\x01\r\nhello\r\n", kControlCharacter},
      {"8000000000000000\r\n", kChunkSizeOverflow},
      {"ffffffffffffffff\r\n", kChunkSizeOverflow},
      {"00000000000000005\r\n", kChunkSizeOverflow},
      {"10000000000000000\r\n", kChunkSizeOverflow},
      {"5\r\nhelloX\r\n", kBadChunkEnd},
      {"5\r\nhello\n0\r\n\r\n", kBadChunkEnd},
      {"5\r\nhello\rX", kBadChunkEnd},
      {"5\r\nhello0\r\n\r\n", kBadChunkEnd},
      {"0\r\n\rX", kBareCr},
      {"0\r\n\n", kBareLf},
      {"0\r\nA: 1\n\r\n", kBareLf},
      {"0\r\nA: 1\r\n B\r\n\r\n", kLineFolding},
      {"0\r\nA : 1\r\n\r\n", kSpaceBeforeColon},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.bytes);
    const Decoded decoded = DecodeChunked(row.bytes);
    EXPECT_EQ(decoded.status, H1BodyStatus::kError);
    EXPECT_EQ(H1FaultText(decoded.fault), H1FaultText(row.fault));
  }
}

TEST(H1BodyTest, LargestChunkSize) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kChunked, 0);
  EXPECT_EQ(decoder.Decode("7fffffffffffffff\r\nx", {}, scratch).data, "x");
  EXPECT_EQ(decoder.remaining(), 0x7ffffffffffffffeu);
}

TEST(H1BodyTest, ExtensionsAreCappedTogether) {
  H1Limits limits;
  limits.max_chunk_extra_bytes = 10;
  EXPECT_EQ(DecodeChunked("1;aaaa\r\nx\r\n1;bbbb\r\nx\r\n0\r\n\r\n", limits).status,
            H1BodyStatus::kDone);
  EXPECT_EQ(DecodeChunked("1;aaaa\r\nx\r\n1;bbbbb\r\nx\r\n0\r\n\r\n", limits).fault,
            kChunkExtensionsTooLarge);
  EXPECT_EQ(DecodeChunked("1;" + std::string(100, 'x'), limits).fault, kChunkExtensionsTooLarge);
}

TEST(H1BodyTest, TrailersAreCapped) {
  H1Limits limits;
  limits.max_trailer_bytes = 20;
  EXPECT_EQ(DecodeChunked("0\r\nA: 0123456789012\r\n\r\n", limits).status, H1BodyStatus::kDone);
  EXPECT_EQ(DecodeChunked("0\r\nA: 01234567890123\r\n\r\n", limits).fault, kTrailersTooLarge);
  EXPECT_EQ(DecodeChunked("0\r\n" + std::string(1000, 'x'), limits).fault, kTrailersTooLarge);
}

TEST(H1BodyTest, ErrorsAreOfTheSideThatSent) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kChunked, 0);
  EXPECT_EQ(decoder.Decode("x", {}, scratch).status, H1BodyStatus::kError);
  EXPECT_EQ(decoder.error(), Error::Downstream(Error::What::kBadRequest));
  EXPECT_EQ(decoder.Decode("5\r\n", {}, scratch).status, H1BodyStatus::kError);
  decoder.Start(BodyKind::kChunked, 0, Error::Where::kUpstream);
  EXPECT_EQ(decoder.Decode("x", {}, scratch).status, H1BodyStatus::kError);
  EXPECT_EQ(decoder.error(), Error::Upstream(Error::What::kUpstreamProtocolError));
  H1Limits limits;
  limits.max_trailer_bytes = 4;
  decoder.Start(BodyKind::kChunked, 0);
  EXPECT_EQ(decoder.Decode("0\r\nA: 1\r\n\r\n", limits, scratch).status, H1BodyStatus::kError);
  EXPECT_EQ(decoder.error(), Error::Downstream(Error::What::kHeadersTooLarge));
  decoder.Start(BodyKind::kChunked, 0, Error::Where::kUpstream);
  EXPECT_EQ(decoder.Decode("0\r\nA: 1\r\n\r\n", limits, scratch).status, H1BodyStatus::kError);
  EXPECT_EQ(decoder.error(), Error::Upstream(Error::What::kResponseTooLarge));
}

TEST(H1BodyTest, TrailersOutliveOtherUsesOfTheScratch) {
  H1BodyDecoder decoder;
  H1HeadScratch scratch;
  decoder.Start(BodyKind::kChunked, 0);
  ASSERT_EQ(decoder.Decode("0\r\nA: 1\r\n\r\n", {}, scratch).status, H1BodyStatus::kDone);
  H1HeadParser other;
  ASSERT_EQ(other.ParseRequest("GET / HTTP/1.1\r\nHost: x\r\n\r\n", {}, scratch),
            H1ParseStatus::kDone);
  Arena arena;
  HeaderMap trailers(arena);
  ASSERT_TRUE(decoder.has_trailers());
  decoder.TakeTrailers({}, scratch, trailers);
  EXPECT_EQ(trailers.Get("a"), "1");
  EXPECT_FALSE(decoder.has_trailers());
}

}  // namespace
}  // namespace gatehouse::http
