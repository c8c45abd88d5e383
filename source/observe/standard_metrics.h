// The metrics of routes, clusters, listeners and the server: structs of ids.
//
// Owner: the compiled route, cluster or listener holds a MetricHandle of its struct; the server
// holds its own. Thread: acquired and released on main, read by workers. docs/metrics.md has all.
//
//   MetricHandle<RouteMetrics> metrics = registry.Acquire<RouteMetrics>({table, route});
//   block.Add(metrics->RequestsFor(status));
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "source/observe/counters.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::observe {

inline constexpr size_t kStatusClasses = 5;
inline constexpr std::array<const char*, kStatusClasses> kStatusClassNames = {"1xx", "2xx", "3xx",
                                                                              "4xx", "5xx"};
// 0 for 1xx ... 4 for 5xx and for anything that is no status at all.
[[nodiscard]] inline size_t StatusClass(int status) {
  const unsigned hundred = static_cast<unsigned>(status) / 100 - 1;
  return hundred < kStatusClasses ? hundred : kStatusClasses - 1;
}

// What clients met on a route.
struct RouteMetrics {
  static constexpr const char* kGroup = "route";
  static constexpr std::array<const char*, 2> kLabels = {"table", "route"};

  [[nodiscard]] CounterId RequestsFor(int status) const { return requests[StatusClass(status)]; }

  CounterId requests[kStatusClasses];  // counted at Finish; 101 is 1xx
  CounterId local_replies;             // answered by the gateway itself, errors included
  CounterId client_aborts;             // the client went away before its response ended
  CounterId timeouts;                  // answered 504
  CounterId rate_limited;              // answered 429 by a limit of the gateway
  CounterId denied;                    // answered 401 or 403 by a filter
  CounterId request_bytes;
  CounterId response_bytes;
  GaugeId active;
  HistogramId latency;          // request's first byte to response's last
  HistogramId gateway_latency;  // the part spent inside the gateway

  template <typename Visitor>
  void Visit(Visitor& visit) {
    for (size_t i = 0; i < kStatusClasses; ++i) {
      visit(requests[i], "gatehouse_route_requests_total", "Requests finished, by status class.",
            {"class", kStatusClassNames[i]});
    }
    visit(local_replies, "gatehouse_route_local_replies_total",
          "Requests that the gateway answered itself.");
    visit(client_aborts, "gatehouse_route_client_aborts_total",
          "Requests whose client went away before the response ended.");
    visit(timeouts, "gatehouse_route_timeouts_total", "Requests answered 504.");
    visit(rate_limited, "gatehouse_route_rate_limited_total",
          "Requests that a rate limit of the gateway answered.");
    visit(denied, "gatehouse_route_denied_total",
          "Requests that authentication or authorization refused.");
    visit(request_bytes, "gatehouse_route_request_bytes_total", "Body bytes from clients.");
    visit(response_bytes, "gatehouse_route_response_bytes_total", "Body bytes to clients.");
    visit(active, "gatehouse_route_active_requests", "Requests in flight.");
    visit(latency, "gatehouse_route_latency_seconds",
          "From a request's first byte to its response's last.");
    visit(gateway_latency, "gatehouse_route_gateway_latency_seconds",
          "The part of a request's time that was spent inside the gateway.");
  }
};

// What the gateway met at a cluster. Requests are attempts here: a retry counts again.
struct ClusterMetrics {
  static constexpr const char* kGroup = "cluster";
  static constexpr std::array<const char*, 1> kLabels = {"cluster"};

  [[nodiscard]] CounterId RequestsFor(int status) const { return requests[StatusClass(status)]; }

