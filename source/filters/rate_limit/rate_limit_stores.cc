// Policies that others than this process decide on: Redis, and services. See rate_limit.h.
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "source/filters/rate_limit/rate_limit.h"
#include "source/filters/rate_limit/rate_limit_deciding.h"
#include "source/filters/rate_limit/redis_limit.h"
#include "source/filters/rate_limit/service_limit.h"

namespace gatehouse::filters {

namespace {

using State = AppliedLimit::State;

constexpr std::string_view kDryRun = "rate_limit.dry_run";

// The limits of a service: nothing is known of them but what it says.
const LimitTerms& ForeignTerms() {
  static const LimitTerms& terms = *new LimitTerms;
  return terms;
}

void Decide(AppliedLimit& applied, LimitOutcome outcome) {
  if (outcome == LimitOutcome::kDecided) {
    applied.state = applied.takes.allowed ? State::kTaken : State::kRefused;
    return;
  }
  const bool denies = applied.policy->store.on_failure == StoreFailure::kDeny;
  applied.state = denies ? State::kDenied : State::kUncounted;
  applied.takes = {};
}

// What a service is told: the key's parts.
std::span<const LimitKey::Entry> EntriesOf(const AppliedLimit& applied, FilterContext& context) {
  const LimitPolicy& policy = *applied.policy;
  std::span<const LimitKey::Entry> entries = policy.key.Entries(context);
  if (!entries.empty()) return entries;
  const bool shared = !policy.key.empty();
  const size_t count = shared ? 2 : 1;
  auto* const own = context.arena().NewArray<LimitKey::Entry>(count);
  new (&own[0]) LimitKey::Entry("policy", policy.name);
  if (shared) new (&own[1]) LimitKey::Entry("key", "missing");
  return {own, count};
}

}  // namespace

void NoteDryRun(const AppliedLimit& applied, FilterContext& context) {
  const RateLimitMetrics& metrics = *applied.policy->metrics;
  if (applied.state == State::kUncounted || applied.state == State::kDenied) {
    context.counters().Add(applied.state == State::kDenied ? metrics.unavailable_denied
                                                           : metrics.unavailable_allowed);
    context.AddFlag(observe::LogFlag::kRateLimitUnavailable);
    return;
  }
  if (applied.state != State::kRefused) {
    context.counters().Add(metrics.allowed);
    return;
  }
  context.counters().Add(metrics.dry_run_rejected);
  context.AddFlag(observe::LogFlag::kRateLimitDryRun);
  context.SetNote(kDryRun, applied.policy->name);
}

// A question that the request does not wait for. In the arena; ended with the exchange at the
// latest.
struct RateLimit::Call::Aside {
  Aside* next;
  void (*end)(Aside* aside);
};

template <typename Check>
struct RateLimit::Call::AsideOf : Aside {
  template <typename... Args>
  AsideOf(Call& of, FilterContext& in, AppliedLimit& what, Args&&... args)
      : call(of), context(in), applied(what), check(std::forward<Args>(args)...) {
    next = std::exchange(call.asides_, this);
    end = [](Aside* aside) { static_cast<AsideOf*>(aside)->~AsideOf(); };
    call.holds_ = true;
  }
  void Start() {
    ++call.open_asides_;
    check.Start({this, [](void* self) {
                   auto& aside = *static_cast<AsideOf*>(self);
                   Call& of = aside.call;
                   of.Learn(aside.check, aside.context, aside.applied);
                   NoteDryRun(aside.applied, aside.context);
                   if (--of.open_asides_ == 0 && of.asides_waker_.wake != nullptr) {
                     of.asides_waker_();
                   }
                 }});
  }

  Call& call;
  FilterContext& context;
  AppliedLimit& applied;
  Check check;
};

// The response waits for what is asked aside.
struct RateLimit::Call::Asides {
  explicit Asides(Call& of) : call(of) {}
  ~Asides() { call.asides_waker_ = {}; }
  Asides(const Asides&) = delete;
  Asides& operator=(const Asides&) = delete;
  void Start(Waker waker) { call.asides_waker_ = waker; }

