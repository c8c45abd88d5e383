#include "source/filters/rate_limit/rate_limit.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

// Of ManualClock, at its start.
constexpr int64_t kEpoch = 1767225600;

constexpr char kTenPerSecond[] =
    "name: 'per-client' token_bucket { rate { amount: 10 per { seconds: 1 } } burst: 100 } "
    "key { header: 'X-Client' }";
constexpr char kOnePerHour[] =
    "name: 'overall' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 3 }";

class RateLimitTest : public FilterFixture {
 protected:
  void Resource(const std::string& text) {
    gatehouse::v1::RateLimit limit;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &limit));
    gatehouse::v1::RateLimit& kept = limits_[limit.name()];
    kept = limit;
    resources_.rate_limits[kept.name()] = &kept;
  }
  // The filter of the tests that need one alone.
  void UseLimits(const std::string& config) {
    tested_ = Built<RateLimit, v1::RateLimitFilter>(config);
  }
  // One request of that client. Its status: 200, or that of the reply.
  int Send(const std::string& client = "a") {
    NextRequest();
    if (!client.empty()) request_.headers.Add("X-Client", client);
    Use(*tested_);
    int status = 200;
    if (run_.RequestHeaders() == Progress::kReply) {
      status = run_.reply().status;
      code_ = run_.reply().code;
      members_ = run_.reply().problem_members;
      run_.BeginReply();
    } else {
      for (const auto& [name, value] : origins_) response_.headers.Add(name, value);
    }
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
    return status;
  }
  int Passed(int count, const std::string& client = "a") {
    int passed = 0;
    for (int i = 0; i < count; ++i) passed += Send(client) == 200;
    return passed;
  }
  uint64_t Counted(const char* result) {
    uint64_t total = 0;
    const auto metrics = registry_.Acquire<RateLimitMetrics>({"overall"});
    if (std::string_view(result) == "allowed") total = counters_->Value(metrics->allowed);
    if (std::string_view(result) == "rejected") total = counters_->Value(metrics->rejected);
    if (std::string_view(result) == "dry") total = counters_->Value(metrics->dry_run_rejected);
    return total;
  }
  std::string ErrorsOf(const std::string& config) {
    const auto built = Build<RateLimit, v1::RateLimitFilter>(config);
    EXPECT_FALSE(built.ok());
    return Errors();
  }

  std::map<std::string, gatehouse::v1::RateLimit> limits_;
  std::optional<AnyFilter> tested_;
  std::map<std::string, std::string> origins_;  // the origin server's response fields
  std::string code_;
  std::string members_;
};

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
  EXPECT_TRUE(context_.flags().empty());
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

TEST_F(RateLimitTest, CountsGoOnOverAChangeOfTheConfigThatIsNotAboutCounting) {
  Resource(kOnePerHour);
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(3), 3);
  Resource(std::string(kOnePerHour) + " answer { status: 503 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Send(), 503);
  Resource("name: 'overall' token_bucket { rate { amount: 2 per { seconds: 3600 } } burst: 3 }");
  UseLimits("policies: 'overall'");
  EXPECT_EQ(Passed(4), 3);
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

TEST_F(RateLimitTest, TheDefaultBurstIsOneSecondsWorth) {
  Resource("name: 'a' token_bucket { rate { amount: 600 per { seconds: 60 } } }");
  UseLimits("policies: 'a'");
  EXPECT_EQ(Passed(20), 10);
  Resource("name: 'b' token_bucket { rate { amount: 1 per { seconds: 60 } } }");
  UseLimits("policies: 'b'");
  EXPECT_EQ(Passed(20), 1);
}

TEST_F(RateLimitTest, NamesAreQuotedWhereverTheyAppear) {
  Resource("name: 'a \\\"b\\\\c\\303\\274' token_bucket { rate { amount: 1 per { seconds: 1 } } }");
  UseLimits("policies: 'a \\\"b\\\\c\\303\\274'");
  EXPECT_EQ(Passed(2), 1);
  EXPECT_EQ(Response("RateLimit-Policy"), "\"a \\\"b\\\\c__\";q=1;w=1");
  EXPECT_EQ(members_, "\"violated-policies\":[\"a \\\"b\\\\c__\"]");
}

TEST_F(RateLimitTest, BadConfigsSayWhere) {
  EXPECT_THAT(ErrorsOf(""), HasSubstr("policies: must name a rate limit"));
  Resource(kOnePerHour);
  EXPECT_THAT(ErrorsOf("policies: 'overal'"),
              HasSubstr("policies[0]: there is no rate limit \"overal\" [overall]"));
  EXPECT_THAT(ErrorsOf("policies: 'overall' policies: 'overall'"),
              HasSubstr("policies[1]: rate limit \"overall\" is named twice"));
  Resource("name: 'x'");
  EXPECT_THAT(ErrorsOf("policies: 'x'"), HasSubstr("needs an algorithm"));
}

TEST_F(RateLimitTest, AResourceIsCheckedByItself) {
  const auto check = [this](const std::string& text) {
    gatehouse::v1::RateLimit limit;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &limit));
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    return CheckRateLimit(limit, *build_).ok() ? "" : Errors();
  };
  EXPECT_EQ(check(kOnePerHour), "");
  EXPECT_THAT(check(""), HasSubstr("rate_limits[0]: needs an algorithm"));
  EXPECT_THAT(check("token_bucket { rate { per { seconds: 1 } } }"),
              HasSubstr("rate_limits[0].token_bucket.rate: must be more than 0"));
  EXPECT_THAT(check("token_bucket { rate { amount: 1 } }"), HasSubstr("must be more than 0"));
  EXPECT_THAT(check("token_bucket { rate { amount: 1 per { seconds: -1 } } }"),
              HasSubstr("up to ten years"));
  EXPECT_THAT(check("token_bucket { rate { amount: 1 per { seconds: 315360000 } } burst: 9 }"),
              HasSubstr("rate_limits[0].token_bucket: "));
  EXPECT_THAT(check(std::string(kOnePerHour) + "max_keys: 4000000000"), HasSubstr("max_keys"));
  EXPECT_THAT(check(std::string(kOnePerHour) + "answer { status: 200 }"),
              HasSubstr("rate_limits[0].answer.status: "));
  EXPECT_THAT(check(std::string(kOnePerHour) + "key {}"), HasSubstr("rate_limits[0].key[0]: "));
}

}  // namespace
}  // namespace gatehouse::filters
