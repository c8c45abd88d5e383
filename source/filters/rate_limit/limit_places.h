// How a LimitTable lays out its memory. Included by its own sources only.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "source/filters/rate_limit/limit_log.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/filters/rate_limit/limit_word.h"

namespace gatehouse::filters {

inline constexpr size_t kLimitWays = 7;
inline constexpr size_t kSharedWay = 7;
inline constexpr size_t kLimitPlaces = 8;

// Three cache lines, fetched together. A place's lock is held to count several limits or a log, to
// give the place to another key, and to go over to other rules; kSharedWay's also while a key gets
// a place. Who holds that one may take another, not the other way round.
struct alignas(64) LimitTable::Set {
  std::atomic<uint64_t> tags[kLimitWays];  // 0: free
  std::atomic<uint8_t> locks[kLimitPlaces];
  LimitWord words[kLimitPlaces];  // the first limit's state
};

// The states of a place's other limits.
struct LimitTable::More {
  LimitState states[LimitRules::kMax - 1];
};

// The rules as they were from one Change() to the next.
struct LimitTable::Generation {
  Generation(LimitRules its_rules, uint32_t its_version)
      : limits(std::move(its_rules)), version(its_version), lock_free(limits.lock_free()) {
    for (const LimitRule& rule : limits.rules()) {
      counts_running |= rule.kind() == LimitKind::kConcurrency;
    }
  }
  [[nodiscard]] std::span<const LimitRule> rules() const { return limits.rules(); }

  LimitRules limits;
  uint32_t version;  // its slot
  bool lock_free;
  bool counts_running = false;
};

// Yields to the holder, who may have lost its processor.
class PlaceLock {
 public:
  explicit PlaceLock(std::atomic<uint8_t>& lock) : lock_(lock) {
    for (int spins = 0; lock_.exchange(1, std::memory_order_acquire) != 0; ++spins) {
      if (spins >= 64) sched_yield();
    }
  }
  ~PlaceLock() { lock_.store(0, std::memory_order_release); }
  PlaceLock(const PlaceLock&) = delete;
  PlaceLock& operator=(const PlaceLock&) = delete;

 private:
  std::atomic<uint8_t>& lock_;
};

// Where a key's place is if it was free when the key came, as most are. Looked at first, so that
// the processor need not wait for the tags to fetch the rest.
inline size_t FirstWay(uint64_t tag) {
  return static_cast<size_t>((tag & 0xffffffff) * kLimitWays >> 32);
}

// kLimitWays: none.
template <typename Tags>
size_t FindWay(const Tags& tags, uint64_t tag) {
  const size_t first = FirstWay(tag);
  if (tags[first].load(std::memory_order_acquire) == tag) return first;
  for (size_t way = 0; way < kLimitWays; ++way) {
    if (tags[way].load(std::memory_order_acquire) == tag) return way;
  }
  return kLimitWays;
}

inline bool IsLog(const LimitRule& rule) { return rule.kind() == LimitKind::kSlidingLog; }

// A state of kSlidingLog is the address of its log; 0: empty.
inline LimitLog* LogOf(const LimitState& state) { return reinterpret_cast<LimitLog*>(state.a); }
inline LimitState StateOf(LimitLog* log) { return {reinterpret_cast<uint64_t>(log), 0}; }

}  // namespace gatehouse::filters
