#include "source/filters/rate_limit/limit_table.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/status.h"
#include "source/filters/rate_limit/limit_places.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

// Of kConcurrency, the first number is 0.
bool IsOfTheFuture(uint64_t at, int64_t micros) {
  constexpr int64_t kMinute = 60'000'000;
  return static_cast<int64_t>(at) > micros + kMinute;
}

uint64_t TagOf(uint64_t key_hash) { return key_hash | 1; }

}  // namespace

absl::StatusOr<LimitRules> LimitRules::Make(std::span<const LimitSpec> specs) {
  if (specs.empty() || specs.size() > kMax) {
    return InvalidArgument(fmt::format("limits: must be 1 to {}", kMax));
  }
  LimitRules rules;
  for (size_t i = 0; i < specs.size(); ++i) {
    absl::StatusOr<LimitRule> rule = LimitRule::Make(specs[i]);
    if (!rule.ok()) {
      return InvalidArgument(fmt::format("limits[{}]: {}", i, MessageOf(rule.status())));
    }
    rules.rules_.push_back(*rule);
  }
  return rules;
}

LimitRules LimitRules::ShareOf(uint32_t gateways) const {
  LimitRules share;
  for (const LimitRule& rule : rules_) share.rules_.push_back(rule.ShareOf(gateways));
  return share;
}

bool LimitRules::lock_free() const { return rules_.size() == 1 && !IsLog(rules_.front()); }

Duration LimitTakes::retry_after() const {
  Duration longest{};
  for (const LimitTake& take : all()) {
    if (!take.allowed) longest = std::max(longest, take.retry_after);
  }
  return longest;
}

Duration LimitTakes::delay() const {
  Duration longest{};
  for (const LimitTake& take : all()) longest = std::max(longest, take.delay);
  return longest;
}

LimitTable::Set& LimitTable::SetOf(uint64_t key_hash) const {
  return sets_[static_cast<size_t>((Wide{key_hash} * sets_count_) >> 64)];
}

void LimitTable::Prefetch(uint64_t key_hash) const {
  const Set& set = SetOf(key_hash);
  const auto* lines = reinterpret_cast<const char*>(&set);
  __builtin_prefetch(lines);
  __builtin_prefetch(lines + 64, 1);
  __builtin_prefetch(lines + 128, 1);
  const More* more = more_.load(std::memory_order_acquire);
  if (more == nullptr) return;
  const size_t way = FirstWay(TagOf(key_hash));
  const auto* states =
      reinterpret_cast<const char*>(more + static_cast<size_t>(&set - sets_) * kLimitPlaces + way);
  __builtin_prefetch(states, 1);
  __builtin_prefetch(states + sizeof(More) - 1, 1);
}

const LimitTable::Generation& LimitTable::GenerationOf(Place place) const {
  const uint32_t version = place.set->words[place.way].Load().version();
  return *generations_[version].load(std::memory_order_acquire);
}

// The tag is looked at after the word was read and before it is exchanged. Who gives the place to
// another key clears the tag first, then exchanges the word for one of another owner, then sets the
// new tag: so a word that was read before the right tag was seen was that key's, and is exchanged
// only if it still is.
template <typename F>
bool LimitTable::ChangeFree(const Generation& rules, Place place, uint64_t tag, int64_t micros,
                            F&& change) {
  LimitWord& word = place.set->words[place.way];
  LimitWord::Value old = word.Load();
  for (;;) {
    if (place.way != kSharedWay &&
        place.set->tags[place.way].load(std::memory_order_acquire) != tag) {
      return false;
    }
    if (old.version() != rules.version) return false;
    LimitState state = old.state();
    if (IsOfTheFuture(state.a, micros)) state = {};
    change(rules.rules().front(), state);
    const LimitWord::Value changed = old.With(state);
    if (changed != old) {
      if (word.Exchange(old, changed)) return true;
      old = word.Load();
    } else {
      // Nothing to exchange; but the halves may have been of different moments.
      const LimitWord::Value again = word.Load();
      if (again == old) return true;
      old = again;
    }
  }
}

template <typename F>
bool LimitTable::ChangeLocked(Place place, uint64_t tag, int64_t micros, F&& change) {
  const PlaceLock lock(place.set->locks[place.way]);
  if (place.set->tags[place.way].load(std::memory_order_acquire) != tag) return false;
  Renew(place, micros);
  const Generation& rules = GenerationOf(place);
  if (rules.lock_free) return false;
  change(rules);
  return true;
}

