// Requests and responses over HTTP/2, as clients see them and as receivers are told.
#include "source/http/h2_server_connection.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "test/http/h2_harness.h"

namespace gatehouse::http {
namespace {

using Event = TestRequest::Event;
using std::chrono::hours;
using std::chrono::seconds;
using What = Error::What;

std::optional<std::string_view> Field(const RequestHead& head, std::string_view name) {
  return head.headers.Get(name);
}

TEST(H2ServerConnectionTest, RequestsAndResponsesWithAndWithoutBodies) {
  H2ServerHarness server;
  const int32_t get = server.client().Request({{":path", "/x?y"}, {"x-a", "1"}});
  const int32_t post = server.client().Request({}, "request");
  const int32_t sized = server.client().Request({{"content-length", "4"}}, "four");
  const int32_t empty = server.client().Request({}, "");
  server.Turns();
  EXPECT_EQ(server.request(0).log, "head GET /x?y end|sent|");
  EXPECT_EQ(server.request(1).log, "head POST /|sent|");
  EXPECT_EQ(server.request(1).body, "request");
  EXPECT_EQ(server.request(2).body, "four");
  EXPECT_EQ(server.request(3).body, "");
  const RequestHead& head = server.request(0).head;
  EXPECT_EQ(head.authority, "origin.test");
  EXPECT_EQ(Field(head, "host"), "origin.test");
  EXPECT_EQ(Field(head, "x-a"), "1");
  EXPECT_EQ(head.scheme, "http");
  EXPECT_EQ(head.version, Version::kHttp2);
  EXPECT_EQ(head.body, BodyKind::kNone);
  EXPECT_EQ(server.request(1).head.body, BodyKind::kChunked);
  EXPECT_EQ(server.request(2).head.body, BodyKind::kLength);
  EXPECT_EQ(server.request(2).head.content_length, 4u);
  for (int32_t id : {get, post, sized, empty}) {
    const H2Peer::Stream& stream = server.client().stream(id);
    EXPECT_EQ(stream.log, "200|end|");
    EXPECT_EQ(stream.body, "ok");
    EXPECT_EQ(stream.Field("content-length"), "2");
    EXPECT_EQ(stream.Field("date"), "Thu, 01 Jan 2026 00:00:00 GMT");
  }
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
  EXPECT_TRUE(server.open());
}

TEST(H2ServerConnectionTest, BothDirectionsAtOnce) {
  // An echo.
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.SendHead(200);
    if (event == Event::kHead || event == Event::kBody) {
      request.sender->AllowBody(10000);
      request.SendBody(std::exchange(request.body, {}), request.request_ended);
    }
    if (event == Event::kSent) request.sender->Detach();
  });
  const int32_t id = server.client().Request({}, "", false);
  std::string sent;
  for (int i = 0; i < 20; ++i) {
    const std::string part(5000, static_cast<char>('a' + i));
    sent += part;
    server.client().SendBody(id, part, i == 19);
    server.Turns(4);
  }
  server.Turns();
  EXPECT_EQ(server.client().stream(id).body, sent);
  EXPECT_EQ(server.client().stream(id).log, "200|end|");
}

TEST(H2ServerConnectionTest, ResponsesWithoutABody) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kSent) request.sender->Detach();
    if (event != Event::kHead) return;
    const uint16_t status = request.head.path == "/204"   ? 204
                            : request.head.path == "/304" ? 304
                                                          : 200;
    request.SendHead(status, BodyKind::kLength, 1234);
    request.SendBody("", true);
  });
  const int32_t head = server.client().Request({{":method", "HEAD"}});
  const int32_t none = server.client().Request({{":path", "/204"}});
  const int32_t same = server.client().Request({{":path", "/304"}});
  server.Turns();
  EXPECT_EQ(server.client().stream(head).log, "200|end|");
  EXPECT_EQ(server.client().stream(head).Field("content-length"), "1234");
  EXPECT_EQ(server.client().stream(none).log, "204|end|");
  EXPECT_EQ(server.client().stream(none).Field("content-length"), "(none)");
  EXPECT_EQ(server.client().stream(same).log, "304|end|");
  EXPECT_EQ(server.client().stream(same).Field("content-length"), "1234");
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(server.request(i).sents, 1);
}

