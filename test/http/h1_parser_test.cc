#include "source/http/h1_parser.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

using std::string_view_literals::operator""sv;
using What = Error::What;

// A request that is fine: what it means.
struct Good {
  std::string_view bytes;
  std::string_view text;
};

constexpr Good kGood[] = {
    {"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
     "GET / at 'a.example' 1.1 body none 0 keep-alive [Host: a.example]"},
    {"GET /x?y=1&z HTTP/1.1\r\nhost:a.example:8080\r\n\r\n",
     "GET /x?y=1&z at 'a.example:8080' 1.1 body none 0 keep-alive [host: a.example:8080]"},
    // White space around values goes, inside it stays; values may be empty or 8-bit.
    {"GET / HTTP/1.1\r\nHost: \t a.example \t\r\nA: \r\nB:\r\nC: x \t y\r\nD: \xc3\xa9\r\n\r\n",
     "GET / at 'a.example' 1.1 body none 0 keep-alive "
     "[Host: a.example][A: ][B: ][C: x \t y][D: \xc3\xa9]"},
    // HTTP/1.0.
    {"GET / HTTP/1.0\r\n\r\n", "GET / at '' 1.0 body none 0 close "},
    {"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
     "GET / at 'a' 1.0 body none 0 keep-alive [Host: a][Connection: Keep-Alive]"},
    // A higher minor version is 1.1.
    {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", "GET / at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    // Connection.
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 close [Host: a][Connection: close]"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y, CLOSE\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 close [Host: a][Connection: x][Connection: y, CLOSE]"},
    {"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
     "GET /ws at 'a' 1.1 body none 0 keep-alive upgrade websocket "
     "[Host: a][Connection: Upgrade][Upgrade: websocket]"},
    // Upgrade without its Connection option means nothing.
    {"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
     "GET /ws at 'a' 1.1 body none 0 keep-alive [Host: a][Upgrade: websocket]"},
    // Bodies, also for methods that seldom have one.
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 42\r\n\r\n",
     "POST / at 'a' 1.1 body length 42 keep-alive [Host: a][Content-Length: 42]"},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
     "GET / at 'a' 1.1 body length 0 keep-alive [Host: a][Content-Length: 0]"},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
     "POST / at 'a' 1.1 body length 9223372036854775807 keep-alive "
     "[Host: a][Content-Length: 9223372036854775807]"},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
     "GET / at 'a' 1.1 body chunked 0 keep-alive [Host: a][Transfer-Encoding: Chunked]"},
    // Expect counts only when a body is to come.
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n",
     "PUT / at 'a' 1.1 body length 1 keep-alive expect "
     "[Host: a][Content-Length: 1][Expect: 100-Continue]"},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive [Host: a][Expect: 100-continue]"},
    {"PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
     "PUT / at '' 1.0 body length 1 close [Content-Length: 1][Expect: 100-continue]"},
    // Target forms.
    {"GET http://b.example:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /p?q at 'b.example:81' 1.1 body none 0 keep-alive [Host: b.example:81]"},
    {"GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    {"GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /?q at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    {"GET http://a/ HTTP/1.0\r\n\r\n", "GET / at 'a' 1.0 body none 0 close [host: a]"},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
     "OPTIONS * at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    {"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
     "OPTIONS * at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    {"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
     "CONNECT b.example:443 at 'b.example:443' 1.1 body none 0 keep-alive "
     "[Host: b.example:443]"},
    {"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n",
     "CONNECT [2001:db8::1]:443 at '[2001:db8::1]:443' 1.1 body none 0 keep-alive "
     "[Host: [2001:db8::1]:443]"},
    // Other methods are tokens, and case counts.
    {"get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    {"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
     "M-SEARCH / at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    // A few empty lines in front.
    {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive [Host: a]"},
    // Names with '_' are dropped.
    {"GET / HTTP/1.1\r\nHost: a\r\nX_User_Id: 1\r\nContent_Length: 3\r\nB: 2\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive [Host: a][B: 2]"},
    // All token characters.
    {"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^`|~09azAZ: 1\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive [Host: a][!#$%&'*+-.^`|~09azAZ: 1]"},
    // A known name longer than a vector register.
    {"GET / HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Private-Network: true\r\n\r\n",
     "GET / at 'a' 1.1 body none 0 keep-alive "
     "[Host: a][Access-Control-Request-Private-Network: true]"},
};

TEST(H1RequestTest, AcceptsWhatIsFine) {
  for (const Good& row : kGood) {
    SCOPED_TRACE(row.bytes);
    std::string differs;
    const Parsed parsed = ParseRequestEveryWay(row.bytes, H1Limits(), differs);
    EXPECT_EQ(parsed.status, H1ParseStatus::kDone) << H1FaultText(parsed.fault);
    EXPECT_EQ(parsed.text, row.text);
    EXPECT_EQ(parsed.consumed, row.bytes.size());
    EXPECT_EQ(differs, "");
    // What is behind the head is not looked at.
    const std::string followed = std::string(row.bytes) + "\x01 the next bytes\n";
    std::string ignored;
    const Parsed again = ParseRequestEveryWay(followed, H1Limits(), ignored);
    EXPECT_EQ(again.text, row.text);
    EXPECT_EQ(again.consumed, row.bytes.size());
  }
}

// A request that is refused: with which error, and why.
struct Bad {
  std::string_view bytes;
  What what;
  H1Fault fault;
};

using enum H1Fault;
constexpr What k400 = What::kBadRequest;
constexpr What k501 = What::kNotImplemented;
constexpr What k505 = What::kVersionNotSupported;
constexpr What k417 = What::kExpectationFailed;

constexpr Bad kBad[] = {
    // Request line.
    {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadMethod},
    {"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadMethod},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadMethod},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadVersion},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", k400, kBadVersion},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", k400, kBadVersion},
    {"GET / HTTP/1.11\r\nHost: a\r\n\r\n", k400, kBadVersion},
    {"GET / HTTP/1\r\nHost: a\r\n\r\n", k400, kBareCr},
    {"GET /\r\n\r\n", k400, kBareCr},
    {"GET / \r\nHost: a\r\n\r\n", k400, kBareCr},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", k505, kUnsupportedVersion},
    {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", k505, kUnsupportedVersion},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", k505, kHttp2Preface},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n", k501, kMethodTooLong},
    {"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadRequestLine},
    {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBareLf},
    {"\r \nGET / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBareCr},
    // Not HTTP at all: a TLS ClientHello, an old SSL one, binary.
    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", k400, kControlCharacter},
    {"\x80\x2e\x01\x00\x02", k400, kBadMethod},
    // Targets.
    {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", k400, kControlCharacter},
    {"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", k400, kControlCharacter},
    {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    {"CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", k400, kBadTarget},
    // Lines.
    {"GET / HTTP/1.1\nHost: a\n\n", k400, kBareLf},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", k400, kBareLf},
    {"GET / HTTP/1.1\r\nHost: a\r\n\n", k400, kBareLf},
    {"GET / HTTP/1.1\r\nHost: a\r\n\rX", k400, kBareCr},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", k400, kBareCr},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\r\n\r\n", k400, kBareCr},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x08\r\n\r\n", k400, kControlCharacter},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7f\r\n\r\n", k400, kControlCharacter},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n"sv, k400, kControlCharacter},
    {"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n"sv, k400, kControlCharacter},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", k400, kSpaceBeforeColon},
    {"GET / HTTP/1.1\r\nHost: a\r\nA\t: b\r\n\r\n", k400, kSpaceBeforeColon},
    {"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", k400, kSpaceBeforeColon},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", k400, kLineFolding},
    {"GET / HTTP/1.1\r\nHost: a\r\n\tfolded: x\r\n\r\n", k400, kLineFolding},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", k400, kLineFolding},
    {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", k400, kBadHeaderName},
    {"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", k400, kSpaceBeforeColon},
    {"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", k400, kBareCr},
    {"GET / HTTP/1.1\r\nHost: a\r\nA[1]: b\r\n\r\n", k400, kBadHeaderName},
    {"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa9: b\r\n\r\n", k400, kBadHeaderName},
    // Host.
    {"GET / HTTP/1.1\r\n\r\n", k400, kMissingHost},
    {"GET / HTTP/1.1\r\nX: y\r\n\r\n", k400, kMissingHost},
    {"GET http://a/ HTTP/1.1\r\n\r\n", k400, kMissingHost},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", k400, kSeveralHosts},
    {"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", k400, kSeveralHosts},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: a/x\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", k400, kBadHost},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", k400, kBadHost},
    {"GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", k400, kBadHost},
    // Framing.
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", k400,
     kLengthAndTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", k400,
     kLengthAndTransferEncoding},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", k400, kTransferEncodingInHttp10},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", k400, kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
     "\r\n",
     k400, kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
     k400, kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", k400,
     kBadTransferEncoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     k400, kControlCharacter},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", k501,
     kUnsupportedTransferCoding},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", k400, kSpaceBeforeColon},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", k400,
     kSeveralContentLengths},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", k400,
     kSeveralContentLengths},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\n", k400, kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", k400,
     kBadContentLength},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\n", k400,
     kBadContentLength},
    // Expect.
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", k417, kUnknownExpectation},
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", k417, kUnknownExpectation},
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", k417, kUnknownExpectation},
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", k417,
     kUnknownExpectation},
};

