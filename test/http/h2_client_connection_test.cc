// What origins answer over HTTP/2, how streams share a connection, and what its end means to them.
#include "source/http/h2_client_connection.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "source/http/websocket.h"
#include "test/http/h2_harness.h"

namespace gatehouse::http {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using What = Error::What;

nghttp2_settings_entry MaxStreams(uint32_t count) {
  return {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, count};
}
const nghttp2_settings_entry kTakesConnect = {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};

TEST(H2ClientConnectionTest, IsReadyWhenTheSettingsHaveCome) {
  H2ClientHarness client({}, {.settings = {MaxStreams(7)}});
  EXPECT_EQ(client.readies, 0);
  client.Turns();
  EXPECT_EQ(client.readies, 1);
  EXPECT_TRUE(client.connection().available());
  EXPECT_EQ(client.connection().max_streams(), 7u);
  EXPECT_TRUE(client.origin().log().starts_with("SETTINGS|")) << client.origin().log();
}

TEST(H2ClientConnectionTest, RequestsAndResponsesWithAndWithoutBodies) {
  H2ClientHarness client;
  TestExchange& get = client.Get("/x?y");
  TestExchange& post = client.Send("POST", "/post", false);
  post.SendBody("request", true);
  client.Turns();
  ASSERT_EQ(client.origin().heard().size(), 2u);
  H2Peer::Stream& first = client.origin().stream(1);
  H2Peer::Stream& second = client.origin().stream(3);
  EXPECT_EQ(first.log, "GET /x?y|end|");
  EXPECT_EQ(first.Field(":authority"), "origin.test");
  EXPECT_EQ(first.Field(":scheme"), "http");
  EXPECT_EQ(second.log, "POST /post|end|");
  EXPECT_EQ(second.body, "request");
  client.origin().Respond(1, {{":status", "200"}, {"content-length", "2"}}, "ok");
  client.origin().Respond(3, {{":status", "204"}});
  client.Turns();
  EXPECT_EQ(get.log, "sent|head 200|end|");
  EXPECT_EQ(get.body, "ok");
  EXPECT_EQ(get.head.body, BodyKind::kLength);
  EXPECT_EQ(get.head.version, Version::kHttp2);
  EXPECT_EQ(post.log, "sent|head 204 end|end|");
  EXPECT_EQ(get.handle.get(), nullptr);
  EXPECT_EQ(client.connection().streams(), 0u);
  EXPECT_EQ(client.connection().exchanges(), 2u);
  EXPECT_EQ(client.loop().slabs().in_use_bytes(), 0u);
}

TEST(H2ClientConnectionTest, ResponsesComeInAnyOrder) {
  H2ClientHarness client;
  for (int i = 0; i < 10; ++i) client.Get("/" + std::to_string(i));
  client.Turns();
  for (int32_t i = 9; i >= 0; --i) {
    client.origin().Respond(1 + 2 * i, {{":status", "200"}}, std::to_string(i));
  }
  client.Turns();
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(client.exchange(i).body, std::to_string(i));
}

TEST(H2ClientConnectionTest, FieldsOfHttp1StayBehind) {
  H2ClientHarness client;
  client.Send("GET", "/", true, 100, [](RequestHead& head) {
    head.headers.Set(Name::kHost, "origin.test");
    head.headers.Set(Name::kConnection, "keep-alive");
    head.headers.Set(Name::kTe, "trailers, deflate");
    head.headers.Set("X-Upper-Case", "v");
  });
  client.Turns();
  const H2Peer::Stream& stream = client.origin().stream(1);
  EXPECT_EQ(stream.Field("host"), "(none)");
  EXPECT_EQ(stream.Field("connection"), "(none)");
  EXPECT_EQ(stream.Field("te"), "trailers");
  EXPECT_EQ(stream.Field("x-upper-case"), "v");
}

TEST(H2ClientConnectionTest, TrailersBothWays) {
  H2ClientHarness client;
  TestExchange& exchange = client.Send("POST", "/", false);
  exchange.SendBody("body", false);
  exchange.SendTrailers("x-sum", "7");
  client.Turns();
  EXPECT_EQ(client.origin().stream(1).log, "POST /|trailers x-sum=7|end|");
  client.origin().Respond(1, {{":status", "200"}}, "answer", false);
  client.origin().SendTrailers(1, {{"grpc-status", "0"}});
  client.Turns();
  EXPECT_EQ(exchange.log, "sent|head 200|trailer grpc-status=0|end|");
  EXPECT_EQ(exchange.body, "answer");
}

TEST(H2ClientConnectionTest, InterimResponsesComeBeforeTheFinalOne) {
  H2ClientHarness client;
  TestExchange& exchange = client.Get("/");
  client.Turns();
  client.origin().Interim(1, {{":status", "103"}, {"link", "a"}});
  client.Turns();
  EXPECT_EQ(exchange.log, "sent|head 103|");
  client.origin().Respond(1, {{":status", "200"}}, "ok");
  client.Turns();
  EXPECT_EQ(exchange.log, "sent|head 103|head 200|end|");
  EXPECT_FALSE(exchange.head.headers.Get("link").has_value());
  // Without end they are a fault.
  TestExchange& flooded = client.Get("/");
  client.Turns();
  for (int i = 0; i < 17; ++i) client.origin().Interim(3, {{":status", "103"}});
  client.Turns();
  EXPECT_EQ(flooded.error, Error::Upstream(What::kUpstreamProtocolError));
  EXPECT_EQ(client.origin().stream(3).log, "GET /|end|RST 1|");
  EXPECT_TRUE(client.open());
}

TEST(H2ClientConnectionTest, HeadAndNotModifiedHaveNoBodyWhateverTheyAnnounce) {
  H2ClientHarness client;
  TestExchange& head = client.Send("HEAD", "/");
  TestExchange& get = client.Get("/");
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}, {"content-length", "1000"}});
  client.origin().Respond(3, {{":status", "304"}, {"content-length", "1000"}});
  client.Turns();
  EXPECT_EQ(head.log, "sent|head 200 end|end|");
  EXPECT_EQ(get.log, "sent|head 304 end|end|");
  EXPECT_TRUE(head.head.has_content_length);
  EXPECT_EQ(head.head.content_length, 1000u);
}