  CounterId requests[kStatusClasses];  // attempts that got a response head
  CounterId connects;                  // connections tried
  CounterId connect_failures;          // refused, unreachable, TLS; timeouts are apart
  CounterId connect_timeouts;
  CounterId pool_hits;        // attempts that took a pooled connection
  CounterId resets;           // connection lost or stream reset after the request began
  CounterId timeouts;         // no response in time
  CounterId protocol_errors;  // a response that is not HTTP
  CounterId retries;          // attempts beyond a request's first
  CounterId overflows;        // refused by a limit: connections, requests, retries
  CounterId no_endpoint;      // no endpoint, or none healthy
  CounterId request_bytes;
  CounterId response_bytes;
  GaugeId active;
  GaugeId connections;       // open
  GaugeId idle_connections;  // of these, in the pool
  GaugeId pending;           // attempts that wait for a connection
  GaugeId endpoints;         // main sets these two
  GaugeId healthy_endpoints;
  HistogramId latency;     // request sent to response ended
  HistogramId first_byte;  // request sent to response head
  HistogramId connect_latency;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    for (size_t i = 0; i < kStatusClasses; ++i) {
      visit(requests[i], "gatehouse_cluster_requests_total",
            "Attempts that got a response, by status class.", {"class", kStatusClassNames[i]});
    }
    visit(connects, "gatehouse_cluster_connects_total", "Connections tried.");
    visit(connect_failures, "gatehouse_cluster_connect_failures_total",
          "Connections refused or broken before they were usable.");
    visit(connect_timeouts, "gatehouse_cluster_connect_timeouts_total",
          "Connections not made in time.");
    visit(pool_hits, "gatehouse_cluster_pool_hits_total",
          "Attempts that took an open connection from the pool.");
    visit(resets, "gatehouse_cluster_resets_total",
          "Attempts whose connection or stream broke before the response ended.");
    visit(timeouts, "gatehouse_cluster_timeouts_total", "Attempts without a response in time.");
    visit(protocol_errors, "gatehouse_cluster_protocol_errors_total",
          "Attempts answered by something that is not valid HTTP.");
    visit(retries, "gatehouse_cluster_retries_total", "Attempts beyond a request's first.");
    visit(overflows, "gatehouse_cluster_overflows_total",
          "Attempts refused because a limit of the cluster was reached.");
    visit(no_endpoint, "gatehouse_cluster_no_endpoint_total",
          "Attempts that found no usable endpoint.");
    visit(request_bytes, "gatehouse_cluster_request_bytes_total", "Body bytes to the cluster.");
    visit(response_bytes, "gatehouse_cluster_response_bytes_total", "Body bytes from the cluster.");
    visit(active, "gatehouse_cluster_active_requests", "Attempts in flight.");
    visit(connections, "gatehouse_cluster_connections", "Open connections.");
    visit(idle_connections, "gatehouse_cluster_idle_connections", "Open connections in the pool.");
    visit(pending, "gatehouse_cluster_pending_requests", "Attempts that wait for a connection.");
    visit(endpoints, "gatehouse_cluster_endpoints", "Endpoints known.");
    visit(healthy_endpoints, "gatehouse_cluster_healthy_endpoints", "Endpoints in use.");
    visit(latency, "gatehouse_cluster_latency_seconds",
          "From an attempt's start to the end of its response.");
    visit(first_byte, "gatehouse_cluster_first_byte_seconds",
          "From an attempt's start to its response head.");
    visit(connect_latency, "gatehouse_cluster_connect_seconds", "Time to open a connection.");
  }
};

// Why a listener answered with an error of its own, or closed.
enum class ProtocolErrorKind : uint8_t {
  kMalformed,       // 400: not HTTP
  kFraming,         // 400: lengths that disagree, the shape of request smuggling
  kHeaderTooLarge,  // 431
  kUriTooLong,      // 414
  kBodyTooLarge,    // 413
  kTimeout,         // 408
  kUnsupported,     // 417, 501, 505
};
inline constexpr size_t kProtocolErrorKinds = 7;
inline constexpr std::array<const char*, kProtocolErrorKinds> kProtocolErrorNames = {
    "malformed",      "framing", "header_too_large", "uri_too_long",
    "body_too_large", "timeout", "unsupported"};

// Why an HTTP/2 connection, or one stream of it, was ended: what the client sent cost more than it
// may (RFC 9113, section 10.5).
enum class H2AbuseKind : uint8_t {
  kResets,         // streams opened and reset (rapid reset)
  kControl,        // SETTINGS, PING, PRIORITY, WINDOW_UPDATE beyond what data needs
  kEmpty,          // frames that carry nothing
  kErrors,         // malformed requests
  kContinuations,  // too many frames of one header block
  kHeaderList,     // heads larger than the limit
  kStalled,        // responses that the client's windows keep waiting
};
inline constexpr size_t kH2AbuseKinds = 7;
inline constexpr std::array<const char*, kH2AbuseKinds> kH2AbuseNames = {
    "resets", "control", "empty", "errors", "continuations", "header_list", "stalled"};

struct ListenerMetrics {
  static constexpr const char* kGroup = "listener";
  static constexpr std::array<const char*, 1> kLabels = {"listener"};

  [[nodiscard]] CounterId ErrorsOf(ProtocolErrorKind kind) const {
    return protocol_errors[static_cast<size_t>(kind)];
  }
  [[nodiscard]] CounterId AbuseOf(H2AbuseKind kind) const {
    return http2_abuse[static_cast<size_t>(kind)];
  }

