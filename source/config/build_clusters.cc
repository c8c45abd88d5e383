#include "source/config/build_clusters.h"

#include <string>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/config/build_http2.h"
#include "source/net/address.h"
#include "source/net/resolver.h"

namespace gatehouse::config {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr uint64_t kMaxWeight = 1'000'000;
constexpr uint64_t kMinHead = 256;
constexpr uint64_t kMaxHead = uint64_t{1} << 20;
constexpr uint64_t kMaxHeaders = 10'000;

net::DnsFamily FamilyOf(v1::Dns::Family family, const Field& field) {
  switch (family) {
    case v1::Dns::FAMILY_BOTH:
      return net::DnsFamily::kBoth;
    case v1::Dns::FAMILY_IPV4:
      return net::DnsFamily::kIpv4;
    case v1::Dns::FAMILY_IPV6:
      return net::DnsFamily::kIpv6;
    default:
      field.Error("is not a family that this version knows");
      return net::DnsFamily::kBoth;
  }
}

upstream::DnsSpec ReadDns(const v1::Dns& dns, const Field& field) {
  upstream::DnsSpec spec;
  spec.min_ttl = ReadDuration(dns.has_min_ttl(), dns.min_ttl(), {.fallback = seconds(1)},
                              field.Below("min_ttl"));
  // Without a word about the maximum, a longer minimum moves it.
  spec.max_ttl = ReadDuration(dns.has_max_ttl(), dns.max_ttl(),
                              {.fallback = std::max<Duration>(minutes(5), spec.min_ttl)},
                              field.Below("max_ttl"));
  if (spec.max_ttl < spec.min_ttl) field.Below("max_ttl").Error("is less than min_ttl");
  spec.timeout = ReadDuration(dns.has_timeout(), dns.timeout(), {.fallback = seconds(5)},
                              field.Below("timeout"));
  spec.family = FamilyOf(dns.family(), field.Below("family"));
  const Field resolvers = field.Below("resolvers");
  for (int i = 0; i < dns.resolvers_size(); ++i) {
    if (net::Resolver::CheckServers({dns.resolvers(i)}).ok()) {
      spec.resolvers.push_back(dns.resolvers(i));
    } else {
      resolvers.Item(static_cast<size_t>(i))
          .Error(fmt::format("\"{}\" is not an IP address with a port, such as 10.0.0.2:53",
                             dns.resolvers(i)));
    }
  }
  return spec;
}

void ReadPool(const v1::ConnectionPool& pool, upstream::ClusterOptions& options,
              const Field& field) {
  options.max_idle = static_cast<uint32_t>(
      ReadOptional(pool.has_max_idle(), pool.max_idle(),
                   {.fallback = 1024, .min = 0, .max = 1'000'000}, field.Below("max_idle")));
  options.idle_timeout = ReadDuration(pool.has_idle_timeout(), pool.idle_timeout(),
                                      {.fallback = seconds(55)}, field.Below("idle_timeout"));
  options.max_requests_per_connection = pool.max_requests_per_connection();
}

upstream::Protocol ProtocolOf(const v1::Cluster& cluster, const Field& field) {
  if (!cluster.has_protocol()) {
    return cluster.has_tls() ? upstream::Protocol::kAuto : upstream::Protocol::kHttp1;
  }
  switch (cluster.protocol()) {
    case v1::Cluster::PROTOCOL_HTTP1:
      return upstream::Protocol::kHttp1;
    case v1::Cluster::PROTOCOL_HTTP2:
      return upstream::Protocol::kHttp2;
    case v1::Cluster::PROTOCOL_AUTO:
      if (!cluster.has_tls()) {
        field.Error(
            "auto needs tls, by which endpoints say what they speak; write http1, or http2 for "
            "endpoints that speak it from the first byte");
      }
      return upstream::Protocol::kAuto;
    default:
      field.Error("is not a protocol that this version knows");
      return upstream::Protocol::kHttp1;
  }
}

upstream::ProxyHeader ProxyHeaderOf(v1::Cluster::ProxyHeader version, const Field& field) {
  switch (version) {
    case v1::Cluster::PROXY_HEADER_NONE:
      return upstream::ProxyHeader::kNone;
    case v1::Cluster::PROXY_HEADER_V1:
      return upstream::ProxyHeader::kV1;
    case v1::Cluster::PROXY_HEADER_V2:
      return upstream::ProxyHeader::kV2;
    default:
      field.Error("is not a version that this version of the gateway knows");
      return upstream::ProxyHeader::kNone;
  }
}

http::H2ClientOptions ReadHttp2(const v1::Http2ClientOptions& message, const Field& field) {
  http::H2ClientOptions options;
  options.max_streams = static_cast<uint32_t>(ReadNumber(
      message.max_concurrent_streams(), {.fallback = options.max_streams, .max = kMaxH2Streams},
      field.Below("max_concurrent_streams")));
  ReadHttp2Windows(message, &options.stream_window, &options.connection_window, field);
  ReadHttp2Pings(message, &options.ping_interval, &options.ping_timeout, field);
  return options;
}

void ReadLimits(const v1::UpstreamLimits& limits, upstream::ClusterOptions& options,
                const Field& field) {
  options.max_connections = static_cast<uint32_t>(
      ReadNumber(limits.max_connections(), {.fallback = 10000}, field.Below("max_connections")));
  options.max_pending =
      static_cast<uint32_t>(ReadOptional(limits.has_max_pending(), limits.max_pending(),
                                         {.fallback = 1024, .min = 0}, field.Below("max_pending")));
  http::H1Limits& head = options.response_limits;
  head.max_head_bytes = static_cast<uint32_t>(
      ReadSize(limits.max_header_bytes(),
               {.fallback = head.max_head_bytes, .min = kMinHead, .max = kMaxHead},
               field.Below("max_header_bytes")));
  head.max_headers = static_cast<uint16_t>(
      ReadNumber(limits.max_headers(), {.fallback = head.max_headers, .max = kMaxHeaders},
                 field.Below("max_headers")));
}

}  // namespace

