#include "source/filters/rate_limit/rate_limit.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/filters/rate_limit/rate_limit_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

// Of ManualClock, at its start.
constexpr int64_t kEpoch = 1767225600;

constexpr char kTenPerSecond[] =
    "name: 'per-client' token_bucket { rate { amount: 10 per { seconds: 1 } } burst: 100 } "
    "key { header: 'X-Client' }";

TEST_F(RateLimitTest, TheWorkedExample) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Passed(50), 50);
  EXPECT_EQ(Passed(60), 50);
  Advance(5s);
  EXPECT_EQ(Passed(60), 50);
}

TEST_F(RateLimitTest, EveryResponseTellsWhereTheClientStands) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "100");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "99");
  EXPECT_EQ(Response("X-RateLimit-Reset"), std::to_string(kEpoch + 1));
  EXPECT_EQ(Response("RateLimit"), "\"per-client\";r=99;t=1");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"per-client\";q=100;w=10");
  EXPECT_EQ(Response("Retry-After"), "-");
}

TEST_F(RateLimitTest, ARejectionSaysWhenToComeBack) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(4), 3);
  Advance(600s);
  EXPECT_EQ(Send(), 429);
  EXPECT_EQ(code_, "rate_limited");
  EXPECT_EQ(members_, "\"violated-policies\":[\"overall\"]");
  EXPECT_TRUE(context_.flags().Has(observe::LogFlag::kRateLimited));
  EXPECT_EQ(Response("Retry-After"), "3000");
  EXPECT_EQ(Response("X-RateLimit-Limit"), "3");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "0");
  EXPECT_EQ(Response("X-RateLimit-Reset"), std::to_string(kEpoch + 600 + 3000));
  EXPECT_EQ(Response("RateLimit"), "\"overall\";r=0;t=3000");
  EXPECT_EQ(Counted("allowed"), 3u);
  EXPECT_EQ(Counted("rejected"), 2u);
}

TEST_F(RateLimitTest, RetryAfterIsAtLeastOneSecond) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Passed(101), 100);
  EXPECT_EQ(Response("Retry-After"), "1");
  Advance(99ms);
  EXPECT_EQ(Send(), 429);
  EXPECT_EQ(Response("Retry-After"), "1");
  Advance(1ms);
  EXPECT_EQ(Send(), 200);
}

TEST_F(RateLimitTest, TheResetIsTheSameAllWindowLong) {
  Resource("name: 'overall' fixed_window { limit { amount: 9 per { seconds: 60 } } }");
  UseLimits("policies: 'overall'");
  for (int i = 0; i < 7; ++i, Advance(8300ms)) {
    EXPECT_EQ(Send(), 200);
    EXPECT_EQ(Response("X-RateLimit-Reset"), std::to_string(kEpoch + 60)) << i;
  }
}

TEST_F(RateLimitTest, TheResetIsTheSameHoweverLongTheOriginTakes) {
  Resource("name: 'overall' fixed_window { limit { amount: 9 per { seconds: 60 } } }");
  UseLimits("policies: 'overall'");
  NextRequest();
  Use(*tested_);
  EXPECT_EQ(run_.RequestHeaders(), Progress::kDone);
  Advance(20500ms);
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Response("X-RateLimit-Reset"), std::to_string(kEpoch + 60));
  EXPECT_EQ(Response("RateLimit"), "\"overall\";r=8;t=40");
}

TEST_F(RateLimitTest, TheResetCanBeADifference) {
  Resource(std::string(kOnePerHour) + " answer { reset: RESET_FORMAT_DELTA }");
  UseLimits("policies: 'overall'");
  Send();
  EXPECT_EQ(Response("X-RateLimit-Reset"), "3600");
}

TEST_F(RateLimitTest, HeadersCanBeChosen) {
  Resource(std::string(kOnePerHour) + " answer { headers: HEADERS_LEGACY status: 503 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(3), 3);
  EXPECT_EQ(Send(), 503);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "0");
  EXPECT_EQ(Response("RateLimit"), "-");
  EXPECT_EQ(Response("Retry-After"), "3600");

  Resource(
      "name: 'draft' token_bucket { rate { amount: 1 per { seconds: 1 } } } "
      "answer { headers: HEADERS_DRAFT }");
  UseLimits("policies: 'draft'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "-");
  EXPECT_EQ(Response("RateLimit"), "\"draft\";r=0;t=1");

  Resource(
      "name: 'none' token_bucket { rate { amount: 1 per { seconds: 1 } } } "
      "answer { headers: HEADERS_NONE }");
  UseLimits("policies: 'none'");
  EXPECT_EQ(Send(), 200);
  EXPECT_TRUE(response_.headers.empty());
}

TEST_F(RateLimitTest, KeysHaveBudgetsOfTheirOwn) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Passed(101, "a"), 100);
  EXPECT_EQ(Passed(101, "b"), 100);
}

