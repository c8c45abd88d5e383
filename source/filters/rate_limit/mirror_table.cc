#include "source/filters/rate_limit/mirror_table.h"

#include <sched.h>

#include <algorithm>
#include <type_traits>

#include "source/base/check.h"
#include "source/filters/rate_limit/limit_debt.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr double kHot = 0.5;

uint64_t TagOf(uint64_t key_hash) { return key_hash | 1; }

}  // namespace

// Yields to the holder, who may have lost its processor.
class MirrorTable::Lock {
 public:
  explicit Lock(std::atomic<uint32_t>& lock) : lock_(lock) {
    for (int spins = 0; lock_.exchange(1, std::memory_order_acquire) != 0; ++spins) {
      if (spins >= 64) sched_yield();
    }
  }
  ~Lock() { lock_.store(0, std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  std::atomic<uint32_t>& lock_;
};

MirrorTable::MirrorTable(size_t max_keys) {
  static_assert(sizeof(Set) == 64 && sizeof(Entry) == 128);
  // Three keys for seven places: with so many sets, one in a hundred is over-full by chance.
  sets_count_ = std::max<size_t>((max_keys + 2) / 3, 1);
  memory_.reset(std::calloc(sets_count_ + 1, sizeof(Set) + kWays * sizeof(Entry)));
  CHECK(memory_ != nullptr);
  const auto at = reinterpret_cast<uintptr_t>(memory_.get());
  sets_ = reinterpret_cast<Set*>((at + sizeof(Set) - 1) / sizeof(Set) * sizeof(Set));
  entries_ = reinterpret_cast<Entry*>(sets_ + sets_count_);
}

size_t MirrorTable::SetOf(uint64_t key_hash) const {
  return static_cast<size_t>((Wide{key_hash} * sets_count_) >> 64);
}

bool MirrorTable::Holds(const Place& place) const {
  return sets_[place.index / kWays].tags[place.index % kWays].load(std::memory_order_acquire) ==
         place.tag;
}

std::optional<MirrorTable::Place> MirrorTable::Find(uint64_t key_hash) const {
  const size_t set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  for (size_t way = 0; way < kWays; ++way) {
    if (sets_[set].tags[way].load(std::memory_order_acquire) == tag) {
      return Place{tag, set * kWays + way};
    }
  }
  return std::nullopt;
}

// Under the set's lock. A place that nothing is lost with: free, idle, or not much used.
std::optional<size_t> MirrorTable::Choose(size_t set, const RedisTerms& terms, int64_t micros) {
  std::optional<size_t> best;
  int64_t oldest = INT64_MAX;
  for (size_t way = 0; way < kWays; ++way) {
    if (sets_[set].tags[way].load(std::memory_order_relaxed) == 0) return way;
    Entry& entry = entries_[set * kWays + way];
    const Lock lock(entry.lock);
    if (entry.dirty || entry.pushing || entry.unsynced > 0) continue;
    bool hot = false;
    bool idle = true;
    if (entry.version == terms.version) {
      const States states = StatesOf(entry, terms);
      for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
        const double usage = terms.rules.rules()[i].Usage(states[i], micros);
        hot |= usage > kHot;
        idle &= usage == 0;
      }
    }
    if (hot) continue;
    const int64_t used = idle ? INT64_MIN : std::max(entry.last, entry.known);
    if (best && used >= oldest) continue;
    best = way;
    oldest = used;
  }
  return best;
}

// Only one thread at a time gives a place to a key, so that no key ever has two.
std::optional<MirrorTable::Place> MirrorTable::FindOrInsert(const LimitRequest& request,
                                                            const RedisTerms& terms,
                                                            int64_t micros) {
  if (const auto found = Find(request.hash)) return found;
  const size_t set = SetOf(request.hash);
  const KeyDigest digest = DigestOf(request.key);
  const Lock lock(sets_[set].lock);
  if (const auto found = Find(request.hash)) return found;
  const std::optional<size_t> way = Choose(set, terms, micros);
  if (!way) {
    crowded_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  Entry& entry = entries_[set * kWays + *way];
  const Lock entry_lock(entry.lock);
  // Somebody may have used it since Choose() looked.
  if (entry.dirty || entry.pushing || entry.unsynced > 0) {
    crowded_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  entry.version = 0;
  entry.pushed = 0;
  entry.urgent = false;
  entry.last = entry.known = 0;
  entry.first = {};
  entry.more = {};
  entry.digest = digest;
  const Place place = {TagOf(request.hash), set * kWays + *way};
  sets_[set].tags[*way].store(place.tag, std::memory_order_release);
  return place;
}

MirrorTable::States MirrorTable::StatesOf(const Entry& entry, const RedisTerms& terms) {
  States states;
  states[0] = entry.first;
  if (terms.rules.rules().size() > 1) {
    std::copy(entry.more.begin(), entry.more.end(), states.begin() + 1);
  }
  return states;
}

void MirrorTable::Store(Entry& entry, const RedisTerms& terms, const States& states) {
  entry.first = states[0];
  if (terms.rules.rules().size() > 1) {
    std::copy(states.begin() + 1, states.end(), entry.more.begin());
  }
}

// Redis converts what it has, and tells with the next push; until then this process knows no more
// than what it let through itself, and lets no more through than it may without being told.
void MirrorTable::Follow(Entry& entry, const RedisTerms& terms) {
  if (__builtin_expect(entry.version == terms.version, 1)) return;
  States states{};
  for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
    AddDebt(terms.rules.rules()[i], states[i], entry.unsynced, entry.last);
  }
  entry.version = terms.version;
  entry.known = 0;
  Store(entry, terms, states);
}

void MirrorTable::MarkDirty(Entry& entry, Taken& taken) {
  taken.dirty = !entry.dirty;
  entry.dirty = true;
}

void MirrorTable::Decide(const RedisTerms& terms, States& states, uint64_t cost, int64_t micros,
                         LimitTakes& takes) {
  const auto rules = terms.rules.rules();
  const States before = states;
  takes.count = static_cast<uint32_t>(rules.size());
  takes.allowed = true;
  for (size_t i = 0; i < rules.size(); ++i) {
    takes.takes[i] = rules[i].Take(states[i], cost, micros);
    takes.allowed &= takes.takes[i].allowed;
  }
  if (takes.allowed) return;
  states = before;
  // Those that would have allowed it tell how it is without.
  for (size_t i = 0; i < rules.size() && rules.size() > 1; ++i) {
    if (takes.takes[i].allowed) takes.takes[i] = rules[i].Take(states[i], 0, micros);
  }
}

MirrorTable::Taken MirrorTable::Take(const LimitRequest& request, const RedisTerms& terms,
                                     int64_t micros, LimitTakes& takes) {
  for (;;) {
    const std::optional<Place> place = FindOrInsert(request, terms, micros);
    if (!place) return {};
    Entry& entry = entries_[place->index];
    const Lock lock(entry.lock);
    if (!Holds(*place)) continue;
    Follow(entry, terms);
    Taken taken = {.outcome = LimitOutcome::kDecided, .place = *place};
    States states = StatesOf(entry, terms);
    Decide(terms, states, request.cost, micros, takes);
    if (!takes.allowed) {
      // Others may have given back, or Redis lost it.
      if (micros - entry.known > terms.refresh.count() && !entry.pushing) MarkDirty(entry, taken);
      return taken;
    }
    if (request.cost == 0) return taken;
    const uint64_t unsynced = entry.unsynced + request.cost;
    if (unsynced > terms.max_unsynced) {
      taken.outcome = LimitOutcome::kAsk;
      taken.urgent = taken.dirty = entry.unsynced > 0 && !entry.pushing;
      return taken;
    }
    Store(entry, terms, states);
    entry.unsynced = unsynced;
    entry.last = std::max(entry.last, micros);
    MarkDirty(entry, taken);
    // Before others have to wait.
    if (unsynced * 2 > terms.max_unsynced && !entry.pushing) {
      taken.urgent = !entry.urgent;
      entry.urgent = true;
    }
    return taken;
  }
}

std::optional<MirrorTable::Taken> MirrorTable::Count(const LimitRequest& request,
                                                     const RedisTerms& terms, int64_t micros) {
  for (;;) {
    const std::optional<Place> place = FindOrInsert(request, terms, micros);
    if (!place) return std::nullopt;
    Entry& entry = entries_[place->index];
    const Lock lock(entry.lock);
    if (!Holds(*place)) continue;
    Follow(entry, terms);
    States states = StatesOf(entry, terms);
    for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
      AddDebt(terms.rules.rules()[i], states[i], request.cost, micros);
    }
    Store(entry, terms, states);
    entry.unsynced += request.cost;
    entry.last = std::max(entry.last, micros);
    Taken taken = {.outcome = LimitOutcome::kDecided, .place = *place};
    MarkDirty(entry, taken);
    return taken;
  }
}

bool MirrorTable::GiveBack(uint64_t key_hash, const RedisTerms& terms, uint64_t cost, int64_t taken,
                           int64_t micros) {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return false;
  Entry& entry = entries_[place->index];
  const Lock lock(entry.lock);
  if (!Holds(*place)) return false;
  Follow(entry, terms);
  States states = StatesOf(entry, terms);
  for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
    terms.rules.rules()[i].GiveBack(states[i], cost, taken, micros);
  }
  Store(entry, terms, states);
  if (entry.unsynced - entry.pushed < cost) return false;
  entry.unsynced -= cost;
  return true;
}

