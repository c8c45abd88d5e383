// What a local check costs. The goal: less than 100 ns at a million live keys, in random order.
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "source/base/random.h"
#include "source/filters/rate_limit/limit_table.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kStart = 1'800'000'000'000'000;
constexpr size_t kMillion = 1'000'000;

LimitSpec Of(LimitKind kind, uint64_t amount, Duration per) {
  return {.kind = kind, .amount = amount, .per = per, .capacity = amount};
}

LimitRules Rules(const std::vector<LimitSpec>& specs) { return *LimitRules::Make(specs); }

std::vector<uint64_t> Keys(size_t count) {
  Random random(1);
  std::vector<uint64_t> keys(count);
  for (uint64_t& key : keys) key = random.Next();
  return keys;
}

// All keys are live: none has become idle since it was last used. Each is asked for once in a
// round, in an order that has nothing to do with where it is.
void RunOverKeys(benchmark::State& state, const std::vector<LimitSpec>& specs, size_t count) {
  LimitTable table(Rules(specs), count);
  const std::vector<uint64_t> keys = Keys(count);
  LimitTakes takes;
  for (uint64_t key : keys) table.Take(key, 1, kStart, takes);
  size_t i = 0;
  int64_t now = kStart;
  uint64_t allowed = 0;
  for (auto _ : state) {
    allowed += table.Take(keys[i], 1, ++now, takes);
    if (++i == count) i = 0;
  }
  benchmark::DoNotOptimize(allowed);
  state.counters["displaced"] = static_cast<double>(table.displaced());
  state.counters["shared"] = static_cast<double>(table.shared());
}

void BM_TokenBucket(benchmark::State& state) {
  RunOverKeys(state, {Of(LimitKind::kTokenBucket, 1000, 1h)}, static_cast<size_t>(state.range(0)));
}
BENCHMARK(BM_TokenBucket)->Arg(1000)->Arg(100'000)->Arg(kMillion);

void BM_SlidingWindow(benchmark::State& state) {
  RunOverKeys(state, {Of(LimitKind::kSlidingWindow, 1000, 1h)}, kMillion);
}
BENCHMARK(BM_SlidingWindow);

void BM_FixedWindow(benchmark::State& state) {
  RunOverKeys(state, {Of(LimitKind::kFixedWindow, 1000, 1h)}, kMillion);
}
BENCHMARK(BM_FixedWindow);

void BM_MonthlyQuota(benchmark::State& state) {
  RunOverKeys(state,
              {{.kind = LimitKind::kCalendar, .amount = 1000, .period = CalendarPeriod::kMonth}},
              kMillion);
}
BENCHMARK(BM_MonthlyQuota);

void BM_TwoLimits(benchmark::State& state) {
  RunOverKeys(state,
              {Of(LimitKind::kTokenBucket, 1000, 1h), Of(LimitKind::kFixedWindow, 5000, 24h)},
              kMillion);
}
BENCHMARK(BM_TwoLimits);

void BM_SlidingLog(benchmark::State& state) {
  RunOverKeys(state, {Of(LimitKind::kSlidingLog, 40, 1h)}, kMillion);
}
BENCHMARK(BM_SlidingLog);

// As the filter can have it: the place is fetched while there is other work to do.
void BM_TokenBucketPrefetched(benchmark::State& state) {
  constexpr size_t kAhead = 4;
  LimitTable table(Rules({Of(LimitKind::kTokenBucket, 1000, 1h)}), kMillion);
  std::vector<uint64_t> keys = Keys(kMillion);
  for (size_t i = 0; i < kAhead; ++i) keys.push_back(keys[i]);
  LimitTakes takes;
  for (uint64_t key : keys) table.Take(key, 1, kStart, takes);
  size_t i = 0;
  int64_t now = kStart;
  for (auto _ : state) {
    table.Prefetch(keys[i + kAhead]);
    table.Take(keys[i], 1, ++now, takes);
    if (++i == kMillion) i = 0;
  }
}
BENCHMARK(BM_TokenBucketPrefetched);

// Every request is of a key that was never seen: a flood.
void BM_NewKeys(benchmark::State& state) {
  LimitTable table(Rules({Of(LimitKind::kTokenBucket, 1000, 1h)}), 100'000);
  Random random(2);
  LimitTakes takes;
  int64_t now = kStart;
  for (auto _ : state) table.Take(random.Next(), 1, ++now, takes);
  state.counters["displaced"] = static_cast<double>(table.displaced());
}
BENCHMARK(BM_NewKeys);

// One key, by all threads at once. `limit` decides whether they are let through.
void RunHotKey(benchmark::State& state, std::shared_ptr<LimitTable>& table,
               const std::vector<LimitSpec>& specs) {
  if (state.thread_index() == 0) table = std::make_shared<LimitTable>(Rules(specs), 100);
  LimitTakes takes;
  int64_t now = kStart;
  for (auto _ : state) benchmark::DoNotOptimize(table->Take(7, 1, ++now, takes));
}

std::shared_ptr<LimitTable> hot_allowed;
void BM_HotKeyAllowed(benchmark::State& state) {
  RunHotKey(state, hot_allowed, {Of(LimitKind::kFixedWindow, 1'000'000'000'000, 1h)});
}
BENCHMARK(BM_HotKeyAllowed)->Threads(1)->Threads(2);

std::shared_ptr<LimitTable> hot_rejected;
void BM_HotKeyRejected(benchmark::State& state) {
  RunHotKey(state, hot_rejected, {Of(LimitKind::kTokenBucket, 10, 1h)});
}
BENCHMARK(BM_HotKeyRejected)->Threads(1)->Threads(2);

std::shared_ptr<LimitTable> hot_several;
void BM_HotKeyOfTwoLimits(benchmark::State& state) {
  RunHotKey(state, hot_several,
            {Of(LimitKind::kFixedWindow, 1'000'000'000'000, 1h),
             Of(LimitKind::kTokenBucket, 1'000'000'000, 1s)});
}
BENCHMARK(BM_HotKeyOfTwoLimits)->Threads(1)->Threads(2);

}  // namespace
}  // namespace gatehouse::filters
