// What a client may send and what it gets: keep-alive, pipelining, framing, upgrades. Slow, broken
// and hostile clients are in h1_server_faults_test.cc.
#include "source/http/h1_server_connection.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "test/http/h1_server_harness.h"

namespace gatehouse::http {
namespace {

using Event = TestRequest::Event;

constexpr std::string_view kGet = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) {
    ++count;
  }
  return count;
}

TEST(H1ServerConnectionTest, KeepsTheConnectionAliveAndHoldsNothingWhileIdle) {
  H1ServerHarness server;
  for (size_t i = 0; i < 3; ++i) {
    server.Push(kGet);
    ASSERT_EQ(server.requests(), i + 1);
    EXPECT_EQ(server.request(i).log, "head GET /x end|sent|");
    const std::string response = server.TakeWritten();
    EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n")) << response;
    EXPECT_TRUE(response.ends_with("\r\n\r\nok")) << response;
    EXPECT_TRUE(Has(response, "content-length: 2\r\n")) << response;
    EXPECT_TRUE(Has(response, "Thu, 01 Jan 2026 00:00:00 GMT")) << response;
    EXPECT_FALSE(Has(response, "connection: close")) << response;
    EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
    EXPECT_FALSE(server.connection().exchange_active());
  }
  EXPECT_TRUE(server.open());
  EXPECT_EQ(server.connection().received_bytes(), 3 * kGet.size());
}

TEST(H1ServerConnectionTest, APipelinedRequestWaitsUntilTheResponseBeforeItHasLeft) {
  H1ServerHarness server;
  server.end().SetWindow(10);
  server.Push(std::string(kGet) + std::string(kGet));
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.request(0).log, "head GET /x end|");
  server.end().SetWindow(SIZE_MAX);
  server.Turns();
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(CountOf(server.TakeWritten(), "HTTP/1.1 200"), 2u);
}

TEST(H1ServerConnectionTest, APipelinedRequestWaitsForItsReceiverToLetGo) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.Respond(200, "ok");
  });
  server.Push(std::string(kGet) + std::string(kGet));
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.request(0).sents, 1);
  server.request(0).sender->Detach();
  server.Turns();
  EXPECT_EQ(server.requests(), 2u);
}

TEST(H1ServerConnectionTest, LettingGoBeforeAllHasLeftStillSendsIt) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event != Event::kHead) return;
    request.Respond(200, "ok");
    request.sender->Detach();
  });
  server.end().SetWindow(1);
  server.Push(std::string(kGet) + std::string(kGet));
  EXPECT_EQ(server.requests(), 1u);
  server.end().SetWindow(SIZE_MAX);
  server.Turns();
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(server.request(0).log, "head GET /x end|");
  EXPECT_EQ(CountOf(server.TakeWritten(), "\r\n\r\nok"), 2u);
}

// Whatever the pieces in which bytes come, the requests and the responses are the same.
TEST(H1ServerConnectionTest, PiecesOfInputMakeNoDifference) {
  const std::string inputs[] = {
      std::string(kGet) + "\r\nPOST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" +
          "HEAD /z HTTP/1.1\r\nHost: a\r\n\r\n" +
          "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n" +
          std::string(kGet),
      "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\n",
      "POST /y HTTP/1.0\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + std::string(kGet),
  };
  for (const std::string& input : inputs) {
    H1ServerHarness whole;
    whole.Push(input);
    const std::string story = whole.Story();
    const std::string written = whole.TakeWritten();
    EXPECT_GE(whole.requests(), 1u);

    H1ServerHarness bytes;
    for (char c : input) bytes.Push({&c, 1});
    EXPECT_EQ(bytes.Story(), story);
    EXPECT_EQ(bytes.TakeWritten(), written);
    // One may have to linger where the other had nothing left to read.
    whole.AdvanceSlowly(std::chrono::seconds(3));
    bytes.AdvanceSlowly(std::chrono::seconds(3));
    EXPECT_EQ(bytes.open(), whole.open());

    H1ServerHarness reads;
    reads.end().set_read_piece(1);
    reads.Push(input);
    EXPECT_EQ(reads.Story(), story);
    EXPECT_EQ(reads.TakeWritten(), written);

    for (size_t cut = 1; cut < input.size(); ++cut) {
      H1ServerHarness split;
      split.Push(std::string_view(input).substr(0, cut));
      split.Push(std::string_view(input).substr(cut));
      ASSERT_EQ(split.Story(), story) << cut;
      ASSERT_EQ(split.TakeWritten(), written) << cut;
    }
  }
}

