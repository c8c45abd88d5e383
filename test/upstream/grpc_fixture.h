// GrpcFixture: UpstreamFixture with an HTTP/2 origin, messages in their frames, and a reader that
// writes down what it is told.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "source/base/arena.h"
#include "source/http/grpc_frame.h"
#include "source/upstream/grpc_call.h"
#include "test/fakes/h2_origin.h"
#include "test/upstream/upstream_fixture.h"

namespace gatehouse::upstream {

// A message in its frame.
inline std::string Framed(std::string_view message) {
  char prefix[http::kGrpcPrefix];
  http::WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
  return std::string(prefix, sizeof(prefix)).append(message);
}

inline std::string TextOf(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

// A call and what its reader was told: "started|metadata|one|two|done 0 |".
class TestCall final : public GrpcReader {
 public:
  explicit TestCall(Upstreams& upstreams) { call_.emplace(upstreams, arena_); }

  void Start(const GrpcRequest& request) {
    call_->Start(request, *this);
    EXPECT_EQ(log, "");
  }
  void Destroy() { call_.reset(); }
  [[nodiscard]] GrpcCall& call() { return *call_; }
  GrpcCall* operator->() { return &*call_; }

  std::string log;
  std::string metadata;  // x-initial
  std::string trailer;   // x-trailing
  std::string words;
  http::GrpcStatus code = http::GrpcStatus::kOk;
  bool started = false;
  bool done = false;
  bool unprocessed = false;
  bool note_messages = true;
  size_t messages = 0;
  size_t bytes = 0;
  size_t credits = 0;
  // Called after each callback with its name.
  std::function<void(std::string_view)> then;

 private:
  void OnStarted() override {
    started = true;
    log += "started|";
    Then("started");
  }
  void OnMetadata(const http::HeaderMap& headers) override {
    log += "metadata|";
    metadata = headers.Get("x-initial").value_or("");
    Then("metadata");
  }
  void OnMessage(Chain& message) override {
    ++messages;
    bytes += message.bytes();
    if (note_messages) log += TextOf(message) + "|";
    Then("message");
  }
  void OnCredit() override {
    ++credits;
    Then("credit");
  }
  void OnDone(const GrpcResult& result, const http::HeaderMap& trailers) override {
    EXPECT_FALSE(done);
    done = true;
    code = result.code;
    words = result.message;
    unprocessed = result.unprocessed;
    trailer = trailers.Get("x-trailing").value_or("");
    log += "done " + std::to_string(static_cast<int>(code)) + "|";
    Then("done");
  }
  void Then(std::string_view what) {
    if (then) then(what);
  }

  Arena arena_;
  std::optional<GrpcCall> call_;
};

class GrpcFixture : public UpstreamFixture {
 protected:
  using Fields = H2Origin::Fields;

  // The origin's connections hold buffers of the loop, and tell the pool when they end.
  GrpcFixture() { origin_.emplace(loop_); }

  [[nodiscard]] ClusterSpec SpecOf(uint16_t port, std::string name = "orders") {
    ClusterSpec spec;
    spec.name = std::move(name);
    spec.endpoints.push_back({"127.0.0.1", port, 1});
    spec.options.protocol = Protocol::kHttp2;
    return spec;
  }
  const std::shared_ptr<const Cluster>& cluster() {
    if (cluster_ == nullptr) cluster_ = Make(SpecOf(origin_->port()));
    return cluster_;
  }
  [[nodiscard]] GrpcRequest Request() {
    return {.cluster = cluster().get(), .path = "/shop.Orders/Get"};
  }
  // Until the origin has seen the head of its next request.
  H2Origin::Request& Arrived(H2Origin& origin) {
    const size_t index = seen_++;
    EXPECT_TRUE(Until([&] { return origin.requests() > index && origin.request(index).headed(); }));
    return origin.request(index);
  }
  H2Origin::Request& Arrived() { return Arrived(*origin_); }
  [[nodiscard]] bool WaitFor(TestCall& call) {
    return Until([&] { return call.done; });
  }
  static void Answer(H2Origin::Request& request) {
    request.Head(200, {{"content-type", "application/grpc"}});
  }

  // What a call comes to whose answer is `answer`.
  void Ask(TestCall& call, const std::function<void(H2Origin::Request&)>& answer) {
    GrpcRequest request = Request();
    request.max_message_bytes = 1000;
    call.Start(request);
    EXPECT_TRUE(call->Send("question"));
    call->WritesDone();
    answer(Arrived());
    EXPECT_TRUE(WaitFor(call));
  }
  std::optional<H2Origin> origin_;
  std::shared_ptr<const Cluster> cluster_;
  size_t seen_ = 0;
};

}  // namespace gatehouse::upstream
