#include "source/upstream/grpc_client.h"

#include <string>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "source/base/random.h"
#include "test/upstream/grpc_fixture.h"

namespace gatehouse::upstream {
namespace {

using http::GrpcStatus;

// --- GrpcUnary ---

class TestUnary {
 public:
  explicit TestUnary(Upstreams& upstreams) { unary_.emplace(upstreams, arena_); }

  void Start(const GrpcRequest& request, std::string_view message) {
    unary_->Start(request, message, this, [](void* self, const GrpcAnswer& given) {
      static_cast<TestUnary*>(self)->OnDone(given);
    });
    EXPECT_FALSE(done);
  }
  void Destroy() { unary_.reset(); }

  bool done = false;
  bool destroy_when_done = false;
  GrpcStatus code = GrpcStatus::kOk;
  std::string words;
  std::string answer = "(none)";
  std::string trailer;

 private:
  void OnDone(const GrpcAnswer& given) {
    EXPECT_FALSE(done);
    done = true;
    code = given.result.code;
    words = given.result.message;
    if (given.message != nullptr) answer = TextOf(*given.message);
    if (given.trailers != nullptr) trailer = given.trailers->Get("x-trailing").value_or("");
    if (destroy_when_done) unary_.reset();
  }

  Arena arena_;
  std::optional<GrpcUnary> unary_;
};

class GrpcUnaryTest : public GrpcFixture {
 protected:
  [[nodiscard]] bool WaitFor(TestUnary& unary) {
    return Until([&] { return unary.done; });
  }
  // An answer of these messages and this status.
  static void Answer(H2Origin::Request& request, const std::string& body, std::string status) {
    GrpcFixture::Answer(request);
    request.Body(body);
    request.Trailers({{"grpc-status", std::move(status)}, {"x-trailing", "t"}});
  }
  GrpcStatus StatusAfter(const std::string& body, std::string status) {
    TestUnary unary(*upstreams_);
    unary.destroy_when_done = true;
    unary.Start(Request(), "question");
    Answer(Arrived(), body, std::move(status));
    EXPECT_TRUE(WaitFor(unary));
    return unary.code;
  }
};

TEST_F(GrpcUnaryTest, AnswerAndErrors) {
  TestUnary unary(*upstreams_);
  const std::string question(200'000, 'q');  // more than there is credit for
  unary.Start(Request(), question);
  H2Origin::Request& request = Arrived();
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  EXPECT_EQ(request.body(), Framed(question));
  Answer(request, Framed("answer"), "0");
  ASSERT_TRUE(WaitFor(unary));
  EXPECT_EQ(unary.answer, "answer");
  EXPECT_EQ(unary.trailer, "t");

  EXPECT_EQ(StatusAfter("", "5"), GrpcStatus::kNotFound);
  EXPECT_EQ(StatusAfter(Framed("not counted"), "5"), GrpcStatus::kNotFound);
  EXPECT_EQ(StatusAfter(Framed(""), "0"), GrpcStatus::kOk);
  EXPECT_EQ(StatusAfter("", "0"), GrpcStatus::kUnimplemented);
  EXPECT_EQ(StatusAfter(Framed("1") + Framed("2"), "0"), GrpcStatus::kUnimplemented);
  EXPECT_EQ(origin_->connections(), 1u);
}

TEST_F(GrpcUnaryTest, RefusedStreamIsAskedForOnceMore) {
  TestUnary unary(*upstreams_);
  unary.Start(Request(), "question");
  Arrived().Reset(NGHTTP2_REFUSED_STREAM);
  H2Origin::Request& second = Arrived();
  ASSERT_TRUE(Until([&] { return second.ended(); }));
  EXPECT_EQ(second.body(), Framed("question"));
  Answer(second, Framed("answer"), "0");
  ASSERT_TRUE(WaitFor(unary));
  EXPECT_EQ(unary.answer, "answer");
  EXPECT_EQ(Value(cluster()->metrics().retries), 1u);

  TestUnary unlucky(*upstreams_);
  unlucky.Start(Request(), "question");
  Arrived().Reset(NGHTTP2_REFUSED_STREAM);
  Arrived().Reset(NGHTTP2_REFUSED_STREAM);
  ASSERT_TRUE(WaitFor(unlucky));
  EXPECT_EQ(unlucky.code, GrpcStatus::kUnavailable);
  EXPECT_EQ(origin_->requests(), 4u);
}

TEST_F(GrpcUnaryTest, ServerThatGoesAwayIsAskedOverAnotherConnection) {
  TestUnary unary(*upstreams_);
  unary.Start(Request(), "question");
  Arrived().GoAway(/*last_id=*/0);
  Answer(Arrived(), Framed("answer"), "0");
  ASSERT_TRUE(WaitFor(unary));
  EXPECT_EQ(unary.answer, "answer");
  EXPECT_EQ(origin_->connections(), 2u);
}

TEST_F(GrpcUnaryTest, EndpointThatIsNotThereIsPassedOver) {
  TcpOrigin gone;
  gone.StopListening();
  ClusterSpec spec = SpecOf(gone.port(), "pair");
  spec.endpoints.push_back({"127.0.0.1", origin_->port(), 1});
  const auto pair = Make(spec);
  for (int i = 0; i < 4; ++i) {
    TestUnary unary(*upstreams_);
    GrpcRequest asked = Request();
    asked.cluster = pair.get();
    unary.Start(asked, "question");
    Answer(Arrived(), Framed("answer"), "0");
    ASSERT_TRUE(WaitFor(unary));
    EXPECT_EQ(unary.answer, "answer") << unary.words;
  }
  EXPECT_GE(Value(pair->metrics().retries), 3u);  // each takes two turns from here on

  const auto nobody = Make(SpecOf(gone.port(), "nobody"));
  TestUnary unary(*upstreams_);
  GrpcRequest asked = Request();
  asked.cluster = nobody.get();
  unary.Start(asked, "question");
  ASSERT_TRUE(WaitFor(unary));
  EXPECT_EQ(unary.code, GrpcStatus::kUnavailable);
  EXPECT_EQ(Value(nobody->metrics().connects), 2u);
}

TEST_F(GrpcUnaryTest, WhatMayHaveBeenDoneIsNotDoneAgain) {
  TestUnary unary(*upstreams_);
  unary.Start(Request(), "question");
  Arrived().Reset(NGHTTP2_INTERNAL_ERROR);
  ASSERT_TRUE(WaitFor(unary));
  EXPECT_EQ(unary.code, GrpcStatus::kInternal);

  TestUnary lost(*upstreams_);
  lost.Start(Request(), "question");
  (void)Arrived();
  origin_->Kill();
  ASSERT_TRUE(WaitFor(lost));
  EXPECT_EQ(lost.code, GrpcStatus::kUnavailable);
  EXPECT_EQ(origin_->requests(), 2u);
}

TEST_F(GrpcUnaryTest, DeadlineIsThatOfBothTries) {
  TestUnary unary(*upstreams_);
  GrpcRequest asked = Request();
  asked.timeout = std::chrono::seconds(3);
  unary.Start(asked, "question");
  H2Origin::Request& first = Arrived();
  Advance(std::chrono::seconds(2));
  first.Reset(NGHTTP2_REFUSED_STREAM);
  EXPECT_EQ(Arrived().Field("grpc-timeout"), "1S");
  Advance(std::chrono::milliseconds(1100));
  EXPECT_EQ(unary.code, GrpcStatus::kDeadlineExceeded);
}

TEST_F(GrpcUnaryTest, DestroyedBeforeItEnds) {
  TestUnary unary(*upstreams_);
  unary.Start(Request(), "question");
  H2Origin::Request& request = Arrived();
  unary.Destroy();
  ASSERT_TRUE(Until([&] { return request.broken(); }));
  EXPECT_FALSE(unary.done);
}

// --- GrpcStream ---

class TestStream final : public GrpcStreamOwner {
 public:
  TestStream(Upstreams& upstreams, const GrpcBackoff& backoff, Random& random) {
    stream_.emplace(upstreams, *this, backoff, random);
  }

  GrpcStream* operator->() { return &*stream_; }
  void Destroy() { stream_.reset(); }

  std::string log;
  std::string words;
  size_t ended = 0;
  std::function<void(std::string_view)> then;

 private:
  void OnConnected() override {
    EXPECT_TRUE(stream_->connected());
    log += "up|";
    Then("connected");
  }
  void OnMessage(Chain& message) override {
    log += TextOf(message) + "|";
    Then("message");
  }
  void OnDisconnected(const GrpcResult& result) override {
    EXPECT_FALSE(stream_->connected());
    ++ended;
    words = result.message;
    log += "down " + std::to_string(static_cast<int>(result.code)) + "|";
    Then("disconnected");
  }
  void Then(std::string_view what) {
    if (then) then(what);
  }

  std::optional<GrpcStream> stream_;
};

class GrpcStreamTest : public GrpcFixture {
 protected:
  static constexpr uint64_t kSeed = 7;

  [[nodiscard]] Duration Wait(TestStream& stream) { return stream->next_attempt() - loop_.Now(); }
  // Goes on to the next attempt.
  void SkipWait(TestStream& stream) {
    ASSERT_TRUE(Until([&] { return stream->next_attempt() != kNever; }));
    Advance(Wait(stream) + std::chrono::milliseconds(3));
  }
  [[nodiscard]] bool Ended(TestStream& stream, size_t times) {
    return Until([&] { return stream.ended >= times; });
  }
  static void Fail(H2Origin::Request& request) {
    request.Head(200, {{"content-type", "application/grpc"}, {"grpc-status", "14"}}, true);
  }

  GrpcBackoff backoff_;
  Random random_{kSeed};
};

TEST_F(GrpcStreamTest, ComesBackByItself) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream.then = [&](std::string_view what) {
    if (what == "connected") {
      EXPECT_TRUE(stream->Send("hello"));
    }
  };
  EXPECT_FALSE(stream->running());
  stream->Start(Request());
  EXPECT_EQ(stream.log, "");
  EXPECT_FALSE(stream->Send("too early"));
  EXPECT_EQ(stream->Credit(), 0u);
  H2Origin::Request& first = Arrived();
  ASSERT_TRUE(Until([&] { return first.body() == Framed("hello"); }));
  Answer(first);
  first.Body(Framed("1"));
  Settle();
  EXPECT_TRUE(stream->Send("again"));
  ASSERT_TRUE(Until([&] { return first.body() == Framed("hello") + Framed("again"); }));
  origin_->Kill();
  ASSERT_TRUE(Ended(stream, 1));
  EXPECT_EQ(stream.log, "up|1|down 14|");
  EXPECT_FALSE(stream->Send("lost"));
  SkipWait(stream);
  H2Origin::Request& second = Arrived();
  ASSERT_TRUE(Until([&] { return second.body() == Framed("hello"); }));
  EXPECT_EQ(stream->next_attempt(), kNever);
  // An end without an error is an end too.
  Answer(second);
  second.Trailers({{"grpc-status", "0"}});
  ASSERT_TRUE(Ended(stream, 2));
  EXPECT_EQ(stream.log, "up|1|down 14|up|down 0|");
  SkipWait(stream);
  (void)Arrived();
  EXPECT_EQ(origin_->requests(), 3u);
}

TEST_F(GrpcStreamTest, WaitsLongerAfterEachFailure) {
  origin_->StopListening();
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  Random same(kSeed);
  Duration most = backoff_.first;
  Duration longest{};
  for (size_t i = 1; i <= 12; ++i) {
    ASSERT_TRUE(Ended(stream, i));
    const Duration expected(
        static_cast<int64_t>(same.Below(static_cast<uint64_t>(most.count()) + 1)));
    EXPECT_EQ(Wait(stream), expected) << i;
    longest = std::max(longest, expected);
    most = std::min(2 * most, backoff_.max);
    // Not before its time.
    const size_t connects = Value(cluster()->metrics().connects);
    if (expected > std::chrono::milliseconds(2)) {
      Advance(expected - std::chrono::milliseconds(2));
      EXPECT_EQ(Value(cluster_->metrics().connects), connects);
    }
    SkipWait(stream);
  }
  EXPECT_GT(longest, std::chrono::seconds(5));
  EXPECT_LE(longest, backoff_.max);
  EXPECT_NE(stream.words.find("127.0.0.1:"), std::string::npos) << stream.words;
}

TEST_F(GrpcStreamTest, WaitsShortlyAgainOnceItWorked) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  const auto fail = [&](size_t times) {
    for (size_t i = 0; i < times; ++i) {
      const size_t ended = stream.ended;
      Fail(Arrived());
      ASSERT_TRUE(Ended(stream, ended + 1));
      SkipWait(stream);
    }
  };
  // The longest wait that may follow, of which a seeded generator takes the share that it would.
  Random same(kSeed);
  const auto share = [&](Duration most) {
    return Duration(static_cast<int64_t>(same.Below(static_cast<uint64_t>(most.count()) + 1)));
  };
  fail(5);
  for (int i = 0; i < 5; ++i) (void)share(backoff_.first * (1 << i));
  // It answered.
  H2Origin::Request& answered = Arrived();
  Answer(answered);
  answered.Body(Framed("m"));
  Settle();
  answered.Reset(NGHTTP2_INTERNAL_ERROR);
  ASSERT_TRUE(Ended(stream, 6));
  EXPECT_EQ(Wait(stream), share(backoff_.first));
  SkipWait(stream);
  fail(4);
  for (int i = 1; i < 5; ++i) (void)share(backoff_.first * (1 << i));
  // It lived.
  H2Origin::Request& lived = Arrived();
  Advance(backoff_.lived + std::chrono::seconds(1));
  lived.Reset(NGHTTP2_INTERNAL_ERROR);
  ASSERT_TRUE(Ended(stream, 11));
  EXPECT_EQ(Wait(stream), share(backoff_.first));
  SkipWait(stream);
  // A head is no answer.
  H2Origin::Request& headed = Arrived();
  Answer(headed);
  Settle();
  headed.Reset(NGHTTP2_INTERNAL_ERROR);
  ASSERT_TRUE(Ended(stream, 12));
  EXPECT_EQ(Wait(stream), share(backoff_.first * 2));
}

TEST_F(GrpcStreamTest, OneStreamAtATime) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  for (int i = 0; i < 20; ++i) {
    H2Origin::Request& request = Arrived();
    EXPECT_EQ(State(*cluster()).leases(), 1u);
    Fail(request);
    SkipWait(stream);
  }
  EXPECT_EQ(origin_->connections(), 1u);
}

