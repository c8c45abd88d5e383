// LimitTable: what very many keys have used of one policy's limits, shared by all threads, in
// bounded memory.
//
// Built on main, used by all workers; lives as long as anything that uses it (a shared_ptr in the
// config), over changes of the config too. Time is handed in.
//
// Time may go back a little, as LimitRule says. What was counted more than a minute after now was
// counted before the clock was set back, and is forgotten: otherwise nothing would pass until the
// clock has caught up.
//
// A policy of one limit whose state is a LimitState is counted by one compare-and-swap, without a
// lock. Several limits, and logs, are counted under a lock of that key alone, so that a request
// takes from all of them or from none, and nobody sees anything in between.
//
// A key belongs to one set of seven places, and is found by looking at seven tags in one cache
// line. A key that has no place takes one that is idle, which forgets nothing; or else the set's
// least used one, which then starts anew. A hot place (more than half of a limit used, or requests
// under way that a limit of kConcurrency counts) is never given up: a key that finds only hot ones
// shares an eighth place with the others that do. So no number of keys lets any one of them through
// faster.
//
//   LimitTable table(*LimitRules::Make(specs), max_keys);
//   LimitTakes takes;
//   if (!table.Take(key_hash, cost, loop.WallMicros(), takes)) retry after takes.retry_after();
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "source/filters/rate_limit/limit_rule.h"

namespace gatehouse::filters {

// The limits of a policy (or of one of its plans), in the order of the config. Const.
class LimitRules {
 public:
  static constexpr size_t kMax = 4;

  // One to kMax specs. Errors name the index.
  [[nodiscard]] static absl::StatusOr<LimitRules> Make(std::span<const LimitSpec> specs);

  [[nodiscard]] std::span<const LimitRule> rules() const { return rules_; }
  [[nodiscard]] LimitRules ShareOf(uint32_t gateways) const;
  // Whether it takes a lock to count them.
  [[nodiscard]] bool lock_free() const;

 private:
  std::vector<LimitRule> rules_;
};

// What a request got of each limit. `allowed`: of all of them, and it was taken from all; otherwise
// from none.
struct LimitTakes {
  std::array<LimitTake, LimitRules::kMax> takes;
  uint32_t count = 0;
  bool allowed = false;
  // A limit of kConcurrency counts the request until Release(): whatever config it came by, only
  // what it was counted by knows.
  bool holds = false;
  // By this process, because the store of the limit did not answer.
  bool alone = false;

  // Until all of those that rejected would allow it.
  [[nodiscard]] Duration retry_after() const;
  // How long an allowed request has to wait: the longest.
  [[nodiscard]] Duration delay() const;
  [[nodiscard]] std::span<const LimitTake> all() const { return {takes.data(), count}; }
};

class LimitTable {
 public:
  // Whether so many keys can be counted in bounded memory. The error says what to lower.
  [[nodiscard]] static absl::Status Check(const LimitRules& rules, size_t max_keys);

  // `max_keys`: as many keys are remembered whatever they are. Memory is taken as it is used.
  LimitTable(LimitRules rules, size_t max_keys);
  ~LimitTable();
  LimitTable(const LimitTable&) = delete;
  LimitTable& operator=(const LimitTable&) = delete;

  // Fetches the key's place into the cache, for a Take() that comes later.
  void Prefetch(uint64_t key_hash) const;
  // All or nothing. Returns takes.allowed. `key_hash`: 64 bits, by a secret seed.
  bool Take(uint64_t key_hash, uint64_t cost, int64_t micros, LimitTakes& takes);
  // What Take() took at `taken`: a later policy rejected the request, or it left before its turn,
  // which was to come after `delay`.
  void GiveBack(uint64_t key_hash, uint64_t cost, int64_t taken, int64_t micros,
                Duration delay = {});
  // A request is over whose takes had `holds`: gives back what limits of kConcurrency hold.
  void Release(uint64_t key_hash, uint64_t cost, int64_t micros);
  // What a request of cost 0 would see; nullopt: the key is not known, so nothing is used.
  [[nodiscard]] std::optional<LimitTakes> Peek(uint64_t key_hash, int64_t micros) const;

  // One thread at a time. The limits of the policy have changed: from now on they are these, and
  // what has been counted stays (LimitRule::Convert). Takes that are under way may still go by the
  // old ones.
  void Change(LimitRules rules, int64_t micros);

