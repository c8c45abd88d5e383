#include "source/base/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace gatehouse {

void TimerWheel::Place(Timer& timer, int64_t tick, int64_t earliest) {
  timer.Unlink();
  // A deadline that has passed fires at the next tick; one beyond the wheel is looked at again when
  // its last slot comes up.
  tick = std::max(tick, earliest);
  const int64_t distance = tick - tick_;
  int level = 0;
  while (level < kLevels - 1 && distance >= int64_t{1} << (kBits * (level + 1))) ++level;
  const int64_t reach = (int64_t{1} << (kBits * kLevels)) - (int64_t{1} << (kBits * (kLevels - 1)));
  if (distance > reach) tick = tick_ + reach;
  timer.slot_tick_ = tick;
  const int slot = static_cast<int>((tick >> (kBits * level)) & (kSlots - 1));
  slots_[level][slot].PushBack(timer);
  used_[level][slot / 64] |= uint64_t{1} << (slot % 64);
}

void TimerWheel::FireSlot(IntrusiveList<Timer>& slot, TimePoint now) {
  // What callbacks arm lands in later slots; what they destroy unlinks itself from `due`.
  IntrusiveList<Timer> due;
  due.TakeAll(slot);
  while (Timer* timer = due.PopFront()) {
    if (timer->deadline_ == kNever) continue;
    if (timer->deadline_ > now) {
      Place(*timer, TickAfter(timer->deadline_), tick_ + 1);
      continue;
    }
    timer->deadline_ = kNever;
    timer->fire_(timer->owner_);
  }
}

void TimerWheel::Cascade(int level) {
  const int slot = static_cast<int>((tick_ >> (kBits * level)) & (kSlots - 1));
  if (slot == 0 && level + 1 < kLevels) Cascade(level + 1);
  used_[level][slot / 64] &= ~(uint64_t{1} << (slot % 64));
  IntrusiveList<Timer> moving;
  moving.TakeAll(slots_[level][slot]);
  while (Timer* timer = moving.PopFront()) {
    if (timer->deadline_ == kNever) continue;
    // The slot of tick_ on level 0 is processed right after this.
    Place(*timer, TickAfter(timer->deadline_), tick_);
  }
}

void TimerWheel::Advance(TimePoint now) {
  const int64_t target = TickOf(now);
  while (tick_ < target) {
    // Nothing is linked before that: jump.
    const int64_t next = TickOf(std::min(NextDue(), now));
    tick_ = std::clamp(next, tick_ + 1, target);
    const int slot = static_cast<int>(tick_ & (kSlots - 1));
    if (slot == 0) Cascade(1);
    if ((used_[0][slot / 64] >> (slot % 64) & 1) == 0) continue;
    used_[0][slot / 64] &= ~(uint64_t{1} << (slot % 64));
    FireSlot(slots_[0][slot], now);
  }
}

TimePoint TimerWheel::NextDue() const {
  // The next used slot of this round, or the round's end if only slots of the next round are used:
  // a higher level cascades there at the earliest. So the first level that holds anything decides.
  for (int level = 0; level < kLevels; ++level) {
    const auto& used = used_[static_cast<size_t>(level)];
    const int shift = kBits * level;
    const int64_t current = tick_ >> shift;
    const int64_t round_end = (current | (kSlots - 1)) + 1;
    for (int64_t at = current + 1; at < round_end;) {
      const auto slot = static_cast<size_t>(at & (kSlots - 1));
      const uint64_t word = used[slot / 64] >> (slot % 64);
      if (word != 0) return TimeOf((at + std::countr_zero(word)) << shift);
      at += static_cast<int64_t>(64 - slot % 64);
    }
    for (uint64_t word : used) {
      if (word != 0) return TimeOf(round_end << shift);
    }
  }
  return kNever;
}

}  // namespace gatehouse
