// The filter with policies that others decide on: a real Redis, and a service.
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/envoy/service/ratelimit/v3/rls.pb.h"
#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "source/filters/rate_limit/rate_limit.h"
#include "source/http/grpc_frame.h"
#include "source/observe/notices.h"
#include "test/fakes/h2_origin.h"
#include "test/fakes/redis_process.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using envoy::service::ratelimit::v3::RateLimitRequest;
using envoy::service::ratelimit::v3::RateLimitResponse;
using observe::LogFlag;
using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr char kThree[] =
    "name: 'limit' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 3 } ";
constexpr char kRedis[] = "store { redis { cluster: 'redis' ";
constexpr char kService[] = "store { service { cluster: 'service' ";

class RateLimitStoresTest : public FilterFixture {
 protected:
  ~RateLimitStoresTest() override {
    run_.Finish();
    (void)observe::Notices::Process().Take();
  }

  void AddCluster(const std::string& name, uint16_t port, upstream::Protocol protocol) {
    upstream::ClusterSpec spec;
    spec.name = name;
    spec.endpoints.push_back({"127.0.0.1", port, 1});
    spec.options.protocol = protocol;
    clusters_.push_back(*upstream::Cluster::Make(spec, nullptr, slots_, registry_));
    resources_.clusters[name] = clusters_.back().get();
  }
  void WithRedis() {
    redis_.emplace();
    AddCluster("redis", redis_->port(), upstream::Protocol::kHttp1);
  }
  void WithService() {
    origin_.emplace(loop_);
    AddCluster("service", origin_->port(), upstream::Protocol::kHttp2);
  }
  void Resource(const std::string& text) {
    gatehouse::v1::RateLimit limit;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &limit)) << text;
    gatehouse::v1::RateLimit& kept = limits_[limit.name()];
    kept = limit;
    resources_.rate_limits[kept.name()] = &kept;
  }
  void UseLimits(const std::string& config) {
    tested_ = Built<RateLimit, v1::RateLimitFilter>(config);
  }
  std::string Check(const std::string& text) {
    gatehouse::v1::RateLimit limit;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &limit)) << text;
    build_ = std::make_unique<BuildContext>(resources_, "rate_limits[0]");
    return CheckRateLimit(limit, *build_).ok() ? "" : Errors();
  }
  bool Until(const std::function<bool()>& done) {
    const auto last = std::chrono::steady_clock::now() + 20s;
    while (!done() && std::chrono::steady_clock::now() < last) {
      Turn();
      std::this_thread::yield();
    }
    return done();
  }
  // 0: it waits.
  int Begin() {
    NextRequest();
    for (const auto& [name, value] : clients_) request_.headers.Set(name, value);
    Use(*tested_);
    return Go();
  }
  int Go() {
    switch (run_.RequestHeaders()) {
      case Progress::kWait:
        return 0;
      case Progress::kReply:
        break;
      case Progress::kDone:
        EXPECT_EQ(run_.ResponseHeaders(), response_waits_ ? Progress::kWait : Progress::kDone);
        return 200;
    }
    const Reply reply = run_.reply();
    code_ = reply.code;
    body_ = reply.body;
    run_.BeginReply();
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
    return reply.status;
  }
  int Send() {
    wakes_ = 0;
    const int status = Begin();
    if (status != 0) return status;
    EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
    return Go();
  }
  int Passed(int count) {
    int passed = 0;
    for (int i = 0; i < count; ++i) passed += Send() == 200;
    return passed;
  }
  uint64_t Counted(observe::CounterId RateLimitMetrics::* which) {
    const auto metrics = registry_.Acquire<RateLimitMetrics>({"limit"});
    return counters_->Value((*metrics).*which);
  }
  H2Origin::Request& Asked() {
    const size_t index = asked_++;
    EXPECT_TRUE(
        Until([&] { return origin_->requests() > index && origin_->request(index).ended(); }));
    return origin_->request(index);
  }
  static void Say(H2Origin::Request& request, const std::string& text) {
    RateLimitResponse response;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response));
    const std::string message = response.SerializeAsString();
    char prefix[http::kGrpcPrefix];
    http::WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
    request.Head(200, {{"content-type", "application/grpc"}});
    request.Body(std::string(prefix, sizeof(prefix)) + message);
    request.Trailers({{"grpc-status", "0"}});
  }
  // One request, about which the service says this.
  int SendAndSay(const std::string& text) {
    wakes_ = 0;
    EXPECT_EQ(Begin(), 0);
    Say(Asked(), text);
    EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
    return Go();
  }

  std::vector<std::shared_ptr<const upstream::Cluster>> clusters_;
  std::optional<RedisProcess> redis_;
  std::optional<H2Origin> origin_;
  size_t asked_ = 0;
  bool response_waits_ = false;
  std::map<std::string, gatehouse::v1::RateLimit> limits_;
  std::optional<AnyFilter> tested_;
  std::map<std::string, std::string> clients_;
  std::string code_;
  std::string body_;
};

