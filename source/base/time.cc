#include "source/base/time.h"

#include <ctime>

namespace gatehouse {
namespace {

int64_t ReadMicros(clockid_t id) {
  timespec ts;
  clock_gettime(id, &ts);
  return int64_t{ts.tv_sec} * 1'000'000 + ts.tv_nsec / 1000;
}

}  // namespace

TimePoint SystemClock::Now() const { return TimePoint(Duration(ReadMicros(CLOCK_MONOTONIC))); }
int64_t SystemClock::WallMicros() const { return ReadMicros(CLOCK_REALTIME); }

}  // namespace gatehouse
