#include "source/filters/rate_limit/service_limit.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include <google/protobuf/text_format.h>

#include "api/envoy/service/ratelimit/v3/rls.pb.h"
#include "source/http/grpc_frame.h"
#include "source/observe/notices.h"
#include "test/fakes/h2_origin.h"
#include "test/filters/filter_fixture.h"

namespace gatehouse::filters {
namespace {

using envoy::service::ratelimit::v3::RateLimitRequest;
using envoy::service::ratelimit::v3::RateLimitResponse;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

// A message in its frame.
std::string Framed(std::string_view message) {
  char prefix[http::kGrpcPrefix];
  http::WriteGrpcPrefix(static_cast<uint32_t>(message.size()), prefix);
  return std::string(prefix, sizeof(prefix)).append(message);
}

// An exchange's question, as the filter asks it.
class Asked {
 public:
  Asked(const ServiceLimit& limit, net::Loop& loop, observe::CounterBlock& counters,
        upstream::Upstreams& upstreams)
      : context_(loop, arena_, request_, response_) {
    context_.Bind(counters, upstreams, request_trailers_, response_trailers_);
    const DescriptorEntry entries[] = {{"client_ip", "10.0.0.1"}};
    check.emplace(limit, context_, entries, 2);
    check->Start({this, [](void* self) {
                    EXPECT_FALSE(static_cast<Asked*>(self)->done);
                    static_cast<Asked*>(self)->done = true;
                  }});
    EXPECT_FALSE(done);
  }

  bool done = false;
  std::optional<ServiceCheck> check;

 private:
  Arena arena_;
  http::RequestHead request_{arena_};
  http::ResponseHead response_{arena_};
  http::HeaderMap request_trailers_{arena_};
  http::HeaderMap response_trailers_{arena_};
  FilterContext context_;

 public:
  ~Asked() { check.reset(); }
};

class ServiceLimitTest : public FilterFixture {
 protected:
  ServiceLimitTest() {
    (void)observe::Notices::Process().Take();
    origin_.emplace(loop_);
    upstream::ClusterSpec spec;
    spec.name = "orders";
    spec.endpoints.push_back({"127.0.0.1", origin_->port(), 1});
    spec.options.protocol = upstream::Protocol::kHttp2;
    cluster_ = *upstream::Cluster::Make(spec, nullptr, slots_, registry_);
    limit_.cluster = cluster_.get();
  }

  [[nodiscard]] bool Until(const std::function<bool()>& done) {
    for (int i = 0; i < 20000 && !done(); ++i) Turn();
    return done();
  }
  void Settle() {
    for (int i = 0; i < 20; ++i) Turn();
  }
  // Until the origin has seen the head of its next request.
  H2Origin::Request& Arrived() {
    const size_t index = seen_++;
    EXPECT_TRUE(
        Until([&] { return origin_->requests() > index && origin_->request(index).headed(); }));
    return origin_->request(index);
  }
  static void Answer(H2Origin::Request& request) {
    request.Head(200, {{"content-type", "application/grpc"}});
  }
  std::unique_ptr<Asked> Ask() {
    return std::make_unique<Asked>(limit_, loop_, *counters_, upstreams_);
  }
  // The origin's answer, in protobuf's text format.
  static void Say(H2Origin::Request& request, const std::string& text) {
    RateLimitResponse response;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response));
    Answer(request);
    request.Body(Framed(response.SerializeAsString()));
    request.Trailers({{"grpc-status", "0"}});
  }
  static void Fail(H2Origin::Request& request, std::string status) {
    request.Head(200, {{"content-type", "application/grpc"}, {"grpc-status", std::move(status)}},
                 true);
  }
  // The outcome of a question to which the origin says this.
  LimitOutcome OutcomeOf(const std::string& text) {
    const auto asked = Ask();
    Say(Arrived(), text);
    EXPECT_TRUE(Until([&] { return asked->done; }));
    return asked->check->outcome();
  }
  LimitOutcome OutcomeOfStatus(std::string status) {
    const auto asked = Ask();
    Fail(Arrived(), std::move(status));
    EXPECT_TRUE(Until([&] { return asked->done; }));
    return asked->check->outcome();
  }
  static std::vector<std::string> Lines() { return observe::Notices::Process().Take().lines; }

  std::optional<H2Origin> origin_;
  std::shared_ptr<const upstream::Cluster> cluster_;
  size_t seen_ = 0;
  ServiceLimit limit_;
};

TEST_F(ServiceLimitTest, Allowed) {
  limit_.domain = "shop";
  const auto asked = Ask();
  H2Origin::Request& request = Arrived();
  ASSERT_TRUE(Until([&] { return request.ended(); }));
  EXPECT_EQ(request.head().path, kShouldRateLimitPath);
  EXPECT_EQ(request.Field("grpc-timeout"), "20m");
  RateLimitRequest question;
  ASSERT_TRUE(question.ParseFromString(request.body().substr(http::kGrpcPrefix)));
  EXPECT_EQ(question.domain(), "shop");
  EXPECT_EQ(question.hits_addend(), 2u);
  EXPECT_EQ(question.descriptors(0).entries(0).key(), "client_ip");
  EXPECT_EQ(question.descriptors(0).entries(0).value(), "10.0.0.1");
  Say(request, R"(overall_code: OK
      statuses { code: OK current_limit { requests_per_unit: 10 unit: SECOND }
                 limit_remaining: 8 duration_until_reset { seconds: 1 } }
      request_headers_to_add { key: "x-tier" value: "gold" }
      response_headers_to_add { key: "x-limit-name" value: "users" })");
  ASSERT_TRUE(Until([&] { return asked->done; }));
  const ServiceCheck& check = *asked->check;
  ASSERT_EQ(check.outcome(), LimitOutcome::kDecided);
  EXPECT_TRUE(check.takes().allowed);
  EXPECT_TRUE(check.known());
  EXPECT_EQ(check.takes().takes[0].remaining, 8u);
  EXPECT_THAT(check.request_headers(), ElementsAre(ServiceHeader("x-tier", "gold")));
  EXPECT_THAT(check.response_headers(), ElementsAre(ServiceHeader("x-limit-name", "users")));
  EXPECT_THAT(Lines(), ElementsAre());
}