std::vector<upstream::EndpointSpec> ReadEndpoints(
    const google::protobuf::RepeatedPtrField<v1::Endpoint>& endpoints, const Field& field) {
  std::vector<upstream::EndpointSpec> specs;
  uint64_t weights = 0;
  for (int i = 0; i < endpoints.size(); ++i) {
    const v1::Endpoint& endpoint = endpoints[i];
    const Field item = field.Item(static_cast<size_t>(i));
    upstream::EndpointSpec spec;
    spec.weight = static_cast<uint32_t>(ReadOptional(endpoint.has_weight(), endpoint.weight(),
                                                     {.fallback = 1, .min = 0, .max = kMaxWeight},
                                                     item.Below("weight")));
    weights += spec.weight;
    absl::StatusOr<net::HostPort> address =
        net::ParseHostPort(endpoint.address(), /*zero_port_ok=*/false);
    if (!address.ok()) {
      item.Below("address").Error(address.status());
      continue;
    }
    spec.host = std::move(address->host);
    spec.port = address->port;
    specs.push_back(std::move(spec));
  }
  if (!endpoints.empty() && weights == 0) {
    field.Error("all weights are 0, so none would get a request");
  }
  return specs;
}

upstream::ClusterSpec ReadCluster(const v1::Cluster& cluster, const Field& field) {
  upstream::ClusterSpec spec;
  spec.name = cluster.name();
  spec.dns = ReadDns(cluster.dns(), field.Below("dns"));
  upstream::ClusterOptions& options = spec.options;
  const Field policy = field.Below("load_balancing.policy");
  if (cluster.load_balancing().policy() != v1::LoadBalancing::POLICY_ROUND_ROBIN) {
    policy.Error("is not a policy that this version knows");
  }
  options.connect_timeout = ReadDuration(cluster.has_connect_timeout(), cluster.connect_timeout(),
                                         {.fallback = seconds(5)}, field.Below("connect_timeout"));
  options.response_header_timeout = ReadDuration(
      cluster.has_response_header_timeout(), cluster.response_header_timeout(),
      {.fallback = kNoTimeout, .zero_is_none = true}, field.Below("response_header_timeout"));
  ReadPool(cluster.pool(), options, field.Below("pool"));
  ReadLimits(cluster.limits(), options, field.Below("limits"));
  options.protocol = ProtocolOf(cluster, field.Below("protocol"));
  const Field http2 = field.Below("http2");
  if (cluster.has_http2() && options.protocol == upstream::Protocol::kHttp1) {
    http2.Error("has no effect: the protocol is http1");
  }
  options.h2 = ReadHttp2(cluster.http2(), http2);
  options.proxy_header = ProxyHeaderOf(cluster.proxy_protocol(), field.Below("proxy_protocol"));
  return spec;
}

}  // namespace gatehouse::config
