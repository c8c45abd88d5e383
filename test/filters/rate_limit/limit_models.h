// What each algorithm is to do, written down as plainly as can be and without regard to cost: every
// take is remembered. The rules and the table are compared with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <map>
#include <tuple>
#include <vector>

#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

class LimitModel {
 public:
  __extension__ using Wide = __int128;

  explicit LimitModel(const LimitSpec& spec) : spec_(spec) {}

  // Whether it may pass; takes it then.
  bool Take(uint64_t cost, int64_t now) {
    asked_ = now;
    now_ = std::max(now, Earliest());
    if (cost > Limit()) return false;
    if (cost > 0 && !Fits(cost)) return false;
    if (cost > 0) {
      used_ = Backlog() + Wide{static_cast<int64_t>(cost)} * spec_.per.count();
      takes_.push_back({now_, cost});
      running_ += cost;
    }
    return true;
  }
  void Release(uint64_t cost) { running_ -= cost; }
  [[nodiscard]] uint64_t Remaining(int64_t now) {
    asked_ = now;
    now_ = std::max(now, Earliest());
    uint64_t most = 0;
    while (most < Limit() && Fits(most + 1)) ++most;
    return most;
  }
  // How long a request has to wait if it came now: until what was there before is gone.
  [[nodiscard]] int64_t Wait(int64_t now) {
    asked_ = now;
    now_ = std::max(now, Earliest());
    return Delay();
  }

 private:
  struct Taken {
    int64_t at;
    uint64_t cost;
  };

  [[nodiscard]] uint64_t Limit() const {
    const bool bucket =
        spec_.kind == LimitKind::kTokenBucket || spec_.kind == LimitKind::kLeakyQueue;
    return bucket ? spec_.capacity : spec_.amount;
  }
  // A clock that has gone back stands still, or, where there are windows, stays in the window.
  [[nodiscard]] int64_t Earliest() const {
    if (takes_.empty()) return 0;
    const int64_t newest = takes_.back().at;
    switch (spec_.kind) {
      case LimitKind::kFixedWindow:
      case LimitKind::kSlidingWindow:
        return newest - newest % spec_.per.count();
      case LimitKind::kCalendar:
      case LimitKind::kConcurrency:
        return 0;  // their tests do not go back
      default:
        return newest;
    }
  }
  // Of a bucket: units that are used, times `per`.
  [[nodiscard]] Wide Backlog() const {
    const Wide back =
        Wide{now_ - (takes_.empty() ? 0 : takes_.back().at)} * static_cast<int64_t>(spec_.amount);
    return std::max<Wide>(used_ - back, 0);
  }
  [[nodiscard]] int64_t Delay() const {
    if (Backlog() == 0) return 0;
    const auto amount = static_cast<int64_t>(spec_.amount);
    return static_cast<int64_t>((Backlog() + amount - 1) / amount) + now_ - asked_;
  }
  [[nodiscard]] bool Fits(uint64_t cost) const {
    const auto units = static_cast<int64_t>(cost);
    const auto limit = static_cast<int64_t>(Limit());
    const int64_t per = spec_.per.count();
    switch (spec_.kind) {
      case LimitKind::kTokenBucket:
        return Backlog() + Wide{units} * per <= Wide{limit} * per;
      case LimitKind::kLeakyQueue:
        return Backlog() + Wide{units} * per <= Wide{limit} * per &&
               Delay() <= spec_.max_delay.count();
      case LimitKind::kFixedWindow:
        return Count([&](int64_t at) { return at / per == now_ / per; }) + units <= limit;
      case LimitKind::kCalendar:
        return Count([&](int64_t at) { return PeriodOf(at) == PeriodOf(now_); }) + units <= limit;
      case LimitKind::kSlidingWindow: {
        const int64_t before =
            std::min(limit, Count([&](int64_t at) { return at / per == now_ / per - 1; }));
        const int64_t count = Count([&](int64_t at) { return at / per == now_ / per; });
        return Wide{before} * (per - now_ % per) + Wide{count + units} * per <= Wide{limit} * per;
      }
      case LimitKind::kSlidingLog:
        return Count([&](int64_t at) { return at > now_ - per; }) + units <= limit;
      case LimitKind::kConcurrency:
        return static_cast<int64_t>(running_) + units <= limit;
    }
    return false;
  }
  template <typename F>
  [[nodiscard]] int64_t Count(F&& counts) const {
    int64_t sum = 0;
    for (const Taken& taken : takes_) {
      if (counts(taken.at)) sum += static_cast<int64_t>(taken.cost);
    }
    return sum;
  }
  // By the C library: year, and month, week or day in it.
  [[nodiscard]] std::tuple<int64_t, int64_t> PeriodOf(int64_t micros) const {
    const time_t seconds = static_cast<time_t>((micros + spec_.utc_offset.count()) / 1'000'000);
    std::tm date = {};
    gmtime_r(&seconds, &date);
    switch (spec_.period) {
      case CalendarPeriod::kDay:
        return {date.tm_year, date.tm_yday};
      case CalendarPeriod::kWeek:
        // The day of its Monday.
        return {0, seconds / 86400 - (date.tm_wday + 6) % 7};
      case CalendarPeriod::kMonth:
        return {date.tm_year, date.tm_mon};
      case CalendarPeriod::kYear:
        return {date.tm_year, 0};
    }
    return {};
  }

  LimitSpec spec_;
  std::vector<Taken> takes_;
  int64_t asked_ = 0;
  int64_t now_ = 0;
  Wide used_ = 0;
  uint64_t running_ = 0;
};

}  // namespace gatehouse::filters
