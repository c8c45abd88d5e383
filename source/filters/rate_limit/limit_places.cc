#include "source/filters/rate_limit/limit_places.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/status.h"

namespace gatehouse::filters {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr size_t kMostLogBytes = size_t{1} << 30;
constexpr size_t kLarge = size_t{32} << 20;
constexpr size_t kKept = 4096;
constexpr double kHot = 0.5;
// Not to be given up whatever else is there: requests that are under way will come back to it.
constexpr double kPinned = 1e9;
constexpr uint32_t kOwnerMask = 0xfff;

// Three keys for seven places: with so many sets, one in a hundred is over-full by chance.
size_t SetsFor(size_t max_keys) { return std::max<size_t>((max_keys + 2) / 3, 1); }

void* Map(size_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
              -1, 0);
}

// Zero, and taken from the system page by page, as it is used.
void* Reserve(size_t bytes) {
  void* memory = Map(bytes);
  CHECK(memory != MAP_FAILED);  // Check() has tried
  // Random places in a large table miss the TLB as much as the cache.
  if (bytes >= kLarge) madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

// Which of `from` each of `to` goes on with: the same limit, or else one that counts alike, or else
// one of the same kind, or else the one in its place. kMax: none.
std::array<size_t, LimitRules::kMax> Match(std::span<const LimitRule> from,
                                           std::span<const LimitRule> to) {
  std::array<size_t, LimitRules::kMax> matches;
  matches.fill(LimitRules::kMax);
  std::array<bool, LimitRules::kMax> used = {};
  const auto pass = [&](auto&& fits) {
    for (size_t i = 0; i < to.size(); ++i) {
      for (size_t j = 0; j < from.size() && matches[i] == LimitRules::kMax; ++j) {
        if (used[j] || !fits(i, j)) continue;
        matches[i] = j;
        used[j] = true;
      }
    }
  };
  pass([&](size_t i, size_t j) { return to[i].spec() == from[j].spec(); });
  pass([&](size_t i, size_t j) {
    return to[i].kind() == from[j].kind() && to[i].spec().per == from[j].spec().per &&
           to[i].spec().period == from[j].spec().period;
  });
  pass([&](size_t i, size_t j) { return to[i].kind() == from[j].kind(); });
  pass([&](size_t i, size_t j) { return i == j; });
  return matches;
}

}  // namespace

absl::Status LimitTable::Check(const LimitRules& rules, size_t max_keys) {
  Wide bytes = 0;
  for (const LimitRule& rule : rules.rules()) {
    if (rule.kind() != LimitKind::kSlidingLog) continue;
    bytes += Wide{rule.limit()} * sizeof(int64_t) * SetsFor(max_keys) * kLimitPlaces;
  }
  if (bytes > kMostLogBytes) {
    return InvalidArgument(fmt::format(
        "sliding logs of {} keys could take {} MiB, more than {}: lower max_keys or the limit, or "
        "use a sliding window",
        max_keys, static_cast<uint64_t>(bytes >> 20), kMostLogBytes >> 20));
  }
  // Where the process or the system has a bound on what may ever be used (ulimit -v, strict
  // overcommit).
  const size_t more = rules.rules().size() > 1 ? kLimitPlaces * sizeof(More) : 0;
  const size_t places = SetsFor(max_keys) * (sizeof(Set) + more);
  void* const tried = Map(places);
  if (tried == MAP_FAILED) {
    return InvalidArgument(
        fmt::format("{} keys can take {} MiB, more than the system gives: lower max_keys", max_keys,
                    places >> 20));
  }
  munmap(tried, places);
  return absl::OkStatus();
}

LimitTable::LimitTable(LimitRules rules, size_t max_keys) : sets_count_(SetsFor(max_keys)) {
  static_assert(sizeof(Set) == 192);
  sets_ = static_cast<Set*>(Reserve(sets_count_ * sizeof(Set)));
  Publish(std::move(rules));
}

LimitTable::~LimitTable() {
  for (size_t i = 0; i < sets_count_ && log_bytes_.load() > 0; ++i) {
    for (size_t way = 0; way < kLimitPlaces; ++way) {
      const Place place = {&sets_[i], way};
      const Generation& rules = GenerationOf(place);
      const States states = LoadStates(rules, place, sets_[i].words[way].Load().state());
      for (size_t j = 0; j < rules.rules().size(); ++j) {
        if (IsLog(rules.rules()[j])) FreeLog(states[j]);
      }
    }
  }
  if (More* more = more_.load()) munmap(more, sets_count_ * kLimitPlaces * sizeof(More));
  munmap(sets_, sets_count_ * sizeof(Set));
}

void LimitTable::FreeLog(const LimitState& state) {
  const LimitLog* log = LogOf(state);
  if (log == nullptr) return;
  log_bytes_.fetch_sub(log->bytes(), std::memory_order_relaxed);
  delete log;
}

