#include "source/upstream/cluster.h"

#include <utility>

#include "absl/hash/hash.h"

#include "fmt/format.h"

namespace gatehouse::upstream {
namespace {

bool IsHostName(std::string_view host) {
  if (host.empty() || host.size() > 254) return false;
  size_t label = 0;
  for (size_t i = 0; i < host.size(); ++i) {
    const char c = host[i];
    if (c == '.') {
      if (label == 0 || label > 63) return false;
      label = 0;
      continue;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_') return false;
    ++label;
  }
  return label <= 63;
}

absl::Status CheckEndpoint(const EndpointSpec& spec, size_t index) {
  net::IpAddress ip;
  if (!net::IpAddress::Parse(spec.host, &ip) && !IsHostName(spec.host)) {
    return InvalidArgument(fmt::format(
        "endpoints[{}].address: '{}' is neither an address nor a host name", index, spec.host));
  }
  if (spec.port == 0) {
    return InvalidArgument(fmt::format("endpoints[{}].address: the port must not be 0", index));
  }
  return absl::OkStatus();
}

std::string TextOf(const EndpointSpec& spec) {
  return spec.host.find(':') == std::string::npos ? fmt::format("{}:{}", spec.host, spec.port)
                                                  : fmt::format("[{}]:{}", spec.host, spec.port);
}

uint64_t HashOptions(const ClusterOptions& o) {
  const http::H1Limits& limits = o.response_limits;
  const http::H2ClientOptions& h2 = o.h2;
  const uint64_t of_h2 = absl::HashOf(h2.max_streams, h2.stream_window, h2.connection_window,
                                      h2.ping_interval.count(), h2.ping_timeout.count());
  return absl::HashOf(o.protocol, o.proxy_header, of_h2, o.load_balancing,
                      o.connect_timeout.count(), o.response_header_timeout.count(),
                      o.idle_timeout.count(), o.max_idle, o.max_requests_per_connection,
                      o.max_connections, o.max_pending, limits.max_head_bytes, limits.max_uri_bytes,
                      limits.max_headers, limits.underscores, limits.max_chunk_extra_bytes,
                      limits.max_trailer_bytes);
}

uint64_t HashDns(const DnsSpec& dns, const std::vector<EndpointSpec>& endpoints) {
  uint64_t hash = absl::HashOf(dns.min_ttl.count(), dns.max_ttl.count(), dns.family, dns.resolvers,
                               dns.timeout.count());
  for (const EndpointSpec& spec : endpoints) {
    hash = absl::HashOf(hash, spec.host, spec.port, spec.weight);
  }
  return hash;
}

}  // namespace

std::shared_ptr<const ClusterSlots::Slot> ClusterSlots::Take() {
  ClusterKey key{next_slot_, next_generation_++};
  if (free_.empty()) {
    ++next_slot_;
  } else {
    key.slot = free_.back();
    free_.pop_back();
  }
  return std::shared_ptr<const Slot>(new Slot(*this, key));
}

absl::StatusOr<std::shared_ptr<const Cluster>> Cluster::Make(
    const ClusterSpec& spec, const std::shared_ptr<const Cluster>& previous, ClusterSlots& slots,
    observe::MetricRegistry& registry) {
  std::vector<ResolvedEndpoint> addresses;
  std::vector<EndpointSpec> names;
  for (size_t i = 0; i < spec.endpoints.size(); ++i) {
    const EndpointSpec& endpoint = spec.endpoints[i];
    if (absl::Status status = CheckEndpoint(endpoint, i); !status.ok()) return status;
    net::IpAddress ip;
    if (net::IpAddress::Parse(endpoint.host, &ip)) {
      addresses.push_back(
          {net::Address(ip, endpoint.port), TextOf(endpoint), endpoint.weight, endpoint.host});
    } else {
      names.push_back(endpoint);
    }
  }
  if (!names.empty()) {
    if (absl::Status status = net::Resolver::CheckServers(spec.dns.resolvers); !status.ok()) {
      return InvalidArgument("dns." + MessageOf(status));
    }
  }

  const uint64_t dns_hash = names.empty() ? 0 : HashDns(spec.dns, spec.endpoints);
  const uint64_t fingerprint =
      absl::HashOf(spec.name, HashOptions(spec.options), spec.tls_fingerprint, dns_hash);
  const bool same = previous != nullptr && previous->fingerprint() == fingerprint;
  const EndpointSet* known = previous == nullptr ? nullptr : previous->endpoints().get();
  std::shared_ptr<const EndpointSet> endpoints = EndpointSet::Make(addresses, known);
  if (same && endpoints->SameAs(*known)) return previous;

  const std::shared_ptr<Cluster> cluster(new Cluster);
  cluster->name_ = spec.name;
  cluster->options_ = spec.options;
  cluster->fingerprint_ = fingerprint;
  cluster->slot_ = same ? previous->slot_ : slots.Take();
  cluster->endpoints_ = std::move(endpoints);
  if (!names.empty()) cluster->dns_ = std::make_unique<Dns>(Dns{spec.dns, std::move(names)});
  cluster->metrics_ = registry.Acquire<observe::ClusterMetrics>({spec.name});
  return std::shared_ptr<const Cluster>(cluster);
}

}  // namespace gatehouse::upstream
