// ServiceLimit: a policy whose limits are a rate-limit service's own, asked by
// envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit. ServiceCheck: one request's
// question.
//
// Const, shared by workers. While the service does not answer, the filter does what the policy
// says.
//
//   return context.AwaitOperation<ServiceCheck>(
//       [this](ServiceCheck& check) -> Verdict { ... }, limit, context, entries, cost);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "source/base/time.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::upstream {
class Cluster;
}

namespace gatehouse::filters {

struct ServiceLimit {
  const upstream::Cluster* cluster = nullptr;  // speaks HTTP/2
  std::string domain = "gatehouse";
  Duration timeout = std::chrono::milliseconds(20);
};

// One entry of the descriptor: the part of the key, such as {"client_ip", "10.0.0.1"}.
using DescriptorEntry = std::pair<std::string_view, std::string_view>;

// An operation of FilterContext::AwaitOperation.
class ServiceCheck {
 public:
  ServiceCheck(const ServiceLimit& limit, FilterContext& context,
               std::span<const DescriptorEntry> entries, uint64_t cost);
  ~ServiceCheck();
  ServiceCheck(const ServiceCheck&) = delete;
  ServiceCheck& operator=(const ServiceCheck&) = delete;

  void Start(Waker waker);
  // Then: kDecided or kUnavailable. The takes have limit, remaining and reset as far as the service
  // says them (known() tells); headers that it wants to be added are in the exchange's arena.
  [[nodiscard]] LimitOutcome outcome() const;
  [[nodiscard]] const LimitTakes& takes() const;
  [[nodiscard]] bool known() const;
  [[nodiscard]] std::span<const std::pair<std::string_view, std::string_view>> request_headers()
      const;
  [[nodiscard]] std::span<const std::pair<std::string_view, std::string_view>> response_headers()
      const;
};

}  // namespace gatehouse::filters
