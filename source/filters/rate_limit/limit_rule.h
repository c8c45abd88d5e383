// LimitRule: the arithmetic of one limit, whatever its algorithm. Pure: state, cost and time in,
// state and decision out. No clock, no lock, no memory of its own, so that the table of this
// process, the mirror of Redis and the models of the tests count by the very same rule; the script
// for Redis does the same arithmetic on the same integers (limit_script.h).
//
// Built on main, const, shared. Time is microseconds since 1970. It may go back a little (threads
// read it at different moments): then no time has passed.
//
//   absl::StatusOr<LimitRule> rule = LimitRule::Make({.kind = LimitKind::kTokenBucket, ...});
//   LimitTake take = rule->Take(state, cost, loop.WallMicros());
//
// The arithmetic
// --------------
// All numbers are whole, not negative unless said, and no intermediate reaches 2^53, so that 64-bit
// integers and Lua's doubles give the same. Of dividends up to 2^52, floor(x / y) of doubles is
// exact; ceil(x / y) is floor((x + y - 1) / y). Products marked * may be larger: they are only
// compared with something smaller, and a double that was rounded compares in the same way.
//
// `now` is the time that is handed in, 0 to 4 * 10^15. A state is two numbers below 2^52, `a` (of
// most kinds a time in microseconds) and `b`. For all kinds:
//   cost > limit       rejected, retry_after = forever, the state is as it was
//   cost = 0           allowed, whatever has been used; nothing is taken or delayed, the state is
//   as
//                      it was; remaining and reset_after are told
//   rejected           the state is as it was; remaining and reset_after are those of cost 0
//   retry_after        0 if allowed
// Times that are told (retry_after, reset_after, delay) are microseconds from `now`: a request of
// that cost is rejected at now + retry_after - 1 and allowed at now + retry_after, if nobody else
// takes anything meanwhile.
//
// kTokenBucket counts as debt: what has been taken and not yet come back, in fractions of a unit.
//   numbers: tick, drain, unit, full. drain / unit = amount * tick / per, reduced by their gcd:
//     each tick `drain` fractions come back, a unit has `unit` of them. full = capacity * unit.
//     tick is the first of 1, 1000 and 1000000 with which full <= 2^51.
//   state: a = time, a multiple of tick; b = debt at that time.
//     t    = max(a, now - now % tick)
//     back = (t - a) / tick * drain                                   (*)
//     debt = max(0, b - back)
//   allowed if debt + cost * unit <= full; then a := t, b := debt := debt + cost * unit
//     remaining   = floor((full - debt) / unit)
//     reset_after = debt = 0 ? 0 : t + ceil(debt / drain) * tick - now
//     retry_after = t + ceil((debt + cost * unit - full) / drain) * tick - now
//   give back (taken at `taken`): what had come back by itself since then stays so:
//     refund = max(0, cost * unit - max(0, floor(now / tick) - floor(taken / tick)) * drain)   (*)
//     a := t, b := max(0, debt - refund)
//   In any time at most capacity + rate * (time + tick - 1 microsecond) pass.
//
// kLeakyQueue: the same numbers, state, debt and giving back (`taken`: when its turn was to come,
//   since nothing comes back on its account before that); the debt is the backlog. With
//   wait = debt = 0 ? 0 : max(0, t + ceil(debt / drain) * tick - now)      (debt before the take)
//   numbers: also max_wait = max_delay, at most an hour
//   allowed if debt + cost * unit <= full and wait <= max_wait; then delay = wait, a := t,
//     b := debt := debt + cost * unit
//     remaining   = debt > most ? 0
//                   : min(floor((most - debt) / unit) + 1, floor(max(0, full - debt) / unit))
//                   with most = min(full, m * drain) (*),
//                        m = max(0, floor((now + max_wait) / tick) - t / tick)
//     reset_after = as of the token bucket
//     retry_after = max(wait - max_wait,
//                       debt + cost * unit <= full ? 0 : as of the token bucket)
//
// kFixedWindow: windows from 1970 on. kCalendar: days, weeks (from Monday on), months and years of
// the Gregorian calendar, utc_offset east of Greenwich.
//   state: a = a time in the window (its start), b = count.
//     t            = max(a, now)
//     [start, end) = the window with t in it:
//       kFixedWindow: start = t - t % per, end = start + per
//       kCalendar:    day = floor((t + utc_offset) / 86400000000), days since 1970; first = the
//                     first day of its period: day; day - (day + 3) % 7; the month's; the year's;
//                     next = the first day of the period after;
//                     start = max(0, first * 86400000000 - utc_offset), end likewise of next
//     count        = a < start ? 0 : b
//   allowed if count + cost <= limit; then a := start, b := count := count + cost
//     remaining   = max(0, limit - count)
//     reset_after = end - now
//     retry_after = end - now
//   give back: if a >= start (the window has not ended) and taken >= a: b := max(0, b - cost)
//   In one window at most `limit` pass; around a border twice as many.
//
// kSlidingWindow: the windows of kFixedWindow; the units of the one before are taken to have come
// evenly, and count by the share of it that is still within `per` of now.
//   numbers: tick, span = per / tick, full = limit * span. tick is the first of 1, 1000 and 1000000
//     that divides per and with which full <= 2^51. limit < 2^26.
//   state: a = start of the window, b = before * 2^26 + count, both below 2^26.
//     t     = max(a, now); start = t - t % per; e = floor((t - start) / tick)
//     (before, count) = a = start ? those of b : a = start - per ? (count of b, 0) : (0, 0)
//     p     = min(before, limit)
//     used  = p * (span - e) + count * span                                   (*)
//   allowed if used + cost * span <= full; then a := start, count += cost
//     remaining   = used >= full ? 0 : floor((full - used) / span)
//     reset_after = count > 0 ? start + 2 * per - now : before > 0 ? start + per - now : 0
//     retry_after = count + cost <= limit
//                   ? start + (span - floor((limit - count - cost) * span / p)) * tick - now
//                   : start + per + (span - floor((limit - cost) * span / min(count, limit))) *
//                   tick
//                     - now                          (p and count are not 0 where a take is
//                     rejected)
//   give back: count of the window with `taken` in it, if that is `start`'s or the one before it,
//     is lowered by cost, to 0 at least. a := start.
//
// kSlidingLog: the time of each unit, ascending; kept by LimitLog (limit_log.h).
//     t    = max(now, newest time)
//     a unit of time s is gone when s + per <= t; used = units that are not gone
//   allowed if used + cost <= limit; then `cost` units of time t are added
//     remaining   = limit - used
//     reset_after = used = 0 ? 0 : newest + per - now
//     retry_after = (time of the (used + cost - limit)th oldest unit that is not gone) + per - now
//   give back: nothing if taken + per <= t; else the `cost` oldest units whose time is at least
//     `taken` are removed.
//   In any time of length `per` at most `limit` pass.
//
// kConcurrency: state: a is not used, b = units under way.
//   allowed if b + cost <= limit; then b := b + cost
//     remaining = max(0, limit - b); reset_after = 0; retry_after = 1 s: nobody knows
//   give back, release: b := max(0, b - cost)
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "source/base/time.h"

