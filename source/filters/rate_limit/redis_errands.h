// RedisErrands: what one worker has to tell Redis for a RedisLimit without a request waiting for
// it: the units that passed by the mirror, units and places that are given back, and that requests
// under way still need their places. Pipelined, a bounded number at a time.
//
// Owner: the worker's Upstreams (WorkerParts), made when first needed. Thread: its loop. It goes
// when the policy has gone and all is told, or after a minute if Redis is away. Units that Redis
// could not be told of are kept in the mirror and told once more; a place that is not given back
// ends with its lease; units that could not be given back are counted in the metrics.
//
//   RedisErrands& errands = RedisErrands::Of(upstreams, store);
//   errands.Note(taken);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "source/base/timer_wheel.h"
#include "source/filters/rate_limit/redis_store.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/upstreams.h"
#include "source/upstream/worker_parts.h"

namespace gatehouse::filters {

class RedisErrands final : public upstream::WorkerPart {
 public:
  // Calls of one policy that are under way at a worker at the same time; more wait.
  static constexpr size_t kMaxRunning = 256;
  static constexpr size_t kMaxWaiting = 100'000;

  [[nodiscard]] static RedisErrands& Of(upstream::Upstreams& upstreams,
                                        const std::shared_ptr<RedisStore>& store);
  RedisErrands(upstream::Upstreams& upstreams, std::shared_ptr<RedisStore> store);
  ~RedisErrands() override;

  // The place of the mirror is dirty, or urgent.
  void Note(const MirrorTable::Taken& taken);
  // What is urgent, and not only at the end of the turn.
  void PushNow() { DoMore(); }
  void GiveBack(const KeyDigest& digest, uint64_t cost, int64_t since_taken);

  // Places of requests under way (kConcurrency). A place is `cost` units; it has a number here and
  // a name in Redis.
  [[nodiscard]] uint64_t NextPlace() { return ++last_place_; }
  using PlaceName = std::array<char, 48>;
  [[nodiscard]] std::string_view NameOf(uint64_t place, PlaceName& buffer) const;
  // It is had from now on.
  void Hold(uint64_t key_hash, const KeyDigest& digest, uint64_t place, uint64_t cost);
  // Gives one of that key and cost back; they are all alike. False: none is had from Redis.
  bool Release(uint64_t key_hash, uint64_t cost);
  // It may be had: nobody knows.
  void Release(const KeyDigest& digest, uint64_t place, uint64_t cost);

  void Drain() override;

 private:
  enum class What : uint8_t { kPush, kGiveBack, kRelease, kRenew };
  struct Task {
    What what = What::kPush;
    KeyDigest digest{};
    uint64_t units = 0;  // cost
    int64_t micros = 0;  // kPush: when the last passed; kGiveBack: how long ago it was taken
    uint64_t place = 0;  // kRelease
    uint64_t key = 0;    // kRenew: its hash
    MirrorTable::Place mirrored{};
  };
  struct Errand {
    explicit Errand(RedisErrands& its) : owner(its) {}

    RedisErrands& owner;
    upstream::RedisCall call;
    Task task;
    const RedisTerms* terms = nullptr;
    bool running = false;
  };
  struct Held {
    uint64_t place;
    uint64_t cost;
  };
  struct Key {
    KeyDigest digest{};
    std::vector<Held> held;
  };

  void ArmSync();
  void OnSync();
  void OnLease();
  void OnUpkeep();
  void Do(const Task& task);
  void DoMore();
  void Start(const Task& task);
  void Send(Errand& errand, const upstream::RedisScript& script,
            std::vector<std::string_view>& args);
  void OnDone(Errand& errand, const upstream::RedisResult& result);
  void OnPushed(const Errand& errand, const upstream::RedisResult& result);
  void AppendPlaces(std::vector<std::string>& names, uint64_t place, uint64_t cost) const;
  // As long as there is a policy to count for.
  void Count(observe::CounterId RedisLimitMetrics::* id, uint64_t by = 1);

  upstream::Upstreams& upstreams_;
  const std::shared_ptr<RedisStore> store_;
  std::string worker_name_;  // of its places
  uint64_t last_place_ = 0;
  std::vector<MirrorTable::Place> dirty_;  // since the last sync
  std::deque<MirrorTable::Place> batch_;   // to be pushed now
  std::deque<Task> waiting_;
  std::vector<std::unique_ptr<Errand>> errands_;
  std::vector<Errand*> idle_;
  size_t running_ = 0;
  size_t pushing_ = 0;
  bool halted_ = false;  // Redis does not answer: one push at a time finds out when it does
  absl::flat_hash_map<uint64_t, Key> keys_;  // that have places
  std::vector<std::vector<Held>> spare_;
  std::optional<TimePoint> retired_at_;  // seen
  Timer sync_timer_;
  Timer lease_timer_;
  Timer upkeep_timer_;
  net::Flushable urgent_;
};

}  // namespace gatehouse::filters
