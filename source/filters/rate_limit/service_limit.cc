#include "source/filters/rate_limit/service_limit.h"

#include "fmt/format.h"
#include "source/base/printable.h"
#include "source/http/grpc_frame.h"
#include "source/observe/notices.h"

namespace gatehouse::filters {

using http::GrpcStatus;

namespace {

constexpr size_t kMaxAnswer = 65536;

int64_t Micros(TimePoint time) { return time.time_since_epoch().count(); }

void Post(std::string_view service, std::string_view what) {
  observe::Notices::Process().Post(fmt::format("rate limit service \"{}\" {}", service, what));
}

}  // namespace

// --- ServiceCircuit ---

bool ServiceCircuit::MayAsk(TimePoint now) {
  if (!open()) return true;
  int64_t at = probe_at_.load(std::memory_order_relaxed);
  return Micros(now) >= at && probe_at_.compare_exchange_strong(at, Micros(now + kProbeInterval),
                                                                std::memory_order_relaxed);
}

void ServiceCircuit::Answered(std::string_view service) {
  // All is well: no write to what all workers share.
  if (silences_.load(std::memory_order_relaxed) == 0) return;
  if (silences_.exchange(0, std::memory_order_relaxed) >= kOpenAfter) {
    Post(service, "answers again");
  }
}

void ServiceCircuit::Silent(std::string_view service, std::string_view why, TimePoint now) {
  if (silences_.fetch_add(1, std::memory_order_relaxed) + 1 != kOpenAfter) return;
  probe_at_.store(Micros(now + kProbeInterval), std::memory_order_relaxed);
  Post(service, fmt::format("does not answer ({}): it is asked once a second, and otherwise done "
                            "what on_failure says",
                            Printable(why)));
}

void ServiceCircuit::Wrong(std::string_view service, std::string_view why, TimePoint now) {
  int64_t at = complain_at_.load(std::memory_order_relaxed);
  if (Micros(now) < at || !complain_at_.compare_exchange_strong(at, Micros(now + kComplainInterval),
                                                                std::memory_order_relaxed)) {
    return;
  }
  Post(service, fmt::format("answers what is no decision ({}): then on_failure holds", why));
}

// --- ServiceCheck ---

ServiceCheck::ServiceCheck(const ServiceLimit& limit, FilterContext& context,
                           std::span<const DescriptorEntry> entries, uint64_t cost)
    : limit_(limit),
      context_(context),
      question_(EncodeServiceQuestion(limit.domain, entries, cost, context.arena())),
      call_(context.upstreams(), context.arena()),
      wake_later_([](void* self) { static_cast<ServiceCheck*>(self)->waker_(); }, this) {}

void ServiceCheck::Start(Waker waker) {
  waker_ = waker;
  if (!limit_.circuit->MayAsk(context_.now())) {
    context_.loop().FlushLater(wake_later_);
    return;
  }
  call_.Start({.cluster = limit_.cluster,
               .path = kShouldRateLimitPath,
               .timeout = limit_.timeout,
               .max_message_bytes = kMaxAnswer},
              question_, this, [](void* self, const upstream::GrpcAnswer& given) {
                static_cast<ServiceCheck*>(self)->OnAnswer(given);
              });
}

void ServiceCheck::OnAnswer(const upstream::GrpcAnswer& given) {
  ServiceCircuit& circuit = *limit_.circuit;
  const std::string_view service = limit_.cluster->name();
  const GrpcStatus code = given.result.code;
  if (code == GrpcStatus::kUnavailable || code == GrpcStatus::kDeadlineExceeded) {
    circuit.Silent(service, given.result.message, context_.now());
  } else if (!given.result.ok()) {
    circuit.Answered(service);
    circuit.Wrong(service, fmt::format("gRPC status {}", static_cast<int>(code)), context_.now());
  } else {
    circuit.Answered(service);
    std::string_view bytes = given.message->front();
    if (given.message->slices() > 1) {
      char* const whole = context_.arena().AllocateChars(given.message->bytes());
      char* at = whole;
      for (size_t i = 0; i < given.message->slices(); ++i) {
        const std::string_view piece = (*given.message)[i].view();
        at = std::copy(piece.begin(), piece.end(), at);
      }
      bytes = {whole, static_cast<size_t>(at - whole)};
    }
    answer_ = DecodeServiceAnswer(bytes, context_.arena());
    if (!answer_) {
      circuit.Wrong(service, "a message without an overall_code", context_.now());
    }
  }
  waker_();
}

}  // namespace gatehouse::filters
