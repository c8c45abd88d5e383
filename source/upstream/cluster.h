// Cluster: a named set of endpoints and how to reach them, as the snapshot holds it. Const.
//
// Owner: the Snapshots that list it. Thread: made and destroyed on main (it holds a metric handle
// and a slot), read by workers. What a worker keeps per cluster is a ClusterState (upstreams.h),
// found by slot. A Cluster made from a predecessor of the same fingerprint has the same slot, so
// pools live on over a config change that touches endpoints alone; any other change is a new
// generation in a new slot. A slot is free again when the last Cluster in it is destroyed.
//
//   ClusterSpec spec{.name = "users", .endpoints = {{"10.0.0.1", 80}}};
//   StatusOr<shared_ptr<const Cluster>> cluster = Cluster::Make(spec, previous, slots, registry);
//   Lease lease = upstreams.StateOf(**cluster).Acquire(...);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/status.h"
#include "source/base/time.h"
#include "source/http/h1_parser.h"
#include "source/http/h2_options.h"
#include "source/net/resolver.h"
#include "source/net/tls_context.h"
#include "source/observe/standard_metrics.h"
#include "source/upstream/endpoint.h"

namespace gatehouse::upstream {

enum class LoadBalancing : uint8_t { kRoundRobin };

enum class Protocol : uint8_t {
  kHttp1,
  kHttp2,  // by prior knowledge, or ALPN with TLS
  kAuto,   // TLS: what ALPN agrees on, HTTP/1.1 when that is nothing
};

enum class ProxyHeader : uint8_t { kNone, kV1, kV2 };

struct EndpointSpec {
  std::string host;  // an address without brackets, or a name for DNS
  uint16_t port = 0;
  uint32_t weight = 1;

  friend bool operator==(const EndpointSpec&, const EndpointSpec&) = default;
};

struct DnsSpec {
  Duration min_ttl = std::chrono::seconds(1);
  Duration max_ttl = std::chrono::minutes(5);
  net::DnsFamily family = net::DnsFamily::kBoth;
  std::vector<std::string> resolvers;  // host:port; empty: the system's
  Duration timeout = std::chrono::seconds(5);

  friend bool operator==(const DnsSpec&, const DnsSpec&) = default;
};

// What a worker needs to know of a cluster besides its endpoints. Limits are for each worker.
struct ClusterOptions {
  LoadBalancing load_balancing = LoadBalancing::kRoundRobin;
  Duration connect_timeout = std::chrono::seconds(5);
  Duration response_header_timeout = kNoTimeout;
  Duration idle_timeout = std::chrono::seconds(55);
  uint32_t max_idle = 1024;                  // connections per endpoint
  uint32_t max_requests_per_connection = 0;  // 0: no limit
  uint32_t max_connections = 10000;
  uint32_t max_pending = 1024;  // waiting while no connection may be opened for them
  http::H1Limits response_limits{.underscores = http::UnderscorePolicy::kAllow};
  Protocol protocol = Protocol::kHttp1;
  http::H2ClientOptions h2;
  std::shared_ptr<const net::TlsClientContext> tls;  // null: plain TCP
  // Sent first on each connection, about the client. Such a connection serves that client alone.
  ProxyHeader proxy_header = ProxyHeader::kNone;
};

struct ClusterSpec {
  std::string name;
  std::vector<EndpointSpec> endpoints;
  DnsSpec dns;
  ClusterOptions options;
  // Of what options.tls was made of: pools live on while it is the same.
  std::string tls_fingerprint;
};

// Which generation of which cluster. `slot` is small and used again, `generation` never is.
struct ClusterKey {
  uint32_t slot = 0;
  uint32_t generation = 0;

  friend bool operator==(const ClusterKey&, const ClusterKey&) = default;
};

// Gives out slots. Owner: the server; outlives all Clusters. Thread: main.
class ClusterSlots {
 public:
  class Slot {
   public:
    ~Slot() { slots_.free_.push_back(key_.slot); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    [[nodiscard]] ClusterKey key() const { return key_; }

   private:
    friend class ClusterSlots;
    Slot(ClusterSlots& slots, ClusterKey key) : slots_(slots), key_(key) {}
    ClusterSlots& slots_;
    ClusterKey key_;
  };

  [[nodiscard]] std::shared_ptr<const Slot> Take();

 private:
  std::vector<uint32_t> free_;
  uint32_t next_slot_ = 0;
  uint32_t next_generation_ = 1;
};

class Cluster {
 public:
  // `previous`: the cluster of that name in the config that is replaced, or null. It is the result
  // when nothing at all has changed. The spec is checked: hosts, ports, weights, resolvers.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const Cluster>> Make(
      const ClusterSpec& spec, const std::shared_ptr<const Cluster>& previous, ClusterSlots& slots,
      observe::MetricRegistry& registry);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const ClusterOptions& options() const { return options_; }
  [[nodiscard]] const observe::ClusterMetrics& metrics() const { return *metrics_; }
  [[nodiscard]] ClusterKey key() const { return slot_->key(); }
  // Of everything that makes a new generation: all but the endpoints, these too when DNS is asked.
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  // The endpoints that are addresses: all of them unless has_dns(). Never null.
  [[nodiscard]] const std::shared_ptr<const EndpointSet>& endpoints() const { return endpoints_; }

  // Names of the cluster's endpoints are resolved by the DnsTracker, which publishes full sets.
  [[nodiscard]] bool has_dns() const { return dns_ != nullptr; }
  struct Dns {
    DnsSpec options;
    std::vector<EndpointSpec> names;
  };
  // Only when has_dns().
  [[nodiscard]] const Dns& dns() const { return *dns_; }

 private:
  Cluster() = default;

  std::string name_;
  ClusterOptions options_;
  uint64_t fingerprint_ = 0;
  std::shared_ptr<const ClusterSlots::Slot> slot_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::unique_ptr<const Dns> dns_;
  observe::MetricHandle<observe::ClusterMetrics> metrics_;
};

}  // namespace gatehouse::upstream
