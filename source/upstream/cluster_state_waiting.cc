// ClusterState's queues: who waits for a connection, and what happens to them at the end of a turn.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "source/base/check.h"
#include "source/upstream/cluster_state.h"
#include "source/upstream/upstreams.h"

namespace gatehouse::upstream {

using http::Error;

void ClusterState::Enqueue(EndpointPool& pool, LeaseWaiter& waiter) {
  waiter.pool_ = &pool;
  pool.waiters.PushBack(waiter);
  ++pool.waiting;
  NoteNeed(pool);
}

void ClusterState::Dequeue(LeaseWaiter& waiter) {
  waiter.Unlink();
  if (waiter.pool_ == nullptr) return;
  --waiter.pool_->waiting;
  if (waiter.pool_->removed) loop_.FlushLater(serve_later_);
  waiter.pool_ = nullptr;
}

void ClusterState::Forget(LeaseWaiter& waiter) {
  Dequeue(waiter);
  waiter.cluster_ = nullptr;
  --waiting_;
  counters_.Gauge(metrics_.pending, -1);
  if (retired_) loop_.FlushLater(serve_later_);
}

void ClusterState::Finish(LeaseWaiter& waiter, Lease lease, Error error) {
  Forget(waiter);
  if (error) CountFailure(error);
  waiter.done_(waiter.owner_, std::move(lease), error);
}

void ClusterState::FailFirst(EndpointPool& pool, Error error) {
  LeaseWaiter* waiter = pool.waiters.Front();
  if (waiter == nullptr) return;
  Dequeue(*waiter);
  waiter->error_ = error;
  waiter->failure_ = pool.failure;
  waiter->failed_ = pool.endpoint.get();
  failed_.PushBack(*waiter);
  loop_.FlushLater(serve_later_);
}

// The pool opens another connection as soon as there is room, if it has more waiters than coming.
void ClusterState::NoteNeed(EndpointPool& pool) {
  const uint64_t coming = uint64_t{pool.connecting} * pool.streams_per_connection;
  if (pool.waiting > coming && !pool.starved() && !pool.removed) starved_.PushBack(pool);
}

void ClusterState::Serve() {
  while (LeaseWaiter* waiter = homeless_.PopFront()) PlaceAgain(*waiter);
  while (EndpointPool* pool = ready_.Front()) ServePool(*pool);
  ServeStarved();
  while (LeaseWaiter* waiter = failed_.PopFront()) Finish(*waiter, Lease(), waiter->error_);
  DropEmptyPools();
  FreeIfDone();
}

void ClusterState::PlaceAgain(LeaseWaiter& waiter) {
  const uint32_t index = balancer_->Pick(waiter.hint_);
  if (index == Balancer::kNone) {
    Finish(waiter, Lease(), Error::Gateway(Error::What::kNoHealthyUpstream));
    return;
  }
  EndpointPool& pool = PoolFor(index, waiter.hint_);
  Enqueue(pool, waiter);
  if (!pool.available.empty() && !pool.ready()) ready_.PushBack(pool);
}

void ClusterState::ServePool(EndpointPool& pool) {
  for (LeaseWaiter* waiter = pool.waiters.Front(); waiter != nullptr;) {
    PooledConnection* connection = FirstAvailable(pool);
    if (connection == nullptr) break;
    // A retry waits for a connection that is at least as new as its wish for one.
    if (waiter->hint_.fresh && connection->h2 == nullptr && connection->since < waiter->since_) {
      waiter = pool.waiters.Next(*waiter);
      continue;
    }
    Finish(*waiter, Take(*connection), Error{});
    waiter = pool.waiters.Front();
  }
  pool.ListNode<EndpointPool, ReadyTag>::Unlink();
  TrimIdle(pool);
  if (pool.idle > 0 && !idle_timer_.armed()) loop_.Arm(idle_timer_, options_.idle_timeout);
}

void ClusterState::ServeStarved() {
  while (EndpointPool* pool = starved_.Front()) {
    if (pool->waiting <= Coming(*pool, /*fresh=*/true)) {
      pool->ListNode<EndpointPool, StarvedTag>::Unlink();
      continue;
    }
    if (!HasRoom()) return;
    if (const Error error = Connect(*pool)) FailFirst(*pool, error);
  }
}

void ClusterState::UpdateEndpoints(std::shared_ptr<const EndpointSet> endpoints) {
  std::unordered_map<const Endpoint*, std::unique_ptr<EndpointPool>> known;
  for (std::unique_ptr<EndpointPool>& pool : pools_) {
    if (pool != nullptr) known.emplace(pool->endpoint.get(), std::move(pool));
  }
  pools_.clear();
  pools_.resize(endpoints->size());
  for (size_t i = 0; i < endpoints->size(); ++i) {
    const auto found = known.find((*endpoints)[i].endpoint.get());
    if (found == known.end()) continue;
    pools_[i] = std::move(found->second);
    known.erase(found);
  }
  balancer_->SetEndpoints(*endpoints);
  endpoints_ = std::move(endpoints);
  for (auto& [endpoint, pool] : known) RemovePool(std::move(pool));
  for (std::unique_ptr<EndpointPool>& pool : proxied_) {
    const bool stays = std::any_of(endpoints_->begin(), endpoints_->end(), [&](const auto& entry) {
      return entry.endpoint == pool->endpoint;
    });
    if (!stays) RemovePool(std::move(pool));
  }
  std::erase(proxied_, nullptr);
  loop_.FlushLater(serve_later_);
}

void ClusterState::RemovePool(std::unique_ptr<EndpointPool> pool) {
  pool->removed = true;
  pool->ListNode<EndpointPool, ReadyTag>::Unlink();
  pool->ListNode<EndpointPool, StarvedTag>::Unlink();
  while (LeaseWaiter* waiter = pool->waiters.Front()) {
    Dequeue(*waiter);
    homeless_.PushBack(*waiter);
  }
  TrimIdle(*pool);
  for (PooledConnection* next = connecting_.Front(); next != nullptr;) {
    PooledConnection* connection = next;
    next = connecting_.Next(*connection);
    if (&connection->pool == pool.get()) Close(*connection);
  }
  removed_.push_back(std::move(pool));
}

void ClusterState::DropEmptyPools() {
  const auto empty = [](const std::unique_ptr<EndpointPool>& pool) { return pool->empty(); };
  std::erase_if(removed_, empty);
  std::erase_if(proxied_, empty);
}

void ClusterState::KeepNoneIdle() {
  keep_idle_ = false;
  for (PooledConnection* next = idle_by_age_.Front(); next != nullptr;) {
    PooledConnection* connection = next;
    next = idle_by_age_.Next(*connection);
    if (!connection->pool.ready()) Close(*connection);  // else it is promised to a waiter
  }
}

void ClusterState::Retire() {
  retired_ = true;
  KeepNoneIdle();
  loop_.FlushLater(serve_later_);
}

void ClusterState::FreeIfDone() {
  if (!retired_ || freed_ || connections_ > 0 || leases_ > 0 || waiting_ > 0) return;
  freed_ = true;
  upstreams_.Free(*this);
}

}  // namespace gatehouse::upstream