TEST(H1ServerConnectionTest, ContinueIsSentWhenTheBodyIsFirstAllowed) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(server.TakeWritten(), "");
  server.request(0).sender->AllowBody(10);
  server.Turns();
  EXPECT_EQ(server.TakeWritten(), "HTTP/1.1 100 Continue\r\n\r\n");
  server.request(0).sender->AllowBody(10);
  server.Push("abc");
  EXPECT_EQ(server.request(0).body, "abc");
  server.request(0).Respond(200, "ok");
  server.Turns();
  EXPECT_FALSE(Has(server.TakeWritten(), "connection: close"));
}

TEST(H1ServerConnectionTest, ContinueIsNotSentToAClientThatDidNotWait) {
  H1ServerHarness server;
  server.Push(
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc");
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 200")) << written;
  EXPECT_FALSE(Has(written, "connection: close"));
}

TEST(H1ServerConnectionTest, AnAnswerInsteadOfContinueClosesSinceTheBodyMayOrMayNotCome) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.Respond(417, "no");
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 417"));
  EXPECT_TRUE(Has(written, "connection: close\r\n"));
  EXPECT_TRUE(server.end().shut_down());
}

TEST(H1ServerConnectionTest, Http10ClosesUnlessAskedToKeepAlive) {
  H1ServerHarness server;
  server.Push("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_TRUE(server.open());
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: keep-alive\r\n"));
  server.Push("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(server.TakeWritten().ends_with("\r\n\r\nok"));
  EXPECT_FALSE(server.open());
  EXPECT_FALSE(server.end().aborted());
}

TEST(H1ServerConnectionTest, Http10GetsNoChunksAndNoInterimResponses) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(103);
      request.SendHead(200);
      request.SendBody("abc", false);
      request.SendBody("def", true);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 200")) << written;
  EXPECT_TRUE(written.ends_with("\r\n\r\nabcdef")) << written;
  EXPECT_FALSE(Has(written, "hunked"));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, Http10CanBeRefused) {
  H1ServerOptions options;
  options.allow_http10 = false;
  H1ServerHarness server(options);
  server.Push("GET / HTTP/1.0\r\n\r\n");
  ASSERT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kVersionNotSupported);
  EXPECT_EQ(server.refusals(), 1);
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, HeadHasALengthAndNoBody) {
  H1ServerHarness server;
  server.Push("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(kGet));
  const std::string written = server.TakeWritten();
  EXPECT_EQ(CountOf(written, "content-length: 2\r\n"), 2u);
  EXPECT_EQ(CountOf(written, "\r\n\r\nok"), 1u);
  EXPECT_EQ(CountOf(written, "\r\n\r\nHTTP/1.1 200"), 1u);
}

TEST(H1ServerConnectionTest, ChunksAndTrailersGoOut) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(200);
      request.SendBody("abc", false);
      request.SendBody("", false);
      request.SendBody(std::string(20, 'x'), false);
      Arena arena;
      HeaderMap trailers(arena);
      trailers.Add(Name::kEtag, "\"7\"");
      request.sender->SendTrailers(trailers);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push(kGet);
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(Has(written, "transfer-encoding: chunked\r\n")) << written;
  const std::string body = written.substr(written.find("\r\n\r\n") + 4);
  EXPECT_TRUE(body.starts_with("3\r\nabc\r\n14\r\nxxxxxxxxxxxxxxxxxxxx\r\n0\r\n")) << body;
  EXPECT_TRUE(body.ends_with(": \"7\"\r\n\r\n")) << body;
  EXPECT_TRUE(server.open());
}

TEST(H1ServerConnectionTest, TrailersComeInAndAreForgottenForTheNextRequest) {
  H1ServerHarness server;
  const std::string chunked =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
  server.Push(chunked + "X-Sum: 7\r\n\r\n" + chunked + "\r\n");
  ASSERT_EQ(server.requests(), 2u);
  EXPECT_EQ(server.request(0).log, "head POST /x|trailer X-Sum=7|sent|");
  EXPECT_EQ(server.request(0).body, "hi");
  EXPECT_EQ(server.request(1).log, "head POST /x|sent|");
}

TEST(H1ServerConnectionTest, NoMoreBodyThanAllowed) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789");
  TestRequest& request = server.request(0);
  EXPECT_EQ(request.body, "");
  request.sender->AllowBody(7);
  EXPECT_EQ(request.body, "");  // from the loop, not from within the call
  server.Turns();
  EXPECT_EQ(request.body, "0123456");
  request.sender->AllowBody(3);
  request.sender->AllowBody(5);
  server.Turns();
  EXPECT_EQ(request.body, "012345678901");
  EXPECT_FALSE(request.request_ended);
  request.sender->AllowBody(8);
  server.Turns();
  EXPECT_EQ(request.body, "01234567890123456789");
  EXPECT_TRUE(request.request_ended);
}

