#include "source/filters/rate_limit/service_messages.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/text_format.h>

#include "api/envoy/service/ratelimit/v3/rls.pb.h"
#include "source/base/arena.h"
#include "source/base/random.h"

namespace gatehouse::filters {
namespace {

using envoy::service::ratelimit::v3::RateLimitRequest;
using envoy::service::ratelimit::v3::RateLimitResponse;
using std::chrono::microseconds;
using std::chrono::seconds;

// What protobuf makes of our question.
RateLimitRequest Question(std::string_view domain, const std::vector<DescriptorEntry>& entries,
                          uint64_t cost) {
  Arena arena;
  const std::string_view bytes = EncodeServiceQuestion(domain, entries, cost, arena);
  RateLimitRequest request;
  EXPECT_TRUE(request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(request.ByteSizeLong(), bytes.size());
  return request;
}

TEST(ServiceMessages, Question) {
  const RateLimitRequest one =
      Question("shop", {{"client_ip", "10.0.0.1"}, {"header:x-user", "al"}}, 3);
  EXPECT_EQ(one.domain(), "shop");
  EXPECT_EQ(one.hits_addend(), 3u);
  ASSERT_EQ(one.descriptors_size(), 1);
  ASSERT_EQ(one.descriptors(0).entries_size(), 2);
  EXPECT_FALSE(one.descriptors(0).has_hits_addend());
  EXPECT_EQ(one.descriptors(0).entries(0).key(), "client_ip");
  EXPECT_EQ(one.descriptors(0).entries(0).value(), "10.0.0.1");
  EXPECT_EQ(one.descriptors(0).entries(1).key(), "header:x-user");
  EXPECT_EQ(one.descriptors(0).entries(1).value(), "al");

  const std::string large(70'000, 'v');
  EXPECT_EQ(Question("d", {{"k", large}}, 1).descriptors(0).entries(0).value(), large);
}

TEST(ServiceMessages, CostsThatTheRequestItselfCannotSay) {
  const RateLimitRequest none = Question("d", {{"k", "v"}}, 0);
  EXPECT_EQ(none.hits_addend(), 1u);
  ASSERT_TRUE(none.descriptors(0).has_hits_addend());
  EXPECT_EQ(none.descriptors(0).hits_addend().value(), 0u);
  const RateLimitRequest much = Question("d", {{"k", "v"}}, 5'000'000'000);
  EXPECT_EQ(much.hits_addend(), UINT32_MAX);
  EXPECT_EQ(much.descriptors(0).hits_addend().value(), 5'000'000'000u);
}

TEST(ServiceMessages, BytesThatAreNoUtf8AreSpelledOut) {
  const auto value = [](std::string_view text) {
    return Question("d", {{"k", text}}, 1).descriptors(0).entries(0).value();
  };
  EXPECT_EQ(value("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(value("\xff\xfe"), "%FF%FE");
  EXPECT_EQ(value("a\xc3"), "a%C3");
  EXPECT_EQ(value("\xed\xa0\x80z"), "%ED%A0%80z");
}

// Of an answer in protobuf's text format.
std::optional<ServiceAnswer> Answer(const std::string& text, Arena& arena) {
  RateLimitResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return DecodeServiceAnswer(response.SerializeAsString(), arena);
}

TEST(ServiceMessages, Allowed) {
  Arena arena;
  const auto plain = Answer("overall_code: OK", arena);
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->takes.allowed);
  EXPECT_FALSE(plain->known);
  EXPECT_EQ(plain->takes.count, 1u);

  const auto limited = Answer(R"(overall_code: OK
      statuses { code: OK current_limit { requests_per_unit: 100 unit: MINUTE name: "x" }
                 limit_remaining: 42 duration_until_reset { seconds: 17 nanos: 500000001 } })",
                              arena);
  ASSERT_TRUE(limited);
  EXPECT_TRUE(limited->known);
  ASSERT_EQ(limited->takes.count, 1u);
  const LimitTake& take = limited->takes.takes[0];
  EXPECT_TRUE(take.allowed);
  EXPECT_EQ(take.limit, 100u);
  EXPECT_EQ(take.remaining, 42u);
  EXPECT_EQ(take.reset_after, microseconds(17'500'001));
  EXPECT_EQ(take.retry_after, seconds(0));
}

TEST(ServiceMessages, OverTheLimit) {
  Arena arena;
  const auto answer = Answer(R"(overall_code: OVER_LIMIT raw_body: "slow down"
      statuses { code: OK current_limit { requests_per_unit: 5 unit: SECOND } limit_remaining: 2 }
      statuses { code: OVER_LIMIT current_limit { requests_per_unit: 9 unit: HOUR }
                 limit_remaining: 3 duration_until_reset { seconds: 60 } })",
                             arena);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->takes.allowed);
  EXPECT_EQ(answer->body, "slow down");
  ASSERT_EQ(answer->takes.count, 2u);
  EXPECT_TRUE(answer->takes.takes[0].allowed);
  EXPECT_EQ(answer->takes.takes[0].reset_after, seconds(1));
  EXPECT_FALSE(answer->takes.takes[1].allowed);
  EXPECT_EQ(answer->takes.takes[1].remaining, 0u);
  EXPECT_EQ(answer->takes.takes[1].retry_after, seconds(60));
}

TEST(ServiceMessages, WhatTheServiceDoesNotSayIsAWholeWindow) {
  Arena arena;
  const auto hour = Answer(R"(overall_code: OVER_LIMIT
      statuses { code: OVER_LIMIT current_limit { requests_per_unit: 9 unit: HOUR } })",
                           arena);
  ASSERT_TRUE(hour);
  EXPECT_EQ(hour->takes.takes[0].retry_after, seconds(3600));
  const auto nothing = Answer("overall_code: OVER_LIMIT", arena);
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->known);
  ASSERT_EQ(nothing->takes.count, 1u);
  EXPECT_FALSE(nothing->takes.takes[0].allowed);
  EXPECT_EQ(nothing->takes.takes[0].retry_after, seconds(0));
  // Times that nobody can mean.
  const auto ever = Answer(R"(overall_code: OVER_LIMIT statuses { code: OVER_LIMIT
      duration_until_reset { seconds: 9223372036854775807 nanos: -5 } })",
                           arena);
  EXPECT_EQ(ever->takes.takes[0].retry_after, seconds(int64_t{100} * 366 * 86400));
  const auto past = Answer(R"(overall_code: OVER_LIMIT statuses { code: OVER_LIMIT
      duration_until_reset { seconds: -1 } })",
                           arena);
  EXPECT_EQ(past->takes.takes[0].retry_after, seconds(0));
}

