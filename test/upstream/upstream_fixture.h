// UpstreamFixture: a worker's loop with manual time, its Upstreams, and a way to drive both the
// loop and origins until something has happened.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/arena.h"
#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/cluster.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/manual_clock.h"
#include "test/fakes/tcp_origin.h"

namespace gatehouse::upstream {

// One attempt as a proxy makes it, whose lease is held until Release().
class TestAttempt final : public http::Receiver {
 public:
  explicit TestAttempt(Upstreams& upstreams)
      : upstreams_(upstreams), response_(arena_), trailers_(arena_), request_(arena_) {}

  AcquireStatus Acquire(const Cluster& cluster, const PickHint& hint = {}) {
    AcquireResult result = upstreams_.StateOf(cluster).Acquire(hint, waiter_);
    if (result.status == AcquireStatus::kReady) lease = std::move(result.lease);
    if (result.status == AcquireStatus::kFailed) error = result.error;
    return result.status;
  }
  void Send(std::string_view path = "/") {
    request_.method_text = "GET";
    request_.path = request_.target = path;
    request_.authority = "origin.test";
    sender = &lease.Begin(http::Method::kGet, {this, &response_, &trailers_});
    sender->SendHead(request_, true);
    sender->AllowBody(1 << 20);
  }
  void Release() { lease.Release(); }
  void Cancel() { waiter_.Cancel(); }
  [[nodiscard]] bool waiting() const { return waiter_.waiting(); }
  [[nodiscard]] bool decided() const { return static_cast<bool>(lease) || error; }

  Lease lease;
  http::Error error;
  http::Sender* sender = nullptr;
  uint16_t status = 0;
  bool ended = false;
  bool detach_at_end = true;
  bool release_at_end = true;
  std::function<void()> on_decided;

 private:
  void OnHead(bool end) override {
    if (response_.status < 200) return;
    status = response_.status;
    if (end) End();
  }
  void OnBody(Chain& data, bool end) override {
    data.Clear();
    if (end) End();
  }
  void OnTrailers() override { End(); }
  void OnError(http::Error what) override {
    error = what;
    sender = nullptr;
  }
  void OnCredit() override {}
  void OnSent() override {}
  void End() {
    ended = true;
    if (detach_at_end) std::exchange(sender, nullptr)->Detach();
    if (release_at_end) lease.Release();
  }
  void OnLease(Lease given, http::Error what) {
    lease = std::move(given);
    error = what;
    if (on_decided) on_decided();
  }

  Upstreams& upstreams_;
  Arena arena_;
  http::ResponseHead response_;
  http::HeaderMap trailers_;
  http::RequestHead request_;
  LeaseWaiter waiter_{[](void* self, Lease given, http::Error what) {
                        static_cast<TestAttempt*>(self)->OnLease(std::move(given), what);
                      },
                      this};
};

class UpstreamFixture : public testing::Test {
 protected:
  static constexpr int kMaxTurns = 20000;

  UpstreamFixture() { upstreams_.emplace(loop_, *counters_, scratch_); }

  // Drives everything until `done`; false if it does not come.
  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < kMaxTurns; ++i) {
      if (done()) return true;
      Turn();
    }
    return done();
  }
  void Turn() {
    loop_.RunTurn(false);
    for (TcpOrigin* origin : origins_) origin->Step();
  }
  // Enough turns that whatever could happen now has happened.
  void Settle() {
    for (int i = 0; i < 20; ++i) Turn();
  }
  void Advance(Duration by) {
    clock_.Advance(by);
    Settle();
  }

  [[nodiscard]] ClusterSpec Spec(std::vector<TcpOrigin*> origins, std::string name = "users") {
    ClusterSpec spec;
    spec.name = std::move(name);
    for (TcpOrigin* origin : origins) spec.endpoints.push_back({"127.0.0.1", origin->port(), 1});
    origins_ = std::move(origins);
    return spec;
  }
  [[nodiscard]] std::shared_ptr<const Cluster> Make(
      const ClusterSpec& spec, const std::shared_ptr<const Cluster>& previous = nullptr) {
    auto cluster = Cluster::Make(spec, previous, slots_, registry_);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    return *cluster;
  }
  [[nodiscard]] ClusterState& State(const Cluster& cluster) { return upstreams_->StateOf(cluster); }
  // Sends a request and waits for its answer. Returns its status, 0 if it failed.
  uint16_t Exchange(const Cluster& cluster) {
    TestAttempt attempt(*upstreams_);
    if (attempt.Acquire(cluster) == AcquireStatus::kWaiting) {
      EXPECT_TRUE(Until([&] { return attempt.decided(); }));
    }
    if (!attempt.lease) return 0;
    attempt.Send();
    EXPECT_TRUE(Until([&] { return attempt.ended || attempt.error; }));
    Settle();
    return attempt.status;
  }
  // A lease, waiting if need be.
  void Get(TestAttempt& attempt, const Cluster& cluster) {
    if (attempt.Acquire(cluster) == AcquireStatus::kWaiting) {
      ASSERT_TRUE(Until([&] { return attempt.decided(); }));
    }
    ASSERT_TRUE(static_cast<bool>(attempt.lease));
  }
  template <typename Id>
  [[nodiscard]] auto Value(Id id) const {
    return counters_->Value(id);
  }

  ManualClock clock_;
  observe::MetricRegistry registry_;
  observe::CounterBlock* counters_ = registry_.NewBlock();
  ClusterSlots slots_;
  net::Loop loop_{clock_};
  http::H1HeadScratch scratch_;
  std::optional<Upstreams> upstreams_;
  std::vector<TcpOrigin*> origins_;
};

}  // namespace gatehouse::upstream
