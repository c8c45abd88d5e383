// The wheel against a list of deadlines: never early, at most one tick late, whatever was armed,
// moved, cancelled or destroyed before.
#include "source/base/timer_wheel.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

constexpr Duration kTick{1024};

TimePoint At(int64_t micros) { return TimePoint(Duration(micros)); }

// A timer that notes when it fired.
class Probe {
 public:
  explicit Probe(const TimePoint& now)
      : now_(now), timer_(Timer::Calls<Probe, &Probe::Fire>(), this) {}
  Timer& timer() { return timer_; }

  std::vector<TimePoint> fired;
  std::function<void()> then;

 private:
  void Fire() {
    fired.push_back(now_);
    if (then) std::exchange(then, {})();
  }
  const TimePoint& now_;
  Timer timer_;
};

class TimerWheelTest : public ::testing::Test {
 protected:
  void Advance(TimePoint to) {
    now_ = to;
    wheel_.Advance(to);
  }

  // Odd, so that nothing falls on a boundary by accident.
  TimePoint now_ = At(987'654'321);
  TimerWheel wheel_{now_};
};

// Every distance in ticks around the borders of the levels, from every kind of place in a round.
TEST_F(TimerWheelTest, EveryDistanceFromEveryPlaceInARound) {
  std::vector<int64_t> distances;
  for (int64_t border : {int64_t{1}, int64_t{256}, int64_t{65536}, int64_t{1} << 24}) {
    for (int64_t off : {-2, -1, 0, 1, 2, 100, 254, 255, 256, 257}) {
      if (border + off > 0) distances.push_back(border + off);
    }
  }
  for (int64_t start : {0, 1, 128, 254, 255, 256, 65534, 65535, 65536, 16777215, 16777216}) {
    for (int64_t distance : distances) {
      SCOPED_TRACE(testing::Message() << "start " << start << " distance " << distance);
      TimePoint now = At(start * 1024 + 7);
      TimerWheel wheel(now);
      Probe probe(now);
      const TimePoint deadline = now + distance * kTick;
      wheel.Arm(probe.timer(), deadline);
      now = deadline - Duration(1);
      wheel.Advance(now);
      ASSERT_TRUE(probe.fired.empty()) << "early";
      now = deadline + kTick;
      wheel.Advance(now);
      ASSERT_EQ(probe.fired.size(), 1u) << "late";
    }
  }
}

// The same, walking there in the steps of NextDue() as a loop does.
TEST_F(TimerWheelTest, NextDueLeadsToEveryDeadline) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    TimePoint now = At(static_cast<int64_t>(random() % (int64_t{1} << 36)));
    TimerWheel wheel(now);
    Probe probe(now);
    const int64_t reach = int64_t{1} << (random() % 27);
    const TimePoint deadline =
        now + Duration(static_cast<int64_t>(random() % 1024 + 1) * reach % 20'000'000'000);
    wheel.Arm(probe.timer(), deadline);
    int steps = 0;
    while (probe.fired.empty()) {
      const TimePoint due = wheel.NextDue();
      ASSERT_LE(due, deadline + kTick) << "would sleep too long";
      ASSERT_GT(due, now - kTick) << "would spin";
      now = std::max(due, now);
      wheel.Advance(now);
      ASSERT_LT(++steps, 100'000);
    }
    ASSERT_GE(now, deadline);
    ASSERT_LE(now, deadline + kTick);
  }
}

TEST_F(TimerWheelTest, NothingToDoIsNever) {
  EXPECT_EQ(wheel_.NextDue(), kNever);
  {
    Probe probe(now_);
    wheel_.Arm(probe.timer(), now_ + std::chrono::seconds(1));
    EXPECT_NE(wheel_.NextDue(), kNever);
  }
  // The slot is looked at once more; then it is quiet.
  Advance(now_ + std::chrono::seconds(2));
  EXPECT_EQ(wheel_.NextDue(), kNever);
}

// What a naive model says of a timer.
struct Modelled {
  std::unique_ptr<Probe> probe;
  TimePoint deadline = kNever;
};

