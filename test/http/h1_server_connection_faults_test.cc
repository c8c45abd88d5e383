// Slow, broken and hostile clients, and receivers that give up at any point.
#include <algorithm>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/h1_server_connection.h"
#include "test/http/h1_server_harness.h"

namespace gatehouse::http {
namespace {

using Event = TestRequest::Event;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kGet = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
std::string Post(size_t length) {
  return "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}
// Answers at once, whatever comes of the body.
void AnswerEarly(TestRequest& request, Event event) {
  if (event == Event::kHead) request.Respond(200, "ok");
  if (event == Event::kError && request.sender != nullptr) request.Respond(400, "bad");
  if (event == Event::kSent) request.sender->Detach();
}

TEST(H1ServerFaultsTest, AMalformedRequestIsAnsweredAndTheConnectionLingers) {
  H1ServerHarness server;
  server.Push("GET / HTTP/1.1\r\nHost: a\r\nBad(Name): x\r\n\r\n");
  EXPECT_EQ(server.refusals(), 1);
  ASSERT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kBadRequest);
  EXPECT_EQ(server.connection().fault(), H1Fault::kBadHeaderName);
  const std::string written = server.TakeWritten();
  EXPECT_TRUE(written.starts_with("HTTP/1.1 400")) << written;
  EXPECT_TRUE(Has(written, "connection: close\r\n"));
  // Its side is shut; what the client still sends is thrown away, so that no reset overtakes this.
  EXPECT_TRUE(server.end().shut_down());
  EXPECT_TRUE(server.open());
  server.Push(std::string(kGet));
  EXPECT_EQ(server.end().unread(), 0u);
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
  server.PushEof();
  EXPECT_FALSE(server.open());
  EXPECT_FALSE(server.end().aborted());
  EXPECT_EQ(server.closed_count(), 1);
}

TEST(H1ServerFaultsTest, LingeringEnds) {
  H1ServerHarness server;
  server.Push("nonsense\r\n\r\n");
  EXPECT_TRUE(server.open());
  server.AdvanceSlowly(seconds(3));
  EXPECT_FALSE(server.open());
}

// One that sends faster than we throw away does not keep the loop.
TEST(H1ServerFaultsTest, LingeringIsSharedWithTheRestOfTheLoop) {
  H1ServerHarness server;
  server.Push("nonsense\r\n\r\n");
  server.end().Push(std::string(8 << 20, 'x'));
  EXPECT_GT(server.end().unread(), size_t{7} << 20);
  server.loop().RunTurn(false);
  EXPECT_GT(server.end().unread(), size_t{6} << 20);
  server.Turns(200);
  EXPECT_EQ(server.end().unread(), 0u);
}

TEST(H1ServerFaultsTest, ASmallRestOfABodyIsReadToSaveTheConnection) {
  H1ServerHarness server({}, &AnswerEarly);
  server.Push(Post(1000) + "abc");
  EXPECT_FALSE(Has(server.TakeWritten(), "connection: close"));
  server.Push(std::string(997, 'x') + std::string(kGet));
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_TRUE(server.open());
}

TEST(H1ServerFaultsTest, ALargeRestOfABodyIsNotReadToItsEnd) {
  H1ServerHarness server({}, &AnswerEarly);
  server.Push(Post(100'000) + "abc");
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_TRUE(server.end().shut_down());
  server.Push(std::string(100'000, 'x') + std::string(kGet));
  EXPECT_EQ(server.requests(), 1u);
}

TEST(H1ServerFaultsTest, AnEndlessChunkedBodyIsReadForAWhileOnly) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(200);
      request.SendBody("ok", true);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  const std::string head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string chunk = "4000\r\n" + std::string(0x4000, 'c') + "\r\n";
  server.Push(head + chunk + "0\r\nX-Trailer: dropped\r\n\r\n" + std::string(kGet));
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(server.request(1).trailers.size(), 0u);
  server.Push(head);
  for (int i = 0; i < 40 && !server.end().shut_down(); ++i) server.Push(chunk);
  EXPECT_TRUE(server.end().shut_down());
  server.AdvanceSlowly(seconds(3));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerFaultsTest, ARestThatDoesNotComeEndsTheConnection) {
  H1ServerHarness server({}, &AnswerEarly);
  server.Push(Post(1000) + "abc");
  server.AdvanceSlowly(seconds(6));
  EXPECT_FALSE(server.open());
}

TEST(H1ServerFaultsTest, ABrokenRestOfABodyEndsTheConnection) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(200);
      request.SendBody("ok", true);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" +
              std::string(kGet));
  server.AdvanceSlowly(seconds(3));
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_FALSE(server.open());
}

TEST(H1ServerFaultsTest, AClientThatSaysNothingIsClosedWithoutAWord) {
  H1ServerHarness server;
  server.AdvanceSlowly(milliseconds(9500));
  EXPECT_TRUE(server.open());
  server.AdvanceSlowly(seconds(1));
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.TakeWritten(), "");
  EXPECT_EQ(server.idle_closes(), 1);
}

TEST(H1ServerFaultsTest, AHeadThatTakesTooLongIs408WhateverTricklesIn) {
  H1ServerHarness server;
  server.Push("GET /x HTTP/1.1\r\n");
  for (int i = 0; i < 38; ++i) {
    server.Advance(milliseconds(250));
    server.Push("X: y\r\n");
  }
  EXPECT_EQ(server.requests(), 0u);
  server.AdvanceSlowly(seconds(1));
  ASSERT_EQ(server.requests(), 1u);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kRequestTimeout);
  EXPECT_TRUE(server.end().shut_down());
  EXPECT_EQ(server.refusals(), 1);
}

TEST(H1ServerFaultsTest, AnIdleConnectionIsClosedAfterItsTime) {
  H1ServerHarness server;
  server.Push(kGet);
  server.AdvanceSlowly(seconds(59));
  EXPECT_TRUE(server.open());
  server.AdvanceSlowly(seconds(2));
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.idle_closes(), 1);
}

