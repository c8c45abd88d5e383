#include "source/filters/rate_limit/limit_rule.h"

#include <algorithm>
#include <chrono>

#include "source/base/check.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr int kCountBits = 26;
constexpr uint64_t kMostCount = (uint64_t{1} << kCountBits) - 1;
constexpr uint64_t kMostUsed = uint64_t{1} << 52;  // more than any limit has
constexpr int64_t kLatest = 4'000'000'000'000'000;
constexpr uint64_t kMicrosPerDay = uint64_t{86400} * 1'000'000;
constexpr Duration kAskAgain = std::chrono::seconds(1);

uint64_t Clamped(int64_t micros) {
  return static_cast<uint64_t>(std::clamp<int64_t>(micros, 0, kLatest));
}
Duration From(uint64_t now, uint64_t until) {
  return Duration(static_cast<int64_t>(until) - static_cast<int64_t>(now));
}
uint64_t CeilOf(uint64_t dividend, uint64_t divisor) { return (dividend + divisor - 1) / divisor; }
uint64_t Less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }

struct Days {
  int64_t first;  // since 1970
  int64_t next;
};

// The period that `day` is in, and the first day after it.
Days PeriodOf(CalendarPeriod period, int64_t day) {
  using std::chrono::sys_days;
  if (period == CalendarPeriod::kDay) return {day, day + 1};
  if (period == CalendarPeriod::kWeek) {
    // 1970 began with a Thursday.
    const int64_t monday = day - (day + 7 + 3) % 7;
    return {monday, monday + 7};
  }
  const std::chrono::year_month_day date{sys_days{std::chrono::days(day)}};
  if (period == CalendarPeriod::kMonth) {
    const int64_t first = day - static_cast<int64_t>(static_cast<unsigned>(date.day())) + 1;
    const auto last = (date.year() / date.month() / std::chrono::last).day();
    return {first, first + static_cast<int64_t>(static_cast<unsigned>(last))};
  }
  const int64_t first = sys_days{date.year() / std::chrono::January / 1}.time_since_epoch().count();
  return {first, first + (date.year().is_leap() ? 366 : 365)};
}

}  // namespace

uint64_t LimitRule::Debt(const LimitState& state, uint64_t& time) const {
  const uint64_t now = numbers_.tick == 1 ? time : time - time % numbers_.tick;
  if (now <= state.a) {
    time = state.a;
    return state.b;
  }
  time = now;
  if (state.b == 0) return 0;
  const uint64_t elapsed = now - state.a;
  const uint64_t ticks = numbers_.tick == 1 ? elapsed : elapsed / numbers_.tick;
  const Wide back = Wide{ticks} * numbers_.drain;
  return back >= state.b ? 0 : state.b - static_cast<uint64_t>(back);
}

LimitTake LimitRule::TakeBucket(LimitState& state, uint64_t cost, uint64_t now) const {
  const auto& [tick, drain, unit, full, span, per, max_wait] = numbers_;
  uint64_t t = now;
  uint64_t debt = Debt(state, t);
  LimitTake take = {.allowed = true, .limit = limit_};
  if (cost > 0) {
    const uint64_t after = cost <= limit_ ? debt + cost * unit : 0;
    take.allowed = after != 0 && after <= full;
    if (take.allowed) {
      debt = after;
      state = {t, debt};
    } else {
      take.retry_after =
          after == 0 ? LimitTake::kForever : From(now, t + CeilOf(after - full, drain) * tick);
    }
  }
  take.remaining = Less(full, debt) / unit;
  if (debt > 0) take.reset_after = From(now, t + CeilOf(debt, drain) * tick);
  return take;
}

LimitTake LimitRule::TakeQueue(LimitState& state, uint64_t cost, uint64_t now) const {
  const auto& [tick, drain, unit, full, span, per, max_wait] = numbers_;
  uint64_t t = now;
  uint64_t debt = Debt(state, t);
  LimitTake take = {.allowed = true, .limit = limit_};
  if (cost > limit_) {
    take.allowed = false;
    take.retry_after = LimitTake::kForever;
  } else if (cost > 0) {
    const uint64_t after = debt + cost * unit;
    const Duration wait = debt == 0 ? Duration() : From(now, t + CeilOf(debt, drain) * tick);
    const Duration over = wait - Duration(static_cast<int64_t>(max_wait));
    take.allowed = after <= full && over <= Duration::zero();
    if (take.allowed) {
      take.delay = wait;
      debt = after;
      state = {t, debt};
    } else {
      const Duration room =
          after <= full ? Duration() : From(now, t + CeilOf(after - full, drain) * tick);
      take.retry_after = std::max(over, room);
    }
  }
  const Wide in_time = Wide{Less((now + max_wait) / tick, t / tick)} * drain;
  const uint64_t most = in_time < full ? static_cast<uint64_t>(in_time) : full;
  if (debt <= most) take.remaining = std::min((most - debt) / unit + 1, Less(full, debt) / unit);
  if (debt > 0) take.reset_after = From(now, t + CeilOf(debt, drain) * tick);
  return take;
}

