// What a spec must be like, and what it is called.
#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/status.h"
#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::array<uint64_t, 3> kTicks = {1, 1000, 1'000'000};
constexpr uint64_t kMostFull = uint64_t{1} << 51;
constexpr uint64_t kMostDrain = uint64_t{1} << 50;
constexpr uint64_t kMostUnits = 1'000'000'000'000;
constexpr uint64_t kMostCount = (uint64_t{1} << 26) - 1;
constexpr uint64_t kMostLogged = 1'000'000;
constexpr uint64_t kSecond = 1'000'000;
constexpr uint64_t kTenYears = uint64_t{10} * 366 * 86400 * kSecond;

uint64_t CeilOf(uint64_t dividend, uint64_t divisor) { return (dividend + divisor - 1) / divisor; }

// "90s", "0.5s".
std::string Seconds(Duration time) {
  return fmt::format("{}s", std::chrono::duration<double>(time).count());
}

bool IsBucket(LimitKind kind) {
  return kind == LimitKind::kTokenBucket || kind == LimitKind::kLeakyQueue;
}
bool HasTime(LimitKind kind) {
  return kind != LimitKind::kCalendar && kind != LimitKind::kConcurrency;
}

absl::Status CheckBounds(const LimitSpec& spec) {
  if (spec.amount == 0) {
    return InvalidArgument("must be more than 0; to let nothing pass, use a respond route");
  }
  if (spec.amount > kMostUnits) {
    return InvalidArgument(fmt::format("is at most {} units; count in larger ones", kMostUnits));
  }
  if (HasTime(spec.kind) &&
      (spec.per <= Duration::zero() || spec.per.count() > int64_t{kTenYears})) {
    return InvalidArgument("the time must be more than 0 and at most ten years");
  }
  if (IsBucket(spec.kind) && (spec.capacity == 0 || spec.capacity > kMostUnits)) {
    return InvalidArgument(
        fmt::format("burst or capacity must be 1 to {}; count in larger units", kMostUnits));
  }
  if (spec.kind == LimitKind::kLeakyQueue &&
      (spec.max_delay < Duration::zero() || spec.max_delay > std::chrono::hours(1))) {
    return InvalidArgument("max_delay must not be negative, and is at most 1h");
  }
  if (spec.kind == LimitKind::kCalendar &&
      std::chrono::abs(spec.utc_offset) > std::chrono::hours(24)) {
    return InvalidArgument("utc_offset is at most 24 hours");
  }
  return absl::OkStatus();
}

uint64_t CalendarSeconds(CalendarPeriod period) {
  constexpr uint64_t kDay = 86400;
  switch (period) {
    case CalendarPeriod::kDay:
      return kDay;
    case CalendarPeriod::kWeek:
      return 7 * kDay;
    case CalendarPeriod::kMonth:
      return 30 * kDay;
    case CalendarPeriod::kYear:
      return 365 * kDay;
  }
  CHECK(false);
}

const char* PeriodText(CalendarPeriod period) {
  switch (period) {
    case CalendarPeriod::kDay:
      return "day";
    case CalendarPeriod::kWeek:
      return "week";
    case CalendarPeriod::kMonth:
      return "month";
    case CalendarPeriod::kYear:
      return "year";
  }
  CHECK(false);
}

}  // namespace

absl::Status LimitRule::SetBucket() {
  const auto per = static_cast<uint64_t>(spec_.per.count());
  if (Wide{spec_.capacity} * per > Wide{kTenYears} * spec_.amount) {
    return InvalidArgument(
        "would take more than ten years to fill up: lower burst or capacity, or raise the rate");
  }
  limit_ = spec_.capacity;
  for (uint64_t tick : kTicks) {
    const uint64_t common = std::gcd(spec_.amount * tick, per);
    const uint64_t drain = spec_.amount * tick / common;
    const uint64_t unit = per / common;
    if (drain > kMostDrain || Wide{spec_.capacity} * unit > kMostFull) continue;
    numbers_ = {.tick = tick, .drain = drain, .unit = unit, .full = spec_.capacity * unit};
    numbers_.max_wait = static_cast<uint64_t>(spec_.max_delay.count());
    window_seconds_ = std::max<uint64_t>(CeilOf(CeilOf(numbers_.full, drain) * tick, kSecond), 1);
    return absl::OkStatus();
  }
  return InvalidArgument(
      fmt::format("{} per {} with {} at once cannot be counted exactly: lower burst or capacity, "
                  "or round the rate, so that its amount divides the microseconds of its time",
                  spec_.amount, Seconds(spec_.per), spec_.capacity));
}

