#include "source/filters/rate_limit/rate_limit.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/gatehouse/filters/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

using http::HeaderMap;
using http::Name;

constexpr std::string_view kQuotaExceeded =
    "https://iana.org/assignments/http-problem-types#quota-exceeded";
constexpr size_t kNumberSize = 20;

// Rounded up: who comes at that second finds what was promised.
uint64_t Seconds(Duration time) {
  return static_cast<uint64_t>((time.count() + 999'999) / 1'000'000);
}

// When the next thing worth waiting for happens: a token, if there is none; else the full bucket.
uint64_t ResetSeconds(const BucketTake& take) {
  return Seconds(take.remaining == 0 ? take.retry_after : take.full_after);
}

void SetNumber(HeaderMap& headers, Name name, uint64_t number) {
  char text[kNumberSize];
  const char* end = std::to_chars(text, text + kNumberSize, number).ptr;
  headers.Set(name, {text, static_cast<size_t>(end - text)});
}

std::optional<uint64_t> GetNumber(const HeaderMap& headers, Name name) {
  const auto text = headers.Get(name);
  if (!text) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return number;
}

}  // namespace

absl::StatusOr<RateLimit> RateLimit::Build(const v1::RateLimitFilter& config, BuildContext& build) {
  if (config.policies().empty()) return build.Error("policies", "must name a rate limit");
  std::vector<LimitPolicy> policies;
  absl::Status status;
  for (int i = 0; i < config.policies_size(); ++i) {
    const std::string field = fmt::format("policies[{}]", i);
    const std::string& name = config.policies(i);
    if (std::ranges::find(policies, name, &LimitPolicy::name) != policies.end()) {
      status = build.Error(field, fmt::format("rate limit \"{}\" is named twice", name));
      continue;
    }
    const auto resource = build.RateLimit(field, name);
    if (!resource.ok()) {
      status = resource.status();
      continue;
    }
    absl::StatusOr<LimitPolicy> policy = LimitPolicy::Build(**resource, field, build);
    if (policy.ok()) {
      policies.push_back(*std::move(policy));
    } else {
      status = policy.status();
    }
  }
  if (!status.ok()) return status;
  return RateLimit(std::move(policies));
}

std::string RateLimit::Explain(FilterContext& context) const {
  std::string text;
  for (const LimitPolicy& policy : policies_) {
    if (!text.empty()) text += "; ";
    fmt::format_to(std::back_inserter(text), "{}: {}, ", policy.name, policy.rate_text);
    if (const std::optional<std::string> key = policy.key.Describe(context)) {
      fmt::format_to(std::back_inserter(text), "key {}", *key);
    } else if (policy.on_missing_key == LimitPolicy::MissingKey::kSkip) {
      text += "no key: not counted";
    } else if (policy.on_missing_key == LimitPolicy::MissingKey::kReject) {
      fmt::format_to(std::back_inserter(text), "no key: refused with {}", policy.status);
    } else {
      text += "no key: the budget of all requests without one";
    }
    if (policy.dry_run) text += ", dry run";
  }
  return text;
}

Verdict RateLimit::Call::OnRequestHeaders(const RateLimit& filter, FilterContext& context) {
  applied_ = context.arena().NewArray<Applied>(filter.policies_.size());
  const TimePoint now = context.now();
  for (const LimitPolicy& policy : filter.policies_) {
    LimitState& state = *policy.state;
    std::optional<uint64_t> key = policy.key.Hash(context, state.hash);
    if (!key && policy.on_missing_key == LimitPolicy::MissingKey::kSkip) continue;
    BucketTake take;
    if (!key && policy.on_missing_key == LimitPolicy::MissingKey::kReject) {
      take.retry_after = std::chrono::seconds(1);
    } else {
      take = state.table.Take(key.value_or(LimitKey::MissingHash(state.hash)), now);
    }
    if (policy.dry_run) {
      if (take.allowed) {
        context.counters().Add(policy.metrics->allowed);
      } else {
        NoteDryRun(policy, context);
      }
      continue;
    }
    new (&applied_[count_++]) Applied{&policy, take};
    if (!take.allowed) return Reject(policy, context);
    context.counters().Add(policy.metrics->allowed);
  }
  return Continue();
}

Verdict RateLimit::Call::Reject(const LimitPolicy& policy, FilterContext& context) {
  rejected_ = true;
  const uint32_t last = count_ - 1;
  for (uint32_t i = 0; i < last; ++i) {
    applied_[i].policy->state->table.GiveBack(applied_[i].take);
  }
  applied_[0] = applied_[last];  // the others would only make Retry-After look too early
  count_ = 1;
  context.counters().Add(policy.metrics->rejected);
  context.AddFlag(observe::LogFlag::kRateLimited);
  Reply reply{policy.status, "rate_limited", "Too many requests; try again later."};
  reply.problem_type = kQuotaExceeded;
  reply.problem_members = policy.problem_members;
  return reply;
}

void RateLimit::Call::NoteDryRun(const LimitPolicy& policy, FilterContext& context) const {
  context.counters().Add(policy.metrics->dry_run_rejected);
  context.SetNote("rate_limit.dry_run", policy.name);
}

Verdict RateLimit::Call::OnResponseHeaders(const RateLimit&, FilterContext& context) {
  if (count_ == 0) return Continue();
  if (rejected_) {
    const uint64_t wait = Seconds(applied_[0].take.retry_after);
    SetNumber(context.response(), Name::kRetryAfter, std::max<uint64_t>(wait, 1));
  }
  WriteLegacy(context);
  WriteDraft(context);
  return Continue();
}

// Of several policies, the one that is nearest to its end.
void RateLimit::Call::WriteLegacy(FilterContext& context) const {
  const Applied* tightest = nullptr;
  for (const Applied& applied : std::span(applied_, count_)) {
    if (!applied.policy->legacy_headers) continue;
    const bool tighter = tightest == nullptr || applied.take.remaining < tightest->take.remaining ||
                         (applied.take.remaining == tightest->take.remaining &&
                          ResetSeconds(applied.take) > ResetSeconds(tightest->take));
    if (tighter) tightest = &applied;
  }
  if (tightest == nullptr) return;
  HeaderMap& response = context.response();
  // The origin server may have a limit of its own: what it says is not made looser.
  const auto origins = GetNumber(response, Name::kXRatelimitRemaining);
  if (origins && *origins < tightest->take.remaining) return;
  uint64_t reset = ResetSeconds(tightest->take);
  if (!tightest->policy->reset_is_delta) {
    reset += Seconds(Duration(context.loop().WallMicros()));
  }
  SetNumber(response, Name::kXRatelimitLimit, tightest->policy->limit);
  SetNumber(response, Name::kXRatelimitRemaining, tightest->take.remaining);
  SetNumber(response, Name::kXRatelimitReset, reset);
}

// draft-ietf-httpapi-ratelimit-headers-10: lists, to which an origin server's own items belong too.
void RateLimit::Call::WriteDraft(FilterContext& context) const {
  HeaderMap& response = context.response();
  for (const Applied& applied : std::span(applied_, count_)) {
    if (!applied.policy->draft_headers) continue;
    const std::string_view name = applied.policy->quoted_name;
    char* const item = context.arena().AllocateChars(name.size() + 2 * kNumberSize + 6);
    char* end = std::ranges::copy(name, item).out;
    end = std::ranges::copy(std::string_view(";r="), end).out;
    end = std::to_chars(end, end + kNumberSize, applied.take.remaining).ptr;
    end = std::ranges::copy(std::string_view(";t="), end).out;
    end = std::to_chars(end, end + kNumberSize, ResetSeconds(applied.take)).ptr;
    response.Append(Name::kRatelimit, {item, static_cast<size_t>(end - item)});
    response.Append(Name::kRatelimitPolicy, applied.policy->policy_item);
  }
}

}  // namespace gatehouse::filters
