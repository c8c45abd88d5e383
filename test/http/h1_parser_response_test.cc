// Responses and trailers through the parser of source/http/h1_parser.h.
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/h1_parser.h"
#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

using What = Error::What;
using enum H1Fault;

struct Good {
  std::string_view bytes;
  Method method;
  std::string_view text;
};

constexpr Method kGet = Method::kGet;

constexpr Good kGood[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", kGet,
     "200 1.1 body length 5 announced keep-alive [Content-Length: 5]"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kGet,
     "200 1.1 body chunked 0 keep-alive [Transfer-Encoding: chunked]"},
    {"HTTP/1.1 200 OK\r\n\r\n", kGet, "200 1.1 body until close 0 close "},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", kGet,
     "200 1.0 body length 5 announced close [Content-Length: 5]"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", kGet,
     "200 1.0 body length 5 announced keep-alive [Content-Length: 5][Connection: keep-alive]"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", kGet,
     "200 1.1 body length 5 announced close [Content-Length: 5][Connection: close]"},
    // The reason may be missing, empty, or anything.
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", kGet,
     "200 1.1 body length 0 announced keep-alive [Content-Length: 0]"},
    {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", kGet,
     "200 1.1 body length 0 announced keep-alive [Content-Length: 0]"},
    {"HTTP/1.1 299  Tr\xc3\xa8s\tbien\r\nContent-Length: 0\r\n\r\n", kGet,
     "299 1.1 body length 0 announced keep-alive [Content-Length: 0]"},
    {"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", kGet,
     "999 1.1 body length 0 announced keep-alive [Content-Length: 0]"},
    // Equal lengths are one.
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", kGet,
     "200 1.1 body length 5 announced keep-alive [Content-Length: 5][Content-Length: 5]"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", kGet,
     "200 1.1 body length 5 announced keep-alive [Content-Length: 5, 5]"},
    // Names with '_' are the origin's affair.
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA_B: 1\r\n\r\n", kGet,
     "200 1.1 body length 0 announced keep-alive [Content-Length: 0][A_B: 1]"},
    // No body, whatever the fields say.
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::kHead,
     "200 1.1 body none 5 announced keep-alive [Content-Length: 5]"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::kHead,
     "200 1.1 body none 0 keep-alive [Transfer-Encoding: chunked]"},
    {"HTTP/1.1 200 OK\r\n\r\n", Method::kHead, "200 1.1 body none 0 keep-alive "},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", kGet,
     "304 1.1 body none 5 announced keep-alive [Content-Length: 5]"},
    {"HTTP/1.1 204 No Content\r\n\r\n", kGet, "204 1.1 body none 0 keep-alive "},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", kGet,
     "204 1.1 body none 0 keep-alive [Content-Length: 0]"},
    // Bytes that might follow must not become the next response.
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", kGet,
     "204 1.1 body none 5 close [Content-Length: 5]"},
    {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", kGet,
     "204 1.1 body none 0 close [Transfer-Encoding: chunked]"},
    {"HTTP/1.1 100 Continue\r\n\r\n", kGet, "100 1.1 body none 0 keep-alive "},
    {"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", kGet,
     "103 1.1 body none 0 keep-alive [Link: </a.css>]"},
    {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", kGet,
     "101 1.1 body none 0 close upgrade [Connection: upgrade][Upgrade: websocket]"},
    {"HTTP/1.1 200 OK\r\n\r\n", Method::kConnect, "200 1.1 body none 0 keep-alive "},
    {"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n", Method::kConnect,
     "403 1.1 body length 2 announced keep-alive [Content-Length: 2]"},
};

TEST(H1ResponseTest, AcceptsWhatIsFine) {
  for (const Good& row : kGood) {
    SCOPED_TRACE(row.bytes);
    std::string differs;
    const Parsed parsed = ParseResponseEveryWay(row.bytes, row.method, H1Limits(), differs);
    EXPECT_EQ(parsed.status, H1ParseStatus::kDone) << H1FaultText(parsed.fault);
    EXPECT_EQ(parsed.text, row.text);
    EXPECT_EQ(parsed.consumed, row.bytes.size());
    EXPECT_EQ(differs, "");
  }
}

struct Bad {
  std::string_view bytes;
  H1Fault fault;
};