TEST_F(GrpcStreamTest, DroppedForWhatItSaid) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream.then = [&](std::string_view what) {
    if (what == "message") stream->Drop();
  };
  EXPECT_EQ(stream->address(), "");
  stream->Drop();  // nothing
  stream->Start(Request());
  Random same(kSeed);
  Duration most = backoff_.first;
  // However much it said, the waits grow.
  for (int i = 0; i < 5; ++i) {
    H2Origin::Request& request = Arrived();
    EXPECT_EQ(stream->address(), "127.0.0.1:" + std::to_string(origin_->port()));
    Answer(request);
    request.Body(Framed("nonsense") + Framed("more"));
    ASSERT_TRUE(Until([&] { return !stream->connected(); }));
    EXPECT_TRUE(stream->running());
    EXPECT_EQ(Wait(stream),
              Duration(static_cast<int64_t>(same.Below(static_cast<uint64_t>(most.count()) + 1))));
    EXPECT_EQ(stream->address(), "127.0.0.1:" + std::to_string(origin_->port()));
    ASSERT_TRUE(Until([&] { return request.broken(); }));
    most *= 2;
    SkipWait(stream);
  }
  EXPECT_EQ(stream.ended, 0u);
  EXPECT_EQ(stream.log, "up|nonsense|up|nonsense|up|nonsense|up|nonsense|up|nonsense|up|");
}

