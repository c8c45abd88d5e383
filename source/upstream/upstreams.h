// Upstreams: one worker's side of all clusters: their pools of connections, balancers and queues.
//
// Owner: the worker. Thread: its loop. It outlives all leases and waiters; the loop outlives it. A
// ClusterState is made when a cluster is first used, so that an idle cluster costs one Entry.
//
// Retire() follows a config change: the cluster keeps serving those exchanges that were begun under
// the old config (they hold the old snapshot, so a reload loses no request), but no connection is
// pooled any more, and the state is freed when the last lease is back.
//
//   Upstreams upstreams(loop, counters, scratch);
//   AcquireResult result = upstreams.StateOf(cluster).Acquire(hint, waiter);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/counters.h"
#include "source/upstream/cluster.h"
#include "source/upstream/cluster_state.h"
#include "source/upstream/lease.h"
#include "source/upstream/worker_parts.h"

namespace gatehouse::upstream {

class RedisClient;
class RedisTarget;

class Upstreams {
 public:
  // `counters` is the worker's block; `scratch` the one of the loop's client connections.
  Upstreams(net::Loop& loop, observe::CounterBlock& counters, http::H1HeadScratch& scratch);
  ~Upstreams();
  Upstreams(const Upstreams&) = delete;
  Upstreams& operator=(const Upstreams&) = delete;

  // Use the result at once: a retired cluster's state ends by itself. `cluster` is of a snapshot
  // that the caller holds.
  [[nodiscard]] ClusterState& StateOf(const Cluster& cluster) {
    const ClusterKey key = cluster.key();
    if (__builtin_expect(key.slot < entries_.size(), 1)) {
      Entry& entry = entries_[key.slot];
      if (__builtin_expect(entry.generation == key.generation && entry.state != nullptr, 1)) {
        return *entry.state;
      }
    }
    return MakeState(cluster);
  }

  // A new config: retires the clusters that are not in it, and brings the endpoints of those that
  // are up to date (but for names, which the DnsTracker publishes).
  void Adopt(std::span<const std::shared_ptr<const Cluster>> clusters);
  // The same after an Adopt() of the config before, told only what is new or another object, and
  // what is there no more.
  void AdoptChanges(std::span<const std::shared_ptr<const Cluster>> changed,
                    std::span<const ClusterKey> removed);
  // The pieces that they are made of.
  void Retire(ClusterKey key);
  // Also before the cluster's first use.
  void UpdateEndpoints(ClusterKey key, std::shared_ptr<const EndpointSet> endpoints);

  // This worker's connections to those servers, made when first asked for and freed when idle. Use
  // the result at once. The caller holds the target.
  [[nodiscard]] RedisClient& Redis(const RedisTarget& target);

  // What others keep at this worker; goes before the clients and the states.
  [[nodiscard]] WorkerParts& parts() { return parts_; }

  // Closes all idle connections and pools none from now on: the worker drains.
  void Drain();

  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] observe::CounterBlock& counters() { return counters_; }
  [[nodiscard]] http::H1HeadScratch& scratch() { return scratch_; }
  // States that were made and not yet freed, retired ones included.
  [[nodiscard]] size_t states() const { return state_count_; }

 private:
  friend class ClusterState;

  struct Entry {
    ClusterState* state = nullptr;
    std::shared_ptr<const EndpointSet> endpoints;  // null: those of the Cluster
    uint32_t generation = 0;                       // 0: never used
    uint16_t adoption = 0;                         // the last one that had it
    bool retired = false;
  };

  [[gnu::noinline]] ClusterState& MakeState(const Cluster& cluster);
  void AdoptCluster(const Cluster& cluster);
  // The entry of that generation; an older one in the slot is retired first.
  Entry& EntryOf(ClusterKey key);
  // The slot belongs to a later generation by now.
  [[nodiscard]] bool IsOutdated(ClusterKey key) const {
    return key.slot < entries_.size() && entries_[key.slot].generation > key.generation;
  }
  void RetireEntry(Entry& entry);
  // Called by a state at the moment when nothing needs it any more.
  void Free(ClusterState& state);
  [[nodiscard]] RedisClient& MakeRedis(const RedisTarget& target);

  net::Loop& loop_;
  observe::CounterBlock& counters_;
  http::H1HeadScratch& scratch_;
  std::vector<Entry> entries_;  // by slot
  IntrusiveList<ClusterState> states_;
  size_t state_count_ = 0;
  std::vector<std::unique_ptr<RedisClient>> redis_;  // few
  uint16_t adoption_ = 0;
  bool draining_ = false;
  WorkerParts parts_;
};

}  // namespace gatehouse::upstream
