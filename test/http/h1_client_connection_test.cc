// What an origin may answer, when its connection is used again, and what its faults become.
#include "source/http/h1_client_connection.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "test/http/h1_client_harness.h"

namespace gatehouse::http {
namespace {

using Event = H1ClientHarness::Event;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

TEST(H1ClientConnectionTest, IsUsedAgainAfterACleanExchange) {
  H1ClientHarness origin;
  for (int i = 1; i <= 3; ++i) {
    origin.Get("/x?y");
    const std::string request = origin.TakeRequest();
    EXPECT_TRUE(request.starts_with("GET /x?y HTTP/1.1\r\n")) << request;
    EXPECT_TRUE(Has(request, "ost: origin.test\r\n")) << request;
    origin.Push(kOk);
    EXPECT_EQ(origin.log(), "sent|head 200|");
    EXPECT_EQ(origin.body(), "ok");
    EXPECT_TRUE(origin.ended());
    EXPECT_EQ(origin.idles(), i - 1);
    origin.Detach();
    EXPECT_EQ(origin.idles(), i);
    EXPECT_TRUE(origin.connection().idle());
    EXPECT_EQ(origin.connection().exchanges(), static_cast<uint32_t>(i));
    EXPECT_EQ(origin.loop().slabs().in_use_bytes(), 0u);
  }
}

TEST(H1ClientConnectionTest, LettingGoFromWithinTheLastCallbackIsTheUsualWay) {
  H1ClientHarness origin;
  origin.script = [&](Event) {
    if (origin.ended()) origin.sender().Detach();
  };
  origin.Get();
  origin.Push(kOk);
  EXPECT_EQ(origin.idles(), 1);
  origin.Get();
  origin.Push("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(origin.idles(), 2);
  EXPECT_EQ(origin.closed(), 0);
}

struct Unclean {
  const char* name;
  const char* response;
};
class H1ClientUncleanTest : public testing::TestWithParam<Unclean> {};

TEST_P(H1ClientUncleanTest, IsNotUsedAgain) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(GetParam().response);
  ASSERT_TRUE(origin.ended());
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

INSTANTIATE_TEST_SUITE_P(
    All, H1ClientUncleanTest,
    testing::Values(
        Unclean{"StrayBytes", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX"},
        Unclean{"StrayBytesBehindNoBody", "HTTP/1.1 204 No\r\n\r\nX"},
        Unclean{"StrayBytesBehindChunks",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\r\n"},
        Unclean{"Close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
        Unclean{"Http10", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"}),
    [](const testing::TestParamInfo<Unclean>& unclean) { return unclean.param.name; });

TEST(H1ClientConnectionTest, BytesThatComeBehindTheResponseBeforeItIsLetGoCloseIt) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(kOk);
  origin.Push("X");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AnOriginThatClosedBeforeItWasLetGoIsNotUsedAgain) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(kOk);
  origin.PushEof();
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AnIdleOriginHasNothingToSayButGoodbye) {
  for (int how = 0; how < 3; ++how) {
    H1ClientHarness origin;
    origin.Get();
    origin.Push(kOk);
    origin.Detach();
    ASSERT_EQ(origin.idles(), 1);
    if (how == 0) origin.PushEof();
    if (how == 1) origin.Push("HTTP/1.1 408 Request Timeout\r\n\r\n");
    if (how == 2) origin.end().Break();
    origin.Turns();
    EXPECT_EQ(origin.closed(), 1);
  }
}

// The next request and the bytes are seen in one turn: the request has not left yet.
TEST(H1ClientConnectionTest, WhatWasSaidBeforeTheRequestIsNotItsResponse) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(kOk);
  origin.Detach();
  ASSERT_EQ(origin.idles(), 1);
  (void)origin.TakeRequest();
  origin.Send("GET", "/");
  origin.Push(kOk);
  EXPECT_EQ(origin.log(), "");
  EXPECT_EQ(origin.error().what, Error::What::kUpstreamReset);
  EXPECT_TRUE(origin.error().retryable);
  EXPECT_EQ(origin.TakeRequest(), "");
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AResponseWithoutLengthEndsWithTheConnection) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push("HTTP/1.1 200 OK\r\n\r\nabc");
  EXPECT_FALSE(origin.ended());
  origin.Push("def");
  origin.PushEof();
  EXPECT_TRUE(origin.ended());
  EXPECT_EQ(origin.body(), "abcdef");
  EXPECT_EQ(origin.errors(), 0);
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, HeadAndItsLikeHaveNoBody) {
  H1ClientHarness origin;
  origin.Send("HEAD", "/");
  origin.Turns();
  origin.Push("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  EXPECT_EQ(origin.log(), "sent|head 200 end|");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 1);
  origin.Get();
  origin.Push("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n");
  EXPECT_EQ(origin.log(), "sent|head 304 end|");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 2);
}

TEST(H1ClientConnectionTest, ChunksAndTrailersComeIn) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n");
  EXPECT_EQ(origin.log(), "sent|head 200|trailer X-Sum=7|");
  EXPECT_EQ(origin.body(), "abc");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 1);
}

TEST(H1ClientConnectionTest, ChunksAndTrailersGoOut) {
  H1ClientHarness origin;
  origin.Send("POST", "/", false, BodyKind::kChunked);
  origin.SendBody("abc", false);
  Arena arena;
  HeaderMap trailers(arena);
  trailers.Add(Name::kEtag, "\"7\"");
  origin.sender().SendTrailers(trailers);
  origin.Turns();
  const std::string request = origin.TakeRequest();
  const std::string body = request.substr(request.find("\r\n\r\n") + 4);
  EXPECT_TRUE(body.starts_with("3\r\nabc\r\n0\r\n")) << body;
  EXPECT_TRUE(body.ends_with(": \"7\"\r\n\r\n")) << body;
  EXPECT_EQ(origin.log(), "sent|");
}

TEST(H1ClientConnectionTest, ABodyOfKnownLengthGoesOutAsItIs) {
  H1ClientHarness origin;
  origin.Send("POST", "/", false, BodyKind::kLength, 6);
  origin.SendBody("abc", false);
  origin.Turns();
  EXPECT_EQ(origin.log(), "");
  origin.SendBody("def", true);
  origin.Turns();
  EXPECT_TRUE(origin.TakeRequest().ends_with("\r\n\r\nabcdef"));
  EXPECT_EQ(origin.log(), "sent|");
}

TEST(H1ClientConnectionTest, PiecesOfInputMakeNoDifference) {
  const std::string inputs[] = {
      std::string(kOk),
      "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\nA;e=1\r\n0123456789\r\n0\r\nX-A: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
  };
  for (const std::string& input : inputs) {
    H1ClientHarness whole;
    whole.Get();
    whole.Push(input);
    for (size_t cut = 1; cut < input.size(); ++cut) {
      H1ClientHarness split;
      split.Get();
      split.Push(std::string_view(input).substr(0, cut));
      split.Push(std::string_view(input).substr(cut));
      ASSERT_EQ(split.log(), whole.log()) << cut;
      ASSERT_EQ(split.errors(), whole.errors()) << cut;
      if (whole.errors() == 0) {
        ASSERT_EQ(split.body(), whole.body()) << cut;
      }
    }
    H1ClientHarness bytes;
    bytes.end().set_read_piece(1);
    bytes.Get();
    bytes.Push(input);
    EXPECT_EQ(bytes.log(), whole.log());
    EXPECT_EQ(bytes.errors(), whole.errors());
  }
}

TEST(H1ClientConnectionTest, NoMoreBodyThanAllowed) {
  H1ClientHarness origin;
  origin.allow_at_begin = 0;
  origin.Get();
  origin.Push("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x'));
  EXPECT_EQ(origin.log(), "sent|head 200|");
  EXPECT_EQ(origin.body(), "");
  EXPECT_LT(origin.loop().slabs().in_use_bytes(), 40'000u);
  origin.sender().AllowBody(10);
  EXPECT_EQ(origin.body(), "");  // from the loop, not from within the call
  origin.Turns();
  EXPECT_EQ(origin.body().size(), 10u);
  while (!origin.ended()) {
    const size_t before = origin.body().size();
    origin.sender().AllowBody(30'000);
    origin.Turns();
    ASSERT_GT(origin.body().size(), before);
    ASSERT_LE(origin.body().size(), before + 30'000);
  }
  origin.Detach();
  EXPECT_EQ(origin.idles(), 1);
}

TEST(H1ClientConnectionTest, InterimResponsesComeBeforeTheResponse) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(std::string("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n") +
              std::string(kOk));
  EXPECT_EQ(origin.log(), "sent|head 100|head 103|head 200|");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 1);
}

TEST(H1ClientConnectionTest, EndlessInterimResponsesAreAnError) {
  H1ClientHarness origin;
  origin.Get();
  for (int i = 0; i < 30 && origin.errors() == 0; ++i) origin.Push("HTTP/1.1 102 P\r\n\r\n");
  EXPECT_EQ(origin.error().what, Error::What::kUpstreamProtocolError);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AnUpgradeIsATunnel) {
  H1ClientHarness origin;
  origin.Send("GET", "/ws", true, BodyKind::kNone, 0, "websocket");
  origin.Turns();
  EXPECT_TRUE(Has(origin.TakeRequest(), "pgrade: websocket\r\n"));
  origin.Push(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi");
  EXPECT_EQ(origin.log(), "sent|head 101|");
  EXPECT_EQ(origin.body(), "hi");
  origin.SendBody("up", false);
  origin.Turns();
  EXPECT_EQ(origin.TakeRequest(), "up");
  origin.SendBody("", true);
  origin.Turns();
  EXPECT_TRUE(origin.end().shut_down());
  EXPECT_FALSE(origin.ended());
  origin.PushEof();
  EXPECT_TRUE(origin.ended());
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AnUpgradeThatNobodyAskedForIsAnError) {
  H1ClientHarness origin;
  origin.Get();
  origin.Push(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_EQ(origin.error().what, Error::What::kUpstreamProtocolError);
  EXPECT_EQ(origin.log(), "sent|");
}

TEST(H1ClientConnectionTest, AResponseThatEndsBeforeItsRequestEndsTheConnection) {
  H1ClientHarness origin;
  origin.Send("POST", "/", false, BodyKind::kLength, 100);
  origin.SendBody("part", false);
  origin.Turns();
  origin.Push("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(origin.log(), "head 413 end|");
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, ARequestThatIsNotOnItsWayYetDoesNotGoIntoTheNextOne) {
  H1ClientHarness origin;
  origin.end().SetWindow(10);
  origin.Get();
  origin.Push(kOk);
  EXPECT_TRUE(origin.ended());
  origin.Detach();
  EXPECT_EQ(origin.idles(), 0);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, WhatTheOriginSaidBeforeItRefusedTheRestOfABodyIsRead) {
  H1ClientHarness origin;
  origin.Send("POST", "/", false, BodyKind::kLength, 100);
  origin.Turns();
  // Both are there when the connection looks.
  origin.end().FailWrite(0);
  origin.SendBody("part", false);
  origin.loop().RunTurn(false);
  origin.Turns();
  EXPECT_EQ(origin.errors(), 1);
  EXPECT_EQ(origin.error().what, Error::What::kUpstreamReset);
  EXPECT_FALSE(origin.error().retryable);
  EXPECT_EQ(origin.closed(), 1);
}

TEST(H1ClientConnectionTest, AFirstWriteThatFailsMayBeTriedAgainAnywhere) {
  H1ClientHarness origin;
  origin.end().FailWrite(0);
  origin.Get();
  EXPECT_EQ(origin.error().what, Error::What::kUpstreamReset);
  EXPECT_TRUE(origin.error().retryable);
}

TEST(H1ClientConnectionTest, ATargetThatNoOriginShouldSeeIsToldFromTheLoop) {
  H1ClientHarness origin;
  origin.Send("GET", "/a b");
  EXPECT_EQ(origin.errors(), 0);
  origin.Turns();
  EXPECT_EQ(origin.error().what, Error::What::kInternal);
  EXPECT_EQ(origin.TakeRequest(), "");
  EXPECT_EQ(origin.closed(), 1);
  EXPECT_EQ(origin.loop().slabs().in_use_bytes(), 0u);
}

TEST(H1ClientConnectionTest, CreditShrinksWithWhatWaitsAndIsToldWhenItHasLeft) {
  H1ClientHarness origin;
  int credits = 0;
  origin.script = [&](Event event) { credits += event == Event::kCredit ? 1 : 0; };
  origin.Send("POST", "/", false, BodyKind::kChunked);
  origin.end().SetWindow(0);
  const size_t credit = origin.sender().Credit();
  EXPECT_GT(credit, 100'000u);
  origin.SendBody(std::string(credit, 'x'), false);
  EXPECT_EQ(origin.sender().Credit(), 0u);
  origin.Turns();
  EXPECT_EQ(credits, 0);
  origin.end().SetWindow(SIZE_MAX);
  origin.Turns();
  EXPECT_GE(credits, 1);
  EXPECT_GT(origin.sender().Credit(), credit / 2);
}

// The origin goes away at every byte: the response was whole, or the receiver is told that it was
// not; never a part that looks whole.
TEST(H1ClientConnectionTest, TheOriginLeavesAtEveryByteOfItsResponse) {
  const std::string responses[] = {
      "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
      "HTTP/1.1 204 No Content\r\n\r\n",
  };
  for (const std::string& response : responses) {
    for (size_t cut = 0; cut <= response.size(); ++cut) {
      for (bool broken : {false, true}) {
        SCOPED_TRACE(testing::Message() << response << cut << (broken ? " reset" : " end"));
        H1ClientHarness origin;
        origin.Get();
        if (cut > 0) origin.Push(std::string_view(response).substr(0, cut));
        if (broken) {
          origin.end().Break();
        } else {
          origin.end().PushEof();
        }
        origin.Turns();
        EXPECT_EQ(origin.ended(), cut == response.size());
        EXPECT_EQ(origin.errors(), cut == response.size() ? 0 : 1);
        if (origin.errors() > 0) {
          EXPECT_EQ(origin.error().what, Error::What::kUpstreamReset);
          EXPECT_FALSE(origin.error().retryable);
        } else {
          origin.Detach();
        }
        EXPECT_EQ(origin.idles(), 0);
        EXPECT_EQ(origin.closed(), 1);
        EXPECT_EQ(origin.loop().slabs().in_use_bytes(), 0u);
      }
    }
  }
}

TEST(H1ClientConnectionTest, AbortOrDetachInEveryCallback) {
  const std::string responses[] = {
      std::string(kOk),
      "HTTP/1.1 100 Continue\r\n\r\n" + std::string(kOk),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
      "garbage\r\n\r\n",
  };
  for (const std::string& response : responses) {
    for (Event when : H1ClientHarness::kEvents) {
      for (bool abort : {true, false}) {
        SCOPED_TRACE(testing::Message() << response << static_cast<int>(when) << abort);
        H1ClientHarness origin;
        bool gone = false;
        int after = 0;
        origin.script = [&](Event event) {
          after += gone ? 1 : 0;
          if (event != when || gone) return;
          gone = true;
          if (event == Event::kError) return;  // the stream is over already
          if (abort) return origin.sender().Abort();
          origin.sender().Detach();
        };
        origin.Send("POST", "/", false, BodyKind::kChunked);
        origin.Turns();
        if (!gone) {
          origin.SendBody("abc", true);
          origin.Turns();
        }
        origin.Push(response);
        EXPECT_EQ(after, 0);
        if (gone && abort) {
          EXPECT_EQ(origin.closed(), 1);
          EXPECT_EQ(origin.idles(), 0);
        }
        if (!gone && origin.errors() == 0) origin.Detach();
        EXPECT_EQ(origin.idles() + origin.closed(), 1);
        EXPECT_EQ(origin.loop().slabs().in_use_bytes(), 0u);
      }
    }
  }
}

}  // namespace
}  // namespace gatehouse::http