TEST_F(GrpcStreamTest, GoesToAnotherServerEachTime) {
  TcpOrigin gone;
  gone.StopListening();
  ClusterSpec spec = SpecOf(gone.port(), "pair");
  spec.endpoints[0].weight = 10'000;
  spec.endpoints.push_back({"127.0.0.1", origin_->port(), 1});
  const auto pair = Make(spec);
  GrpcRequest asked = Request();
  asked.cluster = pair.get();
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(asked);
  ASSERT_TRUE(Ended(stream, 1));
  EXPECT_EQ(stream->address(), "127.0.0.1:" + std::to_string(gone.port()));
  SkipWait(stream);
  Fail(Arrived());
  ASSERT_TRUE(Ended(stream, 2));
  EXPECT_EQ(stream->address(), "127.0.0.1:" + std::to_string(origin_->port()));
  SkipWait(stream);
  ASSERT_TRUE(Ended(stream, 3));
  SkipWait(stream);
  (void)Arrived();
  stream->Stop();
}

TEST_F(GrpcStreamTest, Stopped) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  H2Origin::Request& first = Arrived();
  stream->Stop();
  EXPECT_FALSE(stream->running());
  ASSERT_TRUE(Until([&] { return first.broken(); }));
  Advance(std::chrono::minutes(2));
  EXPECT_EQ(stream.log, "up|");
  EXPECT_EQ(origin_->requests(), 1u);
  // While it waits.
  stream->Start(Request());
  Fail(Arrived());
  ASSERT_TRUE(Ended(stream, 1));
  stream->Stop();
  Advance(std::chrono::minutes(2));
  EXPECT_EQ(origin_->requests(), 2u);
  // And in a callback, where it may also start again.
  stream.then = [&](std::string_view what) {
    if (what != "disconnected") return;
    stream->Stop();
    if (stream.ended == 2) stream->Start(Request());
  };
  stream->Start(Request());
  Fail(Arrived());
  Fail(Arrived());
  ASSERT_TRUE(Ended(stream, 3));
  EXPECT_FALSE(stream->running());
}

