// Slow, broken and hostile HTTP/2 clients, and receivers that give up at any point.
#include <memory>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/h2_server_connection.h"
#include "test/http/h2_harness.h"

namespace gatehouse::http {
namespace {

using Event = TestRequest::Event;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A client that does nothing but what the test pushes.
std::string Greeting() {
  return std::string(kMagic) + H2Frame(NGHTTP2_SETTINGS, 0, 0, "") +
         H2Frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "");
}
std::string GetFrame(uint32_t id, bool end = true) {
  return H2Frame(NGHTTP2_HEADERS, end ? 5 : 4, id, H2GetBlock());
}
// With a client of the test's own bytes.
struct RawServer : H2ServerHarness {
  explicit RawServer(H2ServerOptions options = {}, Script script = &H2ServerHarness::Serve)
      : H2ServerHarness(options, std::move(script)) {
    raw = true;
  }
};

// --- Receivers that give up ---

// At each event of a request with a body and trailers, by each of the two ways.
TEST(H2ServerFaultsTest, AReceiverMayLetGoAtAnyPoint) {
  for (const Event at : TestRequest::kEvents) {
    for (const bool detach : {false, true}) {
      H2ServerHarness server({}, [&](TestRequest& request, Event event) {
        if (event == at && request.sender != nullptr) {
          Sender* sender = std::exchange(request.sender, nullptr);
          detach ? sender->Detach() : sender->Abort();
          return;
        }
        if (request.sender != nullptr) H2ServerHarness::Serve(request, event);
      });
      for (int round = 0; round < 3; ++round) {
        const int32_t id =
            server.client().Request({{":method", "PUT"}}, std::string(30000, 'x'), false);
        server.client().SendTrailers(id, {{"x-sum", "1"}});
        server.Turns();
        EXPECT_TRUE(server.client().stream(id).closed) << static_cast<int>(at) << detach;
      }
      EXPECT_TRUE(server.open());
      EXPECT_FALSE(server.client().broken);
      EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
    }
  }
}

TEST(H2ServerFaultsTest, AnAbortedResponseIsResetWithAnError) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event != Event::kHead) return;
    request.SendHead(200);
    request.SendBody("half", false);
  });
  const int32_t id = server.client().Request();
  server.Turns();
  server.request(0).sender->Abort();
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "200|RST 2|");
  EXPECT_EQ(server.client().stream(id).body, "half");
}

TEST(H2ServerFaultsTest, LettingGoBeforeTheEndHasLeftStillSendsIt) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event != Event::kHead) return;
    request.Respond(200, "ok");
    request.sender->Detach();
  });
  server.Turns();
  server.end().SetWindow(0);
  const int32_t id = server.client().Request();
  const int32_t open = server.client().Request({}, "unwanted", false);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "");
  server.end().SetWindow(SIZE_MAX);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "200|end|");
  EXPECT_EQ(server.client().stream(id).body, "ok");
  // The rest of the request is of no interest (RFC 9113, section 8.1).
  EXPECT_EQ(server.client().stream(open).log, "200|end|RST 0|");
}

// A DATA frame is being written when the stream is given up: nothing is left of what it announced.
TEST(H2ServerFaultsTest, AStreamMayEndWhileItsDataWaitsForTheSocket) {
  for (const char* how : {"abort", "error", "invalid field", "connection error", "client"}) {
    SCOPED_TRACE(how);
    H2ServerHarness server({},
                           [](TestRequest& request, Event event) {
                             if (event != Event::kHead) return;
                             request.sender->AllowBody(1 << 20);
                             request.SendHead(200);
                             request.SendBody(std::string(400000, 'x'), false);
                           },
                           {.settings = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30}}});
    server.client().Open(0, 1 << 30);
    server.Turns();
    server.end().SetWindow(1000);
    const int32_t id = server.client().Request({}, "body", false);
    const int32_t other = server.client().Request({}, "body", false);
    server.Turns();
    TestRequest& request = server.request(0);
    const std::string_view kind = how;
    if (kind == "abort") {
      std::exchange(request.sender, nullptr)->Abort();
      std::exchange(server.request(1).sender, nullptr)->Abort();
    } else if (kind == "error") {
      server.connection().Drain(seconds(1));
      server.Push(H2Frame(NGHTTP2_WINDOW_UPDATE, 0, static_cast<uint32_t>(id), H2Number(0)));
    } else if (kind == "invalid field") {
      for (int32_t each : {id, other}) {
        server.Push(H2Frame(NGHTTP2_HEADERS, 5, static_cast<uint32_t>(each),
                            std::string("\x00\x01") + "A" + "\x01" + "b"));
      }
    } else if (kind == "client") {
      server.client().Reset(id, NGHTTP2_CANCEL);
      server.client().Reset(other, NGHTTP2_CANCEL);
    } else {
      server.Push(H2Frame(NGHTTP2_DATA, 0, 0, "x"));
    }
    server.end().SetWindow(SIZE_MAX);
    server.Turns();
    EXPECT_FALSE(server.client().broken);
    for (size_t i = 0; i < 2; ++i) {
      if (server.request(i).sender != nullptr) server.request(i).sender->Abort();
    }
    server.Turns();
    EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
  }
}

