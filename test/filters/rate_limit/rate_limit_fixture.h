// RateLimitTest: the rate_limit filter with limits of this process, in manual time. A request is
// one line: Send("client") is its status, 0 while it waits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "source/filters/rate_limit/rate_limit.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {

inline constexpr char kOnePerHour[] =
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
    for (const auto& [name, value] : clients_) request_.headers.Set(name, value);
    Use(*tested_);
    return Answered(run_.RequestHeaders());
  }
  int Answered(Progress progress) {
    int status = 200;
    if (progress == Progress::kWait) return 0;
    if (progress == Progress::kReply) {
      status = run_.reply().status;
      code_ = run_.reply().code;
      detail_ = run_.reply().detail;
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
  uint64_t Counted(const char* result, const char* policy = "overall") {
    const auto metrics = registry_.Acquire<RateLimitMetrics>({policy});
    const std::map<std::string_view, observe::CounterId> ids = {{"allowed", metrics->allowed},
                                                                {"delayed", metrics->delayed},
                                                                {"rejected", metrics->rejected},
                                                                {"dry", metrics->dry_run_rejected}};
    return counters_->Value(ids.at(result));
  }
  std::string ErrorsOf(const std::string& config) {
    const auto built = Build<RateLimit, v1::RateLimitFilter>(config);
    EXPECT_FALSE(built.ok());
    return Errors();
  }

  std::map<std::string, gatehouse::v1::RateLimit> limits_;
  std::optional<AnyFilter> tested_;
  std::map<std::string, std::string> origins_;  // the origin server's response fields
  std::map<std::string, std::string> clients_;  // the request's
  std::string code_;
  std::string detail_;
  std::string members_;
};

}  // namespace gatehouse::filters
