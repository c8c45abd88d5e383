#include "source/upstream/callout.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "test/upstream/upstream_fixture.h"

namespace gatehouse::upstream {
namespace {

using What = http::Error::What;

// A Callout and what came of it.
class TestCallout {
 public:
  explicit TestCallout(Upstreams& upstreams) { callout_.emplace(upstreams, arena_); }

  void Start(const CalloutRequest& request) {
    callout_->Start(request, this, [](void* self, const CalloutResult& result) {
      static_cast<TestCallout*>(self)->OnDone(result);
    });
    EXPECT_FALSE(done);
  }
  void Destroy() { callout_.reset(); }

  bool done = false;
  bool destroy_when_done = false;
  http::Error error;
  uint16_t status = 0;
  std::string body;
  std::string type;

 private:
  void OnDone(const CalloutResult& result) {
    EXPECT_FALSE(done);
    done = true;
    error = result.error;
    status = result.status;
    body = result.body;
    if (result.ok()) type = result.headers->Get(http::Name::kContentType).value_or("");
    if (destroy_when_done) callout_.reset();
  }

  Arena arena_;
  std::optional<Callout> callout_;
};

class CalloutTest : public UpstreamFixture {
 protected:
  // A callout whose request has reached the origin, which does not answer by itself.
  void StartAndWait(TestCallout& callout, const CalloutRequest& request) {
    origin_.set_auto_answer(false);
    const size_t before = origin_.requests();
    callout.Start(request);
    ASSERT_TRUE(Until([&] { return origin_.requests() > before || callout.done; }));
  }
  [[nodiscard]] bool WaitFor(TestCallout& callout) {
    return Until([&] { return callout.done; });
  }

