#include "source/net/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <utility>

namespace gatehouse::net {
namespace {

constexpr Duration kWallRefresh = std::chrono::seconds(1);
constexpr size_t kIdleSlabs = 8;
constexpr int kFlushRounds = 4;
constexpr Duration kTrimEvery = std::chrono::seconds(2);

short WatchedEvents(FdEvents::Trigger trigger) {
  switch (trigger) {
    case FdEvents::Trigger::kEdge:
      return EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    case FdEvents::Trigger::kLevelRead:
      return EV_READ | EV_PERSIST;
    case FdEvents::Trigger::kLevelWrite:
      return EV_WRITE | EV_PERSIST;
    case FdEvents::Trigger::kLevelBoth:
      return EV_READ | EV_WRITE | EV_PERSIST;
  }
  return 0;
}

}  // namespace

FdEvents::FdEvents(Loop& loop, int fd, void* owner, Callback callback, Trigger trigger)
    : loop_(loop), owner_(owner), callback_(callback) {
  event_assign(&event_, loop.base_, fd, WatchedEvents(trigger), &FdEvents::OnEvent, this);
  if (event_add(&event_, nullptr) != 0) callback_ = nullptr;
}

FdEvents::~FdEvents() { Unregister(); }

void FdEvents::Unregister() {
  if (std::exchange(callback_, nullptr) != nullptr) event_del(&event_);
}

void FdEvents::OnEvent(int /*fd*/, short what, void* self) {
  auto* events = static_cast<FdEvents*>(self);
  events->loop_.StartTurn();
  const Ready ready{(what & EV_READ) != 0, (what & EV_WRITE) != 0, (what & EV_CLOSED) != 0};
  events->callback_(events->owner_, ready);
}

Loop::Loop(const Clock& clock, size_t slab_budget_bytes)
    : clock_(clock),
      now_(clock.Now()),
      slabs_(slab_budget_bytes),
      timers_(now_),
      trim_timer_(Timer::Calls<Loop, &Loop::TrimSlabs>(), this) {
  event_config* config = event_config_new();
  CHECK(config != nullptr);
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_config_require_features(config, EV_FEATURE_ET);
  base_ = event_base_new_with_config(config);
  event_config_free(config);
  CHECK(base_ != nullptr);
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  CHECK(wake_fd_ >= 0);
  event_assign(&wake_event_, base_, wake_fd_, EV_READ | EV_ET | EV_PERSIST, &Loop::OnWake, this);
  event_add(&wake_event_, nullptr);
  event_assign(&timeout_event_, base_, -1, 0, &Loop::OnTimeout, this);
  ReadClock();
}

Loop::~Loop() {
  // Buried objects may bury more.
  while (Buried* buried = buried_.PopFront()) buried->free_(buried);
  event_del(&wake_event_);
  event_del(&timeout_event_);
  event_base_free(base_);
  close(wake_fd_);
}

void Loop::OnWake(int fd, short /*what*/, void* /*self*/) {
  uint64_t count;
  // The mailbox is delivered at the end of every turn; this only ends the wait.
  [[maybe_unused]] const ssize_t got = read(fd, &count, sizeof(count));
}

void Loop::OnTimeout(int /*fd*/, short /*what*/, void* self) {
  static_cast<Loop*>(self)->wake_at_ = kNever;
}

void Loop::ReadClock() {
  time_read_ = true;
  now_ = std::max(now_, clock_.Now());
  if (date_second_ < 0 || now_ - wall_read_ >= kWallRefresh) {
    wall_offset_ = clock_.WallMicros() - now_.time_since_epoch().count();
    wall_read_ = now_;
    if (date_second_ < 0) date_second_ = 0;
  }
}

std::string_view Loop::HttpDate() {
  const int64_t second = WallMicros() / 1'000'000;
  if (second != date_second_) {
    date_second_ = second;
    const time_t time = static_cast<time_t>(second);
    tm utc;
    gmtime_r(&time, &utc);
    // IMF-fixdate, RFC 9110 section 5.6.7; names are English whatever the locale.
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::snprintf(date_, sizeof(date_), "%s, %02u %s %04u %02u:%02u:%02u GMT", kDays[utc.tm_wday],
                  static_cast<unsigned>(utc.tm_mday) % 100u, kMonths[utc.tm_mon],
                  static_cast<unsigned>(utc.tm_year + 1900) % 10000u,
                  static_cast<unsigned>(utc.tm_hour) % 100u,
                  static_cast<unsigned>(utc.tm_min) % 100u,
                  static_cast<unsigned>(utc.tm_sec) % 100u);
  }
  return {date_, 29};
}

void Loop::Run() {
  while (!stop_.load(std::memory_order_acquire)) RunTurn(true);
}

void Loop::RunTurn(bool wait) {
  ++turn_;
  ArmWakeUp();
  time_read_ = false;
  // Once, also without waiting: else libevent looks for events until there are none, and a peer
  // that keeps them coming keeps the turn from its end.
  event_base_loop(base_, wait && flushes_.empty() ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
  EndTurn();
}

void Loop::ArmWakeUp() {
  const TimePoint due = timers_.NextDue();
  if (due >= wake_at_) return;  // woken before that anyway, and then armed again
  wake_at_ = due;
  const Duration wait = std::max(due - now_, Duration(0)) + Duration(500);
  timeval tv{wait.count() / 1'000'000, wait.count() % 1'000'000};
  event_add(&timeout_event_, &tv);
}

void Loop::TrimSlabs() { slabs_.TrimUnused(); }

void Loop::EndTurn() {
  StartTurn();
  timers_.Advance(now_);
  mailbox_.Deliver();
  // Flushing may ask for more work. After a few rounds the rest waits for the next turn, which then
  // does not block, so that two fast peers cannot starve the others.
  for (int round = 0; round < kFlushRounds && !flushes_.empty(); ++round) {
    IntrusiveList<Flushable> now;
    now.TakeAll(flushes_);
    while (Flushable* flushable = now.PopFront()) flushable->flush_(flushable->owner_);
  }
  while (Buried* buried = buried_.PopFront()) buried->free_(buried);
  if (slabs_.free_slabs() > kIdleSlabs && !trim_timer_.armed()) Arm(trim_timer_, kTrimEvery);
}

void Loop::Stop() {
  stop_.store(true, std::memory_order_release);
  Post([] {});
}

void Loop::Post(Mailbox::Message message) {
  if (!mailbox_.Post(std::move(message))) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(wake_fd_, &one, sizeof(one));
}

}  // namespace gatehouse::net