TEST_F(RateLimitTest, RequestsWithoutAKey) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Passed(101, ""), 100);
  EXPECT_EQ(Send("a"), 200);

  Resource(std::string(kTenPerSecond) + " on_missing_key: MISSING_KEY_SKIP");
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Passed(200, ""), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "-");

  Resource(std::string(kTenPerSecond) + " on_missing_key: MISSING_KEY_REJECT");
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Send(""), 429);
  EXPECT_EQ(Response("Retry-After"), "1");
  EXPECT_EQ(detail_, "The request lacks what its limit is counted by.");
}

TEST_F(RateLimitTest, SeveralPoliciesAllOrNone) {
  Resource(kTenPerSecond);
  Resource(kOnePerHour);
  UseLimits("policies: 'per-client' policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  // The one that is nearest to its end.
  EXPECT_EQ(Response("X-RateLimit-Limit"), "3");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "2");
  EXPECT_EQ(Response("RateLimit"), "\"per-client\";r=99;t=1, \"overall\";r=2;t=3600");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"per-client\";q=100;w=10, \"overall\";q=3;w=10800");
  EXPECT_EQ(Passed(50), 2);
  EXPECT_EQ(Response("RateLimit"), "\"overall\";r=0;t=3600");
  // The rejected ones were not counted by the first policy.
  UseLimits("policies: 'per-client'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "96");
}

TEST_F(RateLimitTest, DryRunCountsAndLetsEverythingPass) {
  Resource(std::string(kOnePerHour) + " dry_run: true");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(5), 5);
  EXPECT_EQ(context_.GetNote("rate_limit.dry_run"), "overall");
  EXPECT_TRUE(context_.flags().Has(observe::LogFlag::kRateLimitDryRun));
  EXPECT_FALSE(context_.flags().Has(observe::LogFlag::kRateLimited));
  EXPECT_TRUE(response_.headers.empty());
  EXPECT_EQ(Counted("allowed"), 3u);
  EXPECT_EQ(Counted("dry"), 2u);
}

TEST_F(RateLimitTest, TheOriginServersTighterLimitIsNotMadeLooser) {
  Resource(kTenPerSecond);
  UseLimits("policies: 'per-client'");
  origins_ = {{"X-RateLimit-Limit", "5"},
              {"X-RateLimit-Remaining", "1"},
              {"X-RateLimit-Reset", "60"},
              {"RateLimit", "\"origin\";r=1;t=60"}};
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "5");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "1");
  EXPECT_EQ(Response("RateLimit"), "\"origin\";r=1;t=60, \"per-client\";r=99;t=1");
  origins_ = {{"X-RateLimit-Limit", "5000"}, {"X-RateLimit-Remaining", "4000"}};
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "100");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "98");
}

TEST_F(RateLimitTest, CountsGoOnOverAChangeOfTheConfig) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(3), 3);
  Resource(std::string(kOnePerHour) + " answer { status: 503 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 503);
  // Three are used, whatever the limit is now.
  Resource("name: 'overall' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 5 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(4), 2);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "5");
  Resource("name: 'overall' fixed_window { limit { amount: 9 per { seconds: 86400 } } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(9), 4);
  // One limit more, and one less.
  Resource(
      "name: 'overall' limits { limits { fixed_window { limit { amount: 9 per { seconds: 86400 } } "
      "} } limits { quota { limit: 1 per: PERIOD_YEAR } } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 429);
  Resource("name: 'overall' fixed_window { limit { amount: 11 per { seconds: 86400 } } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(9), 2);
}

TEST_F(RateLimitTest, AConfigThatNoRequestUsesChangesNothing) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(1), 1);
  const AnyFilter live = *tested_;
  Resource("name: 'overall' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 50 }");
  UseLimits("policies: 'overall'");  // built, then refused
  tested_ = live;
  EXPECT_EQ(Passed(9), 2);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "3");
}

// A worker that has not adopted the new config yet does not bring the old limit back.
TEST_F(RateLimitTest, TheNewestConfigDecides) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  const AnyFilter old = *tested_;
  Resource("name: 'overall' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 5 }");
  UseLimits("policies: 'overall'");
  const AnyFilter fresh = *tested_;
  EXPECT_EQ(Passed(2), 2);
  tested_ = old;
  EXPECT_EQ(Passed(2), 2);
  tested_ = fresh;
  EXPECT_EQ(Passed(2), 1);
}

