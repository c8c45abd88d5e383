// EndpointPool and PooledConnection: the connections of one worker to one endpoint. The inside of
// ClusterState, which does all the work.
//
// Owner of both: the ClusterState. Thread: one loop. A pool outlives its connections and leases; a
// connection lives until it is over and no lease holds it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "source/base/intrusive_list.h"
#include "source/base/time.h"
#include "source/http/h1_client_connection.h"
#include "source/http/h2_client_connection.h"
#include "source/net/loop.h"
#include "source/net/tls_context.h"
#include "source/net/transport.h"
#include "source/upstream/cluster.h"
#include "source/upstream/endpoint.h"
#include "source/upstream/lease.h"

namespace gatehouse::upstream {

class ClusterState;
class PooledConnection;

struct AllTag;
struct AgeTag;
struct ReadyTag;
struct StarvedTag;

// The connections to one endpoint; where each begins with a PROXY header, those of one client.
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
  net::Address client;  // of the PROXY header
  net::Address destination;
  // To be resumed. Connections share it, as one that is closed may outlive the pool by a moment.
  const std::shared_ptr<net::TlsSessions> sessions = std::make_shared<net::TlsSessions>();
  IntrusiveList<PooledConnection> available;  // take a stream; most recently used first
  IntrusiveList<LeaseWaiter> waiters;         // oldest first
  uint32_t connections = 0;                   // open or being opened
  uint32_t connecting = 0;
  uint32_t idle = 0;                    // open, and no stream on them
  uint32_t streams_per_connection = 1;  // as far as is known; a guess before the first connection
  uint32_t leases = 0;
  uint32_t waiting = 0;
  bool removed = false;  // not in the cluster's set any more
  std::string failure;   // of the last connection that could not be made, in words
};

class PooledConnection final : public ListNode<PooledConnection>,
                               public ListNode<PooledConnection, AllTag>,
                               public ListNode<PooledConnection, AgeTag>,
                               public net::Buried {
 public:
  enum class State : uint8_t {
    kConnecting,  // with TLS and the settings of HTTP/2
    kIdle,        // in the pool, without a stream
    kBusy,        // leased, or its exchange is still ending
    kClosed,      // over; buried unless a lease holds it
  };

  PooledConnection(EndpointPool& owner, std::unique_ptr<net::Transport> transport, TimePoint now);

  // Goes on connecting over this.
  void Secure(std::unique_ptr<net::Transport> transport);
  // The transport is connected: from here on it speaks HTTP.
  void StartHttp1(net::Loop& loop, const ClusterOptions& options, http::H1HeadScratch& scratch);
  void StartHttp2(net::Loop& loop, const ClusterOptions& options);

  [[nodiscard]] bool listed() const { return ListNode<PooledConnection>::linked(); }
  // Exchanges that were begun on it.
  [[nodiscard]] uint32_t exchanges() const { return h2 ? h2->exchanges() : h1->exchanges(); }
  // It could take one more stream now.
  [[nodiscard]] bool takes_stream() const {
    return h2 ? h2->available() && leases < h2->max_streams() : leases == 0 && h1->idle();
  }

  EndpointPool& pool;
  const std::shared_ptr<net::TlsSessions> sessions;  // outlives the transport
  std::unique_ptr<net::Transport> connecting;        // until it is connected
  std::optional<http::H1ClientConnection> h1;        // from then on one of these
  std::unique_ptr<http::H2ClientConnection> h2;
  TimePoint since;  // the start of kConnecting or kIdle
  uint32_t leases = 0;
  State state = State::kConnecting;
  bool proxy_header_said = false;
  bool reused = false;  // had carried an exchange when it was leased last

 private:
  void WatchConnect();
  void OnConnectReady();
  static const http::H1ClientConnection::Callbacks kH1Callbacks;
  static const http::H2ClientConnection::Callbacks kH2Callbacks;
};

}  // namespace gatehouse::upstream