absl::Status LimitRule::SetWindow() {
  limit_ = spec_.amount;
  if (spec_.kind == LimitKind::kConcurrency) return absl::OkStatus();
  if (spec_.kind == LimitKind::kCalendar) {
    window_seconds_ = CalendarSeconds(spec_.period);
    return absl::OkStatus();
  }
  numbers_.per = static_cast<uint64_t>(spec_.per.count());
  window_seconds_ = CeilOf(numbers_.per, kSecond);
  if (spec_.kind == LimitKind::kSlidingLog && limit_ > kMostLogged) {
    return InvalidArgument(
        fmt::format("a sliding log keeps 8 bytes for each unit: at most {}; use a sliding window",
                    kMostLogged));
  }
  if (spec_.kind != LimitKind::kSlidingWindow) return absl::OkStatus();
  if (limit_ > kMostCount) {
    return InvalidArgument(
        fmt::format("a sliding window counts to {}: use a token bucket", kMostCount));
  }
  for (uint64_t tick : kTicks) {
    const uint64_t span = numbers_.per / tick;
    if (numbers_.per % tick != 0 || Wide{limit_} * span > kMostFull) continue;
    numbers_.tick = tick;
    numbers_.span = span;
    numbers_.full = limit_ * span;
    return absl::OkStatus();
  }
  return InvalidArgument(fmt::format(
      "{} in {} cannot be counted exactly by a sliding window: give the time in whole seconds, or "
      "use a token bucket",
      limit_, Seconds(spec_.per)));
}

absl::StatusOr<LimitRule> LimitRule::Make(const LimitSpec& spec) {
  if (absl::Status wrong = CheckBounds(spec); !wrong.ok()) return wrong;
  LimitRule rule;
  rule.spec_ = spec;
  absl::Status wrong = IsBucket(spec.kind) ? rule.SetBucket() : rule.SetWindow();
  if (!wrong.ok()) return wrong;
  return rule;
}

std::string LimitRule::Text() const {
  const LimitSpec& spec = spec_;
  switch (spec.kind) {
    case LimitKind::kTokenBucket:
      return fmt::format("{} per {}, {} at once", spec.amount, Seconds(spec.per), spec.capacity);
    case LimitKind::kLeakyQueue:
      return fmt::format("{} per {}, evenly, {} waiting up to {}", spec.amount, Seconds(spec.per),
                         spec.capacity, Seconds(spec.max_delay));
    case LimitKind::kFixedWindow:
      return fmt::format("{} in each {}", spec.amount, Seconds(spec.per));
    case LimitKind::kCalendar: {
      std::string text = fmt::format("{} each {}", spec.amount, PeriodText(spec.period));
      const int64_t minutes = spec.utc_offset.count() / 60'000'000;
      if (minutes == 0) return text;
      return fmt::format("{} of UTC{}{:02}:{:02}", text, minutes < 0 ? '-' : '+',
                         std::abs(minutes) / 60, std::abs(minutes) % 60);
    }
    case LimitKind::kSlidingWindow:
      return fmt::format("{} in any {}, by two counters", spec.amount, Seconds(spec.per));
    case LimitKind::kSlidingLog:
      return fmt::format("{} in any {}", spec.amount, Seconds(spec.per));
    case LimitKind::kConcurrency:
      return fmt::format("{} at the same time", spec.amount);
  }
  CHECK(false);
}

LimitRule LimitRule::ShareOf(uint32_t gateways) const {
  if (gateways <= 1) return *this;
  LimitSpec share = spec_;
  const auto part = [gateways](uint64_t whole) { return std::max<uint64_t>(whole / gateways, 1); };
  if (!IsBucket(spec_.kind)) {
    share.amount = part(spec_.amount);
  } else {
    share.capacity = part(spec_.capacity);
    // The rate exactly, if it can be counted so.
    if (spec_.per.count() <= int64_t{kTenYears} / gateways) {
      share.per = spec_.per * gateways;
      if (absl::StatusOr<LimitRule> exact = Make(share); exact.ok()) return *exact;
    }
    share.per = spec_.per;
    share.amount = part(spec_.amount);
  }
  // Smaller numbers of the same kind fit where the whole did, but for a rate whose divisors are
  // gone: then its share of the burst alone.
  absl::StatusOr<LimitRule> rule = Make(share);
  if (!rule.ok()) {
    share.amount = spec_.amount;
    rule = Make(share);
  }
  CHECK(rule.ok());
  return *rule;
}

}  // namespace gatehouse::filters