TEST_F(RateLimitTest, PlacesThatNameOneResourceShareItsBudget) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  const AnyFilter other = *tested_;
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(2), 2);
  tested_ = other;
  EXPECT_EQ(Passed(2), 1);
}

TEST_F(RateLimitTest, NamesAreQuotedWhereverTheyAppear) {
  Resource("name: 'a \\\"b\\\\c\\303\\274' token_bucket { rate { amount: 1 per { seconds: 1 } } }");
  UseLimits("policies: 'a \\\"b\\\\c\\303\\274'");
  EXPECT_EQ(Passed(2), 1);
  EXPECT_EQ(Response("RateLimit-Policy"), "\"a \\\"b\\\\c__\";q=1;w=1");
  EXPECT_EQ(members_, "\"violated-policies\":[\"a \\\"b\\\\c__\"]");
}

TEST_F(RateLimitTest, SeveralLimitsOfOnePolicy) {
  Resource(
      "name: 'overall' limits { limits { fixed_window { limit { amount: 2 per { seconds: 1 } } } } "
      "limits { fixed_window { limit { amount: 3 per { seconds: 3600 } } } } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("RateLimit"), "\"overall.1\";r=1;t=1, \"overall.2\";r=2;t=3600");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"overall.1\";q=2;w=1, \"overall.2\";q=3;w=3600");
  EXPECT_EQ(Response("X-RateLimit-Limit"), "2");
  EXPECT_EQ(Passed(2), 1);
  EXPECT_EQ(members_, "\"violated-policies\":[\"overall.1\"]");
  EXPECT_EQ(Response("RateLimit"), "\"overall.1\";r=0;t=1");
  EXPECT_EQ(Response("Retry-After"), "1");
  Advance(1s);
  // What the first one refused did not count in the second.
  EXPECT_EQ(Passed(3), 1);
  EXPECT_EQ(members_, "\"violated-policies\":[\"overall.2\"]");
  EXPECT_EQ(Response("RateLimit"), "\"overall.2\";r=0;t=3599");
  EXPECT_EQ(Response("Retry-After"), "3599");
  Resource(
      "name: 'both' limits { limits { fixed_window { limit { amount: 1 per { seconds: 1 } } } } "
      "limits { fixed_window { limit { amount: 1 per { seconds: 3600 } } } } }");
  UseLimits("policies: 'both'");
  EXPECT_EQ(Passed(2), 1);
  EXPECT_EQ(members_, "\"violated-policies\":[\"both.1\",\"both.2\"]");
}

TEST_F(RateLimitTest, TheLegacyFieldsTellOfLimitsWithTimesFirst) {
  Resource(
      "name: 'overall' limits { limits { concurrency { limit: 2 } } limits { fixed_window { limit "
      "{ amount: 9 per { seconds: 60 } } } } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "9");
  EXPECT_EQ(Response("X-RateLimit-Reset"), std::to_string(kEpoch + 60));
  EXPECT_EQ(Response("RateLimit"), "\"overall.1\";r=1, \"overall.2\";r=8;t=60");
}

TEST_F(RateLimitTest, WhatARequestCosts) {
  Resource(std::string(kOnePerHour) + " cost { fixed: 2 header: 'X-Cost' }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "1");
  EXPECT_EQ(Send(), 429);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "1");
  EXPECT_EQ(Response("Retry-After"), "3600");
  clients_["X-Cost"] = "1";
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "0");
  // Never.
  clients_["X-Cost"] = "4";
  EXPECT_EQ(Send(), 429);
  EXPECT_EQ(Response("Retry-After"), "-");
  EXPECT_THAT(detail_, HasSubstr("more than its limit ever allows"));
  // As the route says.
  UseLimits("policies: 'overall' cost: 3");
  Advance(std::chrono::hours(3));
  EXPECT_EQ(Send(), 200);
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "0");
}

TEST_F(RateLimitTest, PlansHaveLimitsOfTheirOwn) {
  Resource(std::string(kOnePerHour) +
           " plan { header: 'X-Plan' } plans { name: 'free' fixed_window { limit { amount: 1 per { "
           "seconds: 60 } } } } plans { name: 'root' unlimited {} }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(9), 3);
  clients_["X-Plan"] = "free";
  EXPECT_EQ(Passed(9), 1);
  EXPECT_EQ(Response("RateLimit-Policy"), "\"overall\";q=1;w=60");
  clients_["X-Plan"] = "root";
  EXPECT_EQ(Passed(9), 9);
  EXPECT_EQ(Response("RateLimit-Policy"), "-");
  clients_["X-Plan"] = "fre";
  EXPECT_EQ(Passed(9), 0);
}

TEST_F(RateLimitTest, ForgottenKeysAreCounted) {
  Resource(std::string(kTenPerSecond) + " max_keys: 1");
  UseLimits("policies: 'per-client'");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Send("client " + std::to_string(i)), 200);
  const auto metrics = registry_.Acquire<RateLimitMetrics>({"per-client"});
  EXPECT_GT(counters_->Value(metrics->displaced), 50u);
  EXPECT_EQ(counters_->Value(metrics->shared), 0u);
  for (int i = 0; i < 100; ++i) Passed(60, "hot " + std::to_string(i));
  EXPECT_GT(counters_->Value(metrics->shared), 1000u);
}