TEST(H1RequestTest, RefusesWhatIsNot) {
  for (const Bad& row : kBad) {
    SCOPED_TRACE(row.bytes);
    std::string differs;
    const Parsed parsed = ParseRequestEveryWay(row.bytes, H1Limits(), differs);
    EXPECT_EQ(parsed.status, H1ParseStatus::kError) << parsed.text;
    EXPECT_EQ(parsed.error, Error::Downstream(row.what));
    EXPECT_EQ(H1FaultText(parsed.fault), H1FaultText(row.fault));
    EXPECT_EQ(differs, "");
  }
}

TEST(H1RequestTest, EveryByteOfARequestMatters) {
  // Any control character, anywhere, is refused or (in front of the request, CR) not completed.
  const std::string_view good = "GET /abc?d HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n";
  for (size_t i = 0; i < good.size(); ++i) {
    for (int c = 0; c < 256; ++c) {
      const bool control = (c < 0x20 && c != '\t') || c == 0x7f;
      if (!control || good[i] == c) continue;
      std::string bytes(good);
      bytes[i] = static_cast<char>(c);
      std::string differs;
      const Parsed parsed = ParseInPieces(
          bytes, {i},
          [](H1HeadParser& parser, std::string_view buffered, H1HeadScratch& scratch) {
            return parser.ParseRequest(buffered, H1Limits(), scratch);
          },
          [](const H1HeadScratch&) { return std::string(); });
      EXPECT_EQ(parsed.status, H1ParseStatus::kError) << "byte " << i << " is " << c;
    }
  }
}