void LimitTable::ProvideMore() {
  if (more_.load(std::memory_order_relaxed) != nullptr) return;
  more_.store(static_cast<More*>(Reserve(sets_count_ * kLimitPlaces * sizeof(More))),
              std::memory_order_release);
}

size_t LimitTable::memory_bytes() const {
  size_t bytes = sets_count_ * sizeof(Set) + log_bytes_.load(std::memory_order_relaxed);
  if (more_.load(std::memory_order_relaxed) != nullptr) {
    bytes += sets_count_ * kLimitPlaces * sizeof(More);
  }
  return bytes;
}

double LimitTable::UsageOf(const Generation& rules, const States& states, int64_t micros) const {
  double most = 0;
  for (size_t i = 0; i < rules.rules().size(); ++i) {
    const LimitRule& rule = rules.rules()[i];
    if (IsLog(rule)) {
      const LimitLog* log = LogOf(states[i]);
      const uint64_t used = log == nullptr ? 0 : log->Used(rule, micros);
      most = std::max(most, static_cast<double>(used) / static_cast<double>(rule.limit()));
    } else {
      const double usage = rule.Usage(states[i], micros);
      const bool pinned = rule.kind() == LimitKind::kConcurrency && usage > 0;
      most = std::max(most, pinned ? kPinned : usage);
    }
  }
  return most;
}

// Under the lock of kSharedWay. Lock-free takes go on: Evict() looks again.
size_t LimitTable::Choose(Set& set, uint64_t tag, int64_t micros) {
  const auto usage_of = [&](size_t way) {
    const Place place = {&set, way};
    Renew(place, micros);
    const Generation& rules = GenerationOf(place);
    return UsageOf(rules, LoadStates(rules, place, set.words[way].Load().state()), micros);
  };
  // Without the lock, where it is not needed: most are counted by the current rules.
  const Generation& now = Current();
  const auto usage_of_key = [&](size_t way) {
    const LimitWord::Value word = set.words[way].Load();
    if (now.lock_free && word.version() == now.version) {
      return UsageOf(now, {word.state()}, micros);
    }
    const PlaceLock lock(set.locks[way]);
    return usage_of(way);
  };
  // What is under way in the shared place comes back there: nobody who may have a part in it gets
  // another until it is over.
  if (now.counts_running && usage_of(kSharedWay) >= kPinned) return kSharedWay;
  for (size_t i = 0; i < kLimitWays; ++i) {
    const size_t way = (FirstWay(tag) + i) % kLimitWays;
    if (set.tags[way].load(std::memory_order_relaxed) == 0) return way;
  }
  size_t best = 0;
  double least = kPinned;
  for (size_t way = 0; way < kLimitWays; ++way) {
    const double usage = usage_of_key(way);
    if (usage >= least) continue;
    least = usage;
    best = way;
  }
  return least > kHot ? kSharedWay : best;
}