TEST(H2ServerConnectionTest, ABodyShorterThanAnnouncedIsBroken) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kSent) request.sender->Detach();
    if (event != Event::kHead) return;
    request.SendHead(200, BodyKind::kLength, 10);
    request.SendBody("short", true);
  });
  const int32_t id = server.client().Request();
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "RST 2|");
  EXPECT_EQ(server.request(0).sents, 1);
}

TEST(H2ServerConnectionTest, TrailersBothWays) {
  Arena arena;
  HeaderMap trailers(arena);
  trailers.Set("Grpc-Status", "0");
  H2ServerHarness server({}, [&](TestRequest& request, Event event) {
    if (event == Event::kHead) request.sender->AllowBody(100);
    if (event == Event::kSent) request.sender->Detach();
    if (event != Event::kTrailers) return;
    request.SendHead(200);
    request.SendBody("answer", false);
    request.sender->SendTrailers(trailers);
  });
  const int32_t id = server.client().Request({}, "body", false);
  server.client().SendTrailers(id, {{"x-sum", "7"}, {"content-length", "4"}});
  server.Turns();
  EXPECT_EQ(server.request(0).body, "body");
  EXPECT_EQ(server.request(0).log, "head POST /|trailer x-sum=7|sent|");
  EXPECT_EQ(server.client().stream(id).log, "200|trailers grpc-status=0|end|");
  EXPECT_EQ(server.client().stream(id).body, "answer");
}

TEST(H2ServerConnectionTest, InterimResponses) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  const int32_t id = server.client().Request();
  server.Turns();
  server.request(0).SendHead(103);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "103|");
  server.request(0).Respond(200, "ok");
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "103|200|end|");
}

TEST(H2ServerConnectionTest, ContinueIsSentWhenTheBodyIsFirstAllowed) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  const int32_t id = server.client().Request({{"expect", "100-continue"}}, "", false);
  server.Turns();
  EXPECT_TRUE(server.request(0).head.expect_continue);
  EXPECT_EQ(server.client().stream(id).log, "");
  server.request(0).sender->AllowBody(100);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "100|");
  server.request(0).sender->AllowBody(100);
  server.client().SendBody(id, "body", true);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "100|");
  EXPECT_EQ(server.request(0).body, "body");
  // Who answers at once, or did not wait, gets none.
  const int32_t answered = server.client().Request({{"expect", "100-continue"}}, "", false);
  const int32_t hasty = server.client().Request({{"expect", "100-continue"}}, "body");
  server.Turns();
  server.request(1).Respond(413, "no");
  server.request(1).sender->AllowBody(100);
  server.request(2).sender->AllowBody(100);
  server.Turns();
  EXPECT_EQ(server.client().stream(answered).log, "413|end|");
  EXPECT_EQ(server.client().stream(hasty).log, "");
  const int32_t other = server.client().Request({{"expect", "something"}});
  server.Turns();
  EXPECT_EQ(server.request(3).last_error.what, What::kExpectationFailed);
  EXPECT_EQ(server.client().stream(other).log, "");
}

// --- Flow control ---

TEST(H2ServerConnectionTest, AClientStopsAtTheWindowUntilTheBodyIsTaken) {
  H2ServerOptions options;
  options.stream_window = 70000;
  H2ServerHarness server(options, &H2ServerHarness::Nothing);
  server.Turns();
  const int32_t id = server.client().Request({}, std::string(300000, 'x'));
  const int32_t other = server.client().Request({}, std::string(300000, 'x'));
  server.Turns();
  EXPECT_EQ(server.client().stream(id).out.size(), 300000u - 70000u);
  EXPECT_EQ(server.request(0).body, "");
  server.request(0).sender->AllowBody(50000);
  server.Turns();
  EXPECT_EQ(server.request(0).body.size(), 50000u);
  EXPECT_EQ(server.client().stream(id).out.size(), 300000u - 120000u);
  EXPECT_EQ(server.client().stream(other).out.size(), 300000u - 70000u);
  while (!server.request(0).request_ended) {
    const size_t before = server.request(0).body.size();
    server.request(0).sender->AllowBody(40000);
    server.Turns();
    ASSERT_GT(server.request(0).body.size(), before);
  }
  EXPECT_EQ(server.request(0).body.size(), 300000u);
}

