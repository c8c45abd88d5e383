#include "source/filters/rate_limit/limit_explain.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "fmt/format.h"
#include "source/filters/rate_limit/redis_limit.h"

namespace gatehouse::filters {

namespace {

using MissingKey = LimitPolicy::MissingKey;

int64_t Seconds(Duration time) {
  return (std::max<int64_t>(time.count(), 0) + 999'999) / 1'000'000;
}

std::string StateText(const LimitTakes& takes) {
  std::string text;
  for (const LimitTake& take : takes.all()) {
    if (!text.empty()) text += " and ";
    fmt::format_to(std::back_inserter(text), "{} of {} left", take.remaining, take.limit);
    if (take.reset_after > Duration::zero()) {
      fmt::format_to(std::back_inserter(text), " (all again in {}s)", Seconds(take.reset_after));
    }
  }
  return text;
}

// What has been counted of the key, as far as this process knows.
std::string Counted(const LimitTerms& terms, LimitRequest request, FilterContext& context) {
  LimitBudget& budget = *terms.budget;
  if (!budget.served()) return "what is left only a running gateway knows (--admin)";
  request.micros = context.loop().WallMicros();
  request.hash = budget.hash()(request.key);
  budget.Follow(terms.setting, request.micros);  // it is served: any request would do so
  const bool elsewhere = budget.redis() != nullptr;
  const std::optional<LimitTakes> takes =
      elsewhere ? budget.redis()->Peek(request) : budget.table().Peek(request.hash, request.micros);
  if (elsewhere && !takes) return "what is left only Redis knows";
  if (!takes) return "nothing used";
  return elsewhere ? StateText(*takes) + " as far as is known here" : StateText(*takes);
}

// Where it is counted; empty: in this process.
std::string StoreText(const LimitPolicy& policy, const LimitTerms& terms) {
  if (policy.store.kind == LimitStore::Kind::kService) {
    std::string text = policy.store.text;
    return terms.budget == nullptr ? text : text + ", and by these limits while it is away";
  }
  return terms.budget->redis() != nullptr ? terms.budget->redis()->Text() : std::string();
}

std::string KeyText(const LimitPolicy& policy, FilterContext& context) {
  if (const std::optional<std::string> key = policy.key.Describe(context)) return "key " + *key;
  switch (policy.on_missing_key) {
    case MissingKey::kSkip:
      return "no key: not counted";
    case MissingKey::kReject:
      return fmt::format("no key: refused with {}", policy.status);
    case MissingKey::kSharedBudget:
      break;
  }
  return "no key: the budget of all requests without one";
}

}  // namespace

std::string ExplainLimit(const LimitPolicy& policy, uint64_t route_cost, FilterContext& context) {
  const LimitTerms& terms = policy.TermsOf(context);
  std::string text = policy.name;
  auto out = std::back_inserter(text);
  if (!policy.plans.empty()) {
    const std::string_view plan = terms.plan;
    if (plan.empty()) {
      text += " (no plan that is listed)";
    } else {
      fmt::format_to(out, " (plan {})", plan);
    }
  }
  text += ':';
  if (!terms.text.empty()) text += ' ' + terms.text + ',';
  if (terms.unlimited) {
    text.pop_back();
    return text;
  }
  LimitKey::Bytes bytes(context.arena());
  const bool has_key = policy.key.Write(context, bytes);
  fmt::format_to(out, " {}", KeyText(policy, context));
  const uint64_t cost = route_cost != 0 ? route_cost : policy.cost.Of(context);
  if (cost != 1) fmt::format_to(out, ", costs {}", cost);
  if (const std::string store = StoreText(policy, terms); !store.empty()) text += ", " + store;
  const bool counted = has_key || policy.on_missing_key == MissingKey::kSharedBudget;
  if (counted && policy.store.kind != LimitStore::Kind::kService) {
    const std::string_view key = has_key ? bytes.view() : LimitKey::kMissing;
    fmt::format_to(out, ", {}", Counted(terms, {.key = key, .cost = cost}, context));
  }
  if (policy.dry_run) text += ", dry run";
  return text;
}

}  // namespace gatehouse::filters
