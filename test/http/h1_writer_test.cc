#include "source/http/h1_writer.h"

#include <memory>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/h1_parser.h"
#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

std::string Write(const RequestHead& head, const H1RequestFraming& framing) {
  const size_t bound = RequestHeadBound(head, framing);
  auto out = std::make_unique<char[]>(bound);
  const char* end = WriteRequestHead(out.get(), head, framing);
  EXPECT_LE(static_cast<size_t>(end - out.get()), bound);
  return {out.get(), static_cast<size_t>(end - out.get())};
}

std::string Write(const ResponseHead& head, const H1ResponseFraming& framing) {
  const size_t bound = ResponseHeadBound(head, framing);
  auto out = std::make_unique<char[]>(bound);
  const char* end = WriteResponseHead(out.get(), head, framing);
  EXPECT_LE(static_cast<size_t>(end - out.get()), bound);
  return {out.get(), static_cast<size_t>(end - out.get())};
}

class RequestWriterTest : public testing::Test {
 protected:
  void Parse(std::string_view bytes) {
    H1HeadScratch scratch;
    H1HeadParser parser;
    ASSERT_EQ(parser.ParseRequest(bytes, {}, scratch), H1ParseStatus::kDone)
        << H1FaultText(scratch.fault());
    scratch.CopyTo(arena_, head_);
  }

  Arena arena_;
  RequestHead head_{arena_};
};

TEST_F(RequestWriterTest, HostFirstThenTheFieldsInOrder) {
  Parse("GET /x?y HTTP/1.1\r\nAccept:  */*\r\nX-Empty:\r\nhost: a:81\r\nX-b: c\r\n\r\n");
  EXPECT_EQ(Write(head_, H1RequestFraming::Of(head_)),
            "GET /x?y HTTP/1.1\r\nhost: a:81\r\nAccept: */*\r\nX-Empty: \r\nX-b: c\r\n\r\n");
}

