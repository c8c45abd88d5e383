// Time as the gateway counts it: microseconds, monotonic. Wall-clock time is for logs and headers
// only. A turn of a loop reads the clock once: Loop::Now() is the time of the request path.
#pragma once

#include <chrono>
#include <cstdint>

namespace gatehouse {

using Duration = std::chrono::microseconds;

struct MonotonicTime {
  using rep = int64_t;
  using period = std::micro;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTime, Duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = MonotonicTime::time_point;

inline constexpr TimePoint kNever = TimePoint::max();
inline constexpr Duration kNoTimeout = Duration::zero();

// Where time comes from. Owner: whoever makes the loops; thread-safe; outlives them.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint Now() const = 0;
  // Microseconds since 1970.
  [[nodiscard]] virtual int64_t WallMicros() const = 0;
};

// The system's clocks.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() const override;
  [[nodiscard]] int64_t WallMicros() const override;
};

}  // namespace gatehouse
