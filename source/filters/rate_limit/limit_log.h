// LimitLog: what one key has used of a limit of kSlidingLog: the time of each unit, ascending, in a
// ring that grows to the limit and no further.
//
// Owner: the key's place in the table. Thread: one at a time, under that key's lock.
// The arithmetic is that of limit_rule.h. No allocation once the ring is as large as it gets.
//
//   LimitTake take = log.Take(rule, cost, loop.WallMicros());
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

class LimitLog {
 public:
  // `rule` is of kSlidingLog, in all of these.
  [[nodiscard]] LimitTake Take(const LimitRule& rule, uint64_t cost, int64_t micros);
  // Undoes the Take() just before, which was allowed.
  void Undo(uint64_t cost);
  void GiveBack(const LimitRule& rule, uint64_t cost, int64_t taken, int64_t micros);
  [[nodiscard]] uint64_t Used(const LimitRule& rule, int64_t micros) const;
  // The limit was changed: keeps the newest units, as many as count by `rule`.
  void Keep(const LimitRule& rule);
  // So many units, up to the limit, are used up now.
  void SetUsed(const LimitRule& rule, uint64_t units, int64_t micros);
  void Clear() { head_ = count_ = 0; }

  // Time of the newest unit; 0: there is none.
  [[nodiscard]] int64_t newest() const { return count_ == 0 ? 0 : At(count_ - 1); }
  [[nodiscard]] size_t bytes() const { return sizeof(*this) + capacity_ * sizeof(int64_t); }

 private:
  [[nodiscard]] size_t Slot(size_t index) const {
    const size_t slot = head_ + index;
    return slot < capacity_ ? slot : slot - capacity_;
  }
  [[nodiscard]] int64_t At(size_t index) const { return times_[Slot(index)]; }
  // Units that are gone at `t`.
  [[nodiscard]] size_t Gone(const LimitRule& rule, int64_t t) const;
  void DropOldest(size_t units);
  void Add(const LimitRule& rule, size_t units, int64_t t);

  std::unique_ptr<int64_t[]> times_;
  size_t capacity_ = 0;
  size_t head_ = 0;  // slot of the oldest
  size_t count_ = 0;
};

}  // namespace gatehouse::filters