std::optional<LimitTakes> MirrorTable::Peek(uint64_t key_hash, const RedisTerms& terms,
                                            int64_t micros) const {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return std::nullopt;
  Entry& entry = entries_[place->index];
  const Lock lock(entry.lock);
  if (!Holds(*place) || entry.version != terms.version) return std::nullopt;
  LimitTakes takes;
  States states = StatesOf(entry, terms);
  Decide(terms, states, 0, micros, takes);
  return takes;
}

std::optional<MirrorTable::Push> MirrorTable::BeginPush(Place place, const RedisTerms& terms) {
  Entry& entry = entries_[place.index];
  const Lock lock(entry.lock);
  // It was dirty, so nobody else has the place; unless another list had it too.
  if (!Holds(place) || entry.pushing || !(entry.dirty || entry.urgent)) return std::nullopt;
  Follow(entry, terms);
  entry.dirty = entry.urgent = false;
  entry.pushing = true;
  entry.pushed = entry.unsynced;
  return Push{entry.digest, entry.pushed, entry.last};
}

void MirrorTable::SetKnown(Entry& entry, const RedisTerms& terms, States states, int64_t micros) {
  for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
    AddDebt(terms.rules.rules()[i], states[i], entry.unsynced, entry.last);
  }
  Store(entry, terms, states);
  entry.known = micros;
}