TEST(H2ClientConnectionTest, AResponseMayComeBeforeTheRequestHasEnded) {
  H2ClientHarness client;
  TestExchange& exchange = client.Send("POST", "/", false);
  exchange.SendBody("part", false);
  client.Turns();
  client.origin().Respond(1, {{":status", "413"}}, "too much");
  client.Turns();
  EXPECT_EQ(exchange.log, "head 413|end|");
  EXPECT_EQ(exchange.body, "too much");
  EXPECT_EQ(exchange.errors, 0);
  // The rest of the request was given up.
  EXPECT_EQ(client.origin().stream(1).log, "POST /|RST 8|");
  EXPECT_EQ(client.connection().streams(), 0u);
}

TEST(H2ClientConnectionTest, AnOriginMayEndTheRequestOnceItHasAnswered) {
  H2ClientHarness client;
  TestExchange& exchange = client.Send("POST", "/", false, /*allow=*/0);
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}}, "all of it");
  client.Turns();
  client.origin().Reset(1, NGHTTP2_NO_ERROR);
  client.Turns();
  EXPECT_EQ(exchange.errors, 0);
  exchange.sender->AllowBody(100);
  client.Turns();
  EXPECT_EQ(exchange.body, "all of it");
  EXPECT_TRUE(exchange.ended);
}

// --- Flow control ---

TEST(H2ClientConnectionTest, AResponseStopsAtTheWindowUntilItIsTaken) {
  H2ClientOptions options;
  options.stream_window = 70000;
  H2ClientHarness client(options);
  TestExchange& exchange = client.Send("GET", "/", true, /*allow=*/0);
  TestExchange& other = client.Get("/other");
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}}, std::string(300000, 'x'));
  client.Turns();
  EXPECT_EQ(exchange.body, "");
  EXPECT_EQ(client.origin().stream(1).out.size(), 300000u - 70000u);
  // Others go on meanwhile.
  client.origin().Respond(3, {{":status", "200"}}, std::string(300000, 'y'));
  client.Turns();
  EXPECT_EQ(other.body.size(), 300000u);
  exchange.sender->AllowBody(50000);
  client.Turns();
  EXPECT_EQ(exchange.body.size(), 50000u);
  EXPECT_EQ(client.origin().stream(1).out.size(), 300000u - 120000u);
  for (int i = 0; i < 10 && !exchange.ended; ++i) {
    exchange.sender->AllowBody(40000);
    client.Turns();
  }
  EXPECT_EQ(exchange.body.size(), 300000u);
  EXPECT_TRUE(exchange.ended);
}