// --- Redis ---

TEST_F(RateLimitStoresTest, RedisCountsForAllGateways) {
  WithRedis();
  Resource(std::string(kThree) + kRedis + "timeout { seconds: 10 } } }");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(2), 2);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "3");
  EXPECT_EQ(Response("X-RateLimit-Remaining"), "1");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"limit\";q=3;w=10800");
  // Another gateway.
  StateStore others;
  resources_.states = &others;
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(4), 1);
  EXPECT_EQ(code_, "rate_limited");
  EXPECT_GT(std::stoi(Response("Retry-After")), 3000);
  EXPECT_EQ(Counted(&RateLimitMetrics::allowed), 3u);
  EXPECT_EQ(Counted(&RateLimitMetrics::rejected), 3u);
  run_.Finish();
  tested_.reset();
  resources_.states = &states_;
}

TEST_F(RateLimitStoresTest, AChangedLimitInRedisKeepsItsCounts) {
  WithRedis();
  const std::string store = std::string(kRedis) + "timeout { seconds: 10 } } }";
  Resource(kThree + store);
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 3);
  Resource("name: 'limit' token_bucket { rate { amount: 1 per { seconds: 3600 } } burst: 5 }" +
           store);
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 2);
}

TEST_F(RateLimitStoresTest, WhatALaterPolicyRefusesIsGivenBackToRedis) {
  WithRedis();
  Resource(std::string(kThree) + kRedis + "timeout { seconds: 10 } } }");
  Resource("name: 'one' fixed_window { limit { amount: 1 per { seconds: 86400 } } } " +
           std::string(kRedis) + "timeout { seconds: 10 } } }");
  UseLimits("policies: 'limit' policies: 'one'");
  EXPECT_EQ(Passed(9), 1);
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 2);
}

TEST_F(RateLimitStoresTest, PlacesInRedisAreGivenBackWhenTheRequestEnds) {
  WithRedis();
  Resource("name: 'limit' concurrency { limit: 1 } " + std::string(kRedis) +
           "timeout { seconds: 10 } } }");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Send(), 200);
  FilterWorld other;
  run_.Finish();
  EXPECT_TRUE(Until([this] { return Send() == 200; }));
  EXPECT_TRUE(Until([this] { return Send() == 200; }));
}

TEST_F(RateLimitStoresTest, InDryRunTheResponseAloneWaitsForRedis) {
  WithRedis();
  Resource(std::string(kThree) + kRedis + "timeout { seconds: 10 } } } dry_run: true");
  UseLimits("policies: 'limit'");
  response_waits_ = true;
  for (int i = 0; i < 5; ++i) {
    wakes_ = 0;
    EXPECT_EQ(Begin(), 200);
    EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
    EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
    EXPECT_TRUE(response_.headers.empty());
    EXPECT_EQ(Counted(&RateLimitMetrics::allowed) + Counted(&RateLimitMetrics::dry_run_rejected),
              static_cast<uint64_t>(i) + 1);
    EXPECT_EQ(context_.flags().Has(LogFlag::kRateLimitDryRun), i >= 3);
  }
  // An exchange that ends first takes its question along.
  EXPECT_EQ(Begin(), 200);
}