  TcpOrigin origin_;
  std::shared_ptr<const Cluster> cluster_ = Make(Spec({&origin_}, "authority"));
};

TEST_F(CalloutTest, WholeAnswer) {
  TestCallout callout(*upstreams_);
  const std::pair<std::string_view, std::string_view> headers[] = {{"X-Key", "secret"}};
  StartAndWait(callout, {.cluster = cluster_.get(), .path = "/check?x=1", .headers = headers});
  const std::string& received = origin_.connection(0).received();
  EXPECT_EQ(received.substr(0, 24), "GET /check?x=1 HTTP/1.1\r");
  EXPECT_NE(received.find("host: authority\r\n"), std::string::npos) << received;
  EXPECT_NE(received.find("X-Key: secret\r\n"), std::string::npos);
  origin_.connection(0).Send(
      "HTTP/1.1 103 Early Hints\r\n\r\n"
      "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n5\r\nhello\r\n");
  Settle();
  EXPECT_FALSE(callout.done);
  origin_.connection(0).Send("7\r\n, world\r\n0\r\nX-Trailer: 1\r\n\r\n");
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_FALSE(callout.error);
  EXPECT_EQ(callout.status, 200);
  EXPECT_EQ(callout.body, "hello, world");
  EXPECT_EQ(callout.type, "text/x");
  Settle();
  EXPECT_EQ(State(*cluster_).idle(), 1u);
  const observe::ClusterMetrics& metrics = cluster_->metrics();
  EXPECT_EQ(Value(metrics.RequestsFor(200)), 1u);
  EXPECT_EQ(Value(metrics.response_bytes), 12u);
  EXPECT_EQ(Value(metrics.active), 0);
}

TEST_F(CalloutTest, RequestWithBody) {
  TestCallout callout(*upstreams_);
  const std::string body(100000, 'b');
  StartAndWait(callout, {.cluster = cluster_.get(),
                         .method = http::Method::kPost,
                         .path = "/",
                         .authority = "auth.test",
                         .body = body});
  const std::string& received = origin_.connection(0).received();
  EXPECT_NE(received.find("host: auth.test\r\n"), std::string::npos);
  EXPECT_NE(received.find("ontent-length: 100000\r\n"), std::string::npos);
  EXPECT_EQ(received.substr(received.size() - body.size()), body);
  origin_.connection(0).Send("HTTP/1.1 204 No Content\r\n\r\n");
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_EQ(callout.status, 204);
  EXPECT_EQ(callout.body, "");
  Settle();
  EXPECT_EQ(State(*cluster_).idle(), 1u);
}

TEST_F(CalloutTest, BigBodyIsOnePiece) {
  TestCallout callout(*upstreams_);
  StartAndWait(callout, {.cluster = cluster_.get()});
  std::string body;
  for (int i = 0; body.size() < 300000; ++i) body += std::to_string(i);
  origin_.connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                             "\r\n\r\n");
  for (size_t at = 0; at < body.size(); at += 30000) {
    origin_.connection(0).Send(std::string_view(body).substr(at, 30000));
    Settle();
  }
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_TRUE(callout.body == body);
}

TEST_F(CalloutTest, DestroyedByItsDone) {
  TestCallout callout(*upstreams_);
  callout.destroy_when_done = true;
  callout.Start({.cluster = cluster_.get()});
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_EQ(callout.body, "ok");
  Settle();
  EXPECT_EQ(State(*cluster_).idle(), 1u);
}

TEST_F(CalloutTest, ResponseTooLarge) {
  TestCallout announced(*upstreams_);
  announced.destroy_when_done = true;
  StartAndWait(announced, {.cluster = cluster_.get(), .max_response_bytes = 10});
  origin_.connection(0).Send("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n");
  ASSERT_TRUE(WaitFor(announced));
  EXPECT_EQ(announced.error.what, What::kResponseTooLarge);

  TestCallout chunked(*upstreams_);
  chunked.destroy_when_done = true;
  StartAndWait(chunked, {.cluster = cluster_.get(), .max_response_bytes = 10});
  origin_.connection(1).Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n");
  origin_.connection(1).Send("01234567890\r\n0\r\n\r\n");
  ASSERT_TRUE(WaitFor(chunked));
  EXPECT_EQ(chunked.error.what, What::kResponseTooLarge);

  TestCallout fits(*upstreams_);
  StartAndWait(fits, {.cluster = cluster_.get(), .max_response_bytes = 10});
  origin_.connection(2).Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n");
  origin_.connection(2).Send("0123456789\r\n0\r\n\r\n");
  ASSERT_TRUE(WaitFor(fits));
  EXPECT_EQ(fits.body, "0123456789");
  Settle();
  EXPECT_EQ(State(*cluster_).connections(), 1u);
}

TEST_F(CalloutTest, Deadline) {
  TestCallout callout(*upstreams_);
  callout.destroy_when_done = true;
  StartAndWait(callout, {.cluster = cluster_.get(), .timeout = std::chrono::seconds(2)});
  Advance(std::chrono::milliseconds(1900));
  EXPECT_FALSE(callout.done);
  Advance(std::chrono::milliseconds(200));
  ASSERT_TRUE(callout.done);
  EXPECT_EQ(callout.error, http::Error::Upstream(What::kUpstreamTimeout));
  EXPECT_EQ(Value(cluster_->metrics().timeouts), 1u);
  ASSERT_TRUE(Until([&] { return origin_.connection(0).ended(); }));
}

TEST_F(CalloutTest, ErrorOfAcquireComesFromTheLoop) {
  const auto empty = Make(Spec({}, "empty"));
  TestCallout callout(*upstreams_);
  callout.destroy_when_done = true;
  callout.Start({.cluster = empty.get()});
  EXPECT_FALSE(callout.done);
  Turn();
  ASSERT_TRUE(callout.done);
  EXPECT_EQ(callout.error.what, What::kNoHealthyUpstream);
}

TEST_F(CalloutTest, DestroyedBeforeAnythingCame) {
  const auto empty = Make(Spec({}, "empty"));
  origins_ = {&origin_};
  origin_.set_auto_answer(false);
  TestCallout failed(*upstreams_);
  TestCallout connecting(*upstreams_);
  TestCallout sent(*upstreams_);
  sent.Start({.cluster = cluster_.get()});
  ASSERT_TRUE(Until([&] { return origin_.requests() == 1; }));
  failed.Start({.cluster = empty.get()});
  connecting.Start({.cluster = cluster_.get()});
  failed.Destroy();
  connecting.Destroy();
  sent.Destroy();
  Settle();
  EXPECT_FALSE(failed.done);
  EXPECT_FALSE(connecting.done);
  EXPECT_FALSE(sent.done);
  EXPECT_EQ(State(*cluster_).waiting(), 0u);
  EXPECT_EQ(State(*cluster_).leases(), 0u);
}

TEST_F(CalloutTest, StaleConnectionIsTriedAgainOnce) {
  EXPECT_EQ(Exchange(*cluster_), 200);
  TestCallout callout(*upstreams_);
  callout.Start({.cluster = cluster_.get(), .path = "/again"});
  origin_.connection(0).Reset();
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_FALSE(callout.error);
  EXPECT_EQ(callout.body, "ok");
  EXPECT_EQ(origin_.connections(), 2u);
  EXPECT_EQ(Value(cluster_->metrics().retries), 1u);
  EXPECT_EQ(Value(cluster_->metrics().resets), 1u);
}

TEST_F(CalloutTest, NoRetryOnAFreshConnectionNorForAPost) {
  TestCallout fresh(*upstreams_);
  StartAndWait(fresh, {.cluster = cluster_.get()});
  origin_.connection(0).Reset();
  ASSERT_TRUE(WaitFor(fresh));
  EXPECT_EQ(fresh.error.what, What::kUpstreamReset);

  origin_.set_auto_answer(true);
  EXPECT_EQ(Exchange(*cluster_), 200);
  TestCallout post(*upstreams_);
  post.Start({.cluster = cluster_.get(), .method = http::Method::kPost, .body = "x"});
  origin_.connection(1).Reset();
  ASSERT_TRUE(WaitFor(post));
  EXPECT_EQ(post.error.what, What::kUpstreamReset);
  EXPECT_EQ(Value(cluster_->metrics().retries), 0u);
}

TEST_F(CalloutTest, BrokenAnswers) {
  TestCallout garbage(*upstreams_);
  StartAndWait(garbage, {.cluster = cluster_.get()});
  origin_.connection(0).Send("SSH-2.0-OpenSSH\r\n\r\n");
  ASSERT_TRUE(WaitFor(garbage));
  EXPECT_EQ(garbage.error.what, What::kUpstreamProtocolError);
  EXPECT_EQ(Value(cluster_->metrics().protocol_errors), 1u);

  TestCallout cut(*upstreams_);
  StartAndWait(cut, {.cluster = cluster_.get()});
  origin_.connection(1).Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  Settle();
  origin_.connection(1).Close();
  ASSERT_TRUE(WaitFor(cut));
  EXPECT_EQ(cut.error.what, What::kUpstreamReset);
  EXPECT_EQ(cut.body, "");
}

TEST_F(CalloutTest, ResponseThatEndsWithTheConnection) {
  TestCallout callout(*upstreams_);
  StartAndWait(callout, {.cluster = cluster_.get()});
  origin_.connection(0).Send("HTTP/1.1 200 OK\r\n\r\nuntil close");
  Settle();
  origin_.connection(0).Close();
  ASSERT_TRUE(WaitFor(callout));
  EXPECT_EQ(callout.body, "until close");
}

}  // namespace
}  // namespace gatehouse::upstream
