#include "source/proxy/shard.h"

#include <utility>

#include "source/proxy/exchange.h"

namespace gatehouse::proxy {

void SnapshotPin::Release() {
  PinnedSnapshot* pinned = std::exchange(pinned_, nullptr);
  if (pinned == nullptr) return;
  --pinned->pins;
  shard_->DropIfUnused(*pinned);
}

Shard::Shard(net::Loop& loop, uint32_t index, observe::CounterBlock& counters,
             const observe::ServerMetrics& server_metrics, SharedCounts& shared,
             uint64_t random_seed, Retire retire)
    : loop_(loop),
      index_(index),
      counters_(counters),
      server_metrics_(server_metrics),
      shared_(shared),
      random_(random_seed),
      retire_(std::move(retire)),
      upstreams_(loop, counters, scratch_) {
  free_exchanges_.reserve(kMaxFreeExchanges);
}

Shard::~Shard() {
  for (Exchange* exchange : free_exchanges_) delete exchange;
  current_ = nullptr;
  while (PinnedSnapshot* pinned = snapshots_.PopFront()) {
    retire_(std::move(pinned->snapshot));
    delete pinned;
  }
}

void Shard::Adopt(std::shared_ptr<const config::Snapshot> snapshot) {
  if (current_ != nullptr && snapshot->base_id != 0 &&
      current_->snapshot->id == snapshot->base_id) {
    upstreams_.AdoptChanges(snapshot->changed_clusters, snapshot->removed_clusters);
  } else {
    upstreams_.Adopt(snapshot->clusters);
  }
  // New splits start at a random place, so that workers do not walk in step.
  while (split_cursors_.size() < snapshot->split_cursors) {
    split_cursors_.push_back(random_.Next() >> 1);
  }
  auto* pinned = new PinnedSnapshot;
  pinned->snapshot = std::move(snapshot);
  snapshots_.PushBack(*pinned);
  PinnedSnapshot* before = std::exchange(current_, pinned);
  if (before != nullptr) DropIfUnused(*before);
}

void Shard::DropIfUnused(PinnedSnapshot& pinned) {
  if (pinned.pins > 0 || &pinned == current_) return;
  pinned.Unlink();
  retire_(std::move(pinned.snapshot));
  delete &pinned;
}

Exchange& Shard::TakeExchange() {
  if (free_exchanges_.empty()) return *new Exchange(*this);
  Exchange* exchange = free_exchanges_.back();
  free_exchanges_.pop_back();
  return *exchange;
}

void Shard::GiveBack(Exchange& exchange) {
  if (free_exchanges_.size() >= kMaxFreeExchanges) {
    delete &exchange;
    return;
  }
  exchange.Recycle();
  free_exchanges_.push_back(&exchange);
}

}  // namespace gatehouse::proxy
