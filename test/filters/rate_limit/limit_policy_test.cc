#include "source/filters/rate_limit/limit_policy.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kBucket[] = "token_bucket { rate { amount: 10 per { seconds: 1 } } burst: 100 } ";

class LimitPolicyTest : public FilterFixture {
 protected:
  static gatehouse::v1::RateLimit Parse(const std::string& text) {
    gatehouse::v1::RateLimit config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
    if (config.name().empty()) config.set_name("limit");
    return config;
  }
  LimitPolicy Policy(const std::string& text) {
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    auto policy = LimitPolicy::Build(Parse(text), "", *build_);
    EXPECT_TRUE(policy.ok()) << policy.status();
    return *std::move(policy);
  }
  std::string Check(const std::string& text) {
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    return CheckRateLimit(Parse(text), *build_).ok() ? "" : Errors();
  }
  std::string Text(const std::string& text) { return Policy(text).own.text; }
  static LimitSpec Spec(const LimitPolicy& policy) {
    return policy.own.setting.rules.rules()[0].spec();
  }
};

TEST_F(LimitPolicyTest, EachAlgorithm) {
  EXPECT_EQ(Spec(Policy(kBucket)), (LimitSpec{.kind = LimitKind::kTokenBucket,
                                              .amount = 10,
                                              .per = std::chrono::seconds(1),
                                              .capacity = 100}));
  const std::string rate = "{ limit { amount: 7 per { seconds: 60 } } }";
  EXPECT_EQ(
      Spec(Policy("fixed_window " + rate)),
      (LimitSpec{.kind = LimitKind::kFixedWindow, .amount = 7, .per = std::chrono::minutes(1)}));
  EXPECT_EQ(Spec(Policy("sliding_window " + rate)).kind, LimitKind::kSlidingWindow);
  EXPECT_EQ(Spec(Policy("sliding_log " + rate)).kind, LimitKind::kSlidingLog);
  const std::string leaky = "leaky_bucket { rate { amount: 5 per { seconds: 1 } } capacity: 9 ";
  EXPECT_EQ(Spec(Policy(leaky + "}")), (LimitSpec{.kind = LimitKind::kTokenBucket,
                                                  .amount = 5,
                                                  .per = std::chrono::seconds(1),
                                                  .capacity = 9}));
  const LimitPolicy queue = Policy(leaky + "max_delay { seconds: 2 } }");
  EXPECT_EQ(Spec(queue).kind, LimitKind::kLeakyQueue);
  EXPECT_EQ(Spec(queue).max_delay, std::chrono::seconds(2));
  const LimitPolicy concurrency = Policy("concurrency { limit: 3 }");
  EXPECT_EQ(Spec(concurrency).kind, LimitKind::kConcurrency);
  const LimitSpec quota = Spec(Policy("quota { limit: 8 per: PERIOD_MONTH utc_offset: '-05:30' }"));
  EXPECT_EQ(quota.kind, LimitKind::kCalendar);
  EXPECT_EQ(quota.period, CalendarPeriod::kMonth);
  EXPECT_EQ(quota.utc_offset, -std::chrono::minutes(330));
}

TEST_F(LimitPolicyTest, TheDefaultBurstIsOneSecondsWorth) {
  EXPECT_EQ(Spec(Policy("token_bucket { rate { amount: 600 per { seconds: 60 } } }")).capacity, 10);
  EXPECT_EQ(Spec(Policy("token_bucket { rate { amount: 1 per { seconds: 60 } } }")).capacity, 1);
  EXPECT_EQ(Spec(Policy("leaky_bucket { rate { amount: 90 per { seconds: 3 } } }")).capacity, 30);
}

TEST_F(LimitPolicyTest, SeveralLimitsHaveNamesOfTheirOwn) {
  const LimitPolicy policy = Policy(
      "limits { limits { fixed_window { limit { amount: 10 per { seconds: 1 } } } } "
      "limits { quota { limit: 1000 per: PERIOD_DAY } } limits { concurrency { limit: 4 } } }");
  ASSERT_EQ(policy.own.items.size(), 3u);
  EXPECT_EQ(policy.own.items[0].policy_item, "\"limit.1\";q=10;w=1");
  EXPECT_EQ(policy.own.items[1].policy_item, "\"limit.2\";q=1000;w=86400");
  EXPECT_EQ(policy.own.items[2].policy_item, "\"limit.3\";q=4;qu=\"concurrent-requests\"");
}