// Memory of an exchange, which goes when the stream has ended, before the bytes do.
TEST(H2ServerFaultsTest, UnownedBytesAreNotLookedAtAfterTheEnd) {
  for (const bool reset : {false, true}) {
    auto text = std::make_unique<std::string>(50000, 'x');
    H2ServerHarness server({}, [&](TestRequest& request, Event event) {
      if (event == Event::kSent || event == Event::kError) text.reset();
      if (event == Event::kSent) request.sender->Detach();
      if (event != Event::kHead) return;
      request.SendHead(200);
      Chain chain;
      chain.Append(Slice::Unowned(*text));
      request.sender->SendBody(chain, true);
    });
    server.Turns();
    server.end().SetWindow(1000);
    const int32_t id = server.client().Request();
    server.Turns();
    if (reset) server.client().Reset(id, NGHTTP2_CANCEL);
    server.Turns();
    server.end().SetWindow(SIZE_MAX);
    server.Turns();
    EXPECT_EQ(text, nullptr);
    EXPECT_FALSE(server.client().broken);
    if (reset) continue;
    EXPECT_EQ(server.client().stream(id).body.size(), 50000u);
  }
}

TEST(H2ServerFaultsTest, AClientThatResetsIsToldOnce) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  const int32_t id = server.client().Request({}, "part", false);
  server.Turns();
  server.request(0).sender->AllowBody(100);
  server.client().Reset(id, NGHTTP2_CANCEL);
  server.Turns();
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
  server.PushEof();
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.closed_count(), 1);
}

// --- The connection ---

TEST(H2ServerFaultsTest, KillEndsEachStreamWithAnError) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  for (int i = 0; i < 3; ++i) server.client().Request({}, "part", false);
  server.Turns();
  server.request(1).SendHead(200);
  server.connection().Kill();
  EXPECT_EQ(server.closed_count(), 1);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(server.request(i).errors, 1);
    EXPECT_EQ(server.request(i).last_error.what, Error::What::kClientAbort);
  }
  server.Turns();
  EXPECT_TRUE(server.end().closed());
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
}

TEST(H2ServerFaultsTest, TheTransportMayFailAtAnyWrite) {
  for (int nth = 0; nth < 30; ++nth) {
    H2ServerHarness server;
    server.end().FailWrite(nth);
    for (int i = 0; i < 4 && server.open(); ++i) {
      server.client().Request({}, std::string(100000, 'x'));
      server.Turns();
    }
    server.Turns();
    for (size_t i = 0; i < server.requests(); ++i) {
      EXPECT_LE(server.request(i).errors, 1);
      EXPECT_EQ(server.request(i).sents + server.request(i).errors, 1) << nth;
    }
    EXPECT_LE(server.closed_count(), 1);
  }
}

TEST(H2ServerFaultsTest, TheTransportMayFailAtAnyRead) {
  std::string bytes;
  {
    H2Peer client({});
    client.Request({}, std::string(300, 'x'));
    client.Request({{":path", "/other"}});
    bytes = client.Take();
  }
  for (size_t cut = 0; cut < bytes.size(); cut += 3) {
    for (const bool eof : {false, true}) {
      RawServer server;
      server.Push(std::string_view(bytes).substr(0, cut));
      eof ? server.end().PushEof() : server.end().Break();
      server.Turns();
      EXPECT_EQ(server.closed_count(), 1) << cut;
      for (size_t i = 0; i < server.requests(); ++i) {
        EXPECT_EQ(server.request(i).sents + server.request(i).errors, 1) << cut;
      }
      EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
    }
  }
}

