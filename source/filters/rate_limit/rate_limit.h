// rate_limit: applies RateLimit resources to each request, and tells the client where it stands.
//
//   filters:
//   - rate_limit: [per-client, overall]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "source/filters/filter.h"
#include "source/filters/filter_context.h"
#include "source/filters/rate_limit/limit_headers.h"
#include "source/filters/rate_limit/limit_policy.h"

namespace gatehouse::filters::v1 {
class RateLimitFilter;
}

namespace gatehouse::filters {

class BuildContext;
class RedisCheck;
class ServiceCheck;

class RateLimit {
 public:
  static constexpr Hooks kHooks =
      Hooks::kRequestHeaders | Hooks::kResponseHeaders | Hooks::kResponseEnd | Hooks::kFinish;
  [[nodiscard]] static absl::StatusOr<RateLimit> Build(const filters::v1::RateLimitFilter& config,
                                                       BuildContext& build);

  // Its limits, whose budget the request would take from, and what is left of it.
  [[nodiscard]] std::string Explain(FilterContext& context) const;

  // All policies or none: when one refuses, those before it get back what they gave (but a service,
  // which takes nothing back). Between the two, another request may find that missing.
  //
  //            OnRequestHeaders
  //                   |          store, turn
  //                   v  <---------------------- (waits)
  //   kAsking ------> each policy: taken ---------> kPassed:   the response's end ends what is held
  //      |                \---- refused ----------> kRejected: what was taken is given back
  //      \--- the exchange ends meanwhile: OnFinish gives back
  //
  // A policy in dry run is asked aside: the request goes on meanwhile, and only the response waits,
  // if the origin was faster than the store.
  struct Call {
    Verdict OnRequestHeaders(const RateLimit& filter, FilterContext& context);
    Verdict OnResponseHeaders(const RateLimit& filter, FilterContext& context);
    void OnResponseEnd(const RateLimit& filter, FilterContext& context);
    void OnFinish(const RateLimit& filter, FilterContext& context);

   private:
    enum class Phase : uint8_t { kAsking, kPassed, kRejected };
    struct Aside;
    template <typename Check>
    struct AsideOf;
    struct Asides;
    struct Extras;

    [[nodiscard]] Verdict Ask(const RateLimit& filter, FilterContext& context);
    // Null: the policy does not limit the request.
    [[nodiscard]] AppliedLimit* Begin(const LimitPolicy& policy, uint64_t cost,
                                      FilterContext& context);
    [[nodiscard]] Verdict Admit(FilterContext& context);
    [[nodiscard]] Verdict Refuse(AppliedLimit& applied, FilterContext& context);
    void GiveBackAll(FilterContext& context);
    void EndHeld(FilterContext& context);

    // Of stores that are not in this process: rate_limit_stores.cc. nullopt: it has decided.
    [[nodiscard]] std::optional<Verdict> AskStore(const RateLimit& filter, FilterContext& context,
                                                  AppliedLimit& applied);
    [[nodiscard]] std::optional<Verdict> AskRedis(const RateLimit& filter, FilterContext& context,
                                                  AppliedLimit& applied);
    [[nodiscard]] std::optional<Verdict> AskService(const RateLimit& filter, FilterContext& context,
                                                    AppliedLimit& applied);
    // The last policy has decided, after a wait.
    [[nodiscard]] Verdict GoOn(const RateLimit& filter, FilterContext& context);
    void Learn(const RedisCheck& check, FilterContext& context, AppliedLimit& applied);
    void Learn(const ServiceCheck& check, FilterContext& context, AppliedLimit& applied);
    void FillReply(Reply& reply) const;
    void WriteExtras(FilterContext& context) const;
    void EndAsides();
    void WriteResponse(FilterContext& context) const;

    // The policies that have decided, in their order. In the arena.
    AppliedLimit* applied_ = nullptr;
    uint32_t count_ = 0;
    uint32_t next_ = 0;  // of the filter's policies
    Phase phase_ = Phase::kAsking;
    bool holds_ = false;  // something has to be ended by OnFinish
    Aside* asides_ = nullptr;
    uint32_t open_asides_ = 0;  // without an answer yet
    Waker asides_waker_;        // while the response waits for them
    const Extras* extras_ = nullptr;
  };

 private:
  RateLimit(std::vector<LimitPolicy> policies, uint64_t cost)
      : policies_(std::move(policies)), cost_(cost) {}

  std::vector<LimitPolicy> policies_;
  uint64_t cost_;  // 0: as the policies say
};

}  // namespace gatehouse::filters