constexpr Bad kBad[] = {
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", kBareCr},
    {"ICY 200 OK\r\n\r\n", kBadVersion},
    {"<html>", kBadVersion},
    {"HTTP/2.0 200 OK\r\n\r\n", kUnsupportedVersion},
    {"HTTP/1.1\t200 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1  200 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 20 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 2000 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 099 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 +20 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 2x0 OK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 200\tOK\r\n\r\n", kBadStatusLine},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", kControlCharacter},
    {"HTTP/1.1 200 OK\n\n", kBareLf},
    {"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", kSpaceBeforeColon},
    {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", kLineFolding},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     kLengthAndTransferEncoding},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kTransferEncodingInHttp10},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", kBadTransferEncoding},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", kUnsupportedTransferCoding},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", kSeveralContentLengths},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", kSeveralContentLengths},
    {"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", kBadContentLength},
    {"HTTP/1.1 200 OK\r\nContent-Length: ,\r\n\r\n", kBadContentLength},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length:\r\n\r\n", kBadContentLength},
    {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", kBadContentLength},
    {"HTTP/1.1 204 OK\r\nContent-Length: x\r\n\r\n", kBadContentLength},
};

TEST(H1ResponseTest, RefusesWhatIsNot) {
  for (const Bad& row : kBad) {
    SCOPED_TRACE(row.bytes);
    std::string differs;
    const Parsed parsed = ParseResponseEveryWay(row.bytes, kGet, H1Limits(), differs);
    EXPECT_EQ(parsed.status, H1ParseStatus::kError) << parsed.text;
    EXPECT_EQ(parsed.error, Error::Upstream(What::kUpstreamProtocolError));
    EXPECT_EQ(H1FaultText(parsed.fault), H1FaultText(row.fault));
    EXPECT_EQ(differs, "");
  }
}

TEST(H1ResponseTest, TooLarge) {
  H1Limits limits;
  limits.max_head_bytes = 100;
  std::string differs;
  const std::string bytes = "HTTP/1.1 200 OK\r\nA: " + std::string(100, 'a') + "\r\n\r\n";
  EXPECT_EQ(ParseResponseEveryWay(bytes, kGet, limits, differs).error,
            Error::Upstream(What::kResponseTooLarge));
  EXPECT_EQ(differs, "");
}

TEST(H1ResponseTest, UpgradeTellsItsProtocol) {
  H1HeadScratch scratch;
  H1HeadParser parser;
  const std::string_view bytes =
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
  ASSERT_EQ(parser.ParseResponse(bytes, kGet, {}, scratch), H1ParseStatus::kDone);
  EXPECT_EQ(scratch.status(), 101);
  Arena arena;
  ResponseHead head(arena);
  scratch.CopyTo(arena, head);
  EXPECT_TRUE(head.upgrade);
  EXPECT_EQ(head.upgrade_protocol, "websocket");
}

TEST(H1TrailersTest, LinesUntilTheEmptyOne) {
  struct Row {
    std::string_view bytes;
    std::string_view text;
  };
  constexpr Row kRows[] = {
      {"\r\n", ""},
      {"A: 1\r\n\r\n", "[A: 1]"},
      {"grpc-status: 0\r\nGrpc-Message: fine\r\n\r\n", "[grpc-status: 0][Grpc-Message: fine]"},
      // What would change a decision already taken is dropped.
      {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAuthorization: x\r\n"
       "X-Forwarded-For: 1.2.3.4\r\nX-User-Id: 1\r\nTrailer: A\r\nCookie: c\r\nA_B: 1\r\nE: 2\r\n"
       "\r\n",
       "[E: 2]"},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.bytes);
    std::string differs;
    const Parsed parsed = ParseTrailersEveryWay(row.bytes, H1Limits(), differs);
    EXPECT_EQ(parsed.status, H1ParseStatus::kDone) << H1FaultText(parsed.fault);
    EXPECT_EQ(parsed.text, row.text);
    EXPECT_EQ(parsed.consumed, row.bytes.size());
    EXPECT_EQ(differs, "");
  }
}

TEST(H1TrailersTest, Refused) {
  std::string differs;
  H1Limits limits;
  limits.max_trailer_bytes = 60;
  limits.max_headers = 3;
  EXPECT_EQ(ParseTrailersEveryWay("A: 1\n\r\n", limits, differs).fault, kBareLf);
  EXPECT_EQ(ParseTrailersEveryWay(" A: 1\r\n\r\n", limits, differs).fault, kLineFolding);
  EXPECT_EQ(ParseTrailersEveryWay("A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n", limits, differs).fault,
            kTooManyHeaders);
  EXPECT_EQ(ParseTrailersEveryWay("A: " + std::string(80, 'x') + "\r\n\r\n", limits, differs).fault,
            kTrailersTooLarge);
  EXPECT_EQ(differs, "");
}

}  // namespace
}  // namespace gatehouse::http
