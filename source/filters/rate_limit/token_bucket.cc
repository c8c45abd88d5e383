#include "source/filters/rate_limit/token_bucket.h"

#include <sched.h>

#include <algorithm>
#include <bit>

#include "source/base/check.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr uint64_t kHorizon = uint64_t{1} << 51;  // microseconds: 71 years of uptime
constexpr uint64_t kMaxPerSecond = 1'000'000'000;
constexpr uint64_t kTenYears = uint64_t{10} * 366 * 86400 * 1'000'000;
constexpr int kMaxTokenBits = 40;

// Yields to the holder, who may have lost its processor.
void Lock(std::atomic<uint64_t>& lock) {
  for (int spins = 0; lock.exchange(1, std::memory_order_acquire) != 0; ++spins) {
    if (spins >= 64) sched_yield();
  }
}
void Unlock(std::atomic<uint64_t>& lock) { lock.store(0, std::memory_order_release); }

}  // namespace

bool BucketSpec::Valid() const {
  if (amount == 0 || burst == 0 || per <= Duration::zero()) return false;
  const auto period = static_cast<uint64_t>(per.count());
  const Wide full_after = (Wide{burst} * period + amount - 1) / amount;
  return period <= kTenYears && full_after <= kTenYears &&
         Wide{amount} * 1'000'000 <= Wide{kMaxPerSecond} * period;
}

BucketRule::BucketRule(const BucketSpec& spec) : period_(static_cast<uint64_t>(spec.per.count())) {
  CHECK(spec.Valid());
  // As fine a unit as lets time and burst, in units, fit into 63 bits.
  const Wide tokens = Wide{kHorizon} * spec.amount / period_ + spec.burst + 2;
  const int bits = std::bit_width(static_cast<uint64_t>(tokens));
  int token_bits = std::clamp(62 - bits, 0, kMaxTokenBits);
  token_bits = std::min(token_bits, 63 - static_cast<int>(std::bit_width(spec.amount)));
  token_ = uint64_t{1} << token_bits;
  units_per_period_ = spec.amount * token_;
  burst_ = spec.burst * token_;
}

uint64_t BucketRule::Units(TimePoint now) const {
  const auto micros = static_cast<uint64_t>(std::max<int64_t>(now.time_since_epoch().count(), 0));
  return static_cast<uint64_t>(Wide{micros} * units_per_period_ / period_);
}

Duration BucketRule::Until(uint64_t units, TimePoint now) const {
  const Wide micros = (Wide{units} * period_ + units_per_period_ - 1) / units_per_period_;
  return Duration(static_cast<int64_t>(micros)) - now.time_since_epoch();
}

BucketTake BucketRule::Describe(uint64_t word, uint64_t units, TimePoint now) const {
  BucketTake take;
  if (word <= units) {
    take.remaining = burst_ / token_;
    return take;
  }
  const uint64_t used = word - units;
  const uint64_t left = used < burst_ ? burst_ - used : 0;
  take.remaining = left / token_;
  take.full_after = Until(word, now);
  if (left < token_) take.retry_after = Until(word + token_ - burst_, now);
  return take;
}

BucketTake BucketRule::TakeFirst(std::atomic<uint64_t>& word, TimePoint now) const {
  const uint64_t units = Units(now);
  const uint64_t first = units + token_;
  word.store(first, std::memory_order_release);
  BucketTake take = Describe(first, units, now);
  take.allowed = true;
  take.word = &word;
  return take;
}

void BucketRule::GiveBack(std::atomic<uint64_t>& word) const {
  uint64_t old = word.load(std::memory_order_relaxed);
  while (old >= token_ &&
         !word.compare_exchange_weak(old, old - token_, std::memory_order_relaxed)) {
  }
}

BucketTable::BucketTable(const BucketSpec& spec, size_t max_keys) : rule_(spec) {
  // Three keys for seven places: with so many sets, one in a hundred is over-full by chance.
  sets_count_ = std::max<size_t>((max_keys + 2) / 3, 1);
  memory_.reset(std::calloc(sets_count_ + 1, sizeof(Set)));
  CHECK(memory_ != nullptr);
  const auto at = reinterpret_cast<uintptr_t>(memory_.get());
  sets_ = reinterpret_cast<Set*>((at + sizeof(Set) - 1) / sizeof(Set) * sizeof(Set));
}

size_t BucketTable::Find(const Set& set, uint64_t tag) {
  for (size_t way = 0; way < kWays; ++way) {
    if (set.tags[way].load(std::memory_order_acquire) == tag) return way;
  }
  return kWays;
}

BucketTake BucketTable::Take(uint64_t key_hash, TimePoint now) {
  const auto index = static_cast<size_t>((Wide{key_hash} * sets_count_) >> 64);
  Set& set = sets_[index];
  const uint64_t tag = key_hash | 1;
  const size_t way = Find(set, tag);
  if (way < kWays) {
    const std::atomic<uint64_t>& owner = set.tags[way];
    const auto take = rule_.TakeWhile(set.words[way], now,
                                      [&] { return owner.load(std::memory_order_acquire) == tag; });
    if (take) return *take;
  }
  return Insert(set, tag, now);
}

// Only one thread at a time gives a bucket to a key, so that no key ever has two. The tag is
// cleared before the word changes and set after it, so whoever sees the new word sees that it is
// not his.
BucketTake BucketTable::Insert(Set& set, uint64_t tag, TimePoint now) {
  Lock(set.lock);
  size_t way = Find(set, tag);
  if (way < kWays) {
    const BucketTake take = rule_.Take(set.words[way], now);
    Unlock(set.lock);
    return take;
  }
  uint64_t least = UINT64_MAX;
  for (size_t i = 0; i < kWays; ++i) {
    const uint64_t word = set.words[i].load(std::memory_order_relaxed);
    if (word < least) {
      least = word;
      way = i;
    }
  }
  if (rule_.IsHot(least, now)) {
    Unlock(set.lock);
    shared_.fetch_add(1, std::memory_order_relaxed);
    return rule_.Take(set.shared, now);
  }
  if (!rule_.IsFull(least, now)) displaced_.fetch_add(1, std::memory_order_relaxed);
  set.tags[way].store(0, std::memory_order_relaxed);
  const BucketTake take = rule_.TakeFirst(set.words[way], now);
  set.tags[way].store(tag, std::memory_order_release);
  Unlock(set.lock);
  return take;
}

}  // namespace gatehouse::filters