namespace gatehouse::filters {

enum class LimitKind : uint8_t {
  kTokenBucket,    // also the leaky bucket as a meter: the same arithmetic
  kLeakyQueue,     // requests wait for their turn, up to max_delay
  kFixedWindow,    // windows of the clock, from 1970 on
  kCalendar,       // days, weeks, months, years
  kSlidingWindow,  // this window's count and a share of the one before
  kSlidingLog,     // the time of each unit
  kConcurrency,    // units under way
};

enum class CalendarPeriod : uint8_t { kDay, kWeek, kMonth, kYear };

// What a limit is made of; which fields count depends on the kind.
struct LimitSpec {
  LimitKind kind = LimitKind::kTokenBucket;
  uint64_t amount = 0;    // rate or limit: so many units ...
  Duration per{};         // ... in this time
  uint64_t capacity = 0;  // burst of a token bucket, capacity of a leaky one
  Duration max_delay{};   // kLeakyQueue
  CalendarPeriod period = CalendarPeriod::kDay;
  Duration utc_offset{};  // kCalendar

  friend bool operator==(const LimitSpec&, const LimitSpec&) = default;
};

// What one key has used of one limit. All zero: nothing. Changed as a whole (16 bytes, one
// compare-and-swap). What the two numbers are is the rule's business; both are below 2^52.
struct alignas(16) LimitState {
  uint64_t a = 0;
  uint64_t b = 0;

  friend bool operator==(const LimitState&, const LimitState&) = default;
};

// What one request got, and what headers are made of.
struct LimitTake {
  bool allowed = false;
  uint64_t limit = 0;      // the most that can be had at once
  uint64_t remaining = 0;  // whole units that are left
  Duration retry_after{};  // until this cost can be had; zero if allowed. kForever: never
  Duration reset_after{};  // until nothing is used any more, or the window ends
  Duration delay{};        // kLeakyQueue: how long an allowed request has to wait

  static constexpr Duration kForever = Duration::max();
};

class LimitRule {
 public:
  // What the arithmetic above calls its numbers; zero where the kind has none of that name.
  struct Numbers {
    uint64_t tick = 1;      // microseconds
    uint64_t drain = 0;     // fractions that come back in a tick
    uint64_t unit = 0;      // fractions of a unit
    uint64_t full = 0;      // fractions
    uint64_t span = 0;      // ticks
    uint64_t per = 0;       // microseconds
    uint64_t max_wait = 0;  // microseconds
  };

