#include "source/filters/rate_limit/limit_log.h"

#include <algorithm>
#include <utility>

#include "source/base/check.h"

namespace gatehouse::filters {

namespace {

constexpr size_t kSmallest = 8;

int64_t Per(const LimitRule& rule) { return rule.spec().per.count(); }

}  // namespace

// Times ascend, and few go at a time: but after a pause all may have, so by halves.
size_t LimitLog::Gone(const LimitRule& rule, int64_t t) const {
  const int64_t last = t - Per(rule);
  if (count_ == 0 || At(0) > last) return 0;
  size_t low = 1;
  size_t high = count_;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (At(middle) <= last) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void LimitLog::DropOldest(size_t units) {
  if (units == 0) return;
  head_ = Slot(units);
  count_ -= units;
}

void LimitLog::Add(const LimitRule& rule, size_t units, int64_t t) {
  const size_t needed = count_ + units;
  if (needed > capacity_) {
    const auto limit = static_cast<size_t>(rule.limit());
    const size_t capacity =
        std::max(std::min(std::max({needed, capacity_ * 2, kSmallest}), limit), needed);
    auto times = std::make_unique_for_overwrite<int64_t[]>(capacity);
    for (size_t i = 0; i < count_; ++i) times[i] = At(i);
    times_ = std::move(times);
    capacity_ = capacity;
    head_ = 0;
  }
  for (size_t i = 0; i < units; ++i) times_[Slot(count_ + i)] = t;
  count_ = needed;
}

LimitTake LimitLog::Take(const LimitRule& rule, uint64_t cost, int64_t micros) {
  const int64_t now = std::max<int64_t>(micros, 0);
  const int64_t t = count_ == 0 ? now : std::max(now, At(count_ - 1));
  const size_t gone = Gone(rule, t);
  uint64_t used = count_ - gone;
  LimitTake take = {.allowed = true, .limit = rule.limit()};
  if (cost > rule.limit()) {
    take.allowed = false;
    take.retry_after = LimitTake::kForever;
  } else if (cost > 0) {
    take.allowed = used + cost <= rule.limit();
    if (take.allowed) {
      // Not before: who comes with an earlier time may still count them.
      DropOldest(gone);
      Add(rule, static_cast<size_t>(cost), t);
      used += cost;
    } else {
      const int64_t oldest = At(gone + static_cast<size_t>(used + cost - rule.limit()) - 1);
      take.retry_after = Duration(oldest + Per(rule) - now);
    }
  }
  take.remaining = rule.limit() - used;
  if (used > 0) take.reset_after = Duration(At(count_ - 1) + Per(rule) - now);
  return take;
}

void LimitLog::Undo(uint64_t cost) {
  DCHECK(cost <= count_);
  count_ -= static_cast<size_t>(cost);
}

// Those that came after it move up: there are few, or none.
void LimitLog::GiveBack(const LimitRule& rule, uint64_t cost, int64_t taken, int64_t micros) {
  const int64_t now = std::max<int64_t>(micros, 0);
  const int64_t t = count_ == 0 ? now : std::max(now, At(count_ - 1));
  DropOldest(Gone(rule, t));
  if (taken + Per(rule) <= t) return;
  size_t first = count_;
  while (first > 0 && At(first - 1) >= taken) --first;
  const size_t units = static_cast<size_t>(std::min<uint64_t>(cost, count_ - first));
  for (size_t i = first; i + units < count_; ++i) times_[Slot(i)] = At(i + units);
  count_ -= units;
}

uint64_t LimitLog::Used(const LimitRule& rule, int64_t micros) const {
  if (count_ == 0) return 0;
  return count_ - Gone(rule, std::max(micros, At(count_ - 1)));
}

void LimitLog::Keep(const LimitRule& rule) {
  if (count_ > rule.limit()) DropOldest(count_ - static_cast<size_t>(rule.limit()));
}

void LimitLog::SetUsed(const LimitRule& rule, uint64_t units, int64_t micros) {
  Clear();
  Add(rule, static_cast<size_t>(std::min(units, rule.limit())), std::max<int64_t>(micros, 0));
}

}  // namespace gatehouse::filters