TEST(H2ClientConnectionTest, ARequestStopsAtTheOriginsWindow) {
  H2ClientHarness client({}, {.auto_window = false});
  client.Turns();
  TestExchange& exchange = client.Send("POST", "/", false);
  const size_t credit = exchange.sender->Credit();
  EXPECT_EQ(credit, 128u * 1024);
  exchange.SendBody(std::string(credit, 'x'), false);
  EXPECT_EQ(exchange.sender->Credit(), 0u);
  client.Turns();
  EXPECT_EQ(client.origin().stream(1).body.size(), 65535u);
  EXPECT_EQ(exchange.sender->Credit(), 65535u);
  EXPECT_GE(exchange.credits, 1);
  client.origin().Open(0, 1 << 20);
  client.origin().Open(1, 1 << 20);
  client.Turns();
  EXPECT_EQ(client.origin().stream(1).body.size(), credit);
  EXPECT_EQ(exchange.sender->Credit(), credit);
  exchange.SendBody("", true);
  client.Turns();
  EXPECT_TRUE(client.origin().stream(1).ended);
  EXPECT_EQ(exchange.log, "sent|");
}

TEST(H2ClientConnectionTest, PiecesOfInputMakeNoDifference) {
  std::string stories[2];
  for (int way = 0; way < 2; ++way) {
    H2ClientHarness client;
    client.Turns();
    TestExchange& first = client.Get("/");
    TestExchange& second = client.Get("/");
    client.Turns();
    if (way == 1) client.piece = 1;
    client.origin().Interim(1, {{":status", "103"}});
    client.origin().Respond(1, {{":status", "200"}, {"x-long", std::string(300, 'v')}},
                            std::string(2000, 'a'), false);
    client.origin().SendTrailers(1, {{"x-sum", "1"}});
    client.origin().Respond(3, {{":status", "404"}}, std::string(500, 'b'));
    client.Turns();
    stories[way] = first.log + first.body + second.log + second.body;
    EXPECT_EQ(first.head.headers.Get("x-long").value_or("").size(), 300u);
  }
  EXPECT_EQ(stories[0], stories[1]);
  EXPECT_TRUE(stories[0].starts_with("sent|head 103|head 200|trailer x-sum=1|end|"));
}

// --- Limits ---

TEST(H2ClientConnectionTest, TakesAsManyStreamsAsBothAllow) {
  H2ClientOptions options;
  options.max_streams = 3;
  H2ClientHarness client(options, {.settings = {MaxStreams(2)}});
  client.Turns();
  client.Get("/1");
  EXPECT_TRUE(client.connection().available());
  client.Get("/2");
  EXPECT_FALSE(client.connection().available());
  client.Turns();
  const int changes = client.changes;
  client.origin().Respond(1, {{":status", "204"}});
  client.Turns();
  EXPECT_TRUE(client.connection().available());
  EXPECT_GT(client.changes, changes);
}

// Nothing else tells those who wait.
TEST(H2ClientConnectionTest, TellsWhenTheOriginAllowsMore) {
  H2ClientHarness client({}, {.settings = {MaxStreams(1)}});
  client.Turns();
  client.Get("/1");
  client.Turns();
  EXPECT_FALSE(client.connection().available());
  const int changes = client.changes;
  client.origin().Settings({MaxStreams(5)});
  client.Turns();
  EXPECT_TRUE(client.connection().available());
  EXPECT_GT(client.changes, changes);
}