  // The error says which bound of the spec is exceeded, and what to do.
  [[nodiscard]] static absl::StatusOr<LimitRule> Make(const LimitSpec& spec);

  // Takes `cost` units out of `state` if they are there; changes nothing otherwise. Cost 0 asks
  // only. All kinds but kSlidingLog, whose state is larger (limit_log.h).
  [[nodiscard]] LimitTake Take(LimitState& state, uint64_t cost, int64_t micros) const;
  // Gives back what was taken at `taken`: a later limit has rejected the request, or, of
  // kConcurrency, it is over. What has expired meanwhile stays expired.
  void GiveBack(LimitState& state, uint64_t cost, int64_t taken, int64_t micros) const;
  // Units that are used up, rounded up. May be more than the limit after it was lowered.
  [[nodiscard]] uint64_t Used(const LimitState& state, int64_t micros) const;
  // The part of the limit that is used up: 0 if the state is the same as one that is all zero, 1 if
  // nothing is left, more than 1 after the limit was lowered.
  [[nodiscard]] double Usage(const LimitState& state, int64_t micros) const;
  // What `state` of `old` is by this rule: what has been counted stays counted when a limit is
  // changed.
  // - Buckets and queues to one another: used units stay used units, but for what the new one
  //   cannot hold.
  // - Windows of the same length (or calendar): counts stay, also above a lower limit, so that
  //   nothing passes until the window ends.
  // - kConcurrency to itself: what is under way stays so.
  // - Of another kind, or with windows of another length: what was used up when the limit is
  //   changed is used up of the new one, now, as far as its limit. That lets nothing pass that
  //   the old limit had counted, and may hold back more than the new one would have.
  // - Between kConcurrency and other kinds nothing is kept: they count different things.
  [[nodiscard]] LimitState Convert(const LimitRule& old, const LimitState& state,
                                   int64_t micros) const;
  // A state of which so many units, up to the limit, are used up now.
  [[nodiscard]] LimitState WithUsed(uint64_t units, int64_t micros) const;

  [[nodiscard]] const LimitSpec& spec() const { return spec_; }
  [[nodiscard]] LimitKind kind() const { return spec_.kind; }
  [[nodiscard]] const Numbers& numbers() const { return numbers_; }
  // The most that can pass at once: the burst, capacity or limit.
  [[nodiscard]] uint64_t limit() const { return limit_; }
  // For RateLimit-Policy: seconds of the window, or until an empty bucket is full, at least 1; 0
  // where there is no time (kConcurrency).
  [[nodiscard]] uint64_t window_seconds() const { return window_seconds_; }
  // "10 per 1s, 100 at once", for people.
  [[nodiscard]] std::string Text() const;
  // The same limit for one of `gateways` equal ones, at least 1: the fallback of a shared store.
  [[nodiscard]] LimitRule ShareOf(uint32_t gateways) const;

 private:
  struct Window {
    uint64_t start;
    uint64_t end;
  };
  struct Sliding {
    uint64_t start;
    uint64_t before;
    uint64_t count;
    uint64_t used;  // fractions: span to a unit
  };

  LimitRule() = default;

  [[nodiscard]] absl::Status SetBucket();
  [[nodiscard]] absl::Status SetWindow();

  // The debt at `time`, which becomes max(a, now, in whole ticks).
  [[nodiscard]] uint64_t Debt(const LimitState& state, uint64_t& time) const;
  [[nodiscard]] Window WindowOf(uint64_t micros) const;
  [[nodiscard]] Sliding SlidingOf(const LimitState& state, uint64_t now) const;

  [[nodiscard]] LimitTake TakeBucket(LimitState& state, uint64_t cost, uint64_t now) const;
  [[nodiscard]] LimitTake TakeQueue(LimitState& state, uint64_t cost, uint64_t now) const;
  [[nodiscard]] LimitTake TakeWindow(LimitState& state, uint64_t cost, uint64_t now) const;
  [[nodiscard]] LimitTake TakeSliding(LimitState& state, uint64_t cost, uint64_t now) const;
  [[nodiscard]] LimitTake TakeConcurrency(LimitState& state, uint64_t cost) const;
  void GiveBackBucket(LimitState& state, uint64_t cost, uint64_t taken, uint64_t now) const;
  void GiveBackSliding(LimitState& state, uint64_t cost, uint64_t taken, uint64_t now) const;

  LimitSpec spec_;
  Numbers numbers_;
  uint64_t limit_ = 0;
  uint64_t window_seconds_ = 0;
};

}  // namespace gatehouse::filters