TEST_F(RequestWriterTest, FramingIsOurOwn) {
  Parse(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\nConnection: keep-alive, x\r\n"
      "Keep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
      "Proxy-Authorization: x\r\nA: b\r\nExpect: 100-continue\r\n\r\n");
  H1RequestFraming framing = H1RequestFraming::Of(head_);
  EXPECT_EQ(Write(head_, framing),
            "POST / HTTP/1.1\r\nhost: a\r\nA: b\r\ncontent-length: 5\r\n"
            "expect: 100-continue\r\n\r\n");
  framing.body = BodyKind::kChunked;
  framing.expect_continue = false;
  framing.keep_alive = false;
  EXPECT_EQ(Write(head_, framing),
            "POST / HTTP/1.1\r\nhost: a\r\nA: b\r\ntransfer-encoding: chunked\r\n"
            "connection: close\r\n\r\n");
  framing.body = BodyKind::kNone;
  framing.keep_alive = true;
  EXPECT_EQ(Write(head_, framing),
            "POST / HTTP/1.1\r\nhost: a\r\nA: b\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(RequestWriterTest, BodyOfAGet) {
  Parse("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(Write(head_, H1RequestFraming::Of(head_)),
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
}

TEST_F(RequestWriterTest, UpgradeAndTrailers) {
  Parse(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\n"
      "TE: gzip, Trailers\r\nSec-WebSocket-Key: k\r\n\r\n");
  H1RequestFraming framing = H1RequestFraming::Of(head_);
  EXPECT_EQ(Write(head_, framing),
            "GET /ws HTTP/1.1\r\nhost: a\r\nSec-WebSocket-Key: k\r\nconnection: upgrade, te\r\n"
            "upgrade: websocket\r\nte: trailers\r\n\r\n");
  framing.upgrade_protocol = {};
  framing.keep_alive = false;
  EXPECT_EQ(Write(head_, framing),
            "GET /ws HTTP/1.1\r\nhost: a\r\nSec-WebSocket-Key: k\r\nconnection: close, te\r\n"
            "te: trailers\r\n\r\n");
}

TEST_F(RequestWriterTest, TargetAndHostOfTheRoute) {
  Parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  H1RequestFraming framing = H1RequestFraming::Of(head_);
  EXPECT_EQ(Write(head_, framing), "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
  framing.target = "/other?q";
  framing.host = "origin.internal";
  EXPECT_EQ(Write(head_, framing), "OPTIONS /other?q HTTP/1.1\r\nhost: origin.internal\r\n\r\n");
}

TEST_F(RequestWriterTest, RefusesWhatCouldSplitTheMessage) {
  Parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  for (std::string_view target : {"", "/a b", "/a\r\nX: y", "/a\n", "/\x7f", "/\xc3\xa9"}) {
    H1RequestFraming framing = H1RequestFraming::Of(head_);
    framing.target = target;
    EXPECT_EQ(Write(head_, framing), "");
  }
  H1RequestFraming framing = H1RequestFraming::Of(head_);
  framing.host = "a\r\nX: y";
  EXPECT_EQ(Write(head_, framing), "");
  framing = H1RequestFraming::Of(head_);
  framing.upgrade_protocol = "a\nb";
  EXPECT_EQ(Write(head_, framing), "");
}

TEST_F(RequestWriterTest, ValuesOfEverySize) {
  Parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  for (size_t size = 0; size < 200; ++size) {
    std::string value;
    for (size_t i = 0; i < size; ++i) value += static_cast<char>('a' + i % 26);
    head_.headers.Set("X", value);
    EXPECT_EQ(Write(head_, H1RequestFraming::Of(head_)),
              "GET / HTTP/1.1\r\nhost: a\r\nX: " + value + "\r\n\r\n");
  }
}

class ResponseWriterTest : public testing::Test {
 protected:
  std::string WriteTo(Method method, Version version, bool keep_alive = true) {
    return Write(head_, FrameResponse(method, version, head_, keep_alive));
  }
  std::string WriteToGet() { return WriteTo(Method::kGet, Version::kHttp11); }

  Arena arena_;
  ResponseHead head_{arena_};
};

TEST_F(ResponseWriterTest, StatusLineAndFields) {
  head_.status = 404;
  head_.body = BodyKind::kLength;
  head_.content_length = 12;
  head_.headers.Add("Content-Type", "text/plain");
  head_.headers.Add("Connection", "close");
  head_.headers.Add("Transfer-Encoding", "gzip");
  head_.headers.Add("Content-Length", "99");
  head_.headers.Add("Set-Cookie", "a");
  head_.headers.Add("Set-Cookie", "b");
  EXPECT_EQ(WriteToGet(),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\n"
            "Set-Cookie: b\r\ncontent-length: 12\r\n\r\n");
  head_.status = 299;
  head_.headers.RemoveIf([](const HeaderEntry&) { return true; });
  EXPECT_EQ(WriteToGet(), "HTTP/1.1 299 \r\ncontent-length: 12\r\n\r\n");
}

TEST_F(ResponseWriterTest, FramingByVersion) {
  head_.status = 200;
  for (BodyKind kind : {BodyKind::kChunked, BodyKind::kUntilClose}) {
    head_.body = kind;
    EXPECT_EQ(WriteToGet(), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp11, false),
              "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp10),
              "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    EXPECT_FALSE(FrameResponse(Method::kGet, Version::kHttp10, head_, true).keep_alive);
  }
  head_.body = BodyKind::kLength;
  head_.content_length = 3;
  EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp10),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n");
  EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp10, false),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n");
  head_.body = BodyKind::kNone;
  EXPECT_EQ(WriteToGet(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(ResponseWriterTest, NoBodyWhereNoneMayBe) {
  head_.status = 204;
  head_.body = BodyKind::kLength;
  head_.content_length = 3;
  EXPECT_EQ(WriteToGet(), "HTTP/1.1 204 No Content\r\n\r\n");
  head_.status = 304;
  EXPECT_EQ(WriteToGet(), "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n");
  head_.status = 200;
  EXPECT_EQ(WriteTo(Method::kHead, Version::kHttp11),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
  head_.body = BodyKind::kNone;
  EXPECT_EQ(WriteTo(Method::kHead, Version::kHttp11), "HTTP/1.1 200 OK\r\n\r\n");
  head_.has_content_length = true;
  EXPECT_EQ(WriteTo(Method::kHead, Version::kHttp11),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
  head_.body = BodyKind::kChunked;
  head_.has_content_length = false;
  EXPECT_EQ(WriteTo(Method::kHead, Version::kHttp11), "HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(WriteTo(Method::kConnect, Version::kHttp11), "HTTP/1.1 200 OK\r\n\r\n");
  head_.status = 103;
  head_.headers.Add("Link", "x");
  EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp11, false),
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
}

TEST_F(ResponseWriterTest, Upgrade) {
  head_.status = 101;
  head_.upgrade = true;
  head_.upgrade_protocol = "websocket";
  head_.headers.Add("Sec-WebSocket-Accept", "x");
  EXPECT_EQ(WriteTo(Method::kGet, Version::kHttp11, false),
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n"
            "connection: upgrade\r\nupgrade: websocket\r\n\r\n");
}

TEST_F(ResponseWriterTest, DateIfMissing) {
  head_.status = 200;
  H1ResponseFraming framing = FrameResponse(Method::kGet, Version::kHttp11, head_, true);
  framing.date = "Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(Write(head_, framing),
            "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "content-length: 0\r\n\r\n");
  head_.headers.Add("Date", "the origin's");
  EXPECT_EQ(Write(head_, framing),
            "HTTP/1.1 200 OK\r\nDate: the origin's\r\ncontent-length: 0\r\n\r\n");
}

TEST(ChunkWriterTest, Headers) {
  const auto header = [](uint64_t size) {
    char out[kMaxChunkHeader];
    return std::string(out, static_cast<size_t>(WriteChunkHeader(out, size) - out));
  };
  EXPECT_EQ(header(1), "1\r\n");
  EXPECT_EQ(header(15), "f\r\n");
  EXPECT_EQ(header(16), "10\r\n");
  EXPECT_EQ(header(16384), "4000\r\n");
  EXPECT_EQ(header(~uint64_t{0}), "ffffffffffffffff\r\n");
}

TEST(ChunkWriterTest, LastChunk) {
  const auto last = [](const HeaderMap* trailers) {
    std::string out(LastChunkBound(trailers), '?');
    out.resize(static_cast<size_t>(WriteLastChunk(out.data(), trailers) - out.data()));
    return out;
  };
  EXPECT_EQ(last(nullptr), "0\r\n\r\n");
  Arena arena;
  HeaderMap trailers(arena);
  EXPECT_EQ(last(&trailers), "0\r\n\r\n");
  trailers.Add("Grpc-Status", "0");
  trailers.Add("Transfer-Encoding", "chunked");
  EXPECT_EQ(last(&trailers), "0\r\nGrpc-Status: 0\r\n\r\n");
  EXPECT_EQ(ContinueHead(), "HTTP/1.1 100 Continue\r\n\r\n");
}

}  // namespace
}  // namespace gatehouse::http
