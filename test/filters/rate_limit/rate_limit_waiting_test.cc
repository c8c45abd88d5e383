// What requests hold or wait for: places of concurrency, and turns in a queue.
#include <string>

#include "gtest/gtest.h"

#include "source/filters/rate_limit/rate_limit.h"
#include "test/filters/rate_limit/rate_limit_fixture.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

TEST_F(RateLimitTest, PlacesAreGivenBackWhenTheRequestEnds) {
  Resource("name: 'overall' concurrency { limit: 1 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(5), 5);
  EXPECT_EQ(Response("RateLimit"), "\"overall\";r=0");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"overall\";q=1;qu=\"concurrent-requests\"");
  EXPECT_EQ(Response("X-RateLimit-Limit"), "1");
  EXPECT_EQ(Response("X-RateLimit-Reset"), "-");
  // Another one, while this one is under way.
  FilterWorld other;
  other.context_.Bind(*counters_, other.upstreams_, other.request_trailers_,
                      other.response_trailers_);
  other.Use(*tested_);
  EXPECT_EQ(other.run_.RequestHeaders(), Progress::kReply);
  EXPECT_EQ(other.run_.reply().status, 429);
  other.run_.BeginReply();
  EXPECT_EQ(other.run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(other.Response("Retry-After"), "1");
  other.NextRequest();
  other.Use(*tested_);
  EXPECT_EQ(other.run_.RequestHeaders(), Progress::kReply);  // what was refused gave nothing back
  other.NextRequest();
  run_.Finish();
  other.Use(*tested_);
  EXPECT_EQ(other.run_.RequestHeaders(), Progress::kDone);
  other.run_.Finish();
  EXPECT_EQ(Send(), 200);
}

// The budget goes by the newest config, which a worker may not have adopted yet.
TEST_F(RateLimitTest, APlaceIsGivenBackWhateverConfigTheRequestCameBy) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  const AnyFilter old = *tested_;
  Resource("name: 'overall' concurrency { limit: 1 }");
  UseLimits("policies: 'overall'");
  const AnyFilter fresh = *tested_;
  EXPECT_EQ(Send(), 200);
  tested_ = old;
  EXPECT_EQ(Send(), 200);
  tested_ = fresh;
  EXPECT_EQ(Send(), 200);
}

TEST_F(RateLimitTest, APlaceThatALaterPolicyTakesBack) {
  Resource("name: 'overall' concurrency { limit: 1 }");
  Resource("name: 'none' fixed_window { limit { amount: 1 per { seconds: 60 } } }");
  UseLimits("policies: 'overall' policies: 'none'");
  EXPECT_EQ(Passed(3), 1);
  EXPECT_EQ(members_, "\"violated-policies\":[\"none\"]");
  // Given back once, not twice: there is one place again, not two.
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  FilterWorld other;
  other.context_.Bind(*counters_, other.upstreams_, other.request_trailers_,
                      other.response_trailers_);
  other.Use(*tested_);
  EXPECT_EQ(other.run_.RequestHeaders(), Progress::kReply);
}

TEST_F(RateLimitTest, DryRunGivesPlacesBackToo) {
  Resource("name: 'overall' concurrency { limit: 1 } dry_run: true");
  Resource("name: 'none' fixed_window { limit { amount: 1 per { seconds: 60 } } }");
  UseLimits("policies: 'overall' policies: 'none'");
  EXPECT_EQ(Passed(5), 1);
  run_.Finish();
  EXPECT_EQ(Counted("dry"), 0u);
  EXPECT_EQ(Counted("allowed"), 5u);
}

constexpr char kQueue[] =
    "name: 'overall' leaky_bucket { rate { amount: 10 per { seconds: 1 } } capacity: 4 max_delay { "
    "nanos: 150000000 } }";

TEST_F(RateLimitTest, RequestsWaitForTheirTurn) {
  Resource(kQueue);
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Counted("allowed"), 1u);
  EXPECT_EQ(Send(), 0);
  EXPECT_TRUE(context_.flags().Has(observe::LogFlag::kRateLimitDelayed));
  EXPECT_EQ(wakes_, 0);
  Advance(90ms);
  EXPECT_EQ(wakes_, 0);
  Advance(20ms);
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Answered(run_.RequestHeaders()), 200);
  EXPECT_EQ(Counted("delayed"), 1u);
}

TEST_F(RateLimitTest, WhoLeavesTheQueueGivesItsTurnBack) {
  Resource(kQueue);
  Resource("name: 'day' quota { limit: 2 per: PERIOD_DAY }");
  UseLimits("policies: 'overall' policies: 'day'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Send(), 0);
  run_.Finish();  // the client is gone
  EXPECT_EQ(Send(), 0);
  Advance(200ms);
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Answered(run_.RequestHeaders()), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "0");
  Advance(200ms);
  EXPECT_EQ(Send(), 429);
}

TEST_F(RateLimitTest, DryRunDoesNotDelay) {
  Resource(std::string(kQueue) + " dry_run: true");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(20), 20);
  EXPECT_GT(Counted("dry"), 0u);
}

TEST_F(RateLimitTest, TheLongestDelayIsWaitedForOnce) {
  Resource(kQueue);
  Resource(
      "name: 'slow' leaky_bucket { rate { amount: 1 per { seconds: 1 } } capacity: 4 max_delay { "
      "seconds: 5 } }");
  UseLimits("policies: 'overall' policies: 'slow'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Send(), 0);
  Advance(500ms);
  EXPECT_EQ(wakes_, 0);
  Advance(510ms);
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
}

}  // namespace
}  // namespace gatehouse::filters