TEST(H1ServerFaultsTest, ASecondRequestHasItsOwnTime) {
  H1ServerHarness server;
  server.Push(kGet);
  server.AdvanceSlowly(seconds(40));
  server.Push("GET /x HTTP/1.1\r\n");
  server.AdvanceSlowly(seconds(9));
  EXPECT_EQ(server.requests(), 1u);
  server.Push("Host: a\r\n\r\n");
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(server.request(1).errors, 0);
}

TEST(H1ServerFaultsTest, ASlowBodyIs408) {
  H1ServerHarness server;
  server.Push(Post(100'000));
  // 250 bytes per second are enough.
  for (int i = 0; i < 40; ++i) {
    server.Advance(milliseconds(500));
    server.Push(std::string(125, 'x'));
  }
  EXPECT_EQ(server.request(0).errors, 0);
  for (int i = 0; i < 30 && server.request(0).errors == 0; ++i) {
    server.Advance(milliseconds(500));
    server.Push("x");
  }
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kRequestTimeout);
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_TRUE(server.end().shut_down());
}

TEST(H1ServerFaultsTest, ABodyThatNobodyWantsYetIsNotSlow) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push(Post(100'000));
  server.AdvanceSlowly(seconds(30));
  EXPECT_EQ(server.request(0).errors, 0);
  server.request(0).sender->AllowBody(100);
  server.AdvanceSlowly(seconds(2));
  server.request(0).sender->AllowBody(0);
  server.AdvanceSlowly(seconds(30));
  EXPECT_EQ(server.request(0).errors, 0);
}

TEST(H1ServerFaultsTest, ARequestThatTakesTooLongAltogetherIs408) {
  H1ServerOptions options;
  options.request_timeout = seconds(20);
  H1ServerHarness server(options);
  server.Push(Post(1'000'000));
  for (int i = 0; i < 120 && server.request(0).errors == 0; ++i) {
    server.Advance(milliseconds(250));
    server.Push(std::string(100, 'x'));
    if (i < 76) {
      ASSERT_EQ(server.request(0).errors, 0) << i;
    }
  }
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kRequestTimeout);
}

TEST(H1ServerFaultsTest, AClientThatDoesNotReadItsResponseIsReset) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.Respond(200, std::string(100'000, 'x'));
    if (event == Event::kError && request.sender != nullptr) request.sender->Abort();
  });
  server.end().SetWindow(1000);
  server.Push(kGet);
  server.AdvanceSlowly(seconds(4));
  EXPECT_TRUE(server.open());
  server.AdvanceSlowly(seconds(8));
  EXPECT_FALSE(server.open());
  EXPECT_TRUE(server.end().aborted());
}

TEST(H1ServerFaultsTest, AHalfClosedClientThatBreaksIsNoticed) {
  H1ServerHarness server({}, &H1ServerHarness::Nothing);
  server.Push(kGet);
  server.PushEof();
  EXPECT_EQ(server.request(0).errors, 0);
  server.end().Break();
  server.Turns();
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
  EXPECT_FALSE(server.open());
}

// The window was begun for the request's body; nothing of the response has waited in it.
TEST(H1ServerFaultsTest, AResponseThatBeginsAsAWindowEndsIsNotSlow) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.sender->AllowBody(1 << 20);
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Push(Post(3));
  server.Push("abc");
  ASSERT_TRUE(server.request(0).request_ended);
  server.AdvanceSlowly(milliseconds(4750));
  server.request(0).Respond(200, "ok");
  server.Advance(milliseconds(500));
  EXPECT_EQ(server.request(0).errors, 0);
  EXPECT_TRUE(server.TakeWritten().ends_with("\r\n\r\nok"));
  EXPECT_TRUE(server.open());
}