  // Keys that took the place of one that was not idle, and takes that went to a shared place
  // because all others were hot.
  [[nodiscard]] uint64_t displaced() const { return displaced_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t shared() const { return shared_.load(std::memory_order_relaxed); }
  [[nodiscard]] size_t memory_bytes() const;

 private:
  struct Set;
  struct More;
  struct Generation;
  struct Place {
    Set* set;
    size_t way;
  };
  using States = std::array<LimitState, LimitRules::kMax>;
  struct Taken {
    int64_t micros;
    Duration delay;

    // In a queue, until its turn nothing of what comes back is on account of the request.
    [[nodiscard]] int64_t From(const LimitRule& rule) const {
      return rule.kind() == LimitKind::kLeakyQueue ? micros + delay.count() : micros;
    }
  };

  static constexpr size_t kGenerations = 256;

  [[nodiscard]] Set& SetOf(uint64_t key_hash) const;
  [[nodiscard]] const Generation& Current() const {
    return *current_.load(std::memory_order_acquire);
  }
  // The rules that the place is counted by. Under its lock, or its set's for the shared one.
  [[nodiscard]] const Generation& GenerationOf(Place place) const;
  // Both are false if the place has another key, or is counted by other rules, by now.
  template <typename F>
  [[nodiscard]] bool ChangeFree(const Generation& rules, Place place, uint64_t tag, int64_t micros,
                                F&& change);
  template <typename F>
  [[nodiscard]] bool ChangeLocked(Place place, uint64_t tag, int64_t micros, F&& change);
  [[nodiscard]] bool TakeAt(Place place, uint64_t tag, uint64_t cost, int64_t micros,
                            LimitTakes& takes);
  [[nodiscard]] bool GiveBackAt(Place place, uint64_t tag, uint64_t cost,
                                std::optional<Taken> taken, int64_t micros);

  [[nodiscard]] bool TakeFree(const Generation& rules, Place place, uint64_t tag, uint64_t cost,
                              int64_t micros, LimitTakes& takes);

  // Under the place's lock.
  void TakeAll(const Generation& rules, Place place, uint64_t cost, int64_t micros,
               LimitTakes& takes);
  void GiveBackAll(const Generation& rules, Place place, uint64_t cost, std::optional<Taken> taken,
                   int64_t micros);
  // `word`: the place's, which a lock-free change may be changing.
  [[nodiscard]] States LoadStates(const Generation& rules, Place place,
                                  const LimitState& word) const;
  void StoreStates(const Generation& rules, Place place, const States& states);
  LimitTake TakeLogged(const LimitRule& rule, LimitState& state, uint64_t cost, int64_t micros);

  // limit_places.cc: who has which place, and by which rules.
  [[nodiscard]] bool Insert(Set& set, uint64_t tag, uint64_t cost, int64_t micros,
                            LimitTakes& takes);
  [[nodiscard]] size_t Choose(Set& set, uint64_t tag, int64_t micros);
  [[nodiscard]] bool Evict(Place place, int64_t micros);
  [[nodiscard]] double UsageOf(const Generation& rules, const States& states, int64_t micros) const;
  // Makes the place one of the current rules, if it is older.
  void Renew(Place place, int64_t micros);
  [[nodiscard]] States Converted(const Generation& from, const States& old, const Generation& to,
                                 int64_t micros);
  void Publish(LimitRules rules);
  void Sweep(int64_t micros);
  void ProvideMore();
  void FreeLog(const LimitState& state);

  std::atomic<const Generation*> current_ = nullptr;
  std::atomic<uint64_t> displaced_ = 0;
  std::atomic<uint64_t> shared_ = 0;
  std::atomic<size_t> log_bytes_ = 0;
  size_t sets_count_;
  Set* sets_ = nullptr;                // zeroed lazily by the system
  std::atomic<More*> more_ = nullptr;  // of all places, once there are several limits
  // By their version, which states carry. Those that states may have are the newest half.
  std::array<std::atomic<const Generation*>, kGenerations> generations_ = {};
  // Change()'s own. Takes that are under way may use rules that no state has any more: they are
  // kept for as many changes as do not happen while one request is counted.
  std::deque<std::unique_ptr<const Generation>> history_;
  uint64_t changes_ = 0;
};

}  // namespace gatehouse::filters
