// Snapshot: the whole configuration, compiled and immutable. What workers run on.
//
// Built by config::Build on main, from the resources; shares unchanged listeners, route tables and
// clusters with its predecessor. Owner: a shared_ptr on main and one on each worker that has
// adopted it; exchanges pin it by a plain counter of their worker (proxy/snapshot_pin.h). The last
// reference is dropped on main: MetricHandles and other registries are main's.
//
//   const config::Route& route = listener.routes[match.action];
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/base/boxed.h"
#include "source/base/time.h"
#include "source/filters/chain.h"
#include "source/filters/substitution.h"
#include "source/http/client_cert_header.h"
#include "source/http/forwarded.h"
#include "source/http/h1_server_connection.h"
#include "source/http/h2_options.h"
#include "source/http/normalize.h"
#include "source/net/address.h"
#include "source/net/tls_context.h"
#include "source/observe/access_log.h"
#include "source/observe/standard_metrics.h"
#include "source/route/rewrite.h"
#include "source/route/route_table.h"
#include "source/route/split.h"
#include "source/upstream/cluster.h"

namespace gatehouse::config {

struct HeaderLiteral {
  std::string name;
  std::string value;
};

// Where a request goes.
struct Target {
  const upstream::Cluster* cluster = nullptr;
  std::vector<HeaderLiteral> set_request_headers;
};

struct RetryPolicy {
  uint32_t attempts =
      1;  // after the first; a route without `retry` tries once more on connect failures
  bool on_connect_failure = true;
  bool on_reset = false;
  bool on_5xx = false;
  bool on_gateway_error = false;
  bool on_retriable_4xx = false;
  bool non_idempotent = false;
  std::vector<uint16_t> on_statuses;
  Duration per_try_timeout = kNoTimeout;
  Duration backoff = std::chrono::milliseconds(25);
  Duration max_backoff = std::chrono::milliseconds(250);
  size_t max_body_bytes = 64 * 1024;
};

struct StickyPolicy {
  enum class By : uint8_t { kNone, kHeader, kCookie, kClientIp };
  By by = By::kNone;
  std::string name;
  // A cookie for clients that have none. Zero: none is given.
  Duration cookie_ttl = kNoTimeout;
};

struct RespondAction {
  uint16_t status = 200;
  std::string body;  // inline or the file's content
  std::optional<filters::Substitution> body_template;
  std::string content_type;
  std::vector<HeaderLiteral> headers;
};

// There may be hundreds of thousands of them: what few have is elsewhere.
struct Route {
  enum class Action : uint8_t { kForward, kSplit, kRedirect, kRespond };

  std::string name;
  std::string table;
  Action action = Action::kForward;
  // kForward: one. kSplit: one for each share.
  std::vector<Target> targets;
  Boxed<route::WeightedSplit> split;
  uint32_t split_cursor = 0;  // which of the worker's cursors
  StickyPolicy sticky;
  Boxed<route::PathRewrite> path_rewrite;
  Boxed<route::HostRewrite> host_rewrite;
  bool host_from_endpoint = false;
  Boxed<route::Redirect> redirect;  // of kRedirect
  Boxed<RespondAction> respond;     // of kRespond

  // Never null. Of a table's routes those without filters of their own share one.
  std::shared_ptr<const filters::FilterChain> chain = filters::FilterChain::None();
  bool has_cors = false;  // the chain answers preflights, also for routes that serve no OPTIONS
  Duration timeout = std::chrono::seconds(15);      // zero: none
  Duration idle_timeout = std::chrono::minutes(5);  // zero: none
  // How far a client's grpc-timeout is believed. Zero: whatever it says.
  Duration max_grpc_timeout = std::chrono::seconds(15);
  RetryPolicy retry;
  uint64_t max_body_bytes = uint64_t{1} << 30;
  std::vector<std::string> upgrades;  // lower case
  Duration upgrade_idle_timeout = std::chrono::hours(1);
  observe::MetricHandle<observe::RouteMetrics> metrics;
};

// The PROXY protocol in front of a connection's first byte: who the client is, from a proxy below
// HTTP.
struct ProxyProtocolPolicy {
  enum class Mode : uint8_t { kOff, kOptional, kRequired };
  Mode mode = Mode::kOff;
  // Peers that may speak for others. One that may not is refused (kRequired) or served as what it
  // is (kOptional).
  std::vector<net::Cidr> trusted;
};

using ClientCertPolicy = http::ClientCertPolicy;

struct Listener {
  std::string name;
  std::string address_text;  // as configured; port 0 stays 0
  net::Address address;
  int backlog = 4096;
  // Connections keep the options that they were accepted with.
  std::shared_ptr<const http::H1ServerOptions> h1;
  std::shared_ptr<const http::H2ServerOptions> h2;        // null: HTTP/2 is off
  std::shared_ptr<const net::TlsServerContext> tls;       // null: plain TCP
  Duration handshake_timeout = std::chrono::seconds(10);  // of TLS, and of the PROXY header
  ProxyProtocolPolicy proxy_protocol;
  ClientCertPolicy client_cert;
  Duration stream_idle = std::chrono::minutes(5);  // until a route has its own
  uint32_t max_connections = 0;                    // over all workers; 0: no limit
  uint32_t max_connections_per_ip = 0;             // over all workers; 0: no limit
  http::TrustedProxies trusted_proxies;
  http::PathOptions path;
  std::string server_header;                             // empty: the origin's passes
  std::string via;                                       // "1.1 name"; empty: none
  std::string via_http2;                                 // "2 name": of messages received so
  std::vector<std::string> remove_from_responses;        // lower case
  std::shared_ptr<const observe::AccessLog> access_log;  // null: off
  std::vector<std::string> log_request_headers;          // lower case
  std::vector<std::string> log_response_headers;
  // Shared with the predecessor when nothing in its route tables changed.
  std::shared_ptr<const route::RouteTable> route_table;
  std::vector<std::shared_ptr<const Route>> routes;  // by route::Match::action
  observe::MetricHandle<observe::ListenerMetrics> metrics;
};

// What the next build needs to know of this one: source/config/build_record.h.
struct BuildRecord;

struct Snapshot {
  uint64_t version = 0;
  std::vector<std::shared_ptr<const Listener>> listeners;
  std::vector<std::shared_ptr<const upstream::Cluster>> clusters;
  // For a worker that comes from the snapshot `base_id` (0: none), and need not look at all
  // clusters: those that are new or other objects, and which are there no more. No two snapshots of
  // a process have the same id; those that were not built have none.
  uint64_t id = 0;
  uint64_t base_id = 0;
  std::vector<std::shared_ptr<const upstream::Cluster>> changed_clusters;
  std::vector<upstream::ClusterKey> removed_clusters;
  uint32_t split_cursors = 0;  // how many the worker needs
  std::shared_ptr<const BuildRecord> record;

  [[nodiscard]] const Listener* FindListener(std::string_view name) const {
    for (const auto& listener : listeners) {
      if (listener->name == name) return listener.get();
    }
    return nullptr;
  }
};

}  // namespace gatehouse::config