TEST_F(RateLimitStoresTest, ARedisThatIsAway) {
  AddCluster("redis", RedisProcess::FreePort(), upstream::Protocol::kHttp1);
  Resource(std::string(kThree) + kRedis + "on_failure: STORE_FAILURE_ALLOW } }");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 9);
  EXPECT_TRUE(context_.flags().Has(LogFlag::kRateLimitUnavailable));
  EXPECT_EQ(Response("X-RateLimit-Limit"), "-");
  EXPECT_EQ(Counted(&RateLimitMetrics::unavailable_allowed), 9u);

  Resource(std::string(kThree) + kRedis + "on_failure: STORE_FAILURE_DENY } }");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Send(), 503);
  EXPECT_EQ(code_, "rate_limit_unavailable");
  EXPECT_EQ(Response("Retry-After"), "1");
  EXPECT_EQ(Response("X-RateLimit-Limit"), "-");
  EXPECT_TRUE(context_.flags().Has(LogFlag::kRateLimitUnavailable));
  EXPECT_FALSE(context_.flags().Has(LogFlag::kRateLimited));
  EXPECT_EQ(Counted(&RateLimitMetrics::unavailable_denied), 1u);

  Resource(std::string(kThree) + kRedis + "} }");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 3);
}

TEST_F(RateLimitStoresTest, ExplainsWhereItIsCounted) {
  WithRedis();
  WithService();
  Resource(std::string(kThree) + kRedis + "} }");
  Resource("name: 'other' " + std::string(kService) + "domain: 'shop' } }");
  const auto redis = Build<RateLimit, v1::RateLimitFilter>("policies: 'limit'");
  EXPECT_THAT(redis->Explain(context_), HasSubstr("redis \"redis\", exact"));
  EXPECT_THAT(redis->Explain(context_), HasSubstr("only Redis knows"));
  const auto service = Build<RateLimit, v1::RateLimitFilter>("policies: 'other'");
  EXPECT_EQ(service->Explain(context_),
            "other: key everybody, asked of service \"service\", domain \"shop\"");
}

// --- A service ---

TEST_F(RateLimitStoresTest, AServiceDecides) {
  WithService();
  Resource("name: 'limit' key { header: 'X-User' } cost { fixed: 4 } " + std::string(kService) +
           "domain: 'shop' } }");
  UseLimits("policies: 'limit'");
  clients_ = {{"X-User", "al"}, {"X-Tier", "forged"}};
  wakes_ = 0;
  EXPECT_EQ(Begin(), 0);
  H2Origin::Request& request = Asked();
  RateLimitRequest question;
  ASSERT_TRUE(question.ParseFromString(request.body().substr(http::kGrpcPrefix)));
  EXPECT_EQ(question.domain(), "shop");
  EXPECT_EQ(question.hits_addend(), 4u);
  EXPECT_EQ(question.descriptors(0).entries(0).key(), "x-user");
  EXPECT_EQ(question.descriptors(0).entries(0).value(), "al");
  Say(request, R"(overall_code: OK
      statuses { code: OK current_limit { requests_per_unit: 10 unit: SECOND }
                 limit_remaining: 8 duration_until_reset { seconds: 1 } }
      request_headers_to_add { key: "x-tier" value: "gold" }
      response_headers_to_add { key: "x-limit-name" value: "users" })");
  ASSERT_TRUE(Until([this] { return wakes_ > 0; }));
  EXPECT_EQ(Go(), 200);
  EXPECT_EQ(Request("X-Tier"), "gold");
  EXPECT_EQ(Response("X-Limit-Name"), "users");
  EXPECT_EQ(Response("X-RateLimit-Limit"), "10");
  EXPECT_EQ(Response("RateLimit"), "\"limit\";r=8;t=1");
  EXPECT_EQ(Response("RateLimit-Policy"), "\"limit\";q=10");

  EXPECT_EQ(SendAndSay(R"(overall_code: OVER_LIMIT raw_body: "later"
      statuses { code: OVER_LIMIT current_limit { requests_per_unit: 10 unit: HOUR }
                 duration_until_reset { seconds: 90 } })"),
            429);
  EXPECT_EQ(body_, "later");
  EXPECT_EQ(Response("Retry-After"), "90");
  EXPECT_EQ(Response("RateLimit"), "\"limit\";r=0;t=90");
  EXPECT_EQ(SendAndSay("overall_code: OVER_LIMIT"), 429);
  EXPECT_EQ(Response("RateLimit"), "-");
  EXPECT_NE(Response("Retry-After"), "-");
  EXPECT_EQ(SendAndSay("overall_code: OK"), 200);
  EXPECT_EQ(Counted(&RateLimitMetrics::allowed), 2u);
  EXPECT_EQ(Counted(&RateLimitMetrics::rejected), 2u);
}

