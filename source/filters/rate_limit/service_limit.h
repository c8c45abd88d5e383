// ServiceLimit: a policy whose limits are a rate-limit service's own, asked by
// envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit. ServiceCheck: one request's
// question. ServiceCircuit: what all workers have learnt about the service.
//
// Const, shared by workers. While the service does not answer, the filter does what the policy
// says.
//
//   return context.AwaitOperation<ServiceCheck>(
//       [this](ServiceCheck& check) -> Verdict { ... }, limit, context, entries, cost);
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "source/base/time.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/filters/rate_limit/service_messages.h"
#include "source/upstream/grpc_client.h"

namespace gatehouse::filters {

// Closed at first. After kOpenAfter questions in a row without an answer it is open: one request of
// kProbeInterval still asks, the others do not wait. An answer closes it. The operator is told of
// both, once. Any thread.
class ServiceCircuit {
 public:
  static constexpr uint32_t kOpenAfter = 5;
  static constexpr Duration kProbeInterval = std::chrono::seconds(1);
  // Between two complaints about answers that make no sense.
  static constexpr Duration kComplainInterval = std::chrono::minutes(1);

  [[nodiscard]] bool MayAsk(TimePoint now);
  // `service`: its cluster's name.
  void Answered(std::string_view service);
  void Silent(std::string_view service, std::string_view why, TimePoint now);
  // It answers, but an error or nonsense. That may be due to the request, so it opens nothing.
  void Wrong(std::string_view service, std::string_view why, TimePoint now);
  [[nodiscard]] bool open() const {
    return silences_.load(std::memory_order_relaxed) >= kOpenAfter;
  }

 private:
  std::atomic<uint32_t> silences_ = 0;  // in a row
  std::atomic<int64_t> probe_at_ = 0;   // while open
  std::atomic<int64_t> complain_at_ = INT64_MIN;
};

struct ServiceLimit {
  const upstream::Cluster* cluster = nullptr;  // speaks HTTP/2
  std::string domain = "gatehouse";
  Duration timeout = std::chrono::milliseconds(20);
  // Policies that ask the same service may share one.
  std::shared_ptr<ServiceCircuit> circuit = std::make_shared<ServiceCircuit>();
};

// An operation of FilterContext::AwaitOperation.
class ServiceCheck {
 public:
  // `entries` is used by the constructor alone.
  ServiceCheck(const ServiceLimit& limit, FilterContext& context,
               std::span<const DescriptorEntry> entries, uint64_t cost);
  ServiceCheck(const ServiceCheck&) = delete;
  ServiceCheck& operator=(const ServiceCheck&) = delete;

  void Start(Waker waker);
  // Then: kDecided or kUnavailable. The takes have limit, remaining and reset as far as the service
  // says them (known() tells); headers that it wants to be added are in the exchange's arena.
  [[nodiscard]] LimitOutcome outcome() const {
    return answer_ ? LimitOutcome::kDecided : LimitOutcome::kUnavailable;
  }
  // Of kDecided.
  [[nodiscard]] const LimitTakes& takes() const { return answer_->takes; }
  [[nodiscard]] bool known() const { return answer_->known; }
  [[nodiscard]] std::span<const ServiceHeader> request_headers() const {
    return answer_->request_headers;
  }
  [[nodiscard]] std::span<const ServiceHeader> response_headers() const {
    return answer_->response_headers;
  }
  // For the client, in place of our own, when it is over the limit. In the arena; may be empty.
  [[nodiscard]] std::string_view body() const { return answer_->body; }

 private:
  void OnAnswer(const upstream::GrpcAnswer& given);

  const ServiceLimit& limit_;
  FilterContext& context_;
  std::string_view question_;
  upstream::GrpcUnary call_;
  net::Flushable wake_later_;
  Waker waker_;
  std::optional<ServiceAnswer> answer_;
};

}  // namespace gatehouse::filters
