// Shard: what the exchanges of one worker share, and how they hold on to the config that they began
// with.
//
// Owner: the worker. Thread: its loop. It outlives its listeners, connections and exchanges.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/base/random.h"
#include "source/config/snapshot.h"
#include "source/net/loop.h"
#include "source/observe/counters.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::proxy {

class Exchange;
class Shard;

// Counts that all workers share. They change per connection, not per request.
struct SharedCounts {
  std::atomic<uint32_t> connections = 0;
  uint32_t max_connections = 0;  // 0: no limit
};

// A snapshot that this worker has adopted. Lives until it is not current and nothing pins it.
struct PinnedSnapshot : ListNode<PinnedSnapshot> {
  std::shared_ptr<const config::Snapshot> snapshot;
  uint32_t pins = 0;
};

// Keeps a snapshot while it lives: a plain count, since only one thread touches it.
class SnapshotPin {
 public:
  SnapshotPin() = default;
  SnapshotPin(Shard& shard, PinnedSnapshot& pinned) : shard_(&shard), pinned_(&pinned) {
    ++pinned.pins;
  }
  SnapshotPin(const SnapshotPin& other) : shard_(other.shard_), pinned_(other.pinned_) {
    if (pinned_ != nullptr) ++pinned_->pins;
  }
  SnapshotPin& operator=(const SnapshotPin& other) {
    SnapshotPin copy(other);
    std::swap(shard_, copy.shard_);
    std::swap(pinned_, copy.pinned_);
    return *this;
  }
  ~SnapshotPin() { Release(); }
  void Release();
  [[nodiscard]] const config::Snapshot& operator*() const { return *pinned_->snapshot; }
  [[nodiscard]] const config::Snapshot* operator->() const { return pinned_->snapshot.get(); }
  [[nodiscard]] explicit operator bool() const { return pinned_ != nullptr; }

 private:
  Shard* shard_ = nullptr;
  PinnedSnapshot* pinned_ = nullptr;
};

class Shard {
 public:
  // Takes the last reference of a snapshot to main, where it is dropped.
  using Retire = std::function<void(std::shared_ptr<const config::Snapshot>)>;

  Shard(net::Loop& loop, uint32_t index, observe::CounterBlock& counters,
        const observe::ServerMetrics& server_metrics, SharedCounts& shared, uint64_t random_seed,
        Retire retire);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // From now on new exchanges run on `snapshot`.
  void Adopt(std::shared_ptr<const config::Snapshot> snapshot);
  [[nodiscard]] SnapshotPin Current() { return SnapshotPin(*this, *current_); }
  [[nodiscard]] bool has_snapshot() const { return current_ != nullptr; }

  // Exchanges are used again: their arena and their timers' places stay.
  [[nodiscard]] Exchange& TakeExchange();
  void GiveBack(Exchange& exchange);

  [[nodiscard]] net::Loop& loop() { return loop_; }
  [[nodiscard]] uint32_t index() const { return index_; }
  [[nodiscard]] observe::CounterBlock& counters() { return counters_; }
  [[nodiscard]] const observe::ServerMetrics& server_metrics() const { return server_metrics_; }
  [[nodiscard]] upstream::Upstreams& upstreams() { return upstreams_; }
  [[nodiscard]] http::H1HeadScratch& scratch() { return scratch_; }
  [[nodiscard]] Random& random() { return random_; }
  [[nodiscard]] SharedCounts& shared() { return shared_; }
  [[nodiscard]] uint64_t NextCursor(uint32_t index) { return split_cursors_[index]++; }

  // The worker drains: responses say Connection: close.
  void set_draining() { draining_ = true; }
  [[nodiscard]] bool draining() const { return draining_; }

 private:
  friend class SnapshotPin;
  static constexpr size_t kMaxFreeExchanges = 512;

  void DropIfUnused(PinnedSnapshot& pinned);

  net::Loop& loop_;
  uint32_t index_;
  observe::CounterBlock& counters_;
  const observe::ServerMetrics& server_metrics_;
  SharedCounts& shared_;
  Random random_;
  Retire retire_;
  http::H1HeadScratch scratch_;
  upstream::Upstreams upstreams_;
  std::vector<uint64_t> split_cursors_;
  PinnedSnapshot* current_ = nullptr;
  IntrusiveList<PinnedSnapshot> snapshots_;
  std::vector<Exchange*> free_exchanges_;
  bool draining_ = false;
};

}  // namespace gatehouse::proxy