TEST(H2ServerConnectionTest, AllStreamsTogetherStopAtTheConnectionsWindow) {
  H2ServerOptions options;
  options.stream_window = 100000;
  options.connection_window = 250000;
  H2ServerHarness server(options, &H2ServerHarness::Nothing);
  server.Turns();
  size_t left = 0;
  for (int i = 0; i < 5; ++i) server.client().Request({}, std::string(100000, 'x'));
  server.Turns();
  for (int32_t id = 1; id < 10; id += 2) left += server.client().stream(id).out.size();
  EXPECT_EQ(left, 250000u);
  // What nobody wants does not hold the others up.
  for (size_t i = 0; i < 5; ++i) server.request(i).sender->Abort();
  server.Turns();
  const int32_t id = server.client().Request({}, std::string(100000, 'x'));
  server.Turns();
  EXPECT_EQ(server.client().stream(id).out.size(), 0u);
  EXPECT_EQ(server.loop().slabs().in_use_bytes() > 0, true);
}

TEST(H2ServerConnectionTest, AResponseStopsAtTheClientsWindow) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing, {.auto_window = false});
  const int32_t id = server.client().Request();
  server.Turns();
  TestRequest& request = server.request(0);
  request.SendHead(200);
  EXPECT_EQ(request.sender->Credit(), 128u * 1024);
  request.SendBody(std::string(128 * 1024, 'x'), false);
  EXPECT_EQ(request.sender->Credit(), 0u);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).body.size(), 65535u);
  EXPECT_EQ(request.credits > 0, true);
  EXPECT_EQ(request.sender->Credit(), 65535u);
  request.SendBody("", true);
  server.Turns();
  EXPECT_EQ(request.sents, 0);
  server.client().Open(0, 1 << 20);
  server.client().Open(id, 1 << 20);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).body.size(), 128u * 1024);
  EXPECT_EQ(request.sents, 1);
}

TEST(H2ServerConnectionTest, SentIsToldWhenTheBytesHaveLeft) {
  H2ServerHarness server;
  server.Turns();
  for (const bool body : {false, true}) {
    const size_t index = server.requests();
    server.end().SetWindow(0);
    server.client().Request({{":method", body ? "GET" : "HEAD"}});
    server.Turns();
    EXPECT_EQ(server.request(index).sents, 0);
    server.end().SetWindow(20);
    server.Turns();
    EXPECT_EQ(server.request(index).sents, 0);
    server.end().SetWindow(SIZE_MAX);
    server.Turns();
    EXPECT_EQ(server.request(index).sents, 1);
  }
}

TEST(H2ServerConnectionTest, StreamsShareFairly) {
  H2ServerHarness server({},
                         [](TestRequest& request, Event event) {
                           if (event != Event::kHead) return;
                           request.SendHead(200);
                           request.SendBody(std::string(120000, 'x'), true);
                         },
                         {.settings = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}}});
  server.client().Open(0, 1 << 30);
  server.Turns();
  for (int i = 0; i < 20; ++i) server.client().Request();
  server.Turns();
  const auto& frames = server.client().data_frames;
  // Each stream has had a frame before any has had three.
  for (int32_t id = 1; id < 40; id += 2) {
    const auto first = std::find(frames.begin(), frames.end(), id);
    ASSERT_NE(first, frames.end());
    for (int32_t other = 1; other < 40; other += 2)
      EXPECT_LE(std::count(frames.begin(), first, other), 2);
    EXPECT_EQ(server.client().stream(id).body.size(), 120000u);
  }
}

// --- Pieces ---

