// Token buckets for very many keys, shared by all threads, in bounded memory.
//
// BucketRule is the arithmetic: one bucket is one 64-bit word, changed by compare-and-swap, with no
// clock and no lock. BucketTable finds the word of a key. Built on main, used by all workers; both
// live as long as anything that uses them (a shared_ptr in the config). Time is handed in.
//
//   BucketTable table({.amount = 10, .per = 1s, .burst = 100}, 100000, seed);
//   BucketTake take = table.Take(key_hash, loop.Now());
//   if (!take.allowed) retry after take.retry_after;
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

#include "source/base/time.h"

namespace gatehouse::filters {

struct BucketSpec {
  uint64_t amount = 0;  // tokens ...
  Duration per{};       // ... in this time
  uint64_t burst = 0;   // what the bucket holds

  // What BucketRule can count with: rates up to 1e9/s, and a full bucket within ten years.
  [[nodiscard]] bool Valid() const;
};

// What one request got.
struct BucketTake {
  bool allowed = false;
  uint64_t remaining = 0;                 // whole tokens that are left
  Duration retry_after{};                 // until the next token is there; zero if one is
  Duration full_after{};                  // until the bucket is full again
  std::atomic<uint64_t>* word = nullptr;  // to give the token back to
};

// Counts in fractions ("units") of a token. A bucket's word is the time, in units, at which it will
// be full again (the "theoretical arrival time" of the generic cell rate algorithm): it may not be
// more than `burst` tokens ahead of now. A word in the past is a full bucket, so 0 is one.
//
// Time becomes units by one exact division; rounding errors do not add up, however odd the rate.
class BucketRule {
 public:
  explicit BucketRule(const BucketSpec& spec);  // Valid()

  // Takes a token out of `word` if there is one.
  [[nodiscard]] BucketTake Take(std::atomic<uint64_t>& word, TimePoint now) const {
    return *TakeWhile(word, now, [] { return true; });
  }
  // Nothing is taken, and nothing returned, once mine() is false: the word is another key's now.
  template <typename Mine>
  [[nodiscard]] std::optional<BucketTake> TakeWhile(std::atomic<uint64_t>& word, TimePoint now,
                                                    Mine&& mine) const {
    const uint64_t units = Units(now);
    uint64_t old = word.load(std::memory_order_acquire);
    while (mine()) {
      const uint64_t next = std::max(old, units) + token_;
      if (next > units + burst_) return Describe(old, units, now);
      // A failed exchange has read the word again.
      if (word.compare_exchange_weak(old, next, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
        BucketTake take = Describe(next, units, now);
        take.allowed = true;
        take.word = &word;
        return take;
      }
    }
    return std::nullopt;
  }
  // Puts one back. The bucket may have changed hands since; then another key has one token more.
  void GiveBack(std::atomic<uint64_t>& word) const;

  // Takes the first token of a new bucket, which `word` becomes.
  [[nodiscard]] BucketTake TakeFirst(std::atomic<uint64_t>& word, TimePoint now) const;
  [[nodiscard]] bool IsFull(uint64_t word, TimePoint now) const { return word <= Units(now); }
  // More than half of the burst is used up.
  [[nodiscard]] bool IsHot(uint64_t word, TimePoint now) const {
    return word > Units(now) + burst_ / 2;
  }

 private:
  [[nodiscard]] BucketTake Describe(uint64_t word, uint64_t units, TimePoint now) const;
  [[nodiscard]] uint64_t Units(TimePoint now) const;
  // From `now` to the first moment whose Units() are that many.
  [[nodiscard]] Duration Until(uint64_t units, TimePoint now) const;

  uint64_t units_per_period_;  // amount * token
  uint64_t period_;            // microseconds
  uint64_t token_;             // units
  uint64_t burst_;             // units
};

// A fixed number of sets of seven buckets. A key belongs to one set; its bucket is found by looking
// at seven tags in one cache line. A key that has no bucket takes the place of one that is full
// again, which forgets nothing; or else of the set's least used one, which then starts anew. A hot
// bucket (more than half used) is never given up: a key that finds only hot ones shares an eighth
// bucket with the others that do. So no number of keys lets any one of them through faster.
//
// Keys are told apart by a 64-bit hash: hash them with a secret seed.
class BucketTable {
 public:
  BucketTable(const BucketSpec& spec, size_t max_keys);
  BucketTable(const BucketTable&) = delete;
  BucketTable& operator=(const BucketTable&) = delete;

  [[nodiscard]] BucketTake Take(uint64_t key_hash, TimePoint now);
  void GiveBack(const BucketTake& take) const {
    if (take.word != nullptr) rule_.GiveBack(*take.word);
  }
  [[nodiscard]] const BucketRule& rule() const { return rule_; }
  // Keys that took over a bucket before it was full, and takes from the shared eighths.
  [[nodiscard]] uint64_t displaced() const { return displaced_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t shared() const { return shared_.load(std::memory_order_relaxed); }
  [[nodiscard]] size_t memory_bytes() const { return sets_count_ * sizeof(Set); }

 private:
  static constexpr size_t kWays = 7;

  struct alignas(64) Set {
    std::atomic<uint64_t> tags[kWays];  // 0: free
    std::atomic<uint64_t> lock;         // held while a key gets a bucket
    std::atomic<uint64_t> words[kWays];
    std::atomic<uint64_t> shared;
  };
  static_assert(sizeof(Set) == 128);
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  [[nodiscard]] BucketTake Insert(Set& set, uint64_t tag, TimePoint now);
  [[nodiscard]] static size_t Find(const Set& set, uint64_t tag);

  BucketRule rule_;
  std::atomic<uint64_t> displaced_ = 0;
  std::atomic<uint64_t> shared_ = 0;
  size_t sets_count_;
  std::unique_ptr<void, Free> memory_;  // zeroed lazily by the system: a table costs what it uses
  Set* sets_;
};

}  // namespace gatehouse::filters