TEST(H2ServerFaultsTest, ConnectionErrorsAreSaidByGoaway) {
  const struct {
    const char* what;
    std::string bytes;
    const char* goaway;
  } kCases[] = {
      {"DATA of no stream", H2Frame(NGHTTP2_DATA, 0, 0, "x"), "GOAWAY 1 1|"},
      {"an even stream", GetFrame(2), "GOAWAY 1 1|"},
      {"an old stream", GetFrame(5) + GetFrame(3), "GOAWAY 1 5|"},
      {"a frame too large", H2Frame(NGHTTP2_DATA, 0, 1, std::string(16385, 'x')), "GOAWAY 6 1|"},
      {"HPACK nonsense", H2Frame(NGHTTP2_HEADERS, 5, 3, "\xff\xff\xff\xff\xff\xff"), "GOAWAY 9 "},
      {"PRIORITY of no stream", H2Frame(NGHTTP2_PRIORITY, 0, 0, std::string(5, '\0')),
       "GOAWAY 1 1|"},
      {"a short PING", H2Frame(NGHTTP2_PING, 0, 0, "x"), "GOAWAY 6 1|"},
      {"a window that overflows", H2Frame(NGHTTP2_WINDOW_UPDATE, 0, 0, H2Number(0x7fffffff)),
       "GOAWAY 3 1|"},
      {"PUSH_PROMISE", H2Frame(NGHTTP2_PUSH_PROMISE, 4, 1, H2Number(2) + H2GetBlock()),
       "GOAWAY 1 1|"},
      {"another frame in a header block",
       H2Frame(NGHTTP2_HEADERS, 1, 3, H2GetBlock()) + H2Frame(NGHTTP2_PING, 0, 0, "12345678"),
       "GOAWAY 1 3|"},
      {"ENABLE_CONNECT_PROTOCOL of 2",
       H2Frame(NGHTTP2_SETTINGS, 0, 0, std::string("\0\x08", 2) + H2Number(2)), "GOAWAY 1 1|"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    RawServer server({}, &H2ServerHarness::Nothing);
    server.Push(Greeting() + GetFrame(1, /*end=*/false));
    (void)server.TakeFrames();
    server.Push(test.bytes);
    EXPECT_EQ(server.TakeFrames().substr(0, std::string_view(test.goaway).size()), test.goaway);
    EXPECT_EQ(server.request(0).last_error.what, Error::What::kClientAbort);
    EXPECT_TRUE(server.end().shut_down());
    server.AdvanceSlowly(seconds(3));
    EXPECT_FALSE(server.open());
    EXPECT_EQ(server.closed_count(), 1);
  }
}

TEST(H2ServerFaultsTest, WhatIsNoPrefaceEndsTheConnection) {
  RawServer server;
  server.Push("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server.AdvanceSlowly(seconds(3));
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.requests(), 0u);
}

// --- Abuse ---

struct Flood {
  const char* name;
  H2Abuse abuse;
  std::string (*bytes)(int i);
};
class H2FloodTest : public testing::TestWithParam<Flood> {};

INSTANTIATE_TEST_SUITE_P(
    All, H2FloodTest,
    testing::Values(
        Flood{"RapidReset", H2Abuse::kResets,
              [](int i) {
                const auto id = static_cast<uint32_t>(3 + 2 * i);
                return GetFrame(id) + H2Frame(NGHTTP2_RST_STREAM, 0, id, H2Number(NGHTTP2_CANCEL));
              }},
        Flood{"Pings", H2Abuse::kControl,
              [](int) { return H2Frame(NGHTTP2_PING, 0, 0, "12345678"); }},
        Flood{"Settings", H2Abuse::kControl,
              [](int) { return H2Frame(NGHTTP2_SETTINGS, 0, 0, ""); }},
        Flood{"Priorities", H2Abuse::kControl,
              [](int) { return H2Frame(NGHTTP2_PRIORITY, 0, 1, std::string(5, '\0')); }},
        Flood{"WindowUpdates", H2Abuse::kControl,
              [](int) { return H2Frame(NGHTTP2_WINDOW_UPDATE, 0, 1, H2Number(1)); }},
        Flood{"EmptyData", H2Abuse::kEmpty, [](int) { return H2Frame(NGHTTP2_DATA, 0, 1, ""); }},
        Flood{"Malformed", H2Abuse::kErrors,
              [](int i) {
                return H2Frame(NGHTTP2_HEADERS, 5, static_cast<uint32_t>(3 + 2 * i), "\x82\x84");
              }}),
    [](const auto& tested) { return tested.param.name; });

TEST_P(H2FloodTest, EndsWithEnhanceYourCalm) {
  RawServer server({}, [](TestRequest& request, Event event) {
    if (request.head.headers.empty() || event == Event::kError) return;
  });
  server.Push(Greeting() + GetFrame(1, /*end=*/false));
  (void)server.TakeFrames();
  // As many as are fine.
  for (int i = 0; i < 90; ++i) server.end().Push(GetParam().bytes(i));
  server.Turns();
  EXPECT_TRUE(server.abuses.empty());
  for (int i = 90; i < 500 && server.abuses.empty(); ++i) {
    server.Push(GetParam().bytes(i));
  }
  ASSERT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.abuses[0], GetParam().abuse);
  server.Turns();
  EXPECT_NE(server.TakeFrames().find("GOAWAY 11 "), std::string::npos);
  server.AdvanceSlowly(seconds(3));
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
}

