// LimitBudget: what has been used of a policy's limits, or of those of one of its plans, where they
// are counted. It outlives the configs that use it, so that a change of a limit keeps the counts.
//
// Made on main, used by all workers, shared by all places that name the policy (a shared_ptr in
// each config, by StateStore).
//
// Numbers may change: each config has a setting of its own, and the first request by a newer one
// makes the budget follow it. A config that is built and then refused, or only validated, is used
// by no request, so it changes nothing.
//
//   budget->Follow(terms.setting, micros);
//   if (budget->redis() == nullptr) budget->table().Take(budget->hash()(key), cost, micros, takes);
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "source/filters/rate_limit/key_hash.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/filters/rate_limit/redis_limit.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::filters {

// What one config says.
struct LimitSetting {
  LimitRules rules;
  // Kept there; else in this process.
  std::optional<RedisLimitSpec> redis;
  // Of all that is here: whether two settings are the same.
  std::string fingerprint;
  size_t max_keys = 0;
  // Which of a budget's settings is newer.
  uint64_t edition = 0;
};

class LimitBudget {
 public:
  // `served`: requests will be counted (and not only explained).
  LimitBudget(const LimitSetting& setting, bool served, observe::MetricRegistry& registry);
  LimitBudget(const LimitBudget&) = delete;
  LimitBudget& operator=(const LimitBudget&) = delete;

  // Main. For the setting of the config that is being built.
  [[nodiscard]] uint64_t NextEdition() { return ++last_edition_; }

  // Any thread. By this setting from now on, unless there is a newer one.
  void Follow(const LimitSetting& setting, int64_t micros) {
    if (setting.edition > edition_.load(std::memory_order_acquire)) Change(setting, micros);
  }
  // Null: in the table.
  [[nodiscard]] RedisLimit* redis() { return redis_.get(); }
  // Of a budget that is not in Redis.
  [[nodiscard]] LimitTable& table() { return *table_; }
  // Of the table's displaced() and shared(): what nobody has been told yet.
  [[nodiscard]] uint64_t NewlyDisplaced() { return NewOf(table_->displaced(), displaced_told_); }
  [[nodiscard]] uint64_t NewlyShared() { return NewOf(table_->shared(), shared_told_); }
  [[nodiscard]] const KeyHash& hash() const { return hash_; }
  [[nodiscard]] bool served() const { return served_; }

 private:
  void Change(const LimitSetting& setting, int64_t micros);
  [[nodiscard]] static uint64_t NewOf(uint64_t total, std::atomic<uint64_t>& told) {
    uint64_t known = told.load(std::memory_order_relaxed);
    if (__builtin_expect(known >= total, 1)) return 0;
    return told.compare_exchange_strong(known, total, std::memory_order_relaxed) ? total - known
                                                                                 : 0;
  }

  KeyHash hash_;
  std::unique_ptr<LimitTable> table_;
  std::unique_ptr<RedisLimit> redis_;
  bool served_;
  uint64_t last_edition_ = 0;
  std::atomic<uint64_t> edition_ = 0;
  std::atomic<uint64_t> displaced_told_ = 0;
  std::atomic<uint64_t> shared_told_ = 0;
  std::mutex changing_;
  std::string fingerprint_;  // of what is followed
};

}  // namespace gatehouse::filters