TEST_F(RateLimitStoresTest, ABodyIsOfTheServiceThatRefuses) {
  WithService();
  Resource("name: 'first' " + std::string(kService) + "} }");
  Resource("name: 'limit' " + std::string(kService) + "} }");
  UseLimits("policies: 'first' policies: 'limit'");
  wakes_ = 0;
  EXPECT_EQ(Begin(), 0);
  Say(Asked(),
      "overall_code: OK raw_body: 'welcome' response_headers_to_add { key: 'x' value: 'y' }");
  Say(Asked(), "overall_code: OVER_LIMIT");
  EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
  EXPECT_EQ(Go(), 429);
  EXPECT_EQ(body_, "");
  EXPECT_EQ(Response("X"), "y");
}

TEST_F(RateLimitStoresTest, WhatAServiceIsToldWithoutAKey) {
  WithService();
  const auto entries = [this](const std::string& more) {
    Resource("name: 'limit' " + more + kService + "} }");
    UseLimits("policies: 'limit'");
    EXPECT_EQ(Begin(), 0);
    RateLimitRequest question;
    EXPECT_TRUE(question.ParseFromString(Asked().body().substr(http::kGrpcPrefix)));
    std::string text;
    for (const auto& entry : question.descriptors(0).entries()) {
      text += entry.key() + "=" + entry.value() + " ";
    }
    return text;
  };
  EXPECT_EQ(entries(""), "policy=limit ");
  EXPECT_EQ(entries("key { header: 'X-User' } "), "policy=limit key=missing ");
}

TEST_F(RateLimitStoresTest, AServiceThatIsAway) {
  WithService();
  const auto send = [this](const std::string& more, const std::string& on_failure) {
    Resource(more + kService + on_failure + " } }");
    UseLimits("policies: 'limit'");
    wakes_ = 0;
    EXPECT_EQ(Begin(), 0);
    (void)Asked();
    Advance(25ms);
    EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
    return Go();
  };
  EXPECT_EQ(send("name: 'limit' ", ""), 200);
  EXPECT_EQ(Counted(&RateLimitMetrics::unavailable_allowed), 1u);
  EXPECT_EQ(send("name: 'limit' ", "on_failure: STORE_FAILURE_DENY"), 503);
  EXPECT_EQ(code_, "rate_limit_unavailable");
  // Its share: three among two gateways.
  EXPECT_EQ(send(kThree, "gateways: 2"), 200);
  EXPECT_EQ(Response("X-RateLimit-Limit"), "1");
  EXPECT_EQ(send(kThree, "gateways: 2"), 429);
}

TEST_F(RateLimitStoresTest, AClientThatLeavesMeanwhile) {
  WithService();
  Resource(kThree);
  Resource("name: 'other' " + std::string(kService) + "} }");
  // In this order they are asked: what need not wait comes first.
  UseLimits("policies: 'other' policies: 'limit'");
  EXPECT_EQ(Begin(), 0);
  H2Origin::Request& request = Asked();
  run_.Finish();
  EXPECT_TRUE(Until([&] { return request.broken(); }));
  // And what it took is there again.
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Passed(9), 3);
}