TEST(H2ClientConnectionTest, AHeadOverTheLimitIsRefused) {
  H2ClientHarness client({}, {}, {.max_head_bytes = 2000});
  TestExchange& exchange = client.Get("/");
  TestExchange& other = client.Get("/");
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}, {"x", std::string(3000, 'x')}}, "body");
  client.origin().Respond(3, {{":status", "200"}}, "fine");
  client.Turns();
  EXPECT_EQ(exchange.error, Error::Upstream(What::kResponseTooLarge));
  EXPECT_EQ(exchange.errors, 1);
  EXPECT_EQ(other.body, "fine");
}

// --- Ends of streams ---

TEST(H2ClientConnectionTest, AResetStreamFailsAloneAndOnce) {
  const struct {
    uint32_t code;
    Error error;
  } kCases[] = {
      {NGHTTP2_REFUSED_STREAM, Error::Upstream(What::kUpstreamRefusedStream, true)},
      {NGHTTP2_INTERNAL_ERROR, Error::Upstream(What::kUpstreamReset)},
      {NGHTTP2_CANCEL, Error::Upstream(What::kUpstreamReset)},
      {NGHTTP2_NO_ERROR, Error::Upstream(What::kUpstreamReset)},
  };
  H2ClientHarness client;
  int32_t id = 1;
  for (const auto& test : kCases) {
    TestExchange& exchange = client.Get("/");
    TestExchange& other = client.Get("/");
    client.Turns();
    client.origin().Reset(id, test.code);
    client.origin().Respond(id + 2, {{":status", "200"}}, "ok");
    client.Turns();
    EXPECT_EQ(exchange.error, test.error) << test.code;
    EXPECT_EQ(exchange.errors, 1);
    EXPECT_EQ(other.body, "ok");
    EXPECT_TRUE(client.connection().available());
    id += 4;
  }
}

TEST(H2ClientConnectionTest, AResetAmidTheBodyFailsIt) {
  H2ClientHarness client;
  TestExchange& exchange = client.Get("/");
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}}, "half", false);
  client.Turns();
  client.origin().Reset(1, NGHTTP2_INTERNAL_ERROR);
  client.Turns();
  EXPECT_EQ(exchange.body, "half");
  EXPECT_EQ(exchange.error, Error::Upstream(What::kUpstreamReset));
}

TEST(H2ClientConnectionTest, MalformedResponsesFailAlone) {
  const struct {
    const char* what;
    H2TestFields fields;
    std::optional<std::string_view> body;
  } kCases[] = {
      {"no status", {{"x", "y"}}, "ok"},
      {"status 101", {{":status", "101"}}, std::nullopt},
      {"a pseudo-field of requests", {{":status", "200"}, {":path", "/"}}, "ok"},
      {"connection", {{":status", "200"}, {"connection", "close"}}, "ok"},
      {"two lengths", {{":status", "200"}, {"content-length", "2"}, {"content-length", "3"}}, "ok"},
      {"too little", {{":status", "200"}, {"content-length", "3"}}, "ok"},
      {"too much", {{":status", "200"}, {"content-length", "1"}}, "ok"},
      {"none of what was announced", {{":status", "200"}, {"content-length", "1"}}, std::nullopt},
  };
  H2ClientHarness client;
  int32_t id = 1;
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    TestExchange& exchange = client.Get("/");
    client.Turns();
    client.origin().Respond(id, test.fields, test.body);
    client.Turns();
    EXPECT_EQ(exchange.errors, 1);
    EXPECT_EQ(exchange.error, Error::Upstream(What::kUpstreamProtocolError))
        << static_cast<int>(exchange.error.what);
    EXPECT_TRUE(client.open());
    EXPECT_EQ(client.connection().streams(), 0u);
    id += 2;
  }
}

TEST(H2ClientConnectionTest, AnAbortedExchangeIsCancelled) {
  H2ClientHarness client;
  TestExchange& exchange = client.Send("POST", "/", false);
  exchange.SendBody("part", false);
  client.Turns();
  client.origin().Respond(1, {{":status", "200"}}, "part", false);
  client.Turns();
  exchange.Abort();
  client.Turns();
  EXPECT_EQ(client.origin().stream(1).log, "POST /|RST 8|");
  EXPECT_EQ(client.connection().streams(), 0u);
  EXPECT_EQ(client.loop().slabs().in_use_bytes(), 0u);
}