  Call& call;
};

// What a service wants to be added to the response. In the arena.
struct RateLimit::Call::Extras {
  const AppliedLimit* of;
  std::span<const ServiceHeader> headers;
  std::string_view body;
  const Extras* next;
};

// A store's answer has a deadline, so the response waits that long at most; and all that has been
// asked is counted, however fast the origin is.
Verdict RateLimit::Call::OnResponseHeaders(const RateLimit&, FilterContext& context) {
  if (open_asides_ > 0) {
    return context.AwaitOperation<Asides>(
        [this, &context](Asides&) -> Verdict {
          WriteResponse(context);
          return Continue();
        },
        *this);
  }
  WriteResponse(context);
  return Continue();
}

void RateLimit::Call::EndAsides() {
  while (asides_ != nullptr) {
    Aside* const aside = std::exchange(asides_, asides_->next);
    aside->end(aside);
  }
}

std::optional<Verdict> RateLimit::Call::AskStore(const RateLimit& filter, FilterContext& context,
                                                 AppliedLimit& applied) {
  return applied.policy->store.kind == LimitStore::Kind::kRedis
             ? AskRedis(filter, context, applied)
             : AskService(filter, context, applied);
}

std::optional<Verdict> RateLimit::Call::AskRedis(const RateLimit& filter, FilterContext& context,
                                                 AppliedLimit& applied) {
  LimitBudget& budget = *applied.terms->budget;
  budget.Follow(applied.terms->setting, applied.request.micros);
  RedisLimit& redis = *budget.redis();
  upstream::Upstreams& upstreams = context.upstreams();
  const LimitOutcome outcome = redis.Take(upstreams, applied.request, applied.takes);
  if (outcome != LimitOutcome::kAsk) {
    Decide(applied, outcome);
    holds_ |= applied.takes.holds;
    if (applied.policy->dry_run) NoteDryRun(applied, context);
    return std::nullopt;
  }
  using Question = AsideOf<RedisCheck>;
  if (applied.policy->dry_run) {
    applied.state = State::kOver;  // until it has decided
    void* const place = context.arena().Allocate(sizeof(Question), alignof(Question));
    (new (place) Question(*this, context, applied, redis, upstreams, applied.request))->Start();
    return std::nullopt;
  }
  holds_ = true;  // what was taken until now, if the answer never comes
  applied.state = State::kOver;
  return context.AwaitOperation<RedisCheck>(
      [this, &filter, &context](RedisCheck& check) -> Verdict {
        Learn(check, context, applied_[count_ - 1]);
        return GoOn(filter, context);
      },
      redis, upstreams, applied.request);
}

std::optional<Verdict> RateLimit::Call::AskService(const RateLimit& filter, FilterContext& context,
                                                   AppliedLimit& applied) {
  const ServiceLimit& service = applied.policy->store.service;
  const std::span<const LimitKey::Entry> entries = EntriesOf(applied, context);
  applied.state = State::kOver;
  using Question = AsideOf<ServiceCheck>;
  if (applied.policy->dry_run) {
    void* const place = context.arena().Allocate(sizeof(Question), alignof(Question));
    (new (place) Question(*this, context, applied, service, context, entries, applied.request.cost))
        ->Start();
    return std::nullopt;
  }
  holds_ = true;
  return context.AwaitOperation<ServiceCheck>(
      [this, &filter, &context](ServiceCheck& check) -> Verdict {
        Learn(check, context, applied_[count_ - 1]);
        return GoOn(filter, context);
      },
      service, context, entries, applied.request.cost);
}

void RateLimit::Call::Learn(const RedisCheck& check, FilterContext& context,
                            AppliedLimit& applied) {
  applied.decided = context.loop().WallMicros();
  applied.takes = check.takes();
  Decide(applied, check.outcome());
}

void RateLimit::Call::Learn(const ServiceCheck& check, FilterContext& context,
                            AppliedLimit& applied) {
  if (check.outcome() != LimitOutcome::kDecided) {
    if (applied.policy->store.on_failure == StoreFailure::kLocal) {
      TakeLocally(applied, context);
      applied.takes.alone = true;
    } else {
      Decide(applied, check.outcome());
    }
    return;
  }
  applied.terms = &ForeignTerms();
  applied.decided = context.loop().WallMicros();
  applied.takes = check.takes();
  if (!check.known()) {
    for (LimitTake& take : applied.takes.takes) take.limit = 0;  // not shown
  }
  Decide(applied, check.outcome());
  if (applied.policy->dry_run) return;
  // Not beside what a client has sent under that name.
  for (const auto& [name, value] : check.request_headers()) context.request().Set(name, value);
  if (check.response_headers().empty() && check.body().empty()) return;
  extras_ = context.arena().New<Extras>(
      Extras{&applied, check.response_headers(), check.body(), extras_});
}

Verdict RateLimit::Call::GoOn(const RateLimit& filter, FilterContext& context) {
  AppliedLimit& applied = applied_[count_ - 1];
  if (applied.refuses()) return Refuse(applied, context);
  return Ask(filter, context);
}

// Of the service that refuses, which is the last that was asked.
void RateLimit::Call::FillReply(Reply& reply) const {
  if (extras_->of != &applied_[count_ - 1] || extras_->body.empty()) return;
  reply.body = extras_->body;
  reply.content_type = "text/plain";
}

void RateLimit::Call::WriteExtras(FilterContext& context) const {
  for (const Extras* extras = extras_; extras != nullptr; extras = extras->next) {
    for (const auto& [name, value] : extras->headers) context.response().Set(name, value);
  }
}

}  // namespace gatehouse::filters