TEST(H1ServerConnectionTest, AHalfClosedClientGetsAllItsAnswers) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.end().Push(std::string(kGet) + std::string(kGet) + "GET /cut");
  server.PushEof();
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_TRUE(server.open());
  server.request(0).Respond(200, "one");
  server.Turns();
  server.request(0).sender->Detach();
  server.Turns();
  ASSERT_EQ(server.requests(), 2u);
  server.request(1).Respond(200, "two");
  server.Turns();
  server.request(1).sender->Detach();
  server.Turns();
  EXPECT_EQ(CountOf(server.TakeWritten(), "HTTP/1.1 200"), 2u);
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_FALSE(server.open());
  EXPECT_FALSE(server.end().aborted());
}

TEST(H1ServerConnectionTest, TheLastAnswerToAHalfClosedClientSaysClose) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kSent) request.sender->Detach();
  });
  server.end().Push(std::string(kGet));
  server.PushEof();
  server.request(0).Respond(200, "ok");
  server.Turns();
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, ClosesAfterTheLastAllowedRequest) {
  H1ServerOptions options;
  options.max_requests = 2;
  H1ServerHarness server(options);
  server.Push(kGet);
  EXPECT_FALSE(Has(server.TakeWritten(), "connection: close"));
  server.Push(kGet);
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, ClosesAnOldConnectionAfterItsNextResponse) {
  H1ServerOptions options;
  options.max_age = std::chrono::seconds(30);
  H1ServerHarness server(options);
  server.Push(kGet);
  server.Advance(std::chrono::seconds(31));
  EXPECT_TRUE(server.open());
  server.Push(kGet);
  EXPECT_EQ(CountOf(server.TakeWritten(), "connection: close"), 1u);
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, FewerBytesThanAnnouncedBreakTheConnection) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(200, BodyKind::kLength, 10);
      request.SendBody("123", true);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push(kGet);
  EXPECT_TRUE(server.TakeWritten().ends_with("123"));
  EXPECT_TRUE(server.end().aborted());
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, CreditShrinksWithWhatWaits) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.end().SetWindow(0);
  server.Push(kGet);
  TestRequest& request = server.request(0);
  request.SendHead(200);
  const size_t before = request.sender->Credit();
  EXPECT_GT(before, 100'000u);
  request.SendBody(std::string(before, 'x'), false);
  EXPECT_EQ(request.sender->Credit(), 0u);
  server.Turns();
  server.end().SetWindow(SIZE_MAX);
  server.Turns();
  EXPECT_GE(request.credits, 1);
  EXPECT_GT(request.sender->Credit(), before);
}

// After 101 the connection is a pipe both ways, each of which ends by itself.
TEST(H1ServerConnectionTest, AnUpgradeIsATunnel) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
  TestRequest& request = server.request(0);
  EXPECT_EQ(request.log, "head GET /ws end|");
  request.SendHead(101, BodyKind::kNone);
  request.SendBody("down", false);
  request.sender->AllowBody(100);
  server.Push(" late");
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 101 ")) << written;
  EXPECT_TRUE(Has(written, "pgrade: websocket\r\n")) << written;
  EXPECT_TRUE(written.ends_with("\r\n\r\ndown")) << written;
  EXPECT_EQ(request.body, "early late");
  server.AdvanceSlowly(std::chrono::seconds(30));
  EXPECT_TRUE(server.open());
  request.SendBody("bye", true);
  server.Turns();
  EXPECT_EQ(server.TakeWritten(), "bye");
  EXPECT_TRUE(server.end().shut_down());
  EXPECT_EQ(request.sents, 1);
  EXPECT_TRUE(server.open());
  server.PushEof();
  EXPECT_TRUE(request.request_ended);
  request.sender->Detach();
  server.Turns();
  EXPECT_FALSE(server.open());
}

TEST(H1ServerConnectionTest, AClientThatHasEndedItsSideBeforeTheUpgradeIsToldOf) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.end().Push(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nall");
  server.PushEof();
  TestRequest& request = server.request(0);
  request.SendHead(101, BodyKind::kNone);
  request.sender->AllowBody(100);
  server.Turns();
  EXPECT_EQ(request.body, "all");
  EXPECT_TRUE(request.request_ended);
  EXPECT_EQ(request.errors, 0);
}

TEST(H1ServerConnectionTest, AnInterimResponseIsNotTheResponse) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push(kGet);
  server.request(0).SendHead(103, BodyKind::kNone);
  server.Turns();
  EXPECT_TRUE(server.TakeWritten().starts_with("HTTP/1.1 103 "));
  EXPECT_EQ(server.request(0).credits, 0);
  server.request(0).Respond(204, "");
  server.Turns();
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 204 "));
  EXPECT_FALSE(Has(written, "content-length"));
  EXPECT_EQ(server.request(0).sents, 1);
}

}  // namespace
}  // namespace gatehouse::http