// The origin never hears of it.
TEST(H2ClientConnectionTest, AnExchangeMayBeAbortedBeforeItLeaves) {
  H2ClientHarness client;
  client.Turns();
  TestExchange& other = client.Get("/other");
  client.Turns();
  client.Get("/gone").Abort();
  client.Send("POST", "/gone", false).Abort();
  client.Turns();
  EXPECT_FALSE(client.origin().broken);
  EXPECT_EQ(client.origin().log().find("GOAWAY"), std::string::npos) << client.origin().log();
  client.origin().Respond(1, {{":status", "200"}}, "ok");
  client.Turns();
  EXPECT_EQ(other.body, "ok");
  TestExchange& next = client.Get("/next");
  client.Turns();
  ASSERT_EQ(client.origin().heard().size(), 2u);
  client.origin().Respond(client.origin().heard().back(), {{":status", "200"}}, "ok");
  client.Turns();
  EXPECT_EQ(next.body, "ok");
}

// --- The end of the connection ---

TEST(H2ClientConnectionTest, GoawayEndsItWithTheLastOfItsStreams) {
  H2ClientHarness client;
  TestExchange& served = client.Get("/served");
  client.Turns();
  TestExchange& late = client.Get("/late");
  client.Turns();
  client.origin().Goaway(1);
  client.Turns();
  EXPECT_TRUE(client.connection().going_away());
  EXPECT_FALSE(client.connection().available());
  // What the origin will not process may be tried again.
  EXPECT_EQ(late.error, Error::Upstream(What::kUpstreamRefusedStream, true));
  EXPECT_EQ(served.errors, 0);
  client.origin().Respond(1, {{":status", "200"}}, "ok");
  client.Turns();
  EXPECT_EQ(served.body, "ok");
  EXPECT_EQ(client.closed_count(), 1);
}

// It comes in the turn in which the request was made.
TEST(H2ClientConnectionTest, ARequestThatCrossesGoawayMayBeTriedAgain) {
  H2ClientHarness client;
  TestExchange& served = client.Get("/served");
  client.Turns();
  client.origin().Goaway(1);
  client.end().Push(client.origin().Take());
  TestExchange& crossing = client.Get("/crossing");
  client.Turns();
  EXPECT_TRUE(crossing.error.retryable);
  EXPECT_EQ(crossing.errors, 1);
  EXPECT_FALSE(client.origin().broken);
  EXPECT_EQ(client.origin().log().find("GOAWAY"), std::string::npos) << client.origin().log();
  client.origin().Respond(1, {{":status", "200"}}, "ok");
  client.Turns();
  EXPECT_EQ(served.body, "ok");
}

TEST(H2ClientConnectionTest, WhatNeverLeftMayBeTriedAgainWhenTheConnectionBreaks) {
  H2ClientHarness client;
  client.Turns();
  TestExchange& left = client.Get("/left");
  client.Turns();
  client.end().SetWindow(0);
  TestExchange& unsent = client.Get("/unsent");
  client.Turns();
  TestExchange& later = client.Get("/later");
  client.end().Break();
  client.Turns();
  EXPECT_EQ(left.error, Error::Upstream(What::kUpstreamReset, false));
  EXPECT_EQ(unsent.error, Error::Upstream(What::kUpstreamReset, true));
  EXPECT_EQ(later.error, Error::Upstream(What::kUpstreamReset, true));
  EXPECT_EQ(left.errors + unsent.errors + later.errors, 3);
  EXPECT_EQ(client.closed_count(), 1);
}