TEST(ServiceMessages, TheOverallCodeDecides) {
  Arena arena;
  const auto over = Answer(R"(overall_code: OVER_LIMIT statuses { code: OK
      current_limit { requests_per_unit: 5 unit: MINUTE } limit_remaining: 2 })",
                           arena);
  EXPECT_FALSE(over->takes.allowed);
  EXPECT_FALSE(over->takes.takes[0].allowed);
  EXPECT_EQ(over->takes.takes[0].retry_after, seconds(60));
  const auto fine = Answer(R"(overall_code: OK statuses { code: OVER_LIMIT
      current_limit { requests_per_unit: 5 unit: MINUTE } })",
                           arena);
  EXPECT_TRUE(fine->takes.allowed);
  EXPECT_TRUE(fine->takes.takes[0].allowed);
  EXPECT_EQ(fine->takes.takes[0].retry_after, seconds(0));
}

TEST(ServiceMessages, NoMoreStatusesThanThereIsRoomFor) {
  Arena arena;
  std::string text = "overall_code: OK";
  for (int i = 0; i < 50; ++i) {
    text += " statuses { code: OK } statuses { code: OK current_limit { requests_per_unit: 7 } }";
  }
  const auto answer = Answer(text, arena);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->takes.count, LimitRules::kMax);
  for (const LimitTake& take : answer->takes.all()) EXPECT_EQ(take.limit, 7u);
}

TEST(ServiceMessages, Headers) {
  Arena arena;
  const auto answer = Answer(R"(overall_code: OK
      request_headers_to_add { key: "x-tier" value: " gold " }
      request_headers_to_add { key: "Host" value: "evil" }
      request_headers_to_add { key: "content-length" value: "7" }
      request_headers_to_add { key: ":path" value: "/" }
      response_headers_to_add { key: "x-left" raw_value: "7\xff" }
      response_headers_to_add { key: "x-split" value: "a\r\nSet-Cookie: b" }
      response_headers_to_add { key: "Transfer-Encoding" value: "chunked" }
      response_headers_to_add { key: "x y" value: "1" }
      response_headers_to_add { value: "1" }
      response_headers_to_add { key: "x-empty" })",
                             arena);
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->request_headers, testing::ElementsAre(ServiceHeader("x-tier", "gold")));
  EXPECT_THAT(answer->response_headers,
              testing::ElementsAre(ServiceHeader("x-left", "7\xff"), ServiceHeader("x-empty", "")));
}

TEST(ServiceMessages, WhatIsNoAnswer) {
  Arena arena;
  EXPECT_FALSE(DecodeServiceAnswer("", arena));
  EXPECT_FALSE(Answer("overall_code: UNKNOWN", arena));
  EXPECT_FALSE(Answer("statuses { code: OK }", arena));
  for (const std::string_view wrong : {
           "\x08\x01\x08",                  // cut off
           "\x08\x03",                      // no such code
           "\x08\x01\x12\x01\x08",          // in a status
           "\x08\x01\x12\x03\x12\x01\x08",  // in its limit
           "\x08\x01\x12\x03\x22\x01\x08",  // in its duration
           "\x08\x01\x1a\x01\x08",          // in a header
           "\x08\x01\x22\x01\x08",
           "<html>not found</html>",
       }) {
    EXPECT_FALSE(DecodeServiceAnswer(wrong, arena)) << testing::PrintToString(wrong);
  }
}

// Whatever bytes come, and however they are cut: what protobuf takes we take, and the views hold.
TEST(ServiceMessages, AnyBytes) {
  RateLimitResponse response;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(overall_code: OVER_LIMIT raw_body: "body"
         statuses { code: OVER_LIMIT limit_remaining: 3 duration_until_reset { seconds: 60 }
                    current_limit { requests_per_unit: 9 unit: HOUR name: "hourly" } }
         request_headers_to_add { key: "x-a" value: "1" }
         response_headers_to_add { key: "x-b" value: "2" })",
      &response));
  const std::string good = response.SerializeAsString();
  Random random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good.substr(0, random.Below(good.size() + 1));
    for (uint64_t i = random.Below(4); i > 0 && !bytes.empty(); --i) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Below(256));
    }
    Arena arena;
    const auto ours = DecodeServiceAnswer(bytes, arena);
    if (!ours) continue;
    for (const auto& [name, value] : ours->response_headers) EXPECT_NE(name, "");
    EXPECT_LE(ours->takes.count, LimitRules::kMax);
    EXPECT_GE(ours->takes.count, 1u);
  }
}

}  // namespace
}  // namespace gatehouse::filters