TEST(H2ServerConnectionTest, PiecesOfInputAndOutputMakeNoDifference) {
  std::string stories[4];
  std::string answers[4];
  for (int way = 0; way < 4; ++way) {
    H2ServerHarness server;
    if (way == 1) server.piece = 1;
    if (way == 2) server.end().set_read_piece(1);
    if (way == 3) server.end().SetWindow(0);
    server.client().Request({{"cookie", "a=1"}, {"cookie", "b=2"}});
    const int32_t id = server.client().Request({}, std::string(1500, 'x'), false);
    server.client().SendTrailers(id, {{"x-sum", "7"}});
    server.client().Request({{":path", "nonsense"}});
    server.client().Request({{":method", "HEAD"}}, std::nullopt);
    server.Turns(way == 2 ? 3000 : 40);
    for (int i = 0; way == 3 && i < 1500; ++i) {
      server.end().SetWindow(1);
      server.Turns(1);
    }
    stories[way] = server.Story();
    for (int32_t each = 1; each < 9; each += 2) {
      answers[way] += server.client().stream(each).log + server.client().stream(each).body;
    }
    EXPECT_EQ(stories[way], stories[0]) << way;
    EXPECT_EQ(answers[way], answers[0]) << way;
  }
  EXPECT_NE(stories[0].find("trailer x-sum=7|sent|"), std::string::npos) << stories[0];
}

// Answers nothing by itself, and lets go when all has left.
void LetGo(TestRequest& request, Event event) {
  if (event == Event::kSent) request.sender->Detach();
}

// --- Heads ---

struct Refusal {
  const char* name;
  H2TestFields fields;
  What what;  // kNone: it is served
  const char* log;
};
class H2RefusalTest : public testing::TestWithParam<Refusal> {};

INSTANTIATE_TEST_SUITE_P(
    All, H2RefusalTest,
    testing::Values(
        Refusal{
            "LongPath", {{":path", "/" + std::string(9000, 'x')}}, What::kUriTooLong, "400|end|"},
        Refusal{"LargeHead", {{"x", std::string(62000, 'x')}}, What::kHeadersTooLarge, "400|end|"},
        Refusal{"ManyFields", H2TestFields(101, {"x", "y"}), What::kHeadersTooLarge, "400|end|"},
        Refusal{"ManyEnoughFields", H2TestFields(90, {"x", "y"}), What::kNone, "200|end|"},
        Refusal{"HostDiffers", {{"host", "other.test"}}, What::kBadRequest, "400|end|"},
        Refusal{"HostAgrees", {{"host", "ORIGIN.test"}}, What::kNone, "200|end|"},
        Refusal{"BadAuthority", {{":authority", "a b"}}, What::kBadRequest, "RST 1|"},
        Refusal{"Userinfo", {{":authority", "user@a"}}, What::kBadRequest, "400|end|"},
        Refusal{"RelativePath", {{":path", "x"}}, What::kBadRequest, "RST 1|"},
        Refusal{"EmptyPath", {{":path", ""}}, What::kBadRequest, "RST 1|"},
        Refusal{"AsteriskOfGet", {{":path", "*"}}, What::kBadRequest, "RST 1|"},
        Refusal{
            "AsteriskOfOptions", {{":method", "OPTIONS"}, {":path", "*"}}, What::kNone, "200|end|"},
        Refusal{"Connection", {{"connection", "close"}}, What::kBadRequest, "RST 1|"},
        Refusal{
            "TransferEncoding", {{"transfer-encoding", "chunked"}}, What::kBadRequest, "RST 1|"},
        Refusal{"Te", {{"te", "gzip"}}, What::kBadRequest, "RST 1|"},
        Refusal{"LineInValue", {{"x", "a\r\nb"}}, What::kBadRequest, "RST 1|"},
        Refusal{"UnknownPseudoField", {{":x", "y"}}, What::kBadRequest, "RST 1|"},
        Refusal{"LengthOfNoBody", {{"content-length", "3"}}, What::kBadRequest, "RST 1|"}),
    [](const auto& tested) { return tested.param.name; });

TEST_P(H2RefusalTest, IsRefusedAlone) {
  H2ServerHarness server;
  const int32_t id = server.client().Request(GetParam().fields);
  const int32_t other = server.client().Request();
  server.Turns();
  ASSERT_GE(server.requests(), 1u);
  const bool served = GetParam().what == What::kNone;
  EXPECT_EQ(server.request(0).errors, served ? 0 : 1);
  EXPECT_EQ(server.request(0).last_error.what, GetParam().what);
  EXPECT_EQ(server.refusals, served ? 0 : 1);
  EXPECT_EQ(server.client().stream(id).log, GetParam().log);
  EXPECT_EQ(server.client().stream(other).log, "200|end|");
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
}