// It came whole; that it waits for a slow client is no reason to lose it.
TEST(H2ClientConnectionTest, AWholeResponseOutlivesTheConnection) {
  for (const bool trailers : {false, true}) {
    H2ClientHarness client;
    TestExchange& whole = client.Send("GET", "/", true, /*allow=*/10);
    TestExchange& half = client.Send("GET", "/", true, /*allow=*/10);
    client.Turns();
    client.origin().Respond(1, {{":status", "200"}}, std::string(50000, 'x'), !trailers);
    if (trailers) client.origin().SendTrailers(1, {{"x-sum", "1"}});
    client.origin().Respond(3, {{":status", "200"}}, std::string(50000, 'x'), false);
    client.Turns();
    client.PushEof();
    EXPECT_EQ(client.closed_count(), 1);
    EXPECT_EQ(half.error, Error::Upstream(What::kUpstreamReset, false));
    EXPECT_EQ(whole.errors, 0);
    for (int i = 0; i < 10 && whole.sender != nullptr; ++i) {
      whole.sender->AllowBody(10000);
      client.Turns(2);
    }
    EXPECT_EQ(whole.body.size(), 50000u);
    EXPECT_TRUE(whole.ended);
    EXPECT_EQ(whole.log, trailers ? "sent|head 200|trailer x-sum=1|end|" : "sent|head 200|end|");
    client.Turns();
    EXPECT_EQ(client.loop().slabs().in_use_bytes(), 0u);
  }
}

