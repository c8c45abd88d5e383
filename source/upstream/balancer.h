// Balancer: which endpoint gets the next attempt. One of the five virtual classes.
//
// Owner: a ClusterState. Thread: its worker's loop. It keeps what it needs of a set (cursors,
// rings, heaps) and looks at EndpointSet::health_version() to learn that health has changed.
//
//   std::unique_ptr<Balancer> balancer = MakeBalancer(options.load_balancing);
//   balancer->SetEndpoints(set);
//   uint32_t index = balancer->Pick({});
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "source/net/address.h"
#include "source/upstream/cluster.h"
#include "source/upstream/endpoint.h"

namespace gatehouse::upstream {

struct PickHint {
  // For policies that keep a client on an endpoint. Round robin does not look at it.
  std::optional<uint64_t> hash = std::nullopt;
  // Not this endpoint, if there is another one: it has just failed. Compared, never followed.
  const Endpoint* avoid = nullptr;
  // Where the request came from, for clusters that say so by the PROXY protocol. Lives until the
  // lease is there.
  const net::Address* client = nullptr;
  const net::Address* destination = nullptr;  // and where it connected to
  // A new connection rather than a pooled one: the last one was dead.
  bool fresh = false;
};

class Balancer {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  virtual ~Balancer() = default;
  // `endpoints` outlives the next call of SetEndpoints().
  virtual void SetEndpoints(const EndpointSet& endpoints) = 0;
  // An index into the set, or kNone when no endpoint is healthy and has a weight.
  [[nodiscard]] virtual uint32_t Pick(const PickHint& hint) = 0;
};

[[nodiscard]] std::unique_ptr<Balancer> MakeBalancer(LoadBalancing policy);

}  // namespace gatehouse::upstream