TEST(H1ServerFaultsTest, AClientThatReadsSlowlyButEnoughIsNot) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.Respond(200, std::string(10'000, 'x'));
    if (event == Event::kSent) request.sender->Detach();
  });
  server.end().SetWindow(1000);
  server.Push(kGet);
  for (int i = 0; i < 60 && server.request(0).sents == 0; ++i) {
    server.Advance(seconds(1));
    server.end().SetWindow(200);
    server.Turns();
  }
  EXPECT_EQ(server.request(0).errors, 0);
  EXPECT_EQ(server.request(0).sents, 1);
}

TEST(H1ServerFaultsTest, ADetachedResponseThatNobodyReadsIsReset) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event != Event::kHead) return;
    request.Respond(200, std::string(100'000, 'x'));
    request.sender->Detach();
  });
  server.end().SetWindow(1000);
  server.Push(kGet);
  server.AdvanceSlowly(seconds(12));
  EXPECT_FALSE(server.open());
  EXPECT_TRUE(server.end().aborted());
}

// The places at which a connection can be when it is told to drain or killed.
struct Place {
  const char* name;
  std::string pushed;
  bool answered;
};
std::string NameOf(const testing::TestParamInfo<Place>& place) { return place.param.name; }

class H1ServerPlacesTest : public testing::TestWithParam<Place> {};

TEST_P(H1ServerPlacesTest, Kill) {
  H1ServerHarness server({}, GetParam().answered ? &AnswerEarly : &H1ServerHarness::Nothing);
  if (!GetParam().pushed.empty()) server.Push(GetParam().pushed);
  server.connection().Kill();
  server.connection().Kill();
  server.Turns();
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.closed_count(), 1);
  if (!GetParam().answered && server.requests() > 0) {
    EXPECT_EQ(server.request(0).errors, 1);
    EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
  }
}

TEST_P(H1ServerPlacesTest, Drain) {
  H1ServerHarness server({}, GetParam().answered ? &AnswerEarly : &H1ServerHarness::Nothing);
  if (!GetParam().pushed.empty()) server.Push(GetParam().pushed);
  (void)server.TakeWritten();
  server.connection().Drain(seconds(1));
  server.AdvanceSlowly(seconds(2));
  // What is under way goes on.
  if (server.requests() > 0 && !GetParam().answered) {
    ASSERT_TRUE(server.open());
    server.request(0).Respond(200, "ok");
    server.Turns();
    server.request(0).sender->Detach();
    EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  }
  server.AdvanceSlowly(seconds(12));
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.closed_count(), 1);
}

INSTANTIATE_TEST_SUITE_P(All, H1ServerPlacesTest,
                         testing::Values(Place{"BeforeTheFirstRequest", "", false},
                                         Place{"InAHead", "GET /x HT", true},
                                         Place{"InARequest", std::string(kGet), false},
                                         Place{"InABody", Post(10) + "abc", false},
                                         Place{"InTheRestOfABody", Post(1000) + "abc", true},
                                         Place{"Idle", std::string(kGet), true},
                                         Place{"Lingering", Post(100'000) + "abc", true}),
                         NameOf);

TEST(H1ServerFaultsTest, ARequestThatIsThereWhileIdleTimeOfDrainingRunsIsServed) {
  H1ServerHarness server;
  server.Push(kGet);
  server.connection().Drain(seconds(5));
  server.AdvanceSlowly(seconds(3));
  (void)server.TakeWritten();
  server.Push(kGet);
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close"));
  EXPECT_FALSE(server.open());
}

// The response has promised to keep the connection: the next request may be on its way already.
TEST(H1ServerFaultsTest, AfterTheRestOfABodyADrainingConnectionStillTakesOneRequest) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (request.head.method == Method::kGet) return H1ServerHarness::Serve(request, event);
    AnswerEarly(request, event);
  });
  server.Push(Post(10) + "abc");
  server.connection().Drain(seconds(30));
  server.Push("defghij");
  ASSERT_TRUE(server.open());
  server.Push(std::string(kGet));
  EXPECT_TRUE(Has(server.TakeWritten(), "connection: close\r\n"));
  EXPECT_FALSE(server.open());
  EXPECT_FALSE(server.end().aborted());
}

TEST(H1ServerFaultsTest, AnIdleConnectionThatDrainsHasItsGraceAndNoMore) {
  H1ServerHarness server;
  server.Push(std::string(kGet));
  server.connection().Drain(seconds(2));
  server.Advance(seconds(1));
  EXPECT_TRUE(server.open());
  server.Advance(seconds(2));
  EXPECT_FALSE(server.open());
}