  CounterId connections;
  GaugeId active_connections;
  CounterId rejected_limit;   // over the connection limit
  CounterId rejected_proxy;   // its PROXY header is missing, broken or not to be believed
  CounterId accept_failures;  // accept(2) failed, such as for want of file descriptors
  CounterId tls_handshakes;   // done
  CounterId tls_failures;
  CounterId tls_timeouts;
  CounterId tls_resumed;          // of those done: with a ticket of an earlier connection
  CounterId early_data_rejected;  // requests in early data answered 425
  GaugeId certificate_not_after;  // main sets it; seconds since 1970, of the first to end
  CounterId http2_connections;    // of those accepted
  CounterId http2_abuse[kH2AbuseKinds];
  CounterId http2_goaways;  // sent
  CounterId protocol_errors[kProtocolErrorKinds];
  CounterId requests;
  CounterId idle_closes;     // keep-alive connections closed for idleness
  CounterId received_bytes;  // on the wire
  CounterId sent_bytes;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(connections, "gatehouse_listener_connections_total", "Connections accepted.");
    visit(active_connections, "gatehouse_listener_active_connections", "Connections open.");
    visit(rejected_limit, "gatehouse_listener_rejected_total",
          "Connections closed right after they were accepted.", {"reason", "limit"});
    visit(rejected_proxy, "gatehouse_listener_rejected_total",
          "Connections closed right after they were accepted.", {"reason", "proxy_protocol"});
    visit(accept_failures, "gatehouse_listener_accept_failures_total",
          "Calls of accept that failed.");
    visit(tls_handshakes, "gatehouse_listener_tls_handshakes_total", "TLS handshakes, by result.",
          {"result", "ok"});
    visit(tls_failures, "gatehouse_listener_tls_handshakes_total", "TLS handshakes, by result.",
          {"result", "failed"});
    visit(tls_timeouts, "gatehouse_listener_tls_handshakes_total", "TLS handshakes, by result.",
          {"result", "timeout"});
    visit(tls_resumed, "gatehouse_listener_tls_resumed_total",
          "TLS handshakes that resumed a session.");
    visit(early_data_rejected, "gatehouse_listener_early_data_rejected_total",
          "Requests in TLS early data that were answered 425.");
    visit(certificate_not_after, "gatehouse_listener_certificate_not_after_seconds",
          "When the first of the certificates ends, in seconds since 1970.");
    visit(http2_connections, "gatehouse_listener_http2_connections_total",
          "Connections that spoke HTTP/2.");
    for (size_t i = 0; i < kH2AbuseKinds; ++i) {
      visit(http2_abuse[i], "gatehouse_listener_http2_abuse_total",
            "HTTP/2 connections or streams ended for what the client sent, by kind.",
            {"kind", kH2AbuseNames[i]});
    }
    visit(http2_goaways, "gatehouse_listener_http2_goaways_total", "GOAWAY frames sent.");
    for (size_t i = 0; i < kProtocolErrorKinds; ++i) {
      visit(protocol_errors[i], "gatehouse_listener_protocol_errors_total",
            "Requests refused before routing, by kind.", {"kind", kProtocolErrorNames[i]});
    }
    visit(requests, "gatehouse_listener_requests_total", "Requests begun.");
    visit(idle_closes, "gatehouse_listener_idle_closes_total",
          "Keep-alive connections closed because they were idle.");
    visit(received_bytes, "gatehouse_listener_received_bytes_total", "Bytes read from clients.");
    visit(sent_bytes, "gatehouse_listener_sent_bytes_total", "Bytes written to clients.");
  }
};

// Who this gateway is. The value says nothing, the labels do.
struct NodeMetrics {
  static constexpr const char* kGroup = "node";
  static constexpr std::array<const char*, 2> kLabels = {"id", "group"};

  GaugeId node;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(node, "gatehouse_server_node", "1; the labels say who this gateway is.");
  }
};

// What a control plane pushes. Main sets all of it just before a scrape; no series without one.
struct PushedMetrics {
  static constexpr const char* kGroup = "pushed";
  static constexpr std::array<const char*, 0> kLabels = {};
  // In the order of xds::Type.
  static constexpr size_t kTypes = 6;
  static constexpr std::array<const char*, kTypes> kTypeNames = {
      "Secret", "RateLimit", "Cluster", "Endpoints", "RouteTable", "Listener"};