TEST_F(LimitPolicyTest, PlansHaveLimitsOfTheirOwn) {
  const LimitPolicy policy = Policy(
      std::string(kBucket) +
      "plans { name: 'silver' concurrency { limit: 2 } } plans { name: 'root' unlimited {} } "
      "plans { name: 'gold' token_bucket { rate { amount: 99 per { seconds: 1 } } } }");
  const auto plan = [&](std::string_view name) {
    context_.facts().identity.plan = name;
    return policy.TermsOf(context_).text;
  };
  EXPECT_EQ(plan(""), policy.own.text);
  EXPECT_EQ(plan("bronze"), policy.own.text);
  EXPECT_EQ(plan("root"), "unlimited");
  EXPECT_THAT(plan("gold"), HasSubstr("99"));
  EXPECT_EQ(plan("silver"), "2 at the same time");
  EXPECT_NE(policy.TermsOf(context_).budget, policy.own.budget);
}

TEST_F(LimitPolicyTest, WhatABudgetIsKnownBy) {
  const std::string more = "key { client_ip {} } ";
  const LimitPolicy first = Policy(kBucket + more);
  const auto same = [&](const std::string& text) {
    return Policy(text).own.budget == first.own.budget;
  };
  EXPECT_TRUE(same(kBucket + more));
  EXPECT_TRUE(same(kBucket + more + "answer { status: 503 } cost { fixed: 2 } dry_run: true"));
  EXPECT_TRUE(same("token_bucket { rate { amount: 11 per { seconds: 1 } } } " + more));
  EXPECT_TRUE(same("fixed_window { limit { amount: 11 per { seconds: 1 } } } " + more));
  EXPECT_TRUE(same(kBucket + more + "max_keys: 100000"));  // the default
  EXPECT_FALSE(same(kBucket + more + "max_keys: 5000"));
  EXPECT_FALSE(same(kBucket + std::string("key { client_ip { ipv6_prefix: 56 } }")));
  EXPECT_FALSE(same("name: 'other' " + (kBucket + more)));
}

TEST_F(LimitPolicyTest, AllThatIsWrongIsSaid) {
  const std::string errors = Check(
      "token_bucket { rate { amount: 0 } } key {} max_keys: 4000000000 answer { status: 200 } "
      "cost { header: 'a b' } plans { name: 'p' } plans { name: 'p' unlimited {} } plans {}");
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].token_bucket.rate: must be more than 0"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].key[0]: needs a part"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].max_keys: is at most 20000000"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].answer.status: must be an error, 400 to 599"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].cost.header: \"a b\" is not a header name"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].plans[0]: needs an algorithm"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].plans[1].name: \"p\" is there twice"));
  EXPECT_THAT(errors, HasSubstr("rate_limits[0].plans[2].name: must not be empty"));
}