void LimitRule::GiveBackBucket(LimitState& state, uint64_t cost, uint64_t taken,
                               uint64_t now) const {
  uint64_t t = now;
  const uint64_t debt = Debt(state, t);
  const Wide came_back = Wide{Less(now / numbers_.tick, taken / numbers_.tick)} * numbers_.drain;
  const uint64_t whole = std::min(cost, limit_) * numbers_.unit;
  if (came_back >= whole) return;
  state = {t, Less(debt, whole - static_cast<uint64_t>(came_back))};
}

LimitRule::Window LimitRule::WindowOf(uint64_t micros) const {
  if (spec_.kind != LimitKind::kCalendar) {
    const uint64_t start = micros - micros % numbers_.per;
    return {start, start + numbers_.per};
  }
  const int64_t offset = spec_.utc_offset.count();
  const int64_t local = static_cast<int64_t>(micros) + offset;
  constexpr auto kDay = static_cast<int64_t>(kMicrosPerDay);
  const int64_t day = local >= 0 ? local / kDay : -1;
  const Days days = PeriodOf(spec_.period, day);
  const int64_t start = std::max<int64_t>(days.first * kDay - offset, 0);
  return {static_cast<uint64_t>(start), static_cast<uint64_t>(days.next * kDay - offset)};
}

LimitTake LimitRule::TakeWindow(LimitState& state, uint64_t cost, uint64_t now) const {
  const auto [start, end] = WindowOf(std::max(state.a, now));
  uint64_t count = state.a < start ? 0 : state.b;
  LimitTake take = {.allowed = true, .limit = limit_};
  take.reset_after = From(now, end);
  if (cost > limit_) {
    take.allowed = false;
    take.retry_after = LimitTake::kForever;
  } else if (cost > 0) {
    take.allowed = count + cost <= limit_;
    if (take.allowed) {
      count += cost;
      state = {start, count};
    } else {
      take.retry_after = take.reset_after;
    }
  }
  take.remaining = Less(limit_, count);
  return take;
}

LimitRule::Sliding LimitRule::SlidingOf(const LimitState& state, uint64_t now) const {
  const uint64_t t = std::max(state.a, now);
  Sliding sliding = {.start = t - t % numbers_.per, .before = 0, .count = 0, .used = 0};
  const uint64_t count = state.b & kMostCount;
  if (state.a == sliding.start) {
    sliding.before = state.b >> kCountBits;
    sliding.count = count;
  } else if (state.a + numbers_.per == sliding.start) {
    sliding.before = count;
  }
  const uint64_t gone = (t - sliding.start) / numbers_.tick;
  // After the limit was lowered far, the count may be more than fits.
  const Wide used = Wide{std::min(sliding.before, limit_)} * (numbers_.span - gone) +
                    Wide{sliding.count} * numbers_.span;
  sliding.used = used < kMostUsed ? static_cast<uint64_t>(used) : kMostUsed;
  return sliding;
}

LimitTake LimitRule::TakeSliding(LimitState& state, uint64_t cost, uint64_t now) const {
  const auto& [tick, drain, unit, full, span, per, max_wait] = numbers_;
  Sliding at = SlidingOf(state, now);
  LimitTake take = {.allowed = true, .limit = limit_};
  if (cost > limit_) {
    take.allowed = false;
    take.retry_after = LimitTake::kForever;
  } else if (cost > 0) {
    take.allowed = at.used + cost * span <= full;
    if (take.allowed) {
      at.used += cost * span;
      at.count += cost;
      state = {at.start, at.before << kCountBits | at.count};
    } else if (at.count + cost <= limit_) {
      const uint64_t share = (limit_ - at.count - cost) * span / std::min(at.before, limit_);
      take.retry_after = From(now, at.start + (span - share) * tick);
    } else {
      const uint64_t share = (limit_ - cost) * span / std::min(at.count, limit_);
      take.retry_after = From(now, at.start + per + (span - share) * tick);
    }
  }
  take.remaining = Less(full, at.used) / span;
  if (at.count > 0) {
    take.reset_after = From(now, at.start + 2 * per);
  } else if (at.before > 0) {
    take.reset_after = From(now, at.start + per);
  }
  return take;
}

void LimitRule::GiveBackSliding(LimitState& state, uint64_t cost, uint64_t taken,
                                uint64_t now) const {
  Sliding at = SlidingOf(state, now);
  if (taken >= at.start) {
    at.count = Less(at.count, cost);
  } else if (taken + numbers_.per >= at.start) {
    at.before = Less(at.before, cost);
  } else {
    return;
  }
  state = {at.start, at.before << kCountBits | at.count};
}

LimitTake LimitRule::TakeConcurrency(LimitState& state, uint64_t cost) const {
  LimitTake take = {.allowed = true, .limit = limit_};
  if (cost > limit_) {
    take.allowed = false;
    take.retry_after = LimitTake::kForever;
  } else if (cost > 0) {
    take.allowed = state.b + cost <= limit_;
    if (take.allowed) {
      state.b += cost;
    } else {
      take.retry_after = kAskAgain;
    }
  }
  take.remaining = Less(limit_, state.b);
  return take;
}