// Under the locks of kSharedWay and of the place. False: it has become hot.
bool LimitTable::Evict(Place place, int64_t micros) {
  std::atomic<uint64_t>& tag = place.set->tags[place.way];
  LimitWord& word = place.set->words[place.way];
  const uint64_t old_tag = tag.load(std::memory_order_relaxed);
  Renew(place, micros);
  const Generation& rules = GenerationOf(place);
  tag.store(0, std::memory_order_release);
  for (;;) {
    const LimitWord::Value old = word.Load();
    States states = LoadStates(rules, place, old.state());
    const double usage = UsageOf(rules, states, micros);
    if (usage > kHot) {
      tag.store(old_tag, std::memory_order_release);
      return false;
    }
    for (size_t i = 0; i < rules.rules().size(); ++i) {
      // The log stays with the place, empty.
      LimitLog* log = IsLog(rules.rules()[i]) ? LogOf(states[i]) : nullptr;
      if (log != nullptr) log->Clear();
      states[i] = StateOf(log);
    }
    const uint32_t owner = (old.owner() + 1) & kOwnerMask;
    if (!word.Exchange(old, LimitWord::Value::Of(states[0], rules.version, owner))) continue;
    if (!rules.lock_free) StoreStates(rules, place, states);
    if (usage > 0) displaced_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
}

// Only one thread at a time gives a key a place in a set, so that no key ever has two.
bool LimitTable::Insert(Set& set, uint64_t tag, uint64_t cost, int64_t micros, LimitTakes& takes) {
  const PlaceLock newcomers(set.locks[kSharedWay]);
  if (FindWay(set.tags, tag) < kLimitWays) return false;
  const auto take = [&](Place place) {
    const Generation& rules = GenerationOf(place);
    if (!rules.lock_free) {
      TakeAll(rules, place, cost, micros, takes);
      return;
    }
    // Nobody else can change the version of a place whose lock is held.
    CHECK(TakeFree(rules, place, 0, cost, micros, takes));
  };
  const size_t way = Choose(set, tag, micros);
  const Place place = {&set, way};
  if (way == kSharedWay) {
    Renew(place, micros);
    shared_.fetch_add(1, std::memory_order_relaxed);
    take(place);
    return true;
  }
  const PlaceLock lock(set.locks[way]);
  if (!Evict(place, micros)) return false;
  take(place);
  set.tags[way].store(tag, std::memory_order_release);
  return true;
}

// Under the place's lock, without which its version does not change. Lock-free takes may change
// the word meanwhile; those of several limits, and of logs, cannot.
void LimitTable::Renew(Place place, int64_t micros) {
  LimitWord& word = place.set->words[place.way];
  for (;;) {
    const Generation& to = Current();
    const LimitWord::Value old = word.Load();
    if (old.version() == to.version) return;
    const Generation& from = GenerationOf(place);
    const States states = Converted(from, LoadStates(from, place, old.state()), to, micros);
    if (word.Exchange(old, LimitWord::Value::Of(states[0], to.version, old.owner()))) {
      if (!to.lock_free) StoreStates(to, place, states);
      return;
    }
    // `from` is lock-free, so these are new.
    for (size_t i = 0; i < to.rules().size(); ++i) {
      if (IsLog(to.rules()[i])) FreeLog(states[i]);
    }
  }
}

LimitTable::States LimitTable::Converted(const Generation& from, const States& old,
                                         const Generation& to, int64_t micros) {
  const std::span<const LimitRule> olds = from.rules();
  const std::span<const LimitRule> news = to.rules();
  const auto matches = Match(olds, news);
  States states;
  std::array<bool, LimitRules::kMax> kept = {};
  for (size_t i = 0; i < news.size(); ++i) {
    const size_t j = matches[i];
    if (j == LimitRules::kMax) continue;
    if (!IsLog(olds[j]) && !IsLog(news[i])) {
      states[i] = news[i].Convert(olds[j], old[j], micros);
      continue;
    }
    LimitLog* log = IsLog(olds[j]) ? LogOf(old[j]) : nullptr;
    if (IsLog(news[i]) && IsLog(olds[j])) {
      if (log != nullptr) log->Keep(news[i]);
      states[i] = old[j];
      kept[j] = true;
      continue;
    }
    // Between kConcurrency and others nothing is kept.
    if (olds[j].kind() == LimitKind::kConcurrency || news[i].kind() == LimitKind::kConcurrency) {
      continue;
    }
    if (IsLog(olds[j])) {
      if (log != nullptr) states[i] = news[i].WithUsed(log->Used(olds[j], micros), micros);
      continue;
    }
    if (const uint64_t used = olds[j].Used(old[j], micros); used > 0) {
      log = new LimitLog;
      log->SetUsed(news[i], used, micros);
      log_bytes_.fetch_add(log->bytes(), std::memory_order_relaxed);
      states[i] = StateOf(log);
    }
  }
  for (size_t j = 0; j < olds.size(); ++j) {
    if (IsLog(olds[j]) && !kept[j]) FreeLog(old[j]);
  }
  return states;
}

void LimitTable::Publish(LimitRules rules) {
  if (rules.rules().size() > 1) ProvideMore();
  const auto version = static_cast<uint32_t>(changes_ % kGenerations);
  history_.push_back(std::make_unique<const Generation>(std::move(rules), version));
  generations_[version].store(history_.back().get(), std::memory_order_release);
  current_.store(history_.back().get(), std::memory_order_release);
  if (history_.size() > kKept) history_.pop_front();
}

void LimitTable::Change(LimitRules rules, int64_t micros) {
  const Generation& old = Current();
  if (std::ranges::equal(rules.rules(), old.rules(), [](const LimitRule& a, const LimitRule& b) {
        return a.spec() == b.spec();
      })) {
    return;
  }
  ++changes_;
  Publish(std::move(rules));
  // Places go over to the current rules when they are next used; those that never are must not be
  // left with rules that are gone.
  if (changes_ % (kGenerations / 2) == 0) Sweep(micros);
}

// Leaves alone what was never used: it has no state, whatever the rules, and may not have been
// taken from the system yet.
void LimitTable::Sweep(int64_t micros) {
  const bool has_more = more_.load(std::memory_order_acquire) != nullptr;
  for (size_t i = 0; i < sets_count_; ++i) {
    Set& set = sets_[i];
    for (size_t way = 0; way < kLimitPlaces; ++way) {
      const bool used = way == kSharedWay ? has_more || set.words[way].Load() != LimitWord::Value()
                                          : set.tags[way].load(std::memory_order_acquire) != 0;
      if (!used) continue;
      const PlaceLock lock(set.locks[way]);
      Renew({&set, way}, micros);
    }
  }
}

}  // namespace gatehouse::filters