TEST(H1RequestTest, UnderscorePolicies) {
  const std::string_view bytes = "GET / HTTP/1.1\r\nHost: a\r\nA_B: 1\r\n\r\n";
  std::string differs;
  H1Limits limits;
  limits.underscores = UnderscorePolicy::kAllow;
  EXPECT_EQ(ParseRequestEveryWay(bytes, limits, differs).text,
            "GET / at 'a' 1.1 body none 0 keep-alive [Host: a][A_B: 1]");
  limits.underscores = UnderscorePolicy::kReject;
  EXPECT_EQ(ParseRequestEveryWay(bytes, limits, differs).fault, kUnderscoreInName);
  EXPECT_EQ(differs, "");
}

std::string RequestWith(size_t target, size_t fields, size_t value) {
  std::string bytes = "GET /" + std::string(target - 1, 'x') + " HTTP/1.1\r\nHost: a\r\n";
  for (size_t i = 1; i < fields; ++i) bytes += "A: " + std::string(value, 'v') + "\r\n";
  return bytes + "\r\n";
}

TEST(H1RequestTest, Limits) {
  H1Limits limits;
  limits.max_uri_bytes = 40;
  limits.max_headers = 5;
  limits.max_head_bytes = 300;
  const auto what = [&limits](const std::string& bytes) {
    std::string differs;
    const Parsed parsed = ParseRequestEveryWay(bytes, limits, differs);
    EXPECT_EQ(differs, "") << bytes;
    return parsed.error.what;
  };
  EXPECT_EQ(what(RequestWith(40, 5, 10)), What::kNone);
  EXPECT_EQ(what(RequestWith(41, 5, 10)), What::kUriTooLong);
  EXPECT_EQ(what(RequestWith(1000, 5, 10)), What::kUriTooLong);
  EXPECT_EQ(what("GET /" + std::string(1000, 'x')), What::kUriTooLong);
  EXPECT_EQ(what("GET / " + std::string(1000, 'x')), What::kBadRequest);
  EXPECT_EQ(what(RequestWith(1, 6, 10)), What::kHeadersTooLarge);
  EXPECT_EQ(what(RequestWith(1, 200, 10)), What::kHeadersTooLarge);
  EXPECT_EQ(what(RequestWith(1, 2, 10000)), What::kHeadersTooLarge);
  EXPECT_EQ(what("GET / HTTP/1.1\r\nHost: a\r\n" + std::string(1000, 'n')), What::kHeadersTooLarge);
  // Exactly the limit is fine; one more is not.
  const std::string fits = RequestWith(1, 2, 300 - RequestWith(1, 2, 0).size());
  EXPECT_EQ(fits.size(), 300u);
  EXPECT_EQ(what(fits), What::kNone);
  EXPECT_EQ(what(fits + "body"), What::kNone);
  EXPECT_EQ(what(RequestWith(1, 2, 301 - RequestWith(1, 2, 0).size())), What::kHeadersTooLarge);
}

