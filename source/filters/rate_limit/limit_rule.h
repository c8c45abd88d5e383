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
// compare-and-swap). What the two numbers are is the rule's business.
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
  // The error says which bound of the spec is exceeded, and what to do.
  [[nodiscard]] static absl::StatusOr<LimitRule> Make(const LimitSpec& spec);

  // Takes `cost` units out of `state` if they are there; changes nothing otherwise. Cost 0 asks
  // only. All kinds but kSlidingLog, whose state is larger (limit_log.h).
  [[nodiscard]] LimitTake Take(LimitState& state, uint64_t cost, int64_t micros) const;
  // Gives back what was taken at `taken`: a later limit has rejected the request, or, of
  // kConcurrency, it is over. What has expired meanwhile stays expired.
  void GiveBack(LimitState& state, uint64_t cost, int64_t taken, int64_t micros) const;
  // Nothing of it counts any more: the same as a state that is all zero.
  [[nodiscard]] bool IsIdle(const LimitState& state, int64_t micros) const;
  // More than half of the limit is used up: not to be forgotten for another key's sake.
  [[nodiscard]] bool IsHot(const LimitState& state, int64_t micros) const;
  // What `state` of `old` is by this rule: what has been counted stays counted when a limit is
  // changed. Of another kind, or with windows of another length: as much of it as can be kept.
  [[nodiscard]] LimitState Convert(const LimitRule& old, const LimitState& state,
                                   int64_t micros) const;

  [[nodiscard]] const LimitSpec& spec() const { return spec_; }
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
  LimitRule() = default;

  LimitSpec spec_;
  uint64_t limit_ = 0;
  uint64_t window_seconds_ = 0;
};

}  // namespace gatehouse::filters
