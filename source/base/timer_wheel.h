// Timers of one loop: a hierarchical wheel of four levels with a tick of 1.024 ms.
//
// Owner of a Timer: the object that it belongs to; its destructor cancels. Thread: one loop. A
// timer never fires early and at most one tick (plus the length of the turn) late. It fires from
// Advance(), never from Arm(). Request timers are re-armed far more often than they fire, so moving
// a deadline later is a store: the timer stays in its slot and is put right when the slot comes up.
//
//   Timer idle_{&Connection::OnIdle, this};
//   wheel.Arm(idle_, now + options.keep_alive);
#pragma once

#include <array>
#include <cstdint>

#include "source/base/intrusive_list.h"
#include "source/base/time.h"

namespace gatehouse {

class Timer : public ListNode<Timer> {
 public:
  using Fire = void (*)(void* owner);

  Timer(Fire fire, void* owner) : fire_(fire), owner_(owner) {}
  // Fires a member function of the owner.
  template <typename T, void (T::*kMethod)()>
  [[nodiscard]] static Fire Calls() {
    return [](void* owner) { (static_cast<T*>(owner)->*kMethod)(); };
  }

  // Does not fire any more until it is armed again.
  void Cancel() { deadline_ = kNever; }
  [[nodiscard]] bool armed() const { return deadline_ != kNever; }
  [[nodiscard]] TimePoint deadline() const { return deadline_; }

 private:
  friend class TimerWheel;
  TimePoint deadline_ = kNever;
  int64_t slot_tick_ = 0;  // where it is linked
  Fire fire_;
  void* owner_;
};

class TimerWheel {
 public:
  explicit TimerWheel(TimePoint now) : tick_(TickOf(now)) {}

  // From now on `timer` fires at `deadline`, whatever it was armed for before.
  void Arm(Timer& timer, TimePoint deadline) {
    timer.deadline_ = deadline;
    const int64_t tick = TickAfter(deadline);
    if (timer.linked() && timer.slot_tick_ <= tick) return;
    Place(timer, tick, tick_ + 1);
  }
  // Fires what is due. Callbacks may arm, cancel and destroy any timer.
  void Advance(TimePoint now);
  // When Advance() has something to do next; kNever when no timer is linked. May be early.
  [[nodiscard]] TimePoint NextDue() const;

 private:
  static constexpr int kLevels = 4;
  static constexpr int kBits = 8;
  static constexpr int kSlots = 1 << kBits;
  static constexpr int kTickShift = 10;

  static int64_t TickOf(TimePoint time) { return time.time_since_epoch().count() >> kTickShift; }
  static int64_t TickAfter(TimePoint time) {
    return time == kNever ? INT64_MAX >> kTickShift
                          : (time.time_since_epoch().count() + (1 << kTickShift) - 1) >> kTickShift;
  }
  static TimePoint TimeOf(int64_t tick) { return TimePoint(Duration(tick << kTickShift)); }
  // `earliest` is the first tick whose slot will still be processed.
  void Place(Timer& timer, int64_t tick, int64_t earliest);
  void FireSlot(IntrusiveList<Timer>& slot, TimePoint now);
  void Cascade(int level);

  int64_t tick_;  // all ticks up to and including this one have been processed
  std::array<std::array<IntrusiveList<Timer>, kSlots>, kLevels> slots_;
  // A bit is set when the slot may hold a timer; cleared when the slot is processed.
  std::array<std::array<uint64_t, kSlots / 64>, kLevels> used_{};
};

}  // namespace gatehouse