bool MirrorTable::FinishPush(Place place, const RedisTerms& terms, uint64_t units,
                             const States& states, int64_t micros) {
  Entry& entry = entries_[place.index];
  const Lock lock(entry.lock);
  // What is being pushed is not given up.
  DCHECK(Holds(place) && entry.pushing && entry.pushed == units);
  entry.pushing = false;
  entry.pushed = 0;
  entry.unsynced -= std::min(units, entry.unsynced);
  // The answer to a later question may have come first. Then the units are in there twice.
  const bool outdated = micros < entry.known && entry.known - micros < kClockStep;
  if (entry.version == terms.version && !outdated) SetKnown(entry, terms, states, micros);
  if (entry.unsynced == 0 && !outdated) return false;
  Taken taken;
  MarkDirty(entry, taken);
  return taken.dirty;
}

bool MirrorTable::FailPush(Place place) {
  Entry& entry = entries_[place.index];
  const Lock lock(entry.lock);
  DCHECK(Holds(place) && entry.pushing);
  entry.pushing = false;
  entry.pushed = 0;
  if (entry.unsynced == 0) return false;
  Taken taken;
  MarkDirty(entry, taken);
  return taken.dirty;
}

void MirrorTable::Adopt(uint64_t key_hash, const RedisTerms& terms, const States& states,
                        int64_t micros) {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return;
  Entry& entry = entries_[place->index];
  const Lock lock(entry.lock);
  if (!Holds(*place)) return;
  Follow(entry, terms);
  if (micros < entry.known && entry.known - micros < kClockStep) return;
  SetKnown(entry, terms, states, micros);
}

uint64_t MirrorTable::Unsynced() const {
  uint64_t units = 0;
  for (size_t index = 0; index < sets_count_ * kWays; ++index) {
    if (sets_[index / kWays].tags[index % kWays].load(std::memory_order_relaxed) == 0) continue;
    const Lock lock(entries_[index].lock);
    units += entries_[index].unsynced;
  }
  return units;
}

}  // namespace gatehouse::filters
