#include "source/upstream/upstreams.h"

#include <utility>

#include "source/base/check.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::upstream {

Upstreams::Upstreams(net::Loop& loop, observe::CounterBlock& counters, http::H1HeadScratch& scratch)
    : loop_(loop), counters_(counters), scratch_(scratch) {}

Upstreams::~Upstreams() {
  parts_.Clear();
  while (ClusterState* state = states_.PopFront()) delete state;
}

Upstreams::Entry& Upstreams::EntryOf(ClusterKey key) {
  if (key.slot >= entries_.size()) entries_.resize(key.slot + 1);
  Entry& entry = entries_[key.slot];
  // Main gives a slot out again only when no exchange can ask for its former cluster any more.
  DCHECK(key.generation >= entry.generation);
  if (key.generation == entry.generation) return entry;
  if (entry.state != nullptr) entry.state->Retire();
  entry = Entry{nullptr, nullptr, key.generation, adoption_, false};
  return entry;
}

ClusterState& Upstreams::MakeState(const Cluster& cluster) {
  Entry& entry = EntryOf(cluster.key());
  if (entry.state == nullptr) {
    entry.state = new ClusterState(
        *this, cluster, entry.endpoints != nullptr ? entry.endpoints : cluster.endpoints());
    states_.PushBack(*entry.state);
    ++state_count_;
    if (draining_) entry.state->KeepNoneIdle();
    if (entry.retired) entry.state->Retire();
  }
  return *entry.state;
}

void Upstreams::Adopt(std::span<const std::shared_ptr<const Cluster>> clusters) {
  ++adoption_;
  for (const std::shared_ptr<const Cluster>& cluster : clusters) AdoptCluster(*cluster);
  for (Entry& entry : entries_) {
    if (entry.generation != 0 && entry.adoption != adoption_) RetireEntry(entry);
  }
}

void Upstreams::AdoptChanges(std::span<const std::shared_ptr<const Cluster>> changed,
                             std::span<const ClusterKey> removed) {
  for (const std::shared_ptr<const Cluster>& cluster : changed) AdoptCluster(*cluster);
  for (const ClusterKey key : removed) Retire(key);
}

void Upstreams::AdoptCluster(const Cluster& cluster) {
  Entry& entry = EntryOf(cluster.key());
  entry.adoption = adoption_;
  if (entry.retired) {
    // An earlier config is back. The retired state ends by itself; the next use makes a new one.
    entry.retired = false;
    entry.state = nullptr;
  }
  if (!cluster.has_dns()) UpdateEndpoints(cluster.key(), cluster.endpoints());
}

void Upstreams::Retire(ClusterKey key) {
  if (!IsOutdated(key)) RetireEntry(EntryOf(key));
}

void Upstreams::RetireEntry(Entry& entry) {
  if (entry.retired) return;
  entry.retired = true;
  if (entry.state != nullptr) entry.state->Retire();
}

void Upstreams::UpdateEndpoints(ClusterKey key, std::shared_ptr<const EndpointSet> endpoints) {
  if (IsOutdated(key)) return;
  Entry& entry = EntryOf(key);
  if (entry.endpoints == endpoints) return;
  entry.endpoints = std::move(endpoints);
  if (entry.state != nullptr) entry.state->UpdateEndpoints(entry.endpoints);
}

RedisClient& Upstreams::Redis(const RedisTarget& target) {
  for (const std::unique_ptr<RedisClient>& client : redis_) {
    if (&client->target() == &target) return *client;
  }
  return MakeRedis(target);
}

RedisClient& Upstreams::MakeRedis(const RedisTarget& target) {
  const RedisClient::Environment environment{
      .loop = loop_,
      .counters = counters_,
      .owner = this,
      .endpoints = [](void* self, const ClusterKey& key) -> std::shared_ptr<const EndpointSet> {
        const auto& entries = static_cast<Upstreams*>(self)->entries_;
        const bool known =
            key.slot < entries.size() && entries[key.slot].generation == key.generation;
        return known ? entries[key.slot].endpoints : nullptr;
      },
      .idle =
          [](void* self, RedisClient& idle) {
            std::erase_if(static_cast<Upstreams*>(self)->redis_,
                          [&](const auto& client) { return client.get() == &idle; });
          }};
  redis_.push_back(std::make_unique<RedisClient>(target.shared_from_this(), environment));
  return *redis_.back();
}

void Upstreams::Drain() {
  draining_ = true;
  parts_.Drain();
  for (ClusterState* state = states_.Front(); state != nullptr; state = states_.Next(*state)) {
    state->KeepNoneIdle();
  }
}

void Upstreams::Free(ClusterState& state) {
  Entry& entry = entries_[state.key().slot];
  if (entry.state == &state) entry.state = nullptr;
  state.ListNode<ClusterState>::Unlink();
  --state_count_;
  loop_.Bury(state);
}

}  // namespace gatehouse::upstream
