#include "source/filters/rate_limit/limit_headers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "source/base/random.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

using http::HeaderMap;
using http::Name;

constexpr size_t kNumberSize = 20;

// Rounded up: who comes at that second finds what was promised.
uint64_t Seconds(Duration time) {
  return static_cast<uint64_t>(std::max<int64_t>(time.count(), 0) + 999'999) / 1'000'000;
}

const LimitItem* ItemOf(const AppliedLimit& applied, size_t index) {
  return index < applied.terms->items.size() ? &applied.terms->items[index] : nullptr;
}

// There is no time after which something comes back: it does when other requests end.
bool IsTimeless(const AppliedLimit& applied, size_t index) {
  const auto rules = applied.terms->setting.rules.rules();
  return index < rules.size() && rules[index].spec().kind == LimitKind::kConcurrency;
}

// When the next thing worth waiting for happens: what the request wanted, if it was refused; one
// more, if there is none; else the time when nothing counts any more. Since 1970.
Duration ResetAt(const AppliedLimit& applied, size_t index) {
  const LimitTake& take = applied.takes.takes[index];
  const Duration decided(applied.decided);
  if (!take.allowed && take.retry_after != LimitTake::kForever) return decided + take.retry_after;
  const LimitItem* item = ItemOf(applied, index);
  if (take.remaining > 0 || item == nullptr || item->next_seconds == 0) {
    return decided + take.reset_after;
  }
  return decided + std::min<Duration>(take.reset_after, std::chrono::seconds(item->next_seconds));
}

// From now on.
uint64_t ResetSeconds(const AppliedLimit& applied, size_t index, FilterContext& context) {
  return Seconds(ResetAt(applied, index) - Duration(context.loop().WallMicros()));
}

std::optional<uint64_t> GetNumber(const HeaderMap& headers, Name name) {
  const auto text = headers.Get(name);
  if (!text) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return number;
}

struct Shown {
  const AppliedLimit* applied = nullptr;
  size_t index = 0;

  [[nodiscard]] const LimitTake& take() const { return applied->takes.takes[index]; }
};

// Calls visit(Shown) for each limit that is shown.
template <typename Visit>
void ForEachShown(std::span<const AppliedLimit> all, bool refused, Visit&& visit) {
  for (const AppliedLimit& applied : all) {
    if (applied.policy->dry_run) continue;
    for (size_t i = 0; i < applied.takes.count; ++i) {
      const LimitTake& take = applied.takes.takes[i];
      if (refused == !take.allowed && take.limit > 0) visit(Shown{&applied, i});
    }
  }
}

// Whether `one` is nearer to its end than `other`. What has no times only counts for want of
// others.
bool IsTighter(const Shown& one, const Shown& other) {
  const bool timeless = IsTimeless(*one.applied, one.index);
  if (timeless != IsTimeless(*other.applied, other.index)) return !timeless;
  if (one.take().remaining != other.take().remaining) {
    return one.take().remaining < other.take().remaining;
  }
  return ResetAt(*one.applied, one.index) > ResetAt(*other.applied, other.index);
}

// Of several limits, the one that is nearest to its end.
void WriteLegacy(std::span<const AppliedLimit> all, bool refused, FilterContext& context) {
  Shown tightest;
  ForEachShown(all, refused, [&](const Shown& shown) {
    if (!shown.applied->policy->legacy_headers) return;
    if (tightest.applied == nullptr || IsTighter(shown, tightest)) tightest = shown;
  });
  if (tightest.applied == nullptr) return;
  HeaderMap& response = context.response();
  // The origin server may have a limit of its own: what it says is not made looser.
  const auto origins = GetNumber(response, Name::kXRatelimitRemaining);
  if (origins && *origins < tightest.take().remaining) return;
  response.SetNumber(Name::kXRatelimitLimit, tightest.take().limit);
  response.SetNumber(Name::kXRatelimitRemaining, tightest.take().remaining);
  if (IsTimeless(*tightest.applied, tightest.index)) {
    response.Remove(Name::kXRatelimitReset);
    return;
  }
  const AppliedLimit& applied = *tightest.applied;
  response.SetNumber(Name::kXRatelimitReset, applied.policy->reset_is_delta
                                                 ? ResetSeconds(applied, tightest.index, context)
                                                 : Seconds(ResetAt(applied, tightest.index)));
}

char* Put(char* to, std::string_view text) { return std::ranges::copy(text, to).out; }
char* Put(char* to, uint64_t number) { return std::to_chars(to, to + kNumberSize, number).ptr; }

// Lists, to which an origin server's own items belong too.
void WriteItem(const Shown& shown, FilterContext& context) {
  HeaderMap& response = context.response();
  const AppliedLimit& applied = *shown.applied;
  const LimitItem* item = ItemOf(applied, shown.index);
  const std::string_view name = item != nullptr ? item->quoted : applied.policy->quoted_name;
  char* const text = context.arena().AllocateChars(name.size() + 2 * kNumberSize + 6);
  char* end = Put(Put(Put(text, name), ";r="), shown.take().remaining);
  if (!IsTimeless(applied, shown.index)) {
    end = Put(Put(end, ";t="), ResetSeconds(applied, shown.index, context));
  }
  response.Append(Name::kRatelimit, {text, static_cast<size_t>(end - text)});
  if (item != nullptr) {
    response.Append(Name::kRatelimitPolicy, item->policy_item);
    return;
  }
  char* const policy = context.arena().AllocateChars(name.size() + kNumberSize + 3);
  end = Put(Put(Put(policy, name), ";q="), shown.take().limit);
  response.Append(Name::kRatelimitPolicy, {policy, static_cast<size_t>(end - policy)});
}

void WriteDraft(std::span<const AppliedLimit> all, bool refused, FilterContext& context) {
  ForEachShown(all, refused, [&](const Shown& shown) {
    if (shown.applied->policy->draft_headers) WriteItem(shown, context);
  });
}

}  // namespace

void WriteLimitHeaders(std::span<const AppliedLimit> applied, FilterContext& context) {
  WriteLegacy(applied, /*refused=*/false, context);
  WriteDraft(applied, /*refused=*/false, context);
}

void WriteRefusedHeaders(const AppliedLimit& applied, FilterContext& context) {
  const Duration wait = applied.takes.retry_after();
  if (wait != LimitTake::kForever) {
    uint64_t seconds = std::max<uint64_t>(Seconds(wait), 1);
    const uint64_t jitter = applied.policy->retry_jitter;
    if (jitter > 0) seconds += ThreadRandom().Below(jitter + 1);
    context.response().SetNumber(Name::kRetryAfter, seconds);
  }
  WriteLegacy({&applied, 1}, /*refused=*/true, context);
  WriteDraft({&applied, 1}, /*refused=*/true, context);
}

std::string_view RefusedMembers(const AppliedLimit& applied, FilterContext& context) {
  constexpr std::string_view kBegin = "\"violated-policies\":[";
  if (applied.terms->items.size() == 1) return applied.terms->problem_members;
  Arena& arena = context.arena();
  std::string_view names;
  for (size_t i = 0; i < applied.terms->items.size(); ++i) {
    if (i >= applied.takes.count || applied.takes.takes[i].allowed) continue;
    if (!names.empty()) names = arena.Concat(names, ",");
    names = arena.Concat(names, applied.terms->items[i].quoted);
  }
  if (names.empty()) names = applied.policy->quoted_name;
  return arena.Concat(arena.Concat(kBegin, names), "]");
}

}  // namespace gatehouse::filters
