// LimitTable: what very many keys have used of one policy's limits, shared by all threads, in
// bounded memory.
//
// Built on main, used by all workers; lives as long as anything that uses it (a shared_ptr in the
// config), over changes of the config too. Time is handed in.
//
// A policy of one limit whose state is a LimitState is counted by one compare-and-swap, without a
// lock. Several limits, and logs, are counted under a lock of that key alone, so that a request
// takes from all of them or from none, and nobody sees anything in between.
//
//   LimitTable table(*LimitRules::Make(specs), max_keys);
//   LimitTakes takes;
//   if (!table.Take(key_hash, cost, loop.WallMicros(), takes)) retry after takes.retry_after();
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

  // Until all of those that rejected would allow it.
  [[nodiscard]] Duration retry_after() const;
  // How long an allowed request has to wait: the longest.
  [[nodiscard]] Duration delay() const;
  [[nodiscard]] std::span<const LimitTake> all() const { return {takes.data(), count}; }
};

class LimitTable {
 public:
  // `max_keys`: as many keys are remembered whatever they are. Memory is taken as it is used.
  LimitTable(LimitRules rules, size_t max_keys);
  ~LimitTable();
  LimitTable(const LimitTable&) = delete;
  LimitTable& operator=(const LimitTable&) = delete;

  // All or nothing. Returns takes.allowed. `key_hash`: 64 bits, by a secret seed.
  bool Take(uint64_t key_hash, uint64_t cost, int64_t micros, LimitTakes& takes);
  // What Take() took at `taken`: a later policy rejected the request.
  void GiveBack(uint64_t key_hash, uint64_t cost, int64_t taken, int64_t micros);
  // The request is over: gives back what limits of kConcurrency hold. As often as Take() took.
  void Release(uint64_t key_hash, uint64_t cost, int64_t micros);
  // What a request of cost 0 would see; nullopt: the key is not known, so nothing is used.
  [[nodiscard]] std::optional<LimitTakes> Peek(uint64_t key_hash, int64_t micros) const;

  // Main. The limits of the policy have changed: from now on they are these, and what has been
  // counted stays (LimitRule::Convert). Takes that are under way may still go by the old ones.
  void Change(LimitRules rules, int64_t micros);

  // Keys that took the place of one that was not idle, and takes that went to a shared place
  // because all others were hot.
  [[nodiscard]] uint64_t displaced() const;
  [[nodiscard]] uint64_t shared() const;
  [[nodiscard]] size_t memory_bytes() const;
};

}  // namespace gatehouse::filters