TEST(H2ServerConnectionTest, ABodyOfAnotherLengthThanSaidIsMalformed) {
  for (const char* length : {"3", "5"}) {
    H2ServerHarness server;
    const int32_t id = server.client().Request({{"content-length", length}}, "four");
    server.Turns();
    EXPECT_EQ(server.client().stream(id).log, "RST 1|");
    EXPECT_EQ(server.request(0).errors, 1);
    EXPECT_EQ(server.request(0).last_error.what, What::kBadRequest);
    EXPECT_FALSE(server.request(0).request_ended);
  }
}

TEST(H2ServerConnectionTest, NothingFollowsAnError) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kSent) request.sender->Detach();
    if (event == Event::kError) request.sender->AllowBody(100);
  });
  const int32_t id = server.client().Request({{":path", "/" + std::string(9000, 'x')}}, "a", false);
  server.Turns();
  server.client().SendBody(id, "body", true);
  server.Turns();
  EXPECT_EQ(server.request(0).body, "");
  EXPECT_FALSE(server.request(0).request_ended);
  EXPECT_EQ(server.request(0).errors, 1);
  server.request(0).Respond(414, "no");
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "414|end|");
}

TEST(H2ServerConnectionTest, TheEndIsToldOnce) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  server.client().Request();
  server.Turns();
  EXPECT_EQ(server.request(0).log, "head GET / end|");
  server.request(0).request_ended = false;
  server.request(0).sender->AllowBody(100);
  server.Turns();
  EXPECT_FALSE(server.request(0).request_ended);
}

TEST(H2ServerConnectionTest, CookiesAreJoined) {
  H2ServerHarness server;
  server.client().Request({{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}, {"cookie", "c=3"}});
  server.client().Request({{"cookie", "one=1"}});
  server.Turns();
  EXPECT_EQ(Field(server.request(0).head, "cookie"), "a=1; b=2; c=3");
  EXPECT_EQ(Field(server.request(1).head, "cookie"), "one=1");
}

TEST(H2ServerConnectionTest, UnderscoresAreDroppedKeptOrRefused) {
  for (const UnderscorePolicy policy :
       {UnderscorePolicy::kDrop, UnderscorePolicy::kAllow, UnderscorePolicy::kReject}) {
    H2ServerOptions options;
    options.common.limits.underscores = policy;
    H2ServerHarness server(options);
    server.client().Request({{"x_a", "1"}});
    server.Turns();
    EXPECT_EQ(server.request(0).errors, policy == UnderscorePolicy::kReject ? 1 : 0);
    if (policy == UnderscorePolicy::kReject) continue;
    EXPECT_EQ(Field(server.request(0).head, "x_a").has_value(), policy == UnderscorePolicy::kAllow);
  }
}

// --- WebSockets (RFC 8441) ---

const H2TestFields kConnect = {
    {":method", "CONNECT"}, {":protocol", "websocket"}, {":path", "/chat"}};

TEST(H2ServerConnectionTest, ExtendedConnectIsAnUpgradeAndATunnel) {
  H2ServerHarness server({}, &H2ServerHarness::Nothing);
  server.Turns();
  const int32_t id = server.client().Request(kConnect, "early", false);
  server.Turns();
  TestRequest& request = server.request(0);
  EXPECT_EQ(request.log, "head GET /chat end|");
  EXPECT_TRUE(request.head.upgrade);
  EXPECT_TRUE(request.head.extended_connect);
  EXPECT_EQ(request.head.upgrade_protocol, "websocket");
  EXPECT_EQ(Field(request.head, "sec-websocket-key").value_or("").size(), 24u);
  request.sender->AllowBody(1000);
  server.Turns();
  EXPECT_EQ(request.body, "");
  request.SendHead(101);
  request.SendBody("hello", false);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "200|");
  EXPECT_EQ(server.client().stream(id).body, "hello");
  EXPECT_EQ(server.client().stream(id).Field("upgrade"), "(none)");
  EXPECT_EQ(request.body, "early");
  request.request_ended = false;
  server.client().SendBody(id, "more", true);
  server.Turns();
  EXPECT_EQ(request.body, "earlymore");
  EXPECT_TRUE(request.request_ended);
  // It is idle for as long as it likes; the other half goes on.
  server.AdvanceSlowly(seconds(30));
  request.SendBody("bye", true);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).body, "hellobye");
  EXPECT_EQ(server.client().stream(id).log, "200|end|");
  EXPECT_EQ(request.sents, 1);
}