TEST(H1RequestTest, DefaultLimitsTakeLargeHeads) {
  std::string differs;
  const std::string bytes = RequestWith(8192, 100, 500);
  const Parsed parsed = ParseRequestEveryWay(bytes, H1Limits(), differs);
  EXPECT_EQ(parsed.status, H1ParseStatus::kDone) << H1FaultText(parsed.fault);
  EXPECT_EQ(differs, "");
  EXPECT_EQ(ParseRequestEveryWay(RequestWith(1, 101, 1), H1Limits(), differs).error.what,
            What::kHeadersTooLarge);
}

TEST(H1RequestTest, MoreHeadersThanTheScratchHadRoomFor) {
  H1Limits limits;
  limits.max_headers = 1000;
  std::string differs;
  EXPECT_EQ(ParseRequestEveryWay(RequestWith(1, 1000, 1), limits, differs).status,
            H1ParseStatus::kDone);
  EXPECT_EQ(differs, "");
}

TEST(H1RequestTest, TheScratchIsSharedByConnections) {
  // Two connections whose heads arrive in turns do not disturb each other.
  H1HeadScratch scratch;
  H1HeadParser one;
  H1HeadParser two;
  const std::string_view first = "GET /1 HTTP/1.1\r\nHost: one\r\nA: 1\r\n\r\n";
  const std::string_view second = "GET /2 HTTP/1.1\r\nHost: two\r\nB: 2\r\nC: 3\r\n\r\n";
  EXPECT_EQ(one.ParseRequest(first.substr(0, 30), {}, scratch), H1ParseStatus::kNeedMore);
  EXPECT_TRUE(one.started());
  EXPECT_EQ(two.ParseRequest(second, {}, scratch), H1ParseStatus::kDone);
  Arena arena;
  RequestHead head(arena);
  scratch.CopyTo(arena, head);
  EXPECT_EQ(Describe(head.headers), "[Host: two][B: 2][C: 3]");
  EXPECT_EQ(one.ParseRequest(first, {}, scratch), H1ParseStatus::kDone);
  arena.Reset();
  head.Reset();
  scratch.CopyTo(arena, head);
  EXPECT_EQ(Describe(head.headers), "[Host: one][A: 1]");
  EXPECT_EQ(head.headers.Get(Name::kHost), "one");
  one.Reset();
  EXPECT_FALSE(one.started());
}

TEST(H1RequestTest, EveryFaultHasAText) {
  for (int i = 0; i <= static_cast<int>(kTrailersTooLarge); ++i) {
    EXPECT_NE(H1FaultText(static_cast<H1Fault>(i)), "unknown") << i;
  }
}

}  // namespace
}  // namespace gatehouse::http
