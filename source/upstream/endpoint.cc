#include "source/upstream/endpoint.h"

#include <unordered_map>

namespace gatehouse::upstream {
namespace {

std::string KeyOf(std::string_view text, std::string_view host, const net::Address& address) {
  std::string key(text);
  key += ' ';
  key += host;
  key += ' ';
  key += address.ToString();
  return key;
}

std::string HostOf(const ResolvedEndpoint& endpoint) {
  return endpoint.host.empty() ? endpoint.address.ip().ToString() : endpoint.host;
}

}  // namespace

std::shared_ptr<const EndpointSet> EndpointSet::Make(const std::vector<ResolvedEndpoint>& endpoints,
                                                     const EndpointSet* previous) {
  std::unordered_map<std::string, std::shared_ptr<const Endpoint>> known;
  if (previous != nullptr) {
    for (const Entry& entry : *previous) {
      const Endpoint& endpoint = *entry.endpoint;
      known.emplace(KeyOf(endpoint.text(), endpoint.host(), endpoint.address()), entry.endpoint);
    }
  }
  const std::shared_ptr<EndpointSet> set(new EndpointSet);
  set->entries_.reserve(endpoints.size());
  std::unordered_map<std::string, size_t> positions;
  for (const ResolvedEndpoint& resolved : endpoints) {
    std::string host = HostOf(resolved);
    std::string key = KeyOf(resolved.text, host, resolved.address);
    const auto [position, added] = positions.emplace(std::move(key), set->entries_.size());
    if (!added) {
      uint32_t& weight = set->entries_[position->second].weight;
      weight = resolved.weight > UINT32_MAX - weight ? UINT32_MAX : weight + resolved.weight;
      continue;
    }
    const auto found = known.find(position->first);
    set->entries_.push_back(
        {found != known.end()
             ? found->second
             : std::make_shared<const Endpoint>(resolved.address, resolved.text, std::move(host)),
         resolved.weight});
  }
  return set;
}

bool EndpointSet::SameAs(const EndpointSet& other) const {
  if (size() != other.size()) return false;
  for (size_t i = 0; i < size(); ++i) {
    const Entry& a = entries_[i];
    const Entry& b = other.entries_[i];
    if (a.endpoint != b.endpoint || a.weight != b.weight) return false;
  }
  return true;
}

void EndpointSet::SetHealth(size_t index, bool healthy) const {
  const Endpoint& endpoint = *entries_[index].endpoint;
  if (endpoint.healthy() == healthy) return;
  endpoint.healthy_.store(healthy, std::memory_order_relaxed);
  // Releases the store above: who sees the new version sees the new health.
  health_version_.fetch_add(1, std::memory_order_release);
}

}  // namespace gatehouse::upstream