TEST(H2ClientConnectionTest, WhatIsNoHttp2BreaksTheConnection) {
  H2ClientHarness client;
  client.raw = true;
  client.Push("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(client.readies, 0);
  EXPECT_EQ(client.closed_count(), 1);
}

TEST(H2ClientConnectionTest, AConnectionErrorFailsAllStreams) {
  H2ClientHarness client;
  TestExchange& first = client.Get("/");
  TestExchange& second = client.Send("POST", "/", false);
  client.Turns();
  client.Push(H2Frame(NGHTTP2_DATA, 0, 0, "x"));
  EXPECT_EQ(first.errors, 1);
  EXPECT_EQ(second.errors, 1);
  EXPECT_FALSE(first.error.retryable);
  EXPECT_NE(client.origin().log().find("GOAWAY 1 "), std::string::npos);
  EXPECT_EQ(client.closed_count(), 1);
}

// The settings that forbid it are on their way.
TEST(H2ClientConnectionTest, NothingIsPushed) {
  H2ClientHarness client;
  TestExchange& exchange = client.Get("/");
  client.Turns();
  client.Push(H2Frame(NGHTTP2_PUSH_PROMISE, 4, 1, H2Number(2) + H2GetBlock()));
  EXPECT_EQ(exchange.errors, 1);
  EXPECT_EQ(client.closed_count(), 1);
  // Before they were acknowledged.
  H2ClientHarness early;
  early.raw = true;
  TestExchange& other = early.Get("/");
  early.Push(H2Frame(NGHTTP2_SETTINGS, 0, 0, "") +
             H2Frame(NGHTTP2_PUSH_PROMISE, 4, 1, H2Number(2) + H2GetBlock()) +
             H2Frame(NGHTTP2_HEADERS, 5, 1, "\x88"));
  EXPECT_EQ(other.errors, 1);
  EXPECT_EQ(other.head.headers.size(), 0u);
}

TEST(H2ClientConnectionTest, AnOriginThatAnswersNoPingIsLost) {
  H2ClientOptions options;
  options.ping_interval = seconds(10);
  options.ping_timeout = seconds(5);
  H2ClientHarness client(options);
  client.Turns();
  TestExchange& exchange = client.Get("/");
  client.Turns();
  client.origin().TakeLog();
  client.AdvanceSlowly(minutes(1));
  EXPECT_EQ(exchange.errors, 0);
  EXPECT_TRUE(client.origin().TakeLog().starts_with("PING|PING|PING|"));
  client.deaf = true;
  client.AdvanceSlowly(seconds(17));
  EXPECT_EQ(exchange.error, Error::Upstream(What::kUpstreamReset, false));
  EXPECT_EQ(client.closed_count(), 1);
}

TEST(H2ClientConnectionTest, ShutdownWaitsForStreams) {
  H2ClientHarness idle;
  idle.Turns();
  idle.connection().Shutdown();
  idle.Turns();
  EXPECT_EQ(idle.closed_count(), 1);
  EXPECT_NE(idle.origin().log().find("GOAWAY 0 "), std::string::npos);

  H2ClientHarness busy;
  TestExchange& exchange = busy.Get("/");
  busy.Turns();
  busy.connection().Shutdown();
  busy.Turns();
  EXPECT_EQ(busy.closed_count(), 0);
  busy.origin().Respond(1, {{":status", "200"}}, "ok");
  busy.Turns();
  EXPECT_EQ(exchange.body, "ok");
  EXPECT_EQ(busy.closed_count(), 1);
}

// --- WebSockets (RFC 8441) ---

void AsUpgrade(RequestHead& head) {
  head.upgrade = true;
  head.upgrade_protocol = "websocket";
  head.headers.Set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
  head.headers.Set("sec-websocket-version", "13");
}

TEST(H2ClientConnectionTest, AnUpgradeIsAnExtendedConnect) {
  H2ClientHarness client({}, {.settings = {kTakesConnect}});
  client.Turns();
  TestExchange& exchange = client.Send("GET", "/chat", false, 1 << 20, &AsUpgrade);
  client.Turns();
  const H2Peer::Stream& seen = client.origin().stream(1);
  EXPECT_EQ(seen.log, "CONNECT /chat|");
  EXPECT_EQ(seen.Field(":protocol"), "websocket");
  EXPECT_EQ(seen.Field("sec-websocket-key"), "(none)");
  EXPECT_EQ(seen.Field("sec-websocket-version"), "13");
  client.origin().Respond(1, {{":status", "200"}}, "hello", false);
  client.Turns();
  EXPECT_EQ(exchange.log, "head 101|");
  EXPECT_TRUE(exchange.head.upgrade);
  EXPECT_EQ(exchange.head.headers.Get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(exchange.body, "hello");
  exchange.SendBody("to the origin", false);
  client.Turns();
  EXPECT_EQ(seen.body, "to the origin");
  exchange.SendBody("", true);
  client.Turns();
  EXPECT_TRUE(seen.ended);
  client.origin().SendBody(1, "bye", true);
  client.Turns();
  EXPECT_EQ(exchange.body, "hellobye");
  EXPECT_TRUE(exchange.ended);
  EXPECT_EQ(client.connection().streams(), 0u);
}

TEST(H2ClientConnectionTest, ARefusedUpgradeIsAnAnswerLikeAnyOther) {
  H2ClientHarness client({}, {.settings = {kTakesConnect}});
  client.Turns();
  TestExchange& exchange = client.Send("GET", "/chat", false, 1 << 20, &AsUpgrade);
  client.Turns();
  client.origin().Respond(1, {{":status", "403"}}, "no");
  client.Turns();
  EXPECT_EQ(exchange.log, "head 403|end|");
  EXPECT_EQ(exchange.body, "no");
  EXPECT_FALSE(exchange.head.upgrade);
  EXPECT_EQ(client.connection().streams(), 0u);
}

TEST(H2ClientConnectionTest, AnOriginWithoutExtendedConnectTakesNoUpgrade) {
  H2ClientHarness client;
  client.Turns();
  TestExchange& exchange = client.Send("GET", "/chat", false, 1 << 20, &AsUpgrade);
  client.Turns();
  EXPECT_EQ(exchange.error, Error::Upstream(What::kUpstreamProtocolError));
  EXPECT_TRUE(client.origin().heard().empty());
  EXPECT_EQ(client.connection().streams(), 0u);
}

// --- Faults of the transport ---

TEST(H2ClientConnectionTest, TheTransportMayFailAtAnyWrite) {
  for (int nth = 0; nth < 12; ++nth) {
    H2ClientHarness client;
    client.end().FailWrite(nth);
    for (int i = 0; i < 4; ++i) {
      if (!client.open()) break;
      TestExchange& exchange = client.Send("POST", "/", false);
      exchange.SendBody(std::string(50000, 'x'), true);
      client.Turns();
      const int32_t id = 1 + 2 * i;
      if (client.origin().stream(id).ended) client.origin().Respond(id, {{":status", "204"}});
      client.Turns();
      EXPECT_EQ(exchange.errors + (exchange.ended ? 1 : 0), 1) << nth;
    }
    EXPECT_LE(client.closed_count(), 1);
    EXPECT_EQ(client.loop().slabs().in_use_bytes(), 0u);
  }
}

}  // namespace
}  // namespace gatehouse::http