TEST(H2ServerConnectionTest, ARefusedTunnelIsAnAnswer) {
  H2ServerHarness server({}, [](TestRequest& request, Event event) {
    if (event == Event::kHead) request.Respond(403, "no");
    if (event == Event::kSent) request.sender->Detach();
  });
  server.Turns();
  const int32_t id = server.client().Request(kConnect, "early", false);
  server.Turns();
  EXPECT_EQ(server.client().stream(id).log, "403|end|RST 0|");
  EXPECT_EQ(server.client().stream(id).body, "no");
  EXPECT_EQ(server.loop().slabs().in_use_bytes(), 0u);
}

// --- The end of the connection ---

TEST(H2ServerConnectionTest, DrainServesWhatIsUnderWay) {
  H2ServerHarness server({}, &LetGo);
  const int32_t before = server.client().Request();
  server.Turns();
  server.client().TakeLog();
  server.connection().Drain(seconds(5));
  // Sent before the client heard of it.
  const int32_t crossing = server.client().Request();
  server.Turns();
  EXPECT_EQ(server.goaways, 1);
  EXPECT_EQ(server.client().TakeLog(), "PING|GOAWAY 0 2147483647|GOAWAY 0 3|");
  EXPECT_TRUE(server.open());
  for (size_t i = 0; i < 2; ++i) {
    server.request(i).Respond(200, "ok");
    server.Turns();
  }
  server.Turns();
  EXPECT_EQ(server.client().stream(before).body + server.client().stream(crossing).body, "okok");
  EXPECT_TRUE(server.end().shut_down());
  server.PushEof();
  EXPECT_EQ(server.closed_count(), 1);
  EXPECT_FALSE(server.end().aborted());
}

TEST(H2ServerConnectionTest, DrainDoesNotWaitForAPingThatIsNotAnswered) {
  H2ServerHarness server;
  server.Turns();
  server.connection().Drain(seconds(5));
  server.deaf = true;
  server.Turns();
  EXPECT_FALSE(server.end().shut_down());
  server.AdvanceSlowly(seconds(2));
  EXPECT_TRUE(server.end().shut_down());
  server.AdvanceSlowly(seconds(3));
  EXPECT_EQ(server.closed_count(), 1);
}

TEST(H2ServerConnectionTest, RequestsAndAgeOfAConnectionAreLimited) {
  H2ServerOptions options;
  options.common.max_requests = 3;
  H2ServerHarness server(options);
  for (int i = 0; i < 3; ++i) {
    server.client().Request();
    server.Turns();
  }
  EXPECT_EQ(server.goaways, 1);
  EXPECT_EQ(server.client().stream(5).log, "200|end|");
  EXPECT_TRUE(server.end().shut_down());

  options = {};
  options.common.max_age = seconds(100);
  H2ServerHarness old(options);
  for (int i = 0; i < 11; ++i) {
    old.client().Request();
    old.AdvanceSlowly(seconds(10));
  }
  EXPECT_EQ(old.goaways, 1);
  old.AdvanceSlowly(seconds(3));
  EXPECT_FALSE(old.open());
}

TEST(H2ServerConnectionTest, AClientThatGoesAwayIsServedToTheEnd) {
  H2ServerHarness server({}, &LetGo);
  const int32_t id = server.client().Request();
  server.client().Goaway(0);
  server.Turns();
  EXPECT_TRUE(server.open());
  server.request(0).Respond(200, "ok");
  server.Turns();

  EXPECT_EQ(server.client().stream(id).body, "ok");
  EXPECT_TRUE(server.end().shut_down());
}

TEST(H2ServerConnectionTest, StreamsOverTheLimitAreRefused) {
  H2ServerOptions options;
  options.max_streams = 2;
  H2ServerHarness server(options, &LetGo);
  for (int i = 0; i < 4; ++i) server.client().Request();
  server.Turns();
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(server.client().stream(5).log, "RST 7|");
  server.request(0).Respond(200, "ok");
  server.Turns();

  server.client().Request();
  server.Turns();
  EXPECT_EQ(server.requests(), 3u);
}

}  // namespace
}  // namespace gatehouse::http