// The buckets fill again.
TEST_P(H2FloodTest, IsNoFloodWhenItIsSlow) {
  H2ServerOptions options;
  options.common.request_timeout = kNoTimeout;
  options.common.min_body_rate = 0;
  RawServer server(options, &H2ServerHarness::Nothing);
  server.Push(Greeting() + GetFrame(1, /*end=*/false));
  for (int i = 0; i < 500; ++i) {
    server.end().Push(GetParam().bytes(i));
    server.Advance(milliseconds(60));
  }
  EXPECT_TRUE(server.abuses.empty());
  EXPECT_TRUE(server.open());
}

TEST(H2ServerFaultsTest, AHeaderBlockInTooManyPiecesIsRefused) {
  for (const int continuations : {8, 20}) {
    RawServer server;
    server.Push(Greeting());
    (void)server.TakeFrames();
    std::string bytes = H2Frame(NGHTTP2_HEADERS, 1, 1, H2GetBlock());
    for (int i = 0; i < continuations; ++i) {
      bytes += H2Frame(NGHTTP2_CONTINUATION, i + 1 == continuations ? 4 : 0, 1,
                       std::string("\x00\x01", 2) + "x" + "\x01" + "y");
    }
    server.Push(bytes);
    if (continuations == 8) {
      EXPECT_EQ(server.request(0).sents, 1);
      EXPECT_TRUE(server.abuses.empty());
    } else {
      ASSERT_EQ(server.abuses.size(), 1u);
      EXPECT_EQ(server.abuses[0], H2Abuse::kContinuations);
      EXPECT_TRUE(server.TakeFrames().starts_with("GOAWAY 11 "));
    }
  }
}

TEST(H2ServerFaultsTest, AnAbsurdHeaderListEndsTheConnection) {
  H2ServerOptions options;
  options.common.limits.max_head_bytes = 4096;
  RawServer server(options);
  server.Push(Greeting());
  // A large field in the dynamic table, referred to again and again: an HPACK bomb.
  std::string block = H2GetBlock() + "\x40\x01" + "x" + "\x7f" + std::string("\x81\x13", 2) +
                      std::string(127 + 0x81 - 0x80 + 0x13 * 128, 'v');
  block += std::string(100, '\xbe');
  server.Push(H2Frame(NGHTTP2_HEADERS, 5, 1, block));
  ASSERT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.abuses[0], H2Abuse::kHeaderList);
}

// What is to be said to it stays bounded.
TEST(H2ServerFaultsTest, AClientThatReadsNothingIsCountedAllTheSame) {
  RawServer server;
  server.Push(std::string(kMagic) + H2Frame(NGHTTP2_SETTINGS, 0, 0, ""));
  server.end().SetWindow(0);
  for (uint32_t i = 0; i < 1000; ++i) {
    server.end().Push(H2Frame(NGHTTP2_HEADERS, 5, 1 + 2 * i, "\x82\x84"));
  }
  server.Turns();
  ASSERT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.abuses[0], H2Abuse::kErrors);
  server.AdvanceSlowly(seconds(13));
  EXPECT_FALSE(server.open());
}

// --- Time ---

TEST(H2ServerFaultsTest, AConnectionThatSaysNothingEnds) {
  H2ServerOptions options;
  options.common.header_timeout = seconds(10);
  for (const std::string& said : {std::string(), std::string(kMagic)}) {
    RawServer server(options);
    server.Push(said);
    server.AdvanceSlowly(seconds(9));
    EXPECT_EQ(server.refusals, 0);
    server.AdvanceSlowly(seconds(4));
    EXPECT_EQ(server.refusals, 1);
    EXPECT_FALSE(server.open());
    EXPECT_EQ(server.closed_count(), 1);
  }
}

TEST(H2ServerFaultsTest, AHeaderBlockThatDoesNotEndIsLate) {
  RawServer server;
  server.Push(Greeting() + GetFrame(1, /*end=*/false) +
              H2Frame(NGHTTP2_HEADERS, 1, 3, H2GetBlock()));
  (void)server.TakeFrames();
  server.AdvanceSlowly(seconds(9));
  EXPECT_EQ(server.refusals, 0);
  server.AdvanceSlowly(seconds(4));
  EXPECT_EQ(server.refusals, 1);
  EXPECT_TRUE(server.TakeFrames().starts_with("GOAWAY 11 "));
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_FALSE(server.open());
}