// Takes the body by and by and answers while it comes.
void AnswerInPieces(TestRequest& request, Event event) {
  switch (event) {
    case Event::kHead:
      if (!request.request_ended) request.sender->AllowBody(2);
      request.SendHead(200);
      request.SendBody("abc", request.request_ended);
      break;
    case Event::kBody:
      request.sender->AllowBody(100);
      if (request.request_ended) request.SendBody("def", true);
      break;
    case Event::kTrailers:
      request.SendBody("ghi", true);
      break;
    case Event::kError:
      request.Respond(400, "bad");
      break;
    case Event::kSent:
      request.sender->Detach();
      break;
    case Event::kCredit:
      break;
  }
}

// A receiver that gives up in each of its callbacks; which of them come is up to the input.
TEST(H1ServerFaultsTest, AbortDetachOrKillInEveryCallback) {
  const std::string inputs[] = {
      std::string(kGet) + std::string(kGet),
      Post(5) + "hello",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: "
      "y\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
      "garbage\r\n\r\n",
  };
  for (const std::string& input : inputs) {
    for (Event when : TestRequest::kEvents) {
      for (int how = 0; how < 3; ++how) {
        SCOPED_TRACE(testing::Message() << input << static_cast<int>(when) << how);
        H1ServerHarness* harness = nullptr;
        int calls_after = 0;
        bool gone = false;
        H1ServerHarness server({}, [&](TestRequest& request, Event event) {
          if (gone && &request == &harness->request(0)) ++calls_after;
          if (event == when && !gone) {
            gone = true;
            if (how == 0 && request.sender != nullptr) return request.sender->Abort();
            if (how == 1 && request.sender != nullptr) return request.sender->Detach();
            if (how == 2) {
              harness->connection().Kill();
              calls_after = 0;
              return;
            }
          }
          if (request.sender != nullptr) AnswerInPieces(request, event);
        });
        harness = &server;
        server.end().SetWindow(20);
        server.Push(input);
        server.end().SetWindow(SIZE_MAX);
        server.Turns();
        EXPECT_EQ(calls_after, 0);
        if (gone && how != 1) {
          EXPECT_FALSE(server.open());
        }
        if (server.open()) server.connection().Kill();
        server.Turns();
        EXPECT_EQ(server.closed_count(), 1);
        EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
      }
    }
  }
}

TEST(H1ServerFaultsTest, TheNthWriteFails) {
  for (int nth = 0; nth < 6; ++nth) {
    SCOPED_TRACE(nth);
    H1ServerHarness server({}, [](TestRequest& request, Event event) {
      if (event == Event::kHead) request.SendHead(200);
      if (event == Event::kCredit && request.credits <= 3) {
        request.SendBody("piece", request.credits == 3);
      }
      if (event == Event::kSent) request.sender->Detach();
    });
    server.end().FailWrite(nth);
    server.Push(kGet);
    if (nth < 4) {
      EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
      EXPECT_EQ(server.request(0).errors, 1);
      EXPECT_EQ(server.request(0).sents, 0);
      EXPECT_FALSE(server.open());
    } else {
      EXPECT_EQ(server.request(0).sents, 1);
      EXPECT_TRUE(server.open());
    }
  }
}

TEST(H1ServerFaultsTest, TheClientLeavesAtEveryByteOfARequest) {
  const std::string input =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: "
      "y\r\n\r\n";
  for (size_t cut = 0; cut <= input.size(); ++cut) {
    for (bool broken : {false, true}) {
      SCOPED_TRACE(testing::Message() << cut << (broken ? " reset" : " end"));
      H1ServerHarness server;
      if (cut > 0) server.Push(std::string_view(input).substr(0, cut));
      if (broken) {
        server.end().Break();
        server.Turns();
      } else {
        server.PushEof();
      }
      EXPECT_FALSE(server.open());
      EXPECT_EQ(server.closed_count(), 1);
      EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
      if (cut < input.find("\r\n\r\n") + 4) {
        EXPECT_EQ(server.requests(), 0u);
      } else if (cut < input.size()) {
        ASSERT_EQ(server.requests(), 1u);
        EXPECT_EQ(server.request(0).errors, 1);
        EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
        EXPECT_EQ(server.request(0).sents, 0);
      } else {
        EXPECT_EQ(server.request(0).errors, 0);
        EXPECT_EQ(server.request(0).sents, 1);
      }
    }
  }
}

TEST(H1ServerFaultsTest, ABodyThatBreaksBehindTheResponsesHeadIsTold) {
  H1ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) {
      request.SendHead(200);
      request.sender->AllowBody(100);
    }
    if (event == Event::kError && request.sender != nullptr) request.sender->Abort();
  });
  server.Push("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX");
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kBadRequest);
  EXPECT_TRUE(server.end().aborted());
  EXPECT_FALSE(server.open());
}

}  // namespace
}  // namespace gatehouse::http
