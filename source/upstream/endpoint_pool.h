// EndpointPool and PooledConnection: the connections of one worker to one endpoint. The inside of
// ClusterState, which does all the work.
//
// Owner of both: the ClusterState. Thread: one loop. A pool outlives its connections and leases; a
// connection lives until it is over and no lease holds it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "source/base/intrusive_list.h"
#include "source/base/time.h"
#include "source/http/h1_client_connection.h"
#include "source/net/loop.h"
#include "source/net/transport.h"
#include "source/upstream/endpoint.h"
#include "source/upstream/lease.h"

namespace gatehouse::upstream {

class ClusterState;
class PooledConnection;

struct AllTag;
struct AgeTag;
struct ReadyTag;
struct StarvedTag;

class EndpointPool : public ListNode<EndpointPool, ReadyTag>,
                     public ListNode<EndpointPool, StarvedTag> {
 public:
  EndpointPool(ClusterState& owner, std::shared_ptr<const Endpoint> where)
      : cluster(owner), endpoint(std::move(where)) {}

  [[nodiscard]] bool ready() const { return ListNode<EndpointPool, ReadyTag>::linked(); }
  [[nodiscard]] bool starved() const { return ListNode<EndpointPool, StarvedTag>::linked(); }
  [[nodiscard]] bool empty() const { return connections == 0 && leases == 0 && waiting == 0; }

  ClusterState& cluster;
  const std::shared_ptr<const Endpoint> endpoint;
  IntrusiveList<PooledConnection> idle_list;  // most recently used first
  IntrusiveList<LeaseWaiter> waiters;         // oldest first
  uint32_t connections = 0;                   // open or being opened
  uint32_t connecting = 0;
  uint32_t idle = 0;
  uint32_t leases = 0;
  uint32_t waiting = 0;
  bool removed = false;  // not in the cluster's set any more
};

class PooledConnection final : public ListNode<PooledConnection>,
                               public ListNode<PooledConnection, AllTag>,
                               public ListNode<PooledConnection, AgeTag>,
                               public net::Buried {
 public:
  enum class State : uint8_t {
    kConnecting,
    kIdle,    // in the pool
    kBusy,    // leased, or its exchange is still ending
    kClosed,  // over; buried unless a lease holds it
  };

  PooledConnection(EndpointPool& owner, std::unique_ptr<net::PlainTransport> transport,
                   TimePoint now);

  // The transport is connected: from here on it speaks HTTP.
  void StartHttp(net::Loop& loop, const http::H1Limits& limits, http::H1HeadScratch& scratch);

  EndpointPool& pool;
  std::unique_ptr<net::PlainTransport> connecting;  // until it is connected
  std::optional<http::H1ClientConnection> http;     // from then on
  TimePoint since;                                  // the start of kConnecting or kIdle
  State state = State::kConnecting;
  bool leased = false;
  bool reused = false;  // had carried an exchange when it was leased

 private:
  void OnConnectReady();
  static void OnIdle(void* self, http::H1ClientConnection& connection);
  static void OnClosed(void* self, http::H1ClientConnection& connection);
  static const http::H1ClientConnection::Callbacks kCallbacks;
};

}  // namespace gatehouse::upstream