bool LimitTable::TakeFree(const Generation& rules, Place place, uint64_t tag, uint64_t cost,
                          int64_t micros, LimitTakes& takes) {
  if (!ChangeFree(rules, place, tag, micros, [&](const LimitRule& rule, LimitState& state) {
        takes.takes[0] = rule.Take(state, cost, micros);
      })) {
    return false;
  }
  takes.count = 1;
  takes.allowed = takes.takes[0].allowed;
  takes.holds = takes.allowed && rules.counts_running;
  return true;
}

bool LimitTable::TakeAt(Place place, uint64_t tag, uint64_t cost, int64_t micros,
                        LimitTakes& takes) {
  const Generation& rules = Current();
  if (!rules.lock_free) {
    return ChangeLocked(place, tag, micros,
                        [&](const Generation& its) { TakeAll(its, place, cost, micros, takes); });
  }
  if (TakeFree(rules, place, tag, cost, micros, takes)) return true;
  const PlaceLock lock(place.set->locks[place.way]);
  Renew(place, micros);
  return false;
}

bool LimitTable::Take(uint64_t key_hash, uint64_t cost, int64_t micros, LimitTakes& takes) {
  Prefetch(key_hash);
  Set& set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  for (;;) {
    const size_t way = FindWay(set.tags, tag);
    const bool done = way < kLimitWays ? TakeAt({&set, way}, tag, cost, micros, takes)
                                       : Insert(set, tag, cost, micros, takes);
    if (done) return takes.allowed;
  }
}

LimitTable::States LimitTable::LoadStates(const Generation& rules, Place place,
                                          const LimitState& word) const {
  States states = {word};
  if (rules.rules().size() > 1) {
    const size_t index = static_cast<size_t>(place.set - sets_) * kLimitPlaces + place.way;
    const More& more = more_.load(std::memory_order_acquire)[index];
    std::copy(std::begin(more.states), std::end(more.states), states.begin() + 1);
  }
  return states;
}

void LimitTable::StoreStates(const Generation& rules, Place place, const States& states) {
  LimitWord& word = place.set->words[place.way];
  word.Store(word.Load().With(states[0]));
  if (rules.rules().size() > 1) {
    const size_t index = static_cast<size_t>(place.set - sets_) * kLimitPlaces + place.way;
    More& more = more_.load(std::memory_order_acquire)[index];
    std::copy(states.begin() + 1, states.end(), std::begin(more.states));
  }
}

LimitTake LimitTable::TakeLogged(const LimitRule& rule, LimitState& state, uint64_t cost,
                                 int64_t micros) {
  LimitLog empty;
  LimitLog* log = LogOf(state);
  if (log == nullptr) {
    if (cost == 0 || cost > rule.limit()) return empty.Take(rule, cost, micros);
    log = new LimitLog;
    state = StateOf(log);
    log_bytes_.fetch_add(log->bytes(), std::memory_order_relaxed);
  }
  if (IsOfTheFuture(static_cast<uint64_t>(log->newest()), micros)) log->Clear();
  const size_t before = log->bytes();
  const LimitTake take = log->Take(rule, cost, micros);
  if (log->bytes() != before) {
    log_bytes_.fetch_add(log->bytes() - before, std::memory_order_relaxed);
  }
  return take;
}

void LimitTable::TakeAll(const Generation& rules, Place place, uint64_t cost, int64_t micros,
                         LimitTakes& takes) {
  const std::span<const LimitRule> limits = rules.rules();
  States states = LoadStates(rules, place, place.set->words[place.way].Load().state());
  for (size_t i = 0; i < limits.size(); ++i) {
    if (!IsLog(limits[i]) && IsOfTheFuture(states[i].a, micros)) states[i] = {};
  }
  const States before = states;
  takes.count = static_cast<uint32_t>(limits.size());
  takes.allowed = true;
  for (size_t i = 0; i < limits.size(); ++i) {
    takes.takes[i] = IsLog(limits[i]) ? TakeLogged(limits[i], states[i], cost, micros)
                                      : limits[i].Take(states[i], cost, micros);
    takes.allowed &= takes.takes[i].allowed;
  }
  takes.holds = takes.allowed && rules.counts_running;
  // Those that would have allowed it tell how it is without.
  for (size_t i = 0; !takes.allowed && i < limits.size(); ++i) {
    if (!takes.takes[i].allowed) continue;
    if (IsLog(limits[i])) {
      LogOf(states[i])->Undo(cost);
      takes.takes[i] = TakeLogged(limits[i], states[i], 0, micros);
    } else {
      states[i] = before[i];
      takes.takes[i] = limits[i].Take(states[i], 0, micros);
    }
  }
  if (states != before) StoreStates(rules, place, states);
}

