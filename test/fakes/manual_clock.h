// ManualClock: time that moves when the test says so.
//
// Owner: the test; outlives its loops. Thread: Advance() where the loop runs.
//
//   ManualClock clock;
//   net::Loop loop(clock);
//   clock.Advance(std::chrono::seconds(5));
//   loop.RunTurn(false);
#pragma once

#include <atomic>
#include <cstdint>

#include "source/base/time.h"

namespace gatehouse {

class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() const override {
    return TimePoint(Duration(micros_.load(std::memory_order_relaxed)));
  }
  // It was 2026-01-01 00:00:00 UTC when the clock was made.
  [[nodiscard]] int64_t WallMicros() const override {
    return kWallStart + micros_.load(std::memory_order_relaxed) - kStart;
  }
  void Advance(Duration by) { micros_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  static constexpr int64_t kStart = 1'000'000'000;
  static constexpr int64_t kWallStart = 1'767'225'600'000'000;
  std::atomic<int64_t> micros_{kStart};
};

}  // namespace gatehouse