TEST(H2ServerFaultsTest, AnIdleConnectionEndsInOrder) {
  H2ServerHarness server;
  server.client().Request();
  server.Turns();
  server.AdvanceSlowly(seconds(59));
  EXPECT_EQ(server.idle_closes, 0);
  server.client().Request();
  server.Turns();
  server.client().TakeLog();
  server.AdvanceSlowly(seconds(59));
  EXPECT_EQ(server.idle_closes, 0);
  server.AdvanceSlowly(seconds(4));
  EXPECT_EQ(server.idle_closes, 1);
  EXPECT_EQ(server.client().TakeLog(), "GOAWAY 0 3|");
  EXPECT_FALSE(server.open());
  EXPECT_EQ(server.closed_count(), 1);
}

TEST(H2ServerFaultsTest, ASlowBodyIsLateAndToldOnce) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.sender->AllowBody(1 << 20);
    if (event == Event::kError && request.sender != nullptr) request.SendHead(408);
  });
  const int32_t id = server.client().Request({}, "slow", false);
  server.AdvanceSlowly(seconds(12));
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kRequestTimeout);
  // More of the body is nothing to the receiver any more.
  const std::string before = server.request(0).body;
  server.client().SendBody(id, "late", true);
  server.AdvanceSlowly(seconds(12));
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).body, before);
  EXPECT_FALSE(server.request(0).request_ended);
  server.request(0).SendBody("too late", true);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).body, "too late");
  EXPECT_EQ(server.request(0).sents, 1);
}

TEST(H2ServerFaultsTest, ABodyThatIsNotWantedIsNotSlow) {
  H2ServerHarness server({}, [](TestRequest&, Event) {});
  server.client().Request({}, "part", false);
  server.AdvanceSlowly(seconds(30));
  EXPECT_EQ(server.request(0).errors, 0);
  // The whole request is late at last.
  server.AdvanceSlowly(minutes(5));
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.request(0).last_error.what, Error::What::kRequestTimeout);
}

TEST(H2ServerFaultsTest, GrpcMayBeSlow) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.sender->AllowBody(1 << 20);
  });
  server.client().Request({{"content-type", "application/grpc"}}, "part", false);
  server.AdvanceSlowly(minutes(6));
  EXPECT_EQ(server.request(0).errors, 0);
}

TEST(H2ServerFaultsTest, AStreamThatIsNotReadIsReset) {
  H2ServerHarness server({},
                         [](TestRequest& request, Event event) {
                           if (event != Event::kHead) return;
                           request.SendHead(200);
                           request.SendBody(std::string(100000, 'x'), true);
                         },
                         {.auto_window = false});
  server.client().Open(0, 1 << 20);
  const int32_t slow = server.client().Request();
  const int32_t other = server.client().Request({{":method", "HEAD"}});
  server.AdvanceSlowly(seconds(13));
  EXPECT_EQ(server.request(0).errors, 1);
  EXPECT_EQ(server.client().stream(slow).log, "200|RST 2|");
  EXPECT_EQ(server.client().stream(other).log, "200|end|");
  EXPECT_TRUE(server.open());
  ASSERT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.abuses[0], H2Abuse::kStalled);
}

TEST(H2ServerFaultsTest, AConnectionThatIsNotReadEnds) {
  H2ServerHarness server;
  server.Turns();
  server.end().SetWindow(0);
  server.client().Request();
  server.AdvanceSlowly(seconds(13));
  EXPECT_FALSE(server.open());
  ASSERT_EQ(server.abuses.size(), 1u);
  EXPECT_EQ(server.abuses[0], H2Abuse::kStalled);
}

TEST(H2ServerFaultsTest, ClientsAreAskedWhetherTheyAreThere) {
  H2ServerOptions options;
  options.ping_interval = seconds(10);
  options.ping_timeout = seconds(5);
  options.common.keep_alive_timeout = minutes(10);
  H2ServerHarness server(options);
  server.Turns();
  server.client().TakeLog();
  server.AdvanceSlowly(minutes(1));
  EXPECT_TRUE(server.open());
  EXPECT_TRUE(server.client().TakeLog().starts_with("PING|PING|PING|PING|"));
  server.deaf = true;
  server.AdvanceSlowly(seconds(17));
  EXPECT_FALSE(server.open());
}

}  // namespace
}  // namespace gatehouse::http
