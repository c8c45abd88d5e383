// Once warm, a question to a rate-limit service does without the heap: as FilterContext's operation
// from its encoding to the decoded answer.
//
// When it fails: GATEHOUSE_HEAP_STACKS=8 makes it print the stacks of the first eight calls.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "api/envoy/service/ratelimit/v3/rls.pb.h"
#include "source/filters/rate_limit/service_limit.h"
#include "source/http/grpc_frame.h"
#include "test/alloc/heap_watch.h"
#include "test/fakes/h2_peer_origin.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

constexpr int kWarmUp = 100;
constexpr int kMeasured = 100;
// What happens now and then, such as the trimming of slabs, may fall into one window or another.
constexpr int kWindows = 8;

class SteadyStateServiceTest : public FilterFixture {
 protected:
  SteadyStateServiceTest() : answer_(Answer()) {
    origin_.set_auto_answer(false);
    upstream::ClusterSpec spec;
    spec.name = "limits";
    spec.endpoints.push_back({"127.0.0.1", origin_.tcp().port(), 1});
    spec.options.protocol = upstream::Protocol::kHttp2;
    cluster_ = *upstream::Cluster::Make(spec, nullptr, slots_, registry_);
    limit_.cluster = cluster_.get();
    limit_.timeout = std::chrono::seconds(10);
  }

  static std::string Answer() {
    using envoy::service::ratelimit::v3::RateLimitResponse;
    RateLimitResponse response;
    response.set_overall_code(RateLimitResponse::OK);
    auto& status = *response.add_statuses();
    status.set_code(RateLimitResponse::OK);
    status.mutable_current_limit()->set_requests_per_unit(100);
    status.set_limit_remaining(42);
    status.mutable_duration_until_reset()->set_seconds(17);
    auto& header = *response.add_response_headers_to_add();
    header.set_key("x-a-name-of-some-length");
    header.set_value("a value that has no room within a string");
    const std::string bytes = response.SerializeAsString();
    char prefix[http::kGrpcPrefix];
    http::WriteGrpcPrefix(static_cast<uint32_t>(bytes.size()), prefix);
    return std::string(prefix, sizeof(prefix)) + bytes;
  }
  void StepOrigin() {
    origin_.Step();
    if (origin_.connections() == 0) return;
    for (http::H2Peer& peer = origin_.peer(0); answered_ < peer.heard().size(); ++answered_) {
      const int32_t id = peer.heard()[answered_];
      if (!peer.stream(id).ended) return;
      peer.Respond(id, {{":status", "200"}, {"content-type", "application/grpc"}}, answer_, false);
      peer.SendTrailers(id, {{"grpc-status", "0"}});
    }
    origin_.Step();
  }
  // One question, answered; what was asked of the heap meanwhile.
  void Ask(HeapCalls& calls, size_t stacks) {
    NextRequest();
    const DescriptorEntry entries[] = {{"header:x-api-key", "a key that has no room in a string"},
                                       {"client_ip", "2001:db8::/64"}};
    bool done = false;
    std::optional<ServiceCheck> check;
    {
      HeapWatch watch(calls, stacks);
      check.emplace(limit_, context_, entries, 3);
      check->Start({&done, [](void* of) { *static_cast<bool*>(of) = true; }});
    }
    for (int turn = 0; turn < 20000 && !done; ++turn) {
      StepOrigin();
      HeapWatch watch(calls, stacks);
      loop_.RunTurn(/*wait=*/false);
    }
    ASSERT_TRUE(done);
    ASSERT_EQ(check->outcome(), LimitOutcome::kDecided);
    ASSERT_EQ(check->takes().takes[0].remaining, 42u);
    ASSERT_EQ(check->response_headers().size(), 1u);
    HeapWatch watch(calls, stacks);
    check.reset();
  }

  H2PeerOrigin origin_;
  std::string answer_;
  std::shared_ptr<const upstream::Cluster> cluster_;
  ServiceLimit limit_;
  size_t answered_ = 0;
};

TEST_F(SteadyStateServiceTest, AQuestionAndItsAnswer) {
  size_t stacks = 0;
  if (const char* wanted = std::getenv("GATEHOUSE_HEAP_STACKS")) {
    stacks = std::strtoul(wanted, nullptr, 10);
  }
  HeapCalls warm;
  for (int i = 0; i < kWarmUp; ++i) Ask(warm, 0);
  size_t fewest = SIZE_MAX;
  for (int i = 0; i < kWindows && fewest > 0; ++i) {
    HeapCalls calls;
    for (int n = 0; n < kMeasured && !HasFatalFailure(); ++n) {
      const size_t before = calls.allocations + calls.frees;
      Ask(calls, i + 1 == kWindows ? stacks - std::min(stacks, before) : 0);
    }
    fewest = std::min(fewest, calls.allocations + calls.frees);
  }
  if (kHeapIsWatched) {
    EXPECT_GT(warm.allocations, 0u);
    EXPECT_EQ(fewest, 0u);
  }
}

}  // namespace
}  // namespace gatehouse::filters