TEST_F(GrpcStreamTest, DestroyedByItsCallbacks) {
  for (const std::string when : {"connected", "message", "disconnected"}) {
    TestStream stream(*upstreams_, backoff_, random_);
    stream.then = [&](std::string_view what) {
      if (what == when) stream.Destroy();
    };
    stream->Start(Request());
    if (when != "connected") {  // else before the head has left
      H2Origin::Request& request = Arrived();
      Answer(request);
      request.Body(Framed("m") + Framed("n"));
      request.Trailers({{"grpc-status", "0"}});
    }
    Settle();
    Advance(std::chrono::minutes(1));
    EXPECT_EQ(State(*cluster()).leases(), 0u) << when;
  }
}

TEST_F(GrpcStreamTest, FlowControlHoldsForAllStreams) {
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  stream->Pause();
  H2Origin::Request& first = Arrived();
  Answer(first);
  first.Body(Framed("1") + Framed("2"));
  Settle();
  EXPECT_EQ(stream.log, "up|");
  stream->AllowMessages(1);
  Settle();
  EXPECT_EQ(stream.log, "up|1|");
  first.Reset(NGHTTP2_INTERNAL_ERROR);
  ASSERT_TRUE(Ended(stream, 1));
  SkipWait(stream);
  H2Origin::Request& second = Arrived();
  Answer(second);
  second.Body(Framed("1") + Framed("2"));
  Settle();
  EXPECT_EQ(stream.log, "up|1|down 13|up|1|");
}

TEST_F(GrpcStreamTest, GoesToAnotherCluster) {
  H2Origin other(loop_);
  const auto elsewhere = Make(SpecOf(other.port(), "elsewhere"));
  TestStream stream(*upstreams_, backoff_, random_);
  stream->Start(Request());
  // While it connects: this attempt goes on where it began, and so needs its cluster.
  const Cluster* before = stream->cluster();
  stream->UseCluster(*elsewhere);
  H2Origin::Request& first = Arrived();
  EXPECT_EQ(stream->cluster(), before);
  Settle();
  EXPECT_FALSE(first.broken());
  Fail(first);
  SkipWait(stream);
  ASSERT_TRUE(Until([&] { return other.requests() == 1; }));
  EXPECT_EQ(other.request(0).head().authority, "elsewhere");
  EXPECT_EQ(stream->cluster(), elsewhere.get());
  stream.Destroy();
}

}  // namespace
}  // namespace gatehouse::upstream