void LimitTable::GiveBackAll(const Generation& rules, Place place, uint64_t cost,
                             std::optional<Taken> taken, int64_t micros) {
  const std::span<const LimitRule> limits = rules.rules();
  States states = LoadStates(rules, place, place.set->words[place.way].Load().state());
  for (size_t i = 0; i < limits.size(); ++i) {
    if (!taken && limits[i].kind() != LimitKind::kConcurrency) continue;
    if (!IsLog(limits[i])) {
      limits[i].GiveBack(states[i], cost, taken ? taken->From(limits[i]) : micros, micros);
    } else if (LogOf(states[i]) != nullptr) {
      LogOf(states[i])->GiveBack(limits[i], cost, taken->micros, micros);
    }
  }
  StoreStates(rules, place, states);
}

// `taken`: nullopt: what limits of kConcurrency hold, and no other.
bool LimitTable::GiveBackAt(Place place, uint64_t tag, uint64_t cost, std::optional<Taken> taken,
                            int64_t micros) {
  const Generation& rules = Current();
  if (!rules.lock_free) {
    return ChangeLocked(place, tag, micros, [&](const Generation& its) {
      GiveBackAll(its, place, cost, taken, micros);
    });
  }
  if (!taken && !rules.counts_running) return true;
  if (ChangeFree(rules, place, tag, micros, [&](const LimitRule& rule, LimitState& state) {
        rule.GiveBack(state, cost, taken ? taken->From(rule) : micros, micros);
      })) {
    return true;
  }
  const PlaceLock lock(place.set->locks[place.way]);
  Renew(place, micros);
  return false;
}

void LimitTable::GiveBack(uint64_t key_hash, uint64_t cost, int64_t taken, int64_t micros,
                          Duration delay) {
  Set& set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  for (size_t way; (way = FindWay(set.tags, tag)) < kLimitWays;) {
    if (GiveBackAt({&set, way}, tag, cost, Taken{taken, delay}, micros)) return;
  }
  // It took from the shared place, or has been forgotten: nobody knows which. Only what is under
  // way is known to be in the shared one.
  Release(key_hash, cost, micros);
}

void LimitTable::Release(uint64_t key_hash, uint64_t cost, int64_t micros) {
  Set& set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  for (;;) {
    const size_t way = FindWay(set.tags, tag);
    if (way < kLimitWays) {
      if (GiveBackAt({&set, way}, tag, cost, std::nullopt, micros)) return;
      continue;
    }
    if (!Current().counts_running) return;
    const PlaceLock lock(set.locks[kSharedWay]);
    if (FindWay(set.tags, tag) < kLimitWays) continue;
    const Place shared = {&set, kSharedWay};
    Renew(shared, micros);
    const Generation& rules = GenerationOf(shared);
    if (!rules.counts_running) return;
    if (!rules.lock_free) return GiveBackAll(rules, shared, cost, std::nullopt, micros);
    if (ChangeFree(rules, shared, 0, micros, [&](const LimitRule& rule, LimitState& state) {
          rule.GiveBack(state, cost, micros, micros);
        })) {
      return;
    }
  }
}

std::optional<LimitTakes> LimitTable::Peek(uint64_t key_hash, int64_t micros) const {
  // Cost 0 changes nothing but to bring the place up to the current rules.
  auto& self = const_cast<LimitTable&>(*this);
  Set& set = SetOf(key_hash);
  const uint64_t tag = TagOf(key_hash);
  LimitTakes takes;
  for (size_t way; (way = FindWay(set.tags, tag)) < kLimitWays;) {
    if (self.TakeAt({&set, way}, tag, 0, micros, takes)) return takes;
  }
  return std::nullopt;
}

}  // namespace gatehouse::filters