TEST_F(LimitPolicyTest, AlgorithmsSayWhere) {
  EXPECT_EQ(Check(kBucket), "");
  EXPECT_THAT(Check(""), HasSubstr("rate_limits[0]: needs an algorithm: token_bucket, "));
  EXPECT_THAT(Check("token_bucket { rate { per { seconds: 1 } } }"),
              HasSubstr("rate_limits[0].token_bucket.rate: must be more than 0"));
  EXPECT_THAT(Check("token_bucket { rate { amount: 1 } }"), HasSubstr("must be more than 0"));
  EXPECT_THAT(Check("token_bucket { rate { amount: 1 per { seconds: -1 } } }"),
              HasSubstr("must be more than 0"));
  EXPECT_THAT(Check("token_bucket { rate { amount: 1 per { seconds: -9000000000000000 } } }"),
              HasSubstr("must be more than 0"));
  EXPECT_THAT(Check("token_bucket { rate { amount: 1 per { seconds: 9000000000000000 } } }"),
              HasSubstr("rate_limits[0].token_bucket.rate: "));
  EXPECT_THAT(Check("token_bucket { rate { amount: 1 per { seconds: 315360000 } } burst: 999999 }"),
              HasSubstr("rate_limits[0].token_bucket: "));
  EXPECT_THAT(Check("fixed_window { limit { amount: 1 } }"),
              HasSubstr("rate_limits[0].fixed_window.limit: must be more than 0"));
  EXPECT_THAT(Check("concurrency {}"), HasSubstr("rate_limits[0].concurrency.limit: must be"));
  EXPECT_THAT(Check("quota { limit: 0 utc_offset: '2h' }"),
              AllOf(HasSubstr("quota.limit: must be more than 0"), HasSubstr("quota.per: must be"),
                    HasSubstr("quota.utc_offset: must be written like \"+02:00\"")));
  EXPECT_THAT(Check("quota { limit: 1 per: PERIOD_DAY utc_offset: '+15:00' }"),
              HasSubstr("quota.utc_offset: "));
  EXPECT_THAT(Check("leaky_bucket { rate { amount: 1 per { seconds: 1 } } max_delay { seconds: -1 "
                    "} }"),
              HasSubstr("leaky_bucket.max_delay: "));
  EXPECT_THAT(Check("limits {}"), HasSubstr("limits.limits: takes 1 to 4 limits"));
  EXPECT_THAT(Check("limits { limits { concurrency { limit: 1 } } limits {} }"),
              HasSubstr("rate_limits[0].limits.limits[1]: needs an algorithm"));
  EXPECT_THAT(
      Check("limits { limits { concurrency { limit: 1 } } limits { concurrency { limit: 2 } } }"),
      HasSubstr("one concurrency limit is enough"));
}

TEST_F(LimitPolicyTest, TheRestSaysWhere) {
  const std::string limit = kBucket;
  EXPECT_THAT(Check(limit + "plan { header: 'x' }"), HasSubstr("plan: names no plan"));
  EXPECT_THAT(Check(limit + "plan { method {} } plans { name: 'a' unlimited {} }"),
              HasSubstr("rate_limits[0].plan: a plan is named by"));
  EXPECT_THAT(Check(limit + "cost { fixed: 101 }"),
              HasSubstr("cost.fixed: 101 is more than the limit holds, 100: nothing would pass"));
  EXPECT_THAT(Check(limit + "cost { fixed: 9 } plans { name: 'a' concurrency { limit: 8 } }"),
              HasSubstr("the limit of plan \"a\" holds, 8"));
  EXPECT_THAT(Check(limit + "cost { max: 9 }"), HasSubstr("cost.max: is for costs of a header"));
  EXPECT_THAT(Check(limit + "cost { fixed: 9 header: 'x' max: 8 }"),
              HasSubstr("cost.max: is less"));
  EXPECT_THAT(Check(limit + "answer { retry_jitter { seconds: 3601 } }"),
              HasSubstr("answer.retry_jitter: is at most 1h"));
}

TEST_F(LimitPolicyTest, Costs) {
  const LimitPolicy policy =
      Policy(std::string(kBucket) + "cost { fixed: 3 header: 'X-Cost' max: 50 }");
  EXPECT_EQ(policy.cost.Of(context_), 3u);
  for (const auto& [text, cost] :
       std::initializer_list<std::pair<const char*, uint64_t>>{{"7", 7},
                                                               {"50", 50},
                                                               {"51", 50},
                                                               {"99999999999999999999999", 50},
                                                               {"0", 3},
                                                               {"-1", 3},
                                                               {"", 3},
                                                               {"5x", 3},
                                                               {"1e3", 3},
                                                               {"007", 7}}) {
    request_.headers.Set("X-Cost", text);
    EXPECT_EQ(policy.cost.Of(context_), cost) << text;
  }
  EXPECT_EQ(Policy(kBucket).cost.Of(context_), 1u);
}

}  // namespace
}  // namespace gatehouse::filters
