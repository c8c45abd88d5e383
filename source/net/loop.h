// Loop: one thread's events, time, timers, slabs and end-of-turn work. The only context object.
//
// Owner: a worker or main. Thread: all but Post() and Stop() belong to the thread that calls Run().
// A turn: wait for readiness, run what is ready, fire timers, deliver the mailbox; then flush
// (connections with output write once) and bury (connections and exchanges that ended are freed).
// Nothing that happens in a turn frees an object that a caller up the stack still uses.
//
//   Loop loop(clock);
//   FdEvents events(loop, fd, this, [](void* self, Ready ready) { ... });
//   loop.Post([&] { loop.Stop(); });
//   loop.Run();
#pragma once

#include <atomic>
#include <cstdint>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "source/base/intrusive_list.h"
#include "source/base/mailbox.h"
#include "source/base/slice.h"
#include "source/base/time.h"
#include "source/base/timer_wheel.h"

namespace gatehouse::net {

class Loop;

// What a file descriptor is ready for. `hangup`: the peer has sent its last byte.
struct Ready {
  bool read : 1;
  bool write : 1;
  bool hangup : 1;
};

// Edge-triggered readiness of one file descriptor, which it does not own. Unregistered by the
// destructor, which must run before the descriptor is closed.
class FdEvents {
 public:
  using Callback = void (*)(void* owner, Ready ready);
  enum class Trigger : uint8_t { kEdge, kLevelRead, kLevelWrite, kLevelBoth };

  FdEvents(Loop& loop, int fd, void* owner, Callback callback, Trigger trigger = Trigger::kEdge);
  ~FdEvents();
  FdEvents(const FdEvents&) = delete;
  FdEvents& operator=(const FdEvents&) = delete;
  // No callback comes any more. Before the descriptor is closed.
  void Unregister();
  // False when the kernel refused to watch it (a regular file, or out of memory).
  [[nodiscard]] bool registered() const { return callback_ != nullptr; }
  [[nodiscard]] int fd() const { return event_get_fd(&event_); }
  [[nodiscard]] Loop& loop() const { return loop_; }

 private:
  static void OnEvent(int fd, short what, void* self);
  event event_;
  Loop& loop_;
  void* owner_;
  Callback callback_;  // null when not registered
};

// Work at the end of this turn, once however often it was asked for: Loop::FlushLater().
class Flushable : public ListNode<Flushable> {
 public:
  using Flush = void (*)(void* owner);
  Flushable(Flush flush, void* owner) : flush_(flush), owner_(owner) {}

 private:
  friend class Loop;
  Flush flush_;
  void* owner_;
};

// Something that is freed at the end of this turn: Loop::Bury(). For connections and exchanges.
class Buried : public ListNode<Buried, class BuriedTag> {
 public:
  using Free = void (*)(Buried* buried);
  explicit Buried(Free free) : free_(free) {}

 private:
  friend class Loop;
  Free free_;
};

class Loop {
 public:
  // `clock` outlives the loop.
  explicit Loop(const Clock& clock, size_t slab_budget_bytes = SIZE_MAX);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Until Stop().
  void Run();
  // One turn; waits for something to do if `wait`. For tests and for draining at the end.
  void RunTurn(bool wait);
  // Thread-safe. Run() returns after the current turn.
  void Stop();
  // Thread-safe. `message` runs on the loop's thread; never when the loop is not run again.
  void Post(Mailbox::Message message);

  // The time at the start of this turn.
  [[nodiscard]] TimePoint Now() const { return now_; }
  // Microseconds since 1970 at the start of this turn.
  [[nodiscard]] int64_t WallMicros() const {
    return now_.time_since_epoch().count() + wall_offset_;
  }
  // "Sun, 06 Nov 1994 08:49:37 GMT" of this second; valid until the turn ends.
  [[nodiscard]] std::string_view HttpDate();

  [[nodiscard]] SlabPool& slabs() { return slabs_; }
  void Arm(Timer& timer, TimePoint deadline) { timers_.Arm(timer, deadline); }
  void Arm(Timer& timer, Duration after) { timers_.Arm(timer, now_ + after); }
  void FlushLater(Flushable& flushable) {
    if (!flushable.linked()) flushes_.PushBack(flushable);
  }
  void Bury(Buried& buried) {
    if (!buried.linked()) buried_.PushBack(buried);
  }
  [[nodiscard]] event_base* base() { return base_; }
  // Turns since the start: lets "once per turn" be checked without a clock.
  [[nodiscard]] uint64_t turn() const { return turn_; }

 private:
  friend class FdEvents;
  static void OnWake(int fd, short what, void* self);
  static void OnTimeout(int fd, short what, void* self);
  void ReadClock();
  void StartTurn() {
    if (!time_read_) ReadClock();
  }
  void EndTurn();
  void ArmWakeUp();
  void TrimSlabs();

  const Clock& clock_;
  event_base* base_;
  event wake_event_;
  event timeout_event_;
  int wake_fd_;
  bool time_read_ = false;
  TimePoint now_;
  TimePoint wake_at_ = kNever;
  int64_t wall_offset_ = 0;
  TimePoint wall_read_;
  int64_t date_second_ = -1;
  char date_[32] = "Thu, 01 Jan 1970 00:00:00 GMT";
  uint64_t turn_ = 0;
  std::atomic<bool> stop_ = false;
  // Order of destruction matters: slabs are given back by everything above.
  SlabPool slabs_;
  TimerWheel timers_;
  Mailbox mailbox_;
  Timer trim_timer_;
  IntrusiveList<Flushable> flushes_;
  IntrusiveList<Buried, BuriedTag> buried_;
};

}  // namespace gatehouse::net