TEST_F(RateLimitStoresTest, InDryRunTheResponseAloneWaitsForAService) {
  WithService();
  response_waits_ = true;
  Resource("name: 'limit' " + std::string(kService) + "} } dry_run: true");
  UseLimits("policies: 'limit'");
  EXPECT_EQ(Begin(), 200);
  Say(Asked(), "overall_code: OVER_LIMIT response_headers_to_add { key: 'x' value: 'y' }");
  EXPECT_TRUE(Until([this] { return wakes_ > 0; }));
  EXPECT_EQ(run_.ResponseHeaders(), Progress::kDone);
  EXPECT_EQ(Counted(&RateLimitMetrics::dry_run_rejected), 1u);
  EXPECT_TRUE(context_.flags().Has(LogFlag::kRateLimitDryRun));
  // An exchange that ends while its response waits.
  EXPECT_EQ(Begin(), 200);
  H2Origin::Request& request = Asked();
  run_.Finish();
  EXPECT_TRUE(Until([&] { return request.broken(); }));
}

// --- What is wrong ---

TEST_F(RateLimitStoresTest, BadStoresSayWhere) {
  AddCluster("redis", 1, upstream::Protocol::kHttp1);
  AddCluster("service", 1, upstream::Protocol::kHttp1);
  resources_.secrets["word"] = "secret";
  const std::string three = kThree;
  EXPECT_EQ(Check(three + kRedis + "password: 'word' sync_interval { nanos: 100000000 } } }"), "");
  EXPECT_THAT(Check(three + "store { redis { cluster: 'rediss' password: 'wort' } }"),
              testing::AllOf(
                  HasSubstr("rate_limits[0].store.redis.cluster: there is no cluster \"rediss\""),
                  HasSubstr("store.redis.password: there is no secret \"wort\" [word]")));
  EXPECT_THAT(Check(three + "store { redis {} }"), HasSubstr("redis.cluster: must not be empty"));
  EXPECT_THAT(Check(three + kRedis + "topology: TOPOLOGY_SENTINEL } }"),
              HasSubstr("rate_limits[0].store.redis.sentinel_master: "));
  EXPECT_THAT(Check(three + kRedis + "timeout { seconds: -1 } } }"), HasSubstr("redis.timeout: "));
  EXPECT_THAT(Check(three + kRedis + "sync_interval { nanos: 1000000 } } }"),
              HasSubstr("store.redis.sync_interval: is at least 10ms"));
  EXPECT_THAT(Check(three + kRedis + "max_unsynced: 3 } }"),
              HasSubstr("store.redis.max_unsynced: only with sync_interval"));
  EXPECT_THAT(Check("name: 'a|b' concurrency { limit: 1 } " + std::string(kRedis) + "} }"),
              HasSubstr("must not hold a |"));
  EXPECT_THAT(Check("name: 'a' " + std::string(kRedis) + "} }"), HasSubstr("needs an algorithm"));
  EXPECT_THAT(Check("name: 'a' concurrency { limit: 1 } " + std::string(kRedis) +
                    "sync_interval { seconds: 1 } } }"),
              HasSubstr("store.redis.sync_interval: requests under way cannot be"));

  EXPECT_THAT(Check("name: 'a' " + std::string(kService) + "} }"),
              HasSubstr("store.service.cluster: cluster \"service\" must speak gRPC"));
  EXPECT_THAT(Check("name: 'a' " + std::string(kService) + "on_failure: STORE_FAILURE_LOCAL } }"),
              HasSubstr("store.service.on_failure: local needs an algorithm"));
  EXPECT_THAT(Check(three + kService + "} } plans { name: 'p' unlimited {} }"),
              HasSubstr("store.service: has limits of its own for plans"));
}

}  // namespace
}  // namespace gatehouse::filters