LimitTake LimitRule::Take(LimitState& state, uint64_t cost, int64_t micros) const {
  const uint64_t now = Clamped(micros);
  switch (spec_.kind) {
    case LimitKind::kTokenBucket:
      return TakeBucket(state, cost, now);
    case LimitKind::kLeakyQueue:
      return TakeQueue(state, cost, now);
    case LimitKind::kFixedWindow:
    case LimitKind::kCalendar:
      return TakeWindow(state, cost, now);
    case LimitKind::kSlidingWindow:
      return TakeSliding(state, cost, now);
    case LimitKind::kConcurrency:
      return TakeConcurrency(state, cost);
    case LimitKind::kSlidingLog:
      break;
  }
  CHECK(false);
}

void LimitRule::GiveBack(LimitState& state, uint64_t cost, int64_t taken, int64_t micros) const {
  const uint64_t now = Clamped(micros);
  switch (spec_.kind) {
    case LimitKind::kTokenBucket:
    case LimitKind::kLeakyQueue:
      return GiveBackBucket(state, cost, Clamped(taken), now);
    case LimitKind::kFixedWindow:
    case LimitKind::kCalendar:
      if (WindowOf(std::max(state.a, now)).start <= state.a && Clamped(taken) >= state.a) {
        state.b = Less(state.b, cost);
      }
      return;
    case LimitKind::kSlidingWindow:
      return GiveBackSliding(state, cost, Clamped(taken), now);
    case LimitKind::kConcurrency:
      state.b = Less(state.b, cost);
      return;
    case LimitKind::kSlidingLog:
      break;
  }
  CHECK(false);
}

uint64_t LimitRule::Used(const LimitState& state, int64_t micros) const {
  uint64_t now = Clamped(micros);
  switch (spec_.kind) {
    case LimitKind::kTokenBucket:
    case LimitKind::kLeakyQueue:
      return CeilOf(Debt(state, now), numbers_.unit);
    case LimitKind::kFixedWindow:
    case LimitKind::kCalendar:
      return WindowOf(std::max(state.a, now)).start <= state.a ? state.b : 0;
    case LimitKind::kSlidingWindow:
      return CeilOf(SlidingOf(state, now).used, numbers_.span);
    case LimitKind::kConcurrency:
      return state.b;
    case LimitKind::kSlidingLog:
      break;
  }
  CHECK(false);
}

double LimitRule::Usage(const LimitState& state, int64_t micros) const {
  uint64_t now = Clamped(micros);
  const auto full = static_cast<double>(numbers_.full);
  switch (spec_.kind) {
    case LimitKind::kTokenBucket:
    case LimitKind::kLeakyQueue:
      return static_cast<double>(Debt(state, now)) / full;
    case LimitKind::kSlidingWindow:
      return static_cast<double>(SlidingOf(state, now).used) / full;
    default:
      return static_cast<double>(Used(state, micros)) / static_cast<double>(limit_);
  }
}

LimitState LimitRule::WithUsed(uint64_t units, int64_t micros) const {
  const uint64_t now = Clamped(micros);
  units = std::min(units, limit_);
  if (units == 0) return {};
  switch (spec_.kind) {
    case LimitKind::kTokenBucket:
    case LimitKind::kLeakyQueue:
      return {now - now % numbers_.tick, units * numbers_.unit};
    case LimitKind::kFixedWindow:
    case LimitKind::kCalendar:
    case LimitKind::kSlidingWindow:
      return {WindowOf(now).start, units};
    case LimitKind::kConcurrency:
      return {0, units};
    case LimitKind::kSlidingLog:
      break;
  }
  CHECK(false);
}

LimitState LimitRule::Convert(const LimitRule& old, const LimitState& state, int64_t micros) const {
  if (spec_ == old.spec_) return state;
  const bool same = spec_.kind == old.spec_.kind;
  if (same && spec_.kind == LimitKind::kConcurrency) return state;
  if (spec_.kind == LimitKind::kConcurrency || old.spec_.kind == LimitKind::kConcurrency) {
    return {};
  }
  const auto is_bucket = [](LimitKind kind) {
    return kind == LimitKind::kTokenBucket || kind == LimitKind::kLeakyQueue;
  };
  if (is_bucket(spec_.kind) && is_bucket(old.spec_.kind)) {
    uint64_t t = Clamped(micros);
    const uint64_t debt = old.Debt(state, t);
    const Wide mine = (Wide{debt} * numbers_.unit + old.numbers_.unit - 1) / old.numbers_.unit;
    return {t - t % numbers_.tick,
            mine < numbers_.full ? static_cast<uint64_t>(mine) : numbers_.full};
  }
  const bool same_windows =
      same && (spec_.kind == LimitKind::kCalendar
                   ? spec_.period == old.spec_.period && spec_.utc_offset == old.spec_.utc_offset
                   : spec_.per == old.spec_.per);
  if (same_windows) return state;
  return WithUsed(old.Used(state, micros), micros);
}

}  // namespace gatehouse::filters
