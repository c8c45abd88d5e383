// ClusterState: one cluster in one worker: its connections, its balancer and those who wait.
//
// Owner: Upstreams; made on first use, buried when the cluster is retired and nothing is left of
// it. Thread: one loop. It copies what it needs of the Cluster, which may go before it.
//
// Per endpoint there is a pool: connections that take a stream (an idle one of HTTP/1.1, one of
// HTTP/2 below its limit), most recently used first, and a queue of waiters.
// A waiter has no connection of its own: the first in the queue gets the first one that is free,
// whether it was just opened or has just come back. Idle connections of the whole cluster are also
// in one list by age, for the idle timeout (one timer) and to make room at max_connections.
//
//      Acquire      +-- connecting --+      Release, and the exchange has ended
//   waiter ------>  |                v     +-------------------------+
//                   |              idle <--+                         |
//                   |                | Acquire, or from the queue    |
//                   |                +----------> leased ------------+
//                   +-----> closed <----------------+   aborted, unclean, or nothing is kept
//
// Waiters are served at the end of the turn, so `done` never runs inside an Acquire or a codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "source/base/intrusive_list.h"
#include "source/base/timer_wheel.h"
#include "source/net/loop.h"
#include "source/observe/counters.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/balancer.h"
#include "source/upstream/cluster.h"
#include "source/upstream/endpoint_pool.h"
#include "source/upstream/lease.h"

namespace gatehouse::upstream {

class Upstreams;

class ClusterState final : public ListNode<ClusterState>, public net::Buried {
 public:
  ClusterState(Upstreams& upstreams, const Cluster& cluster,
               std::shared_ptr<const EndpointSet> endpoints);
  ~ClusterState();
  ClusterState(const ClusterState&) = delete;
  ClusterState& operator=(const ClusterState&) = delete;

  // A connection now, or soon, or why not. `waiter` is not waiting, and waits if kWaiting.
  AcquireResult Acquire(const PickHint& hint, LeaseWaiter& waiter);

  [[nodiscard]] ClusterKey key() const { return key_; }
  // Open or being opened.
  [[nodiscard]] uint32_t connections() const { return connections_; }
  [[nodiscard]] uint32_t idle() const { return idle_; }
  [[nodiscard]] uint32_t waiting() const { return waiting_; }
  [[nodiscard]] uint32_t leases() const { return leases_; }

 private:
  friend class Upstreams;
  friend class Lease;
  friend class LeaseWaiter;
  friend class PooledConnection;

  // From Upstreams.
  void UpdateEndpoints(std::shared_ptr<const EndpointSet> endpoints);
  void KeepNoneIdle();
  void Retire();

  // Acquire(), in pieces.
  EndpointPool& PoolFor(uint32_t index, const PickHint& hint);
  EndpointPool& PoolAt(uint32_t index);
  EndpointPool& ProxiedPool(uint32_t index, const net::Address& client);
  [[gnu::noinline]] AcquireResult Wait(EndpointPool& pool, const PickHint& hint,
                                       LeaseWaiter& waiter);
  // The most recently used one that still takes a stream, or null.
  [[nodiscard]] PooledConnection* FirstAvailable(EndpointPool& pool);
  // The streams that connections have room for, now or when they are open.
  [[nodiscard]] uint64_t Coming(EndpointPool& pool, bool fresh);
  [[nodiscard]] Lease Take(PooledConnection& connection);
  // None: a connection is on its way.
  [[nodiscard]] http::Error Connect(EndpointPool& pool);
  [[nodiscard]] bool HasRoom();
  [[nodiscard]] bool SayProxyHeader(PooledConnection& connection);
  [[nodiscard]] static std::string FailureText(const EndpointPool& pool, std::string_view why);
  void CountFailure(http::Error error);

  // Events of connections.
  void OnTransportReady(PooledConnection& connection);
  void OnConnected(PooledConnection& connection);
  // Of HTTP/2.
  void OnStreamsChanged(PooledConnection& connection);
  void OnLost(PooledConnection& connection);
  // `why`, in words, for the log.
  void OnConnectFailed(PooledConnection& connection, http::Error error, std::string_view why);
  void OnEnded(PooledConnection& connection);
  void GiveBack(PooledConnection& connection);

  void MakeIdle(PooledConnection& connection);
  void LeaveIdle(PooledConnection& connection);
  [[nodiscard]] bool Takes(const PooledConnection& connection) const;
  void List(PooledConnection& connection);
  // Takes the connection out of all counts and frees it at the end of the turn.
  void Close(PooledConnection& connection);
  void CountOut(PooledConnection& connection);
  void TrimIdle(EndpointPool& pool);
  [[nodiscard]] bool KeepsIdle(const EndpointPool& pool) const {
    return keep_idle_ && !pool.removed;
  }

  // Waiters.
  void Enqueue(EndpointPool& pool, LeaseWaiter& waiter);
  void Dequeue(LeaseWaiter& waiter);
  void Forget(LeaseWaiter& waiter);
  void FailFirst(EndpointPool& pool, http::Error error);
  void NoteNeed(EndpointPool& pool);
  void Finish(LeaseWaiter& waiter, Lease lease, http::Error error);

  // The end of a turn in which something changed for someone who waits.
  void Serve();
  void PlaceAgain(LeaseWaiter& waiter);
  void ServePool(EndpointPool& pool);
  void ServeStarved();
  void DropEmptyPools();
  void RemovePool(std::unique_ptr<EndpointPool> pool);
  void FreeIfDone();

  void OnIdleTimeout();
  void OnConnectTimeout();

  Upstreams& upstreams_;
  net::Loop& loop_;
  observe::CounterBlock& counters_;
  const ClusterKey key_;
  const ClusterOptions options_;
  const observe::ClusterMetrics metrics_;
  std::unique_ptr<Balancer> balancer_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::vector<std::unique_ptr<EndpointPool>> pools_;    // by index in the set; made on first use
  std::vector<std::unique_ptr<EndpointPool>> removed_;  // not in the set, not yet empty
  std::vector<std::unique_ptr<EndpointPool>> proxied_;  // one for each client that has streams

  IntrusiveList<PooledConnection, AllTag> all_;
  IntrusiveList<PooledConnection, AgeTag> connecting_;   // oldest first
  IntrusiveList<PooledConnection, AgeTag> idle_by_age_;  // longest idle first
  IntrusiveList<EndpointPool, ReadyTag> ready_;          // connection and waiter, to be paired
  IntrusiveList<EndpointPool, StarvedTag> starved_;      // fewer connects than waiters
  IntrusiveList<LeaseWaiter> homeless_;                  // their endpoint was removed
  IntrusiveList<LeaseWaiter> failed_;                    // to be told
  net::Flushable serve_later_;
  Timer idle_timer_;
  Timer connect_timer_;

  uint32_t connections_ = 0;
  uint32_t connecting_count_ = 0;
  uint32_t idle_ = 0;
  uint32_t waiting_ = 0;
  uint32_t leases_ = 0;
  bool keep_idle_ = true;
  bool retired_ = false;
  bool freed_ = false;
};

}  // namespace gatehouse::upstream
