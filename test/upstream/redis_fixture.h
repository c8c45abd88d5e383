// RedisFixture: a worker's loop with its Upstreams, and calls that remember their results. Time is
// the system's, for real servers, or manual, for fakes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/observe/notices.h"
#include "source/upstream/cluster.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_target.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::upstream {

// A copy of a reply: arrays in brackets.
inline std::string TextOf(const RedisReply& reply) {
  switch (reply.type) {
    case RedisReply::Type::kNull:
      return "null";
    case RedisReply::Type::kInteger:
      return std::to_string(reply.integer);
    case RedisReply::Type::kArray:
      break;
    default:
      return std::string(reply.text);
  }
  std::string text = "[";
  for (const RedisReply& element : reply.elements) {
    if (text.size() > 1) text += ' ';
    text += TextOf(element);
  }
  return text + "]";
}

inline void PrintTo(RedisFailure failure, std::ostream* out) {
  *out << kRedisResultNames[static_cast<size_t>(failure)];
}

struct TestCall {
  void Start(RedisClient& client, const RedisRequest& request) {
    done = false;
    call->Start(client, request, this, [](void* self, const RedisResult& result) {
      auto& test = *static_cast<TestCall*>(self);
      EXPECT_FALSE(test.done);
      test.done = true;
      ++test.results;
      test.failure = result.failure;
      test.text = result.ok() || result.failure == RedisFailure::kError ? TextOf(result.reply) : "";
      if (test.on_done) test.on_done();
    });
  }
  void Cancel() { call.reset(); }

  std::optional<RedisCall> call{std::in_place};
  bool done = false;
  int results = 0;
  RedisFailure failure = RedisFailure::kNone;
  std::string text;
  std::function<void()> on_done;
};

template <typename ClockType>
class RedisFixture : public testing::Test {
 protected:
  RedisFixture() {
    upstreams_.emplace(loop_, *counters_, scratch_);
    (void)observe::Notices::Process().Take();
  }

  [[nodiscard]] std::shared_ptr<const Cluster> MakeCluster(
      const std::vector<uint16_t>& ports,
      std::shared_ptr<const net::TlsClientContext> tls = nullptr) {
    ClusterSpec spec;
    spec.name = "store";
    for (const uint16_t port : ports) spec.endpoints.push_back({"127.0.0.1", port, 1});
    spec.options.connect_timeout = std::chrono::seconds(2);
    if (tls != nullptr) spec.tls_fingerprint = std::to_string(++tls_contexts_);
    spec.options.tls = std::move(tls);
    auto cluster = Cluster::Make(spec, cluster_, slots_, registry_);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    return *cluster;
  }
  // `spec.cluster` is made of the ports.
  void Use(const std::vector<uint16_t>& ports, RedisSpec spec = {},
           std::shared_ptr<const net::TlsClientContext> tls = nullptr) {
    cluster_ = MakeCluster(ports, std::move(tls));
    spec.cluster = cluster_.get();
    auto target = RedisTarget::Make(spec, registry_);
    ASSERT_TRUE(target.ok()) << target.status();
    target_ = *std::move(target);
  }
  [[nodiscard]] RedisClient& Client() { return upstreams_->Redis(*target_); }

  void Start(TestCall& call, const RedisRequest& request) { call.Start(Client(), request); }
  // One call and its answer: text, or the failure in <>.
  std::string Do(const RedisRequest& request) {
    TestCall call;
    Start(call, request);
    EXPECT_FALSE(call.done);
    EXPECT_TRUE(Until([&] { return call.done; }));
    return ResultOf(call);
  }
  static std::string ResultOf(const TestCall& call) {
    if (!call.done) return "<pending>";
    if (call.failure == RedisFailure::kNone) return call.text;
    const std::string name = kRedisResultNames[static_cast<size_t>(call.failure)];
    return call.text.empty() ? "<" + name + ">" : "<" + name + " " + call.text + ">";
  }
  std::string Command(std::string_view name, std::string_view key,
                      std::vector<std::string_view> args = {},
                      Duration timeout = std::chrono::seconds(5)) {
    return Do({.command = name, .key = key, .args = args, .timeout = timeout});
  }
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(40);
    while (!done()) {
      if (std::chrono::steady_clock::now() > until) return false;
      Turn();
    }
    return true;
  }
  virtual void Turn() {
    if constexpr (std::is_same_v<ClockType, SystemClock>) {
      if (!tick_.armed()) loop_.Arm(tick_, std::chrono::milliseconds(5));
      loop_.RunTurn(true);
    } else {
      loop_.RunTurn(false);
    }
  }
  template <typename Id>
  [[nodiscard]] auto Value(Id id) const {
    return counters_->Value(id);
  }
  [[nodiscard]] static std::vector<std::string> News() {
    return observe::Notices::Process().Take().lines;
  }

  int tls_contexts_ = 0;
  ClockType clock_;
  observe::MetricRegistry registry_;
  observe::CounterBlock* counters_ = registry_.NewBlock();
  ClusterSlots slots_;
  net::Loop loop_{clock_};
  Timer tick_{[](void*) {}, nullptr};
  http::H1HeadScratch scratch_;
  std::shared_ptr<const Cluster> cluster_;
  std::shared_ptr<const RedisTarget> target_;
  std::optional<Upstreams> upstreams_;
};

}  // namespace gatehouse::upstream
