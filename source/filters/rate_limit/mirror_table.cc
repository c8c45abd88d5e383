#include "source/filters/rate_limit/mirror_table.h"

#include <sched.h>

#include <algorithm>

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
  explicit Lock(std::atomic<uint8_t>& lock) : lock_(lock) {
    for (int spins = 0; lock_.exchange(1, std::memory_order_acquire) != 0; ++spins) {
      if (spins >= 64) sched_yield();
    }
  }
  ~Lock() { lock_.store(0, std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  std::atomic<uint8_t>& lock_;
};

MirrorTable::MirrorTable(size_t max_keys) {
  static_assert(sizeof(Set) == 320 && sizeof(Entry) == 32);
  // Three keys for seven places: with so many sets, one in a hundred is over-full by chance.
  sets_count_ = std::max<size_t>((max_keys + 2) / 3, 1);
  memory_.reset(std::calloc(sets_count_ + 1, sizeof(Set) + kWays * sizeof(More)));
  CHECK(memory_ != nullptr);
  constexpr size_t kLine = alignof(Set);
  const auto at = reinterpret_cast<uintptr_t>(memory_.get());
  sets_ = reinterpret_cast<Set*>((at + kLine - 1) / kLine * kLine);
  more_ = reinterpret_cast<More*>(sets_ + sets_count_);
}

uint32_t MirrorTable::SetOf(uint64_t key_hash) const {
  return static_cast<uint32_t>((Wide{key_hash} * sets_count_) >> 64);
}

bool MirrorTable::Holds(const Place& place) const {
  return sets_[place.set].tags[place.way].load(std::memory_order_acquire) == place.tag;
}

std::optional<MirrorTable::Place> MirrorTable::Find(uint64_t key_hash) const {
  const uint32_t set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  const auto* const lines = reinterpret_cast<const char*>(&sets_[set]);
  for (size_t line = 1; line < sizeof(Set) / alignof(Set); ++line) {
    __builtin_prefetch(lines + line * alignof(Set), 1);
  }
  for (uint32_t way = 0; way < kWays; ++way) {
    if (sets_[set].tags[way].load(std::memory_order_acquire) == tag) return Place{tag, set, way};
  }
  return std::nullopt;
}

// Under the set's lock. A place that nothing is lost with: free, idle, or not much used.
std::optional<uint32_t> MirrorTable::Choose(uint32_t set, const RedisTerms& terms, int64_t micros) {
  std::optional<uint32_t> best;
  int64_t oldest = INT64_MAX;
  for (uint32_t way = 0; way < kWays; ++way) {
    if (sets_[set].tags[way].load(std::memory_order_relaxed) == 0) return way;
    const Key key = KeyAt(set, way);
    const Lock lock(key.entry.lock);
    if (key.entry.dirty || key.entry.pushing || key.entry.unsynced > 0) continue;
    bool hot = false;
    bool idle = true;
    if (key.entry.version == VersionOf(terms)) {
      const States states = StatesOf(key, terms);
      for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
        const double usage = terms.rules.rules()[i].Usage(states[i], micros);
        hot |= usage > kHot;
        idle &= usage == 0;
      }
    }
    if (hot) continue;
    const int64_t used = idle ? INT64_MIN : std::max(key.entry.last, key.more.known);
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
  const uint32_t set = SetOf(request.hash);
  const KeyDigest digest = DigestOf(request.key);
  const Lock lock(sets_[set].lock);
  if (const auto found = Find(request.hash)) return found;
  const std::optional<uint32_t> way = Choose(set, terms, micros);
  if (!way) return std::nullopt;
  const Place place = {TagOf(request.hash), set, *way};
  const Key key = KeyAt(place);
  const Lock key_lock(key.entry.lock);
  // Somebody may have used it since Choose() looked.
  if (key.entry.dirty || key.entry.pushing || key.entry.unsynced > 0) return std::nullopt;
  key.entry.version = 0;
  key.entry.urgent = false;
  key.entry.last = 0;
  key.entry.first = {};
  key.more = {.digest = digest, .pushed = 0, .known = 0, .states = {}};
  sets_[set].tags[*way].store(place.tag, std::memory_order_release);
  return place;
}

MirrorTable::States MirrorTable::StatesOf(const Key& key, const RedisTerms& terms) {
  States states;
  states[0] = key.entry.first;
  if (terms.rules.rules().size() > 1) {
    std::copy(key.more.states.begin(), key.more.states.end(), states.begin() + 1);
  }
  return states;
}

void MirrorTable::Store(const Key& key, const RedisTerms& terms, const States& states) {
  key.entry.first = states[0];
  if (terms.rules.rules().size() > 1) {
    std::copy(states.begin() + 1, states.end(), key.more.states.begin());
  }
}

// Redis converts what it has, and tells with the next push; until then this process knows no more
// than what it let through itself, and lets no more through than it may without being told.
void MirrorTable::Restart(const Key& key, const RedisTerms& terms) {
  States states{};
  key.entry.version = VersionOf(terms);
  SetKnown(key, terms, states, 0);
}

void MirrorTable::MarkDirty(Entry& entry, Taken& taken) {
  taken.dirty = !entry.dirty;
  entry.dirty = true;
}

// A clock that was set back further than kClockStep is believed.
void MirrorTable::NotePassed(Entry& entry, int64_t micros) {
  if (micros > entry.last || entry.last - micros > kClockStep) entry.last = micros;
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

bool MirrorTable::TakeAll(const Key& key, const RedisTerms& terms, uint64_t cost, int64_t micros,
                          bool count, LimitTakes& takes) {
  if (terms.rules.rules().size() > 1) {
    States states = StatesOf(key, terms);
    Decide(terms, states, cost, micros, takes);
    if (count && takes.allowed) Store(key, terms, states);
    return takes.allowed;
  }
  LimitState state = key.entry.first;
  takes.takes[0] = terms.rules.rules().front().Take(state, cost, micros);
  takes.count = 1;
  takes.allowed = takes.takes[0].allowed;
  if (count && takes.allowed) key.entry.first = state;
  return takes.allowed;
}

MirrorTable::Taken MirrorTable::Take(const LimitRequest& request, const RedisTerms& terms,
                                     int64_t micros, LimitTakes& takes) {
  for (;;) {
    const std::optional<Place> place = FindOrInsert(request, terms, micros);
    if (!place) return {};
    const Key key = KeyAt(*place);
    Entry& entry = key.entry;
    const Lock lock(entry.lock);
    if (!Holds(*place)) continue;
    Follow(key, terms);
    Taken taken = {.outcome = LimitOutcome::kDecided, .place = *place};
    const bool room =
        request.cost <= terms.max_unsynced && entry.unsynced + request.cost <= terms.max_unsynced;
    if (!TakeAll(key, terms, request.cost, micros, room, takes)) {
      // Others may have given back, or Redis lost it.
      const bool old = micros - key.more.known > terms.refresh.count();
      if ((old || entry.unsynced > 0) && !entry.pushing) {
        MarkDirty(entry, taken);
      }
      return taken;
    }
    if (request.cost == 0) return taken;
    if (!room) {
      taken.outcome = LimitOutcome::kAsk;
      taken.urgent = entry.unsynced > 0 && !entry.pushing;
      return taken;
    }
    entry.unsynced += static_cast<uint32_t>(request.cost);
    NotePassed(entry, micros);
    MarkDirty(entry, taken);
    // Before others have to wait.
    if (uint64_t{entry.unsynced} * 2 > terms.max_unsynced && !entry.pushing) {
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
    const Key key = KeyAt(*place);
    const Lock lock(key.entry.lock);
    if (!Holds(*place)) continue;
    Follow(key, terms);
    States states = StatesOf(key, terms);
    for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
      AddDebt(terms.rules.rules()[i], states[i], request.cost, micros);
    }
    Store(key, terms, states);
    const uint64_t unsynced = key.entry.unsynced + request.cost;
    key.entry.unsynced = static_cast<uint32_t>(std::min<uint64_t>(unsynced, UINT32_MAX));
    NotePassed(key.entry, micros);
    Taken taken = {.outcome = LimitOutcome::kDecided, .place = *place};
    MarkDirty(key.entry, taken);
    return taken;
  }
}

bool MirrorTable::GiveBack(uint64_t key_hash, const RedisTerms& terms, uint64_t cost, int64_t taken,
                           int64_t micros) {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return false;
  const Key key = KeyAt(*place);
  const Lock lock(key.entry.lock);
  if (!Holds(*place)) return false;
  Follow(key, terms);
  States states = StatesOf(key, terms);
  for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
    terms.rules.rules()[i].GiveBack(states[i], cost, taken, micros);
  }
  Store(key, terms, states);
  if (key.entry.unsynced - key.more.pushed < cost) return false;
  key.entry.unsynced -= static_cast<uint32_t>(cost);
  return true;
}

std::optional<LimitTakes> MirrorTable::Peek(uint64_t key_hash, const RedisTerms& terms,
                                            int64_t micros) const {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return std::nullopt;
  const Key key = KeyAt(*place);
  const Lock lock(key.entry.lock);
  if (!Holds(*place) || key.entry.version != VersionOf(terms)) return std::nullopt;
  LimitTakes takes;
  (void)TakeAll(key, terms, 0, micros, false, takes);
  return takes;
}

std::optional<MirrorTable::Push> MirrorTable::BeginPush(Place place, const RedisTerms& terms) {
  const Key key = KeyAt(place);
  Entry& entry = key.entry;
  const Lock lock(entry.lock);
  // It was dirty, so nobody else has the place; unless another list had it too.
  if (!Holds(place) || !(entry.dirty || entry.urgent)) return std::nullopt;
  entry.dirty = entry.urgent = false;
  // Who hears of the push sees what passed since, and lists it again.
  if (entry.pushing) return std::nullopt;
  Follow(key, terms);
  entry.pushing = true;
  key.more.pushed = entry.unsynced;
  return Push{key.more.digest, entry.unsynced, entry.last};
}

void MirrorTable::SetKnown(const Key& key, const RedisTerms& terms, States states, int64_t micros) {
  // They passed before the answer came. Later is what a clock says that was ahead of Redis's.
  const int64_t latest = micros > 0 ? micros + terms.timeout.count() : INT64_MAX;
  for (size_t i = 0; i < terms.rules.rules().size(); ++i) {
    AddDebt(terms.rules.rules()[i], states[i], key.entry.unsynced,
            std::min(key.entry.last, latest));
  }
  Store(key, terms, states);
  key.more.known = micros;
}

bool MirrorTable::FinishPush(Place place, const RedisTerms& terms, uint64_t units,
                             const States& states, int64_t micros) {
  const Key key = KeyAt(place);
  Entry& entry = key.entry;
  const Lock lock(entry.lock);
  // What is being pushed is not given up.
  DCHECK(Holds(place) && entry.pushing && key.more.pushed == units);
  entry.pushing = false;
  key.more.pushed = 0;
  entry.unsynced -= static_cast<uint32_t>(std::min<uint64_t>(units, entry.unsynced));
  // The answer to a later question may have come first. Then the units are in there twice.
  const bool outdated = micros < key.more.known && key.more.known - micros < kClockStep;
  if (entry.version == VersionOf(terms) && !outdated) SetKnown(key, terms, states, micros);
  if (entry.unsynced == 0 && !outdated) return false;
  Taken taken;
  MarkDirty(entry, taken);
  return taken.dirty;
}

bool MirrorTable::FailPush(Place place) {
  const Key key = KeyAt(place);
  const Lock lock(key.entry.lock);
  DCHECK(Holds(place) && key.entry.pushing);
  key.entry.pushing = false;
  key.more.pushed = 0;
  if (key.entry.unsynced == 0) return false;
  Taken taken;
  MarkDirty(key.entry, taken);
  return taken.dirty;
}

void MirrorTable::Unlist(Place place, bool was_pushing) {
  const Key key = KeyAt(place);
  const Lock lock(key.entry.lock);
  if (!Holds(place)) return;
  if (was_pushing) {
    // If it is dirty, somebody has listed it since.
    key.entry.pushing = false;
    key.more.pushed = 0;
  } else {
    key.entry.dirty = key.entry.urgent = false;
  }
}

void MirrorTable::Adopt(uint64_t key_hash, const RedisTerms& terms, const States& states,
                        int64_t micros) {
  const std::optional<Place> place = Find(key_hash);
  if (!place) return;
  const Key key = KeyAt(*place);
  const Lock lock(key.entry.lock);
  if (!Holds(*place)) return;
  Follow(key, terms);
  if (micros < key.more.known && key.more.known - micros < kClockStep) return;
  SetKnown(key, terms, states, micros);
}

uint64_t MirrorTable::Unsynced() const {
  uint64_t units = 0;
  for (uint32_t set = 0; set < sets_count_; ++set) {
    for (uint32_t way = 0; way < kWays; ++way) {
      if (sets_[set].tags[way].load(std::memory_order_relaxed) == 0) continue;
      const Lock lock(sets_[set].entries[way].lock);
      units += sets_[set].entries[way].unsynced;
    }
  }
  return units;
}

}  // namespace gatehouse::filters
