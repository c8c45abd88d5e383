// RedisStore: what the workers share of one RedisLimit: its terms, its mirror, and what counts
// while Redis is away.
//
// Owner: the RedisLimit and the errands of each worker, whichever live longest. Any thread.
//
//   const RedisTerms& terms = store.terms();
//   call.Start(upstreams.Redis(store.target()), {.key = store.Name(digest, buffer), ...});
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "source/filters/rate_limit/limit_request.h"
#include "source/filters/rate_limit/limit_table.h"
#include "source/filters/rate_limit/mirror_table.h"
#include "source/filters/rate_limit/redis_terms.h"
#include "source/observe/counters.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_metrics.h"
#include "source/upstream/worker_parts.h"

namespace gatehouse::filters {

struct RedisLimitMetrics {
  static constexpr const char* kGroup = "rate_limit_redis";
  static constexpr std::array<const char*, 1> kLabels = {"policy"};

  observe::CounterId checks[upstream::kRedisResultNames.size()];
  observe::CounterId pushes[upstream::kRedisResultNames.size()];
  observe::CounterId fallback_allowed;
  observe::CounterId fallback_rejected;
  observe::CounterId unavailable;
  observe::CounterId errands_failed;
  observe::CounterId places_renewed;
  observe::CounterId units_given_up;
  observe::CounterId crowded_out;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    for (size_t i = 0; i < upstream::kRedisResultNames.size(); ++i) {
      visit(checks[i], "gatehouse_rate_limit_redis_checks_total",
            "Requests that Redis was asked about, by what came of it.",
            {"result", upstream::kRedisResultNames[i]});
    }
    for (size_t i = 0; i < upstream::kRedisResultNames.size(); ++i) {
      visit(pushes[i], "gatehouse_rate_limit_redis_syncs_total",
            "Keys whose units Redis was told at the sync interval, by what came of it.",
            {"result", upstream::kRedisResultNames[i]});
    }
    visit(fallback_allowed, "gatehouse_rate_limit_redis_fallback_total",
          "Requests that were decided without Redis because it did not answer.",
          {"decision", "allowed"});
    visit(fallback_rejected, "gatehouse_rate_limit_redis_fallback_total",
          "Requests that were decided without Redis because it did not answer.",
          {"decision", "rejected"});
    visit(unavailable, "gatehouse_rate_limit_redis_fallback_total",
          "Requests that were decided without Redis because it did not answer.",
          {"decision", "unlimited_or_denied"});
    visit(errands_failed, "gatehouse_rate_limit_redis_errands_failed_total",
          "Units or places that could not be given back to Redis, or renewed.");
    visit(places_renewed, "gatehouse_rate_limit_redis_places_renewed_total",
          "Leases that were renewed because their requests still ran.");
    visit(units_given_up, "gatehouse_rate_limit_redis_units_given_up_total",
          "Units that passed and that Redis will not be told of.");
    visit(crowded_out, "gatehouse_rate_limit_redis_crowded_out_total",
          "Requests that could not be counted between syncs because too many keys were in use.");
  }
};

class RedisStore {
 public:
  // Of the prefix and the policy in a key's name.
  static constexpr size_t kMostNameBytes = 200;
  using NameBuffer = std::array<char, kMostNameBytes + 32>;

  explicit RedisStore(const RedisLimitSpec& spec, const RedisLimitMetrics& metrics);
  RedisStore(const RedisStore&) = delete;
  RedisStore& operator=(const RedisStore&) = delete;

  // The start of the names, up to the digest.
  [[nodiscard]] static std::string NameStart(const RedisLimitSpec& spec);

  [[nodiscard]] const RedisTerms& terms() const { return *terms_.load(std::memory_order_acquire); }
  void Change(const RedisLimitSpec& spec, int64_t micros);

  [[nodiscard]] const upstream::RedisTarget& target() const { return *target_; }
  // Of its errands at each worker.
  [[nodiscard]] uint64_t part_id() const { return part_id_; }
  // "PREFIX{POLICY:DIGEST}": all that is kept of a key is in one slot of a Redis Cluster.
  [[nodiscard]] std::string_view Name(const KeyDigest& digest, NameBuffer& buffer) const;
  // Not null where terms().synced() has been true.
  [[nodiscard]] MirrorTable* mirror() { return mirror_.load(std::memory_order_acquire); }
  [[nodiscard]] LimitTable& fallback() { return fallback_; }

  // Redis does not answer: what the policy says. Counts in the metrics.
  [[nodiscard]] LimitOutcome DecideAlone(const RedisTerms& terms, const LimitRequest& request,
                                         LimitTakes& takes, observe::CounterBlock& counters);

  // Redis's clock, as well as it is known: never ahead of it by more than a turn of a loop.
  [[nodiscard]] int64_t RedisMicros(int64_t local) const {
    return local + clock_offset_.load(std::memory_order_relaxed);
  }
  // It was `redis` there no later than `local` here.
  void NoteClock(int64_t redis, int64_t local);

  // Nobody was asked lately because nobody could be.
  [[nodiscard]] bool IsAway(int64_t local) const {
    return local < away_until_.load(std::memory_order_relaxed);
  }
  void NoteResult(upstream::RedisFailure failure, int64_t local);
  // The script was answered with what is no state: that is not Redis, or a key that is not ours.
  void NoteWrong(TimePoint now) const;

  // Null once the policy is gone: nobody reads them any more.
  [[nodiscard]] const RedisLimitMetrics* metrics() const { return retired() ? nullptr : &metrics_; }
  void Retire() { retired_.store(true, std::memory_order_release); }
  [[nodiscard]] bool retired() const { return retired_.load(std::memory_order_acquire); }

 private:
  const uint64_t part_id_ = upstream::NextPartId();
  const std::string name_start_;
  const std::shared_ptr<const upstream::RedisTarget> target_;
  const size_t max_keys_;
  const RedisLimitMetrics metrics_;
  LimitTable fallback_;
  std::atomic<MirrorTable*> mirror_ = nullptr;
  std::atomic<const RedisTerms*> terms_ = nullptr;
  std::atomic<int64_t> clock_offset_ = 0;
  std::atomic<int64_t> away_until_ = 0;
  std::atomic<bool> clock_known_ = false;
  std::atomic<bool> retired_ = false;
  std::mutex changing_;
  std::unique_ptr<MirrorTable> its_mirror_;
  // Requests may still go by an old one.
  std::vector<std::unique_ptr<const RedisTerms>> all_terms_;
};

}  // namespace gatehouse::filters
