// MirrorTable: what this process knows of the keys that a policy keeps in Redis, and what Redis
// does not know yet. Requests are decided by it; what they take is pushed to Redis at an interval.
//
// Of each key: the limits' states as Redis last said, with what passed here since; and how much of
// that Redis has not acknowledged ("unsynced"). That is never more than RedisTerms::max_unsynced;
// a request beyond it has to ask Redis. docs/rate_limits_accuracy.md says what follows from that.
//
//         Take: dirty         BeginPush             FinishPush: what Redis says, and what passed
//   clean ------------> dirty ----------> pushing --------------------------------------> clean
//                         ^                  | passed meanwhile, or FailPush
//                         +------------------+
//
// Made on main, shared by all workers, in bounded memory that is taken as it is used. Times are
// Redis's, as well as they are known here. A key is locked while it is counted, for as long as it
// takes to add some numbers; nobody waits for Redis with a lock. Keys that are dirty, or more than
// half used, are not given up for others: a key that finds no place is asked Redis about.
//
//   MirrorTable::Taken taken = mirror.Take(request, terms, micros, takes);
//   if (taken.dirty || taken.urgent) errands.Note(taken);
//   // at the interval:
//   if (auto push = mirror.BeginPush(place, terms)) ... mirror.FinishPush(place, ...);
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/redis_terms.h"

namespace gatehouse::filters {

class MirrorTable {
 public:
  using States = std::array<LimitState, LimitRules::kMax>;

  // Where a key is, for as long as it is there.
  struct Place {
    uint64_t tag = 0;  // of a key never 0
    uint32_t set = 0;
    uint32_t way = 0;
  };
  struct Taken {
    // False: the key found no place, and nothing below is of use.
    [[nodiscard]] bool placed() const { return place.tag != 0; }

    LimitOutcome outcome = LimitOutcome::kAsk;  // or kDecided
    // The caller has to see to it that the place is pushed: nobody else will.
    bool dirty = false;
    // In this turn; before Redis is asked, if it is. The place may be on a list already.
    bool urgent = false;
    Place place;
  };
  struct Push {
    KeyDigest digest{};
    uint64_t units = 0;
    int64_t micros = 0;  // when the last of them passed
  };

  explicit MirrorTable(size_t max_keys);
  MirrorTable(const MirrorTable&) = delete;
  MirrorTable& operator=(const MirrorTable&) = delete;

  // `request.micros` is not looked at: `micros` is the time.
  Taken Take(const LimitRequest& request, const RedisTerms& terms, int64_t micros,
             LimitTakes& takes);
  // The request has passed by another's word. Its units are counted here whether there is room or
  // not; nullopt: there is no place to do it.
  std::optional<Taken> Count(const LimitRequest& request, const RedisTerms& terms, int64_t micros);
  // False: Redis has been told of it already, and has to be told again.
  bool GiveBack(uint64_t key_hash, const RedisTerms& terms, uint64_t cost, int64_t taken,
                int64_t micros);
  [[nodiscard]] std::optional<LimitTakes> Peek(uint64_t key_hash, const RedisTerms& terms,
                                               int64_t micros) const;

  // What Redis has to be told. nullopt: nothing, or it is being told. One of the two below follows.
  [[nodiscard]] std::optional<Push> BeginPush(Place place, const RedisTerms& terms);
  // Redis has counted them, and this is what it had at `micros`. True: the place is dirty again.
  [[nodiscard]] bool FinishPush(Place place, const RedisTerms& terms, uint64_t units,
                                const States& states, int64_t micros);
  // It has not, or nobody knows: they are told once more. True: the place is dirty again.
  [[nodiscard]] bool FailPush(Place place);
  // Who had it on his list is gone, or who was pushing it: the next request puts it on a list
  // again.
  void Unlist(Place place, bool was_pushing);
  // Another answer had this.
  void Adopt(uint64_t key_hash, const RedisTerms& terms, const States& states, int64_t micros);

  // Units of all keys that Redis has not acknowledged. Looks at all places.
  [[nodiscard]] uint64_t Unsynced() const;

 private:
  static constexpr size_t kWays = 7;
  // A clock that was set back further is believed.
  static constexpr int64_t kClockStep = 2'000'000;

  // What each request of the key looks at.
  struct alignas(32) Entry {
    std::atomic<uint8_t> lock;
    bool dirty : 1;    // on somebody's list
    bool urgent : 1;   // on somebody's list for this turn
    bool pushing : 1;  // what is `pushed` is under way to Redis
    uint16_t version;  // of the terms that the states are by; 0: none
    uint32_t unsynced;
    int64_t last;  // when the last unsynced unit passed
    LimitState first;
  };
  struct More {
    KeyDigest digest;
    uint64_t pushed;  // of the unsynced units
    int64_t known;    // when Redis had what the states are made of; 0: never
    std::array<LimitState, LimitRules::kMax - 1> states;
  };
  struct alignas(64) Set {
    std::atomic<uint64_t> tags[kWays];  // 0: free
    std::atomic<uint8_t> lock;          // held while a key gets a place
    Entry entries[kWays];
  };
  struct Key {
    Entry& entry;
    More& more;
  };
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  class Lock;

  [[nodiscard]] uint32_t SetOf(uint64_t key_hash) const;
  [[nodiscard]] Key KeyAt(uint32_t set, uint32_t way) const {
    return {sets_[set].entries[way], more_[size_t{set} * kWays + way]};
  }
  [[nodiscard]] Key KeyAt(const Place& place) const { return KeyAt(place.set, place.way); }
  [[nodiscard]] std::optional<Place> Find(uint64_t key_hash) const;
  [[nodiscard]] std::optional<Place> FindOrInsert(const LimitRequest& request,
                                                  const RedisTerms& terms, int64_t micros);
  [[nodiscard]] std::optional<uint32_t> Choose(uint32_t set, const RedisTerms& terms,
                                               int64_t micros);
  [[nodiscard]] bool Holds(const Place& place) const;

  // Under the key's lock.
  static States StatesOf(const Key& key, const RedisTerms& terms);
  static void Store(const Key& key, const RedisTerms& terms, const States& states);
  // Sees to it that the states are by these terms.
  static void Follow(const Key& key, const RedisTerms& terms) {
    if (__builtin_expect(key.entry.version != VersionOf(terms), 0)) Restart(key, terms);
  }
  static void Restart(const Key& key, const RedisTerms& terms);
  static void SetKnown(const Key& key, const RedisTerms& terms, States states, int64_t micros);
  static void MarkDirty(Entry& entry, Taken& taken);
  static void NotePassed(Entry& entry, int64_t micros);
  static void Decide(const RedisTerms& terms, States& states, uint64_t cost, int64_t micros,
                     LimitTakes& takes);
  // Returns takes.allowed, and then has counted it.
  static bool TakeAll(const Key& key, const RedisTerms& terms, uint64_t cost, int64_t micros,
                      bool count, LimitTakes& takes);
  [[nodiscard]] static uint16_t VersionOf(const RedisTerms& terms) {
    return static_cast<uint16_t>(terms.version % UINT16_MAX + 1);
  }

  size_t sets_count_;
  std::unique_ptr<void, Free> memory_;
  Set* sets_;
  More* more_;
};

}  // namespace gatehouse::filters