TEST_F(RateLimitTest, RetryAfterMayHaveJitter) {
  Resource(std::string(kOnePerHour) + " answer { retry_jitter { seconds: 10 } }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(3), 3);
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(Send(), 429);
    seen.insert(Response("Retry-After"));
  }
  EXPECT_EQ(*seen.begin(), "3600");
  EXPECT_EQ(*seen.rbegin(), "3610");
  EXPECT_EQ(seen.size(), 11u);
}

TEST_F(RateLimitTest, ExplainsWhatIsLeft) {
  Resource(kTenPerSecond);
  Resource(
      "name: 'plans' concurrency { limit: 3 } plans { name: 'root' unlimited {} } plans { "
      "name: 'gold' concurrency { limit: 4 } } cost { fixed: 2 } dry_run: true");
  const auto built = Build<RateLimit, v1::RateLimitFilter>("policies: 'per-client'");
  request_.headers.Add("X-Client", "a");
  EXPECT_EQ(built->Explain(context_),
            "per-client: 10 per 1s, 100 at once, key header x-client=a, nothing used");
  tested_ = MakeAnyFilter(*Build<RateLimit, v1::RateLimitFilter>("policies: 'per-client'"));
  EXPECT_EQ(Passed(25), 25);
  EXPECT_EQ(built->Explain(context_),
            "per-client: 10 per 1s, 100 at once, key header x-client=a, 75 of 100 left (all again "
            "in 3s)");
  request_.headers.Remove("X-Client");
  EXPECT_THAT(built->Explain(context_),
              HasSubstr("no key: the budget of all requests without one"));

  const auto plans = Build<RateLimit, v1::RateLimitFilter>("policies: 'plans'");
  context_.facts().identity.plan = "root";
  EXPECT_EQ(plans->Explain(context_), "plans (plan root): unlimited");
  context_.facts().identity.plan = "gold";
  EXPECT_THAT(plans->Explain(context_), HasSubstr("plans (plan gold): "));
  EXPECT_THAT(plans->Explain(context_),
              HasSubstr(", key everybody, costs 2, nothing used, dry run"));
  context_.facts().identity.plan = "bronze";
  EXPECT_THAT(plans->Explain(context_), HasSubstr("plans (no plan that is listed): "));

  StateStore looked_at(/*served=*/false);
  resources_.states = &looked_at;
  const auto file = Build<RateLimit, v1::RateLimitFilter>("policies: 'plans'");
  EXPECT_THAT(file->Explain(context_), HasSubstr("only a running gateway knows"));
  resources_.states = &states_;
}

TEST_F(RateLimitTest, BadConfigsSayWhere) {
  EXPECT_THAT(ErrorsOf(""), HasSubstr("policies: must name a rate limit"));
  Resource(kOnePerHour);
  EXPECT_THAT(ErrorsOf("policies: 'overal'"),
              HasSubstr("policies[0]: there is no rate limit \"overal\" [overall]"));
  EXPECT_THAT(ErrorsOf("policies: 'overall' policies: 'overall'"),
              HasSubstr("policies[1]: rate limit \"overall\" is named twice"));
  EXPECT_THAT(ErrorsOf("policies: 'overall' cost: 4"),
              HasSubstr("filters[0].tested.cost: 4 is more than rate limit \"overall\" ever holds, "
                        "3: nothing would pass"));
  Resource("name: 'plans' concurrency { limit: 1 } plans { name: 'p' concurrency { limit: 4 } }");
  EXPECT_TRUE((Build<RateLimit, v1::RateLimitFilter>("policies: 'plans' cost: 4").ok()));
  EXPECT_FALSE((Build<RateLimit, v1::RateLimitFilter>("policies: 'plans' cost: 5").ok()));
  Resource("name: 'x'");
  EXPECT_THAT(ErrorsOf("policies: 'x'"), HasSubstr("needs an algorithm"));
}

}  // namespace
}  // namespace gatehouse::filters
