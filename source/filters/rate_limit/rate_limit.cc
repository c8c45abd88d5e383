#include "source/filters/rate_limit/rate_limit.h"

#include <algorithm>
#include <new>
#include <set>
#include <string_view>

#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/filters/rate_limit/limit_explain.h"
#include "source/filters/rate_limit/rate_limit_deciding.h"

namespace gatehouse::filters {

namespace {

using State = AppliedLimit::State;

constexpr std::string_view kQuotaExceeded =
    "https://iana.org/assignments/http-problem-types#quota-exceeded";

// Until it is a request's turn.
class Turn {
 public:
  Turn(net::Loop& loop, Duration after) : loop_(loop), after_(after), timer_(&Turn::OnTime, this) {}
  void Start(Waker waker) {
    waker_ = waker;
    loop_.Arm(timer_, after_);
  }

 private:
  static void OnTime(void* self) { static_cast<Turn*>(self)->waker_(); }

  net::Loop& loop_;
  Duration after_;
  Timer timer_;
  Waker waker_;
};

// Whose budget, and how much of it. False: the policy does not limit the request.
bool Identify(uint64_t route_cost, FilterContext& context, AppliedLimit& applied) {
  const LimitPolicy& policy = *applied.policy;
  LimitKey::Bytes bytes(context.arena());
  std::string_view key;
  if (policy.key.Write(context, bytes)) {
    key = bytes.view();
  } else {
    if (policy.on_missing_key == LimitPolicy::MissingKey::kSkip) return false;
    if (policy.on_missing_key == LimitPolicy::MissingKey::kReject) {
      applied.state = State::kRefused;
      applied.keyless = true;
    }
    key = LimitKey::kMissing;
  }
  applied.request.cost = route_cost != 0 ? route_cost : policy.cost.Of(context);
  applied.decided = applied.request.micros = context.loop().WallMicros();
  if (applied.terms->budget != nullptr) applied.request.hash = applied.terms->budget->hash()(key);
  // Others than this process have no use for the hash.
  if (policy.store.kind != LimitStore::Kind::kLocal) {
    applied.request.key = context.arena().Copy(key);
  }
  return true;
}

Duration DelayOf(const LimitTakes& takes) {
  return takes.count == 1 ? takes.takes[0].delay : takes.delay();
}

// What a request without a key is shown when it is refused for that.
void RefuseKeyless(AppliedLimit& applied) {
  for (const LimitRule& rule : applied.terms->setting.rules.rules()) {
    LimitTake& take = applied.takes.takes[applied.takes.count++];
    take.limit = rule.limit();
    take.retry_after = take.reset_after = std::chrono::seconds(1);
  }
}

}  // namespace

absl::StatusOr<RateLimit> RateLimit::Build(const v1::RateLimitFilter& config, BuildContext& build) {
  if (config.policies().empty()) return build.Error("policies", "must name a rate limit");
  std::vector<LimitPolicy> policies;
  absl::Status status;
  std::set<std::string_view> names;
  for (int i = 0; i < config.policies_size(); ++i) {
    const std::string field = fmt::format("policies[{}]", i);
    const std::string& name = config.policies(i);
    if (!names.insert(name).second) {
      status = build.Error(field, fmt::format("rate limit \"{}\" is named twice", name));
      continue;
    }
    const auto resource = build.RateLimit(field, name);
    if (!resource.ok()) {
      status = resource.status();
      continue;
    }
    absl::StatusOr<LimitPolicy> policy = LimitPolicy::Build(**resource, field, build);
    if (policy.ok() && config.cost() > policy->most()) {
      status = build.Error("cost", fmt::format("{} is more than rate limit \"{}\" ever holds, {}: "
                                               "nothing would pass",
                                               config.cost(), name, policy->most()));
    } else if (policy.ok()) {
      policies.push_back(*std::move(policy));
    } else {
      status = policy.status();
    }
  }
  if (!status.ok()) return status;
  // Those that need not wait first: then what they refuse costs nobody a question.
  std::ranges::stable_sort(policies, {},
                           [](const LimitPolicy& policy) { return policy.store.kind; });
  return RateLimit(std::move(policies), config.cost());
}

std::string RateLimit::Explain(FilterContext& context) const {
  std::string text;
  for (const LimitPolicy& policy : policies_) {
    if (!text.empty()) text += "; ";
    text += ExplainLimit(policy, cost_, context);
  }
  return text;
}

Verdict RateLimit::Call::OnRequestHeaders(const RateLimit& filter, FilterContext& context) {
  applied_ = context.arena().NewArray<AppliedLimit>(filter.policies_.size());
  return Ask(filter, context);
}

Verdict RateLimit::Call::Ask(const RateLimit& filter, FilterContext& context) {
  while (next_ < filter.policies_.size()) {
    const LimitPolicy& policy = filter.policies_[next_++];
    AppliedLimit* const applied = Begin(policy, filter.cost_, context);
    if (applied == nullptr) continue;
    if (applied->state == State::kRefused) {
      RefuseKeyless(*applied);
    } else if (policy.store.kind == LimitStore::Kind::kLocal) {
      TakeLocally(*applied, context);
      holds_ |= applied->takes.holds;
    } else if (std::optional<Verdict> wait = AskStore(filter, context, *applied)) {
      return *wait;
    } else if (policy.dry_run) {
      continue;  // noted when it has decided
    }
    if (policy.dry_run) {
      NoteDryRun(*applied, context);
    } else if (applied->refuses()) {
      return Refuse(*applied, context);
    }
  }
  return Admit(context);
}

AppliedLimit* RateLimit::Call::Begin(const LimitPolicy& policy, uint64_t cost,
                                     FilterContext& context) {
  const LimitTerms& terms = policy.TermsOf(context);
  if (terms.unlimited) return nullptr;
  AppliedLimit& applied = *new (&applied_[count_]) AppliedLimit;
  applied.policy = &policy;
  applied.terms = &terms;
  if (!Identify(cost, context, applied)) return nullptr;
  ++count_;
  return &applied;
}

// All policies agree. The longest delay is that of all of them.
Verdict RateLimit::Call::Admit(FilterContext& context) {
  Duration delay{};
  observe::CounterBlock& counters = context.counters();
  for (const AppliedLimit& applied : std::span(applied_, count_)) {
    const RateLimitMetrics& metrics = *applied.policy->metrics;
    if (applied.policy->dry_run) continue;
    if (applied.takes.alone) context.AddFlag(observe::LogFlag::kRateLimitUnavailable);
    if (applied.state == State::kUncounted) {
      counters.Add(metrics.unavailable_allowed);
      context.AddFlag(observe::LogFlag::kRateLimitUnavailable);
    } else if (const Duration own = DelayOf(applied.takes); own > Duration::zero()) {
      counters.Add(metrics.delayed);
      delay = std::max(delay, own);
    } else {
      counters.Add(metrics.allowed);
    }
  }
  if (delay <= Duration::zero()) {
    phase_ = Phase::kPassed;
    return Continue();
  }
  context.AddFlag(observe::LogFlag::kRateLimitDelayed);
  holds_ = true;  // until its turn has come it may still leave
  return context.AwaitOperation<Turn>(
      [this](Turn&) -> Verdict {
        phase_ = Phase::kPassed;
        return Continue();
      },
      context.loop(), delay);
}

Verdict RateLimit::Call::Refuse(AppliedLimit& applied, FilterContext& context) {
  GiveBackAll(context);
  phase_ = Phase::kRejected;
  const LimitPolicy& policy = *applied.policy;
  if (applied.state == State::kDenied) {
    context.counters().Add(policy.metrics->unavailable_denied);
    context.AddFlag(observe::LogFlag::kRateLimitUnavailable);
    return Reply{503, "rate_limit_unavailable", "The limit cannot be checked; try again later."};
  }
  context.counters().Add(policy.metrics->rejected);
  context.AddFlag(observe::LogFlag::kRateLimited);
  if (applied.takes.alone) context.AddFlag(observe::LogFlag::kRateLimitUnavailable);
  Reply reply{policy.status, "rate_limited", "Too many requests; try again later."};
  if (applied.keyless) {
    reply.detail = "The request lacks what its limit is counted by.";
  } else if (applied.takes.retry_after() == LimitTake::kForever) {
    reply.detail = "The request costs more than its limit ever allows.";
  }
  reply.problem_type = kQuotaExceeded;
  reply.problem_members = RefusedMembers(applied, context);
  if (extras_ != nullptr) FillReply(reply);
  return reply;
}

// The request goes no further: as if it had never come. Policies in dry run have counted it.
void RateLimit::Call::GiveBackAll(FilterContext& context) {
  const int64_t micros = context.loop().WallMicros();
  for (AppliedLimit& applied : std::span(applied_, count_)) {
    if (applied.state != State::kTaken || applied.policy->dry_run) continue;
    applied.state = State::kOver;
    LimitRequest request = applied.request;
    LimitBudget* const budget = applied.terms->budget.get();
    if (budget == nullptr) continue;  // a service's
    const Duration delay = applied.takes.delay();
    if (budget->redis() == nullptr) {
      budget->table().GiveBack(request.hash, request.cost, request.micros, micros, delay);
    } else {
      // What comes back to a queue until a request's turn is on account of those before it.
      if (applied.takes.count == 1) request.micros += delay.count();
      budget->redis()->GiveBack(context.upstreams(), request, applied.takes);
    }
  }
}

// Requests under way: this one is not, any more.
void RateLimit::Call::EndHeld(FilterContext& context) {
  const int64_t micros = context.loop().WallMicros();
  for (AppliedLimit& applied : std::span(applied_, count_)) {
    if (applied.state != State::kTaken || !applied.takes.holds) continue;
    applied.state = State::kOver;
    const LimitRequest& request = applied.request;
    LimitBudget& budget = *applied.terms->budget;
    if (budget.redis() != nullptr) {
      budget.redis()->Release(context.upstreams(), request);
    } else {
      budget.table().Release(request.hash, request.cost, micros);
    }
  }
}

void RateLimit::Call::WriteResponse(FilterContext& context) const {
  if (count_ == 0) return;
  if (phase_ == Phase::kRejected) {
    WriteRefusedHeaders(applied_[count_ - 1], context);
  } else {
    WriteLimitHeaders({applied_, count_}, context);
  }
  if (extras_ != nullptr) WriteExtras(context);
}

// Whoever has all of the answer may ask again: the place is free by then.
void RateLimit::Call::OnResponseEnd(const RateLimit&, FilterContext& context) {
  if (holds_ && phase_ == Phase::kPassed) EndHeld(context);
}

void RateLimit::Call::OnFinish(const RateLimit&, FilterContext& context) {
  if (!holds_) return;
  if (asides_ != nullptr) EndAsides();
  if (phase_ == Phase::kAsking) GiveBackAll(context);
  EndHeld(context);
}

}  // namespace gatehouse::filters