TEST_F(ServiceLimitTest, OverTheLimit) {
  const auto asked = Ask();
  Say(Arrived(), R"(overall_code: OVER_LIMIT raw_body: "later"
      statuses { code: OVER_LIMIT current_limit { requests_per_unit: 10 unit: HOUR }
                 duration_until_reset { seconds: 90 } })");
  ASSERT_TRUE(Until([&] { return asked->done; }));
  ASSERT_EQ(asked->check->outcome(), LimitOutcome::kDecided);
  EXPECT_FALSE(asked->check->takes().allowed);
  EXPECT_EQ(asked->check->takes().takes[0].retry_after, std::chrono::seconds(90));
  EXPECT_EQ(asked->check->body(), "later");
}

TEST_F(ServiceLimitTest, AnswerInPieces) {
  const auto asked = Ask();
  H2Origin::Request& request = Arrived();
  Answer(request);
  RateLimitResponse response;
  response.set_overall_code(RateLimitResponse::OVER_LIMIT);
  response.set_raw_body(std::string(40'000, 'b'));
  for (const char c : Framed(response.SerializeAsString())) request.Body({&c, 1});
  request.Trailers({{"grpc-status", "0"}});
  ASSERT_TRUE(Until([&] { return asked->done; }));
  EXPECT_EQ(asked->check->body(), std::string(40'000, 'b'));
}

TEST_F(ServiceLimitTest, TooLate) {
  const auto asked = Ask();
  H2Origin::Request& request = Arrived();
  Advance(milliseconds(19));
  EXPECT_FALSE(asked->done);
  Advance(milliseconds(3));
  ASSERT_TRUE(asked->done);
  EXPECT_EQ(asked->check->outcome(), LimitOutcome::kUnavailable);
  ASSERT_TRUE(Until([&] { return request.broken(); }));
}

TEST_F(ServiceLimitTest, TheRequestEndsFirst) {
  auto asked = Ask();
  H2Origin::Request& request = Arrived();
  asked.reset();
  EXPECT_TRUE(Until([&] { return request.broken(); }));
  Advance(milliseconds(100));
  EXPECT_FALSE(limit_.circuit->open());
}

TEST_F(ServiceLimitTest, WrongAnswersOpenNothing) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(OutcomeOf("statuses { code: OK }"), LimitOutcome::kUnavailable);
    EXPECT_EQ(OutcomeOfStatus("3"), LimitOutcome::kUnavailable);
    EXPECT_EQ(OutcomeOfStatus("2"), LimitOutcome::kUnavailable);
  }
  EXPECT_FALSE(limit_.circuit->open());
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("rate limit service \"orders\" answers what is no decision")));
  // Not more than once a minute.
  Advance(std::chrono::seconds(61));
  EXPECT_EQ(OutcomeOfStatus("3"), LimitOutcome::kUnavailable);
  EXPECT_EQ(OutcomeOfStatus("3"), LimitOutcome::kUnavailable);
  EXPECT_EQ(Lines().size(), 1u);
}

TEST_F(ServiceLimitTest, AServiceThatIsAwayIsAskedOnceASecond) {
  for (uint32_t i = 0; i < ServiceCircuit::kOpenAfter; ++i) {
    EXPECT_FALSE(limit_.circuit->open());
    EXPECT_THAT(Lines(), ElementsAre());
    EXPECT_EQ(OutcomeOfStatus("14"), LimitOutcome::kUnavailable);
  }
  EXPECT_TRUE(limit_.circuit->open());
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("rate limit service \"orders\" does not answer")));

  // Nobody waits, and nobody asks.
  const size_t requests = origin_->requests();
  for (int i = 0; i < 100; ++i) {
    const auto asked = Ask();
    Turn();
    EXPECT_TRUE(asked->done);
    EXPECT_EQ(asked->check->outcome(), LimitOutcome::kUnavailable);
  }
  EXPECT_EQ(origin_->requests(), requests);

  // One asks again, in vain; the others do not.
  Advance(milliseconds(1001));
  Turn();
  {
    const auto probe = Ask();
    const auto other = Ask();
    Fail(Arrived(), "14");
    EXPECT_TRUE(Until([&] { return probe->done && other->done; }));
    EXPECT_EQ(origin_->requests(), requests + 1);
  }
  EXPECT_THAT(Lines(), ElementsAre());

  Advance(milliseconds(1001));
  Turn();
  EXPECT_EQ(OutcomeOf("overall_code: OK"), LimitOutcome::kDecided);
  EXPECT_FALSE(limit_.circuit->open());
  EXPECT_THAT(Lines(), ElementsAre("rate limit service \"orders\" answers again"));
  EXPECT_EQ(OutcomeOf("overall_code: OK"), LimitOutcome::kDecided);
}

TEST_F(ServiceLimitTest, ARefusedQuestionMayBeDropped) {
  for (uint32_t i = 0; i < ServiceCircuit::kOpenAfter; ++i) {
    EXPECT_EQ(OutcomeOfStatus("14"), LimitOutcome::kUnavailable);
  }
  auto asked = Ask();
  asked.reset();
  Settle();
}

}  // namespace
}  // namespace gatehouse::filters