class WheelModel {
 public:
  explicit WheelModel(uint32_t seed)
      : random_(seed), now_(At(1'000'000 + static_cast<int64_t>(seed) * 77'777)), wheel_(now_) {
    timers_.resize(60);
    for (Modelled& timer : timers_) timer.probe = std::make_unique<Probe>(now_);
  }

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      Modelled& timer = timers_[random_() % timers_.size()];
      switch (random_() % 6) {
        case 0:
        case 1:
        case 2:
          Arm(timer, now_ + RandomWait());
          break;
        case 3:
          timer.probe->timer().Cancel();
          timer.deadline = kNever;
          break;
        case 4:
          timer.probe = std::make_unique<Probe>(now_);
          timer.deadline = kNever;
          break;
        default:
          Advance(RandomStep());
      }
      EXPECT_EQ(timer.probe->timer().armed(), timer.deadline != kNever);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  Duration RandomWait() {
    switch (random_() % 5) {
      case 0:
        return Duration(random_() % 3000);
      case 1:
        return Duration(random_() % 300'000);
      case 2:
        return Duration(random_() % 80'000'000);
      case 3:
        return Duration(static_cast<int64_t>(random_() % 20) * 1000 * 1024);
      default:
        return Duration(static_cast<int64_t>(random_()) * 16);
    }
  }
  // Long ones are rare: they take their time here as well.
  Duration RandomStep() {
    const Duration wait = RandomWait() / 4;
    return random_() % 16 == 0 ? wait : wait % std::chrono::seconds(60);
  }
  void Arm(Modelled& timer, TimePoint deadline) {
    wheel_.Arm(timer.probe->timer(), deadline);
    timer.deadline = deadline;
    timer.probe->then = nullptr;
    if (random_() % 4 != 0) return;
    // From its callback it cancels, moves or destroys another one.
    Modelled* other = &timers_[random_() % timers_.size()];
    if (other == &timer) return;
    const uint32_t what = random_() % 3;
    const Duration wait = RandomWait();
    timer.probe->then = [this, other, what, wait] {
      // It may have fired just before; then that was right.
      if (!other->probe->fired.empty()) {
        EXPECT_LE(other->deadline, now_);
      }
      other->probe->fired.clear();
      other->deadline = kNever;
      if (what == 0) other->probe->timer().Cancel();
      if (what == 1) other->probe = std::make_unique<Probe>(now_);
      if (what == 2) {
        other->probe->then = nullptr;
        wheel_.Arm(other->probe->timer(), now_ + wait);
        other->deadline = now_ + wait;
      }
    };
  }
  void Advance(Duration by) {
    const TimePoint before = now_;
    now_ += by;
    wheel_.Advance(now_);
    for (Modelled& timer : timers_) {
      std::vector<TimePoint>& fired = timer.probe->fired;
      ASSERT_LE(fired.size(), 1u);
      if (!fired.empty()) {
        ASSERT_NE(timer.deadline, kNever) << "fired though it was not armed";
        ASSERT_LE(timer.deadline, now_) << "early";
        timer.deadline = kNever;
        fired.clear();
      } else if (timer.deadline != kNever) {
        ASSERT_GT(timer.deadline + kTick, now_)
            << "late; it was " << before.time_since_epoch().count();
      }
    }
  }

  std::mt19937 random_;
  TimePoint now_;
  TimerWheel wheel_;
  std::vector<Modelled> timers_;
};

TEST(TimerWheelModelTest, RandomOperationsAgreeWithAListOfDeadlines) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    WheelModel(seed).Run(1000);
    if (HasFatalFailure()) return;
  }
}

TEST_F(TimerWheelTest, LaterIsAStoreAndEarlierIsKept) {
  Probe probe(now_);
  const TimePoint start = now_;
  wheel_.Arm(probe.timer(), start + std::chrono::seconds(1));
  wheel_.Arm(probe.timer(), start + std::chrono::seconds(60));
  Advance(start + std::chrono::seconds(59));
  EXPECT_TRUE(probe.fired.empty());
  wheel_.Arm(probe.timer(), start + std::chrono::milliseconds(59'010));
  Advance(start + std::chrono::milliseconds(59'012));
  EXPECT_EQ(probe.fired.size(), 1u);
  EXPECT_FALSE(probe.timer().armed());
}

TEST_F(TimerWheelTest, APastDeadlineFiresFromAdvanceAndNotFromArm) {
  Probe probe(now_);
  wheel_.Arm(probe.timer(), now_ - std::chrono::seconds(5));
  EXPECT_TRUE(probe.fired.empty());
  Advance(now_ + 2 * kTick);
  EXPECT_EQ(probe.fired.size(), 1u);
}

TEST_F(TimerWheelTest, BeyondTheWheelIsStillKept) {
  Probe probe(now_);
  const TimePoint deadline = now_ + std::chrono::hours(24 * 52);
  wheel_.Arm(probe.timer(), deadline);
  Advance(deadline - std::chrono::seconds(1));
  EXPECT_TRUE(probe.fired.empty());
  Advance(deadline + kTick);
  EXPECT_EQ(probe.fired.size(), 1u);
}

TEST_F(TimerWheelTest, ACallbackMayDestroyItsNeighbourAndItself) {
  auto first = std::make_unique<Probe>(now_);
  auto second = std::make_unique<Probe>(now_);
  const TimePoint due = now_ + std::chrono::milliseconds(10);
  wheel_.Arm(first->timer(), due);
  wheel_.Arm(second->timer(), due);
  first->then = [&] { second.reset(); };
  Advance(due + kTick);
  EXPECT_EQ(first->fired.size(), 1u);

  struct Alone {
    Alone() : timer([](void* self) { delete static_cast<Alone*>(self); }, this) {}
    Timer timer;
  };
  wheel_.Arm((new Alone)->timer, now_ + std::chrono::milliseconds(10));
  Advance(now_ + std::chrono::milliseconds(20));
}

TEST_F(TimerWheelTest, ACallbackThatArmsItselfFiresOncePerAdvance) {
  struct Ticking {
    explicit Ticking(TimerWheel& owner, const TimePoint& time)
        : wheel(owner), now(time), timer(Timer::Calls<Ticking, &Ticking::Fire>(), this) {}
    void Fire() {
      ++count;
      wheel.Arm(timer, now + std::chrono::milliseconds(10));
    }
    TimerWheel& wheel;
    const TimePoint& now;
    int count = 0;
    Timer timer;
  } ticking(wheel_, now_);
  ticking.Fire();
  for (int i = 0; i < 10; ++i) Advance(now_ + std::chrono::milliseconds(12));
  EXPECT_EQ(ticking.count, 11);
}

}  // namespace
}  // namespace gatehouse