  GaugeId connected;
  CounterId connects;
  CounterId connect_failures;
  CounterId disconnects;
  GaugeId last_message_age;
  CounterId updates[kTypes];
  CounterId acks[kTypes];
  CounterId nacks[kTypes];
  GaugeId resources[kTypes];
  GaugeId refused;
  GaugeId waiting;
  GaugeId leaving;
  CounterId builds;
  GaugeId from_disk;
  GaugeId saved_at;
  CounterId saves;
  CounterId save_failures;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(connected, "gatehouse_xds_connected", "1 while a control plane's stream is there.");
    visit(connects, "gatehouse_xds_connects_total", "Streams begun.");
    visit(connect_failures, "gatehouse_xds_connect_failures_total",
          "Streams that could not be made.");
    visit(disconnects, "gatehouse_xds_disconnects_total", "Streams that ended.");
    visit(last_message_age, "gatehouse_xds_last_message_age_seconds",
          "Time since the control plane's last message.");
    const auto by_type = [&](auto* ids, const char* name, const char* help) {
      for (size_t i = 0; i < kTypes; ++i) visit(ids[i], name, help, {"type", kTypeNames[i]});
    };
    by_type(updates, "gatehouse_xds_updates_total", "Messages of the control plane, by type.");
    by_type(acks, "gatehouse_xds_acks_total", "Messages accepted, by type.");
    by_type(nacks, "gatehouse_xds_nacks_total",
            "Messages of which something was refused, by type.");
    by_type(resources, "gatehouse_xds_resources", "Pushed resources in use, by type.");
    visit(refused, "gatehouse_xds_refused_resources", "Resources whose last version was refused.");
    visit(waiting, "gatehouse_xds_waiting_resources",
          "Resources that wait for what they refer to.");
    visit(leaving, "gatehouse_xds_leaving_resources",
          "Resources that were removed and are still referred to.");
    visit(builds, "gatehouse_xds_builds_total", "Times that a config was built.");
    visit(from_disk, "gatehouse_config_from_disk",
          "1 while what is served comes from the state folder, not from the control plane.");
    visit(saved_at, "gatehouse_state_saved_timestamp_seconds",
          "When the config on disk was accepted, in seconds since 1970.");
    visit(saves, "gatehouse_state_saves_total", "Times that the accepted config was written.");
    visit(save_failures, "gatehouse_state_save_failures_total",
          "Times that it could not be written.");
  }
};

// The process. Main sets most of these in its own block, just before a scrape or when they change.
struct ServerMetrics {
  static constexpr const char* kGroup = "server";
  static constexpr std::array<const char*, 0> kLabels = {};

  GaugeId uptime;
  GaugeId workers;
  GaugeId open_fds;
  GaugeId max_fds;
  GaugeId resident_bytes;
  GaugeId slab_bytes;  // held by the workers' buffers; workers count
  GaugeId draining;    // 1 while draining
  CounterId shed;      // requests refused for want of memory; workers count
  CounterId no_route;  // requests that matched no route; workers count
  CounterId log_lines;
  CounterId log_lines_dropped;
  GaugeId log_failing;     // log outputs that do not accept lines now
  GaugeId config_version;  // counts snapshots published since start
  GaugeId config_age;
  GaugeId config_valid;  // 1 when the last load was accepted whole
  CounterId config_accepted;
  CounterId config_rejected;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    visit(uptime, "gatehouse_server_uptime_seconds", "Time since start.");
    visit(workers, "gatehouse_server_workers", "Worker threads.");
    visit(open_fds, "gatehouse_server_open_fds", "File descriptors open.");
    visit(max_fds, "gatehouse_server_max_fds", "File descriptors allowed.");
    visit(resident_bytes, "gatehouse_server_resident_bytes", "Resident memory.");
    visit(slab_bytes, "gatehouse_server_slab_bytes", "Memory held by the workers' buffers.");
    visit(draining, "gatehouse_server_draining", "1 while the server drains.");
    visit(shed, "gatehouse_server_shed_requests_total",
          "Requests refused because memory was short.");
    visit(no_route, "gatehouse_server_no_route_requests_total", "Requests that matched no route.");
    visit(log_lines, "gatehouse_log_lines_total", "Access log lines written.");
    visit(log_lines_dropped, "gatehouse_log_dropped_lines_total",
          "Access log lines lost because their output was slow, blocked or full.");
    visit(log_failing, "gatehouse_log_failing_outputs",
          "Access log outputs that do not accept lines now.");
    visit(config_version, "gatehouse_config_version", "Snapshots published since start.");
    visit(config_age, "gatehouse_config_age_seconds", "Time since the last accepted load.");
    visit(config_valid, "gatehouse_config_last_load_valid",
          "1 when the last load was accepted whole.");
    visit(config_accepted, "gatehouse_config_loads_total", "Loads of the config, by result.",
          {"result", "accepted"});
    visit(config_rejected, "gatehouse_config_loads_total", "Loads of the config, by result.",
          {"result", "rejected"});
  }
};

}  // namespace gatehouse::observe
