#include "source/net/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "test/fakes/manual_clock.h"

namespace gatehouse::net {
namespace {

class LoopTest : public ::testing::Test {
 protected:
  ManualClock clock_;
  Loop loop_{clock_};
};

// A function as a timer, a flushable or something buried.
struct Called {
  explicit Called(std::function<void()> what)
      : function(std::move(what)),
        timer([](void* self) { static_cast<Called*>(self)->function(); }, this),
        flushable([](void* self) { static_cast<Called*>(self)->function(); }, this) {}
  std::function<void()> function;
  Timer timer;
  Flushable flushable;
};

struct Grave : Buried {
  explicit Grave(std::function<void()> what)
      : Buried([](Buried* self) {
          auto* grave = static_cast<Grave*>(self);
          grave->function();
          delete grave;
        }),
        function(std::move(what)) {}
  std::function<void()> function;
};

TEST_F(LoopTest, TimeStandsStillDuringATurn) {
  const TimePoint before = loop_.Now();
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(loop_.Now(), before);
  TimePoint seen[2];
  loop_.Post([&] {
    seen[0] = loop_.Now();
    clock_.Advance(std::chrono::seconds(1));
    seen[1] = loop_.Now();
  });
  loop_.RunTurn(false);
  EXPECT_EQ(seen[0], before + std::chrono::seconds(1));
  EXPECT_EQ(seen[1], seen[0]);
  loop_.RunTurn(false);
  EXPECT_EQ(loop_.Now(), before + std::chrono::seconds(2));
}

TEST_F(LoopTest, TheDateIsInTheFormOfHttp) {
  EXPECT_EQ(loop_.HttpDate(), "Thu, 01 Jan 2026 00:00:00 GMT");
  clock_.Advance(std::chrono::milliseconds(1500));
  loop_.RunTurn(false);
  EXPECT_EQ(loop_.HttpDate(), "Thu, 01 Jan 2026 00:00:01 GMT");
  clock_.Advance(std::chrono::hours(24 * 58) + std::chrono::seconds(3));
  loop_.RunTurn(false);
  EXPECT_EQ(loop_.HttpDate(), "Sat, 28 Feb 2026 00:00:04 GMT");
  EXPECT_EQ(loop_.WallMicros(), clock_.WallMicros());
}

TEST_F(LoopTest, TimersFireInTheTurnAfterTheirTime) {
  int fired = 0;
  Called called([&] { ++fired; });
  loop_.Arm(called.timer, std::chrono::milliseconds(10));
  loop_.RunTurn(false);
  clock_.Advance(std::chrono::milliseconds(9));
  loop_.RunTurn(false);
  EXPECT_EQ(fired, 0);
  clock_.Advance(std::chrono::milliseconds(3));
  loop_.RunTurn(false);
  EXPECT_EQ(fired, 1);
  loop_.RunTurn(false);
  EXPECT_EQ(fired, 1);
}

TEST_F(LoopTest, ATimerEndsTheWait) {
  const SystemClock system;
  Loop loop(system);
  int fired = 0;
  Called far([&] { fired += 100; });
  Called near([&] {
    ++fired;
    loop.Stop();
  });
  loop.Arm(far.timer, std::chrono::hours(1));
  loop.RunTurn(false);
  loop.Arm(near.timer, std::chrono::milliseconds(5));
  loop.Run();
  EXPECT_EQ(fired, 1);
}

TEST_F(LoopTest, ATurnIsEventsTimersMessagesFlushAndBurialInThisOrder) {
  std::string order;
  const int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  struct Watcher {
    std::string& order;
  } watcher{order};
  Called timer([&] { order += "timer "; });
  Called flush([&] { order += "flush "; });
  {
    FdEvents events(loop_, fd, &watcher,
                    [](void* self, Ready) { static_cast<Watcher*>(self)->order += "event "; });
    EXPECT_TRUE(events.registered());
    loop_.Arm(timer.timer, std::chrono::milliseconds(1));
    clock_.Advance(std::chrono::milliseconds(5));
    loop_.Bury(*new Grave([&] { order += "bury "; }));
    loop_.FlushLater(flush.flushable);
    loop_.FlushLater(flush.flushable);
    loop_.Post([&] { order += "message "; });
    loop_.RunTurn(false);
  }
  EXPECT_EQ(order, "event timer message flush bury ");
  close(fd);
}

TEST_F(LoopTest, WhatIsBuriedLivesUntilTheTurnEndsAndMayBuryMore) {
  std::string order;
  loop_.Post([&] {
    auto* grave = new Grave([&] {
      order += "first ";
      loop_.Bury(*new Grave([&] { order += "second "; }));
    });
    loop_.Bury(*grave);
    loop_.Bury(*grave);  // once is enough
    order += "alive ";
  });
  loop_.RunTurn(false);
  EXPECT_EQ(order, "alive first second ");
}

TEST_F(LoopTest, WhatIsStillBuriedGoesWithTheLoop) {
  int freed = 0;
  {
    Loop loop(clock_);
    loop.Bury(*new Grave([&] {
      ++freed;
      loop.Bury(*new Grave([&] { ++freed; }));
    }));
  }
  EXPECT_EQ(freed, 2);
}

TEST_F(LoopTest, FlushingThatAsksForMoreIsCutOffAndDoesNotLetTheNextTurnWait) {
  int flushed = 0;
  Called* self = nullptr;
  Called greedy([&] {
    ++flushed;
    loop_.FlushLater(self->flushable);
  });
  self = &greedy;
  loop_.FlushLater(greedy.flushable);
  loop_.RunTurn(true);
  const int first = flushed;
  EXPECT_GE(first, 1);
  EXPECT_LE(first, 16);
  loop_.RunTurn(true);  // returns: there is work left
  EXPECT_EQ(flushed, 2 * first);
}

TEST_F(LoopTest, AFlushableThatIsDestroyedIsForgotten) {
  int flushed = 0;
  auto second = std::make_unique<Called>([&] { flushed += 10; });
  Called first([&] {
    ++flushed;
    second.reset();
  });
  loop_.FlushLater(first.flushable);
  loop_.FlushLater(second->flushable);
  loop_.RunTurn(false);
  EXPECT_EQ(flushed, 1);
}

TEST_F(LoopTest, EdgesAreToldOnceAndLevelsUntilTheyAreGone) {
  const int edge_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  const int level_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  int edges = 0;
  int levels = 0;
  const auto count = [](void* counter, Ready ready) {
    if (ready.read) ++*static_cast<int*>(counter);
  };
  {
    FdEvents edge(loop_, edge_fd, &edges, count);
    FdEvents level(loop_, level_fd, &levels, count, FdEvents::Trigger::kLevelRead);
    for (int i = 0; i < 5; ++i) loop_.RunTurn(false);
    EXPECT_EQ(edges, 1);
    EXPECT_EQ(levels, 5);
    level.Unregister();
    const uint64_t one = 1;
    ASSERT_EQ(write(edge_fd, &one, sizeof(one)), 8);
    loop_.RunTurn(false);
    EXPECT_EQ(edges, 2);
    EXPECT_EQ(levels, 5);
  }
  close(edge_fd);
  close(level_fd);
}

TEST_F(LoopTest, ACallbackMayUnregisterItselfAndItsNeighbour) {
  struct Two {
    Two(Loop& loop, int a, int b) {
      const auto drop = [](void* self, Ready) {
        auto* two = static_cast<Two*>(self);
        ++two->called;
        two->first.reset();
        two->second.reset();
      };
      first = std::make_unique<FdEvents>(loop, a, this, drop);
      second = std::make_unique<FdEvents>(loop, b, this, drop);
    }
    int called = 0;
    std::unique_ptr<FdEvents> first;
    std::unique_ptr<FdEvents> second;
  };
  const int a = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  const int b = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  Two two(loop_, a, b);
  loop_.RunTurn(false);
  loop_.RunTurn(false);
  EXPECT_EQ(two.called, 1);
  close(a);
  close(b);
}

TEST_F(LoopTest, MessagesFromManyThreadsWakeTheLoopAndKeepTheirOrder) {
  constexpr size_t kThreads = 4;
  constexpr int kEach = 500;
  std::vector<int> next(kThreads, 0);
  size_t ended = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        loop_.Post([&, t, i] { EXPECT_EQ(next[t]++, i); });
      }
      loop_.Post([&] {
        if (++ended == kThreads) loop_.Stop();
      });
    });
  }
  loop_.Run();
  for (std::thread& thread : threads) thread.join();
  for (int count : next) EXPECT_EQ(count, kEach);
}

TEST_F(LoopTest, StopFromAnotherThreadEndsRun) {
  std::thread stopper([&] { loop_.Stop(); });
  loop_.Run();
  stopper.join();
}

TEST_F(LoopTest, AMessageFromItsOwnThreadDoesNotWaitForAnEvent) {
  int seen = 0;
  loop_.Post([&] { loop_.Post([&] { ++seen; }); });
  loop_.RunTurn(true);
  loop_.RunTurn(true);
  EXPECT_EQ(seen, 1);
}

TEST_F(LoopTest, UnusedSlabsGoBackToTheSystemWhenIdle) {
  {
    std::vector<Slice> slices;
    for (int i = 0; i < 50; ++i) {
      Slab* slab = loop_.slabs().Get();
      slices.emplace_back(slab, slab->data(), 0);
    }
  }
  EXPECT_EQ(loop_.slabs().free_slabs(), 50u);
  loop_.RunTurn(false);
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(std::chrono::seconds(3));
    loop_.RunTurn(false);
  }
  EXPECT_LE(loop_.slabs().free_slabs(), 8u);
}

}  // namespace
}  // namespace gatehouse::net
