#include "source/http/forwarded.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace gatehouse::http {
namespace {

// Calls visit(element) for the elements of all the fields, from the last to the first, until it
// returns false.
template <typename Visit>
void ForEachFromRight(const HeaderMap& headers, Visit&& visit) {
  const HeaderEntry* first = headers.Find(Name::kXForwardedFor);
  if (first == nullptr) return;
  for (const HeaderEntry* entry = headers.end(); entry != first;) {
    --entry;
    if (entry->id != Name::kXForwardedFor) continue;
    std::string_view list = entry->value_view();
    while (true) {
      const size_t comma = list.rfind(',');
      const size_t begin = comma == std::string_view::npos ? 0 : comma + 1;
      const std::string_view element = TrimSpace(list.substr(begin));
      if (!element.empty() && !visit(element)) return;
      if (comma == std::string_view::npos) break;
      list = list.substr(0, comma);
    }
  }
}

std::optional<net::IpAddress> Parse(std::string_view text) {
  net::IpAddress address;
  if (!net::IpAddress::Parse(text, &address)) return std::nullopt;
  return address;
}

// An address as proxies write it: alone, "10.0.0.1:4711", "[2001:db8::1]" or "[2001:db8::1]:4711".
std::optional<net::IpAddress> ParseElement(std::string_view text) {
  if (text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
    return Parse(text.substr(1, close - 1));
  }
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    text = text.substr(0, colon);
  }
  return Parse(text);
}

}  // namespace

bool TrustedProxies::Trusts(const net::IpAddress& address) const {
  return std::any_of(networks.begin(), networks.end(),
                     [&address](const net::Cidr& network) { return network.Contains(address); });
}

ClientAddressResult ClientAddress(const net::IpAddress& peer, const HeaderMap& headers,
                                  const TrustedProxies& trusted) {
  ClientAddressResult result{.address = peer};
  if (!trusted.networks.empty()) {
    if (!trusted.Trusts(peer)) return result;
    result.peer_trusted = true;
    ForEachFromRight(headers, [&](std::string_view element) {
      const std::optional<net::IpAddress> address = ParseElement(element);
      if (!address) return false;
      result.address = *address;
      return trusted.Trusts(*address);
    });
    return result;
  }
  if (trusted.hops == 0) return result;
  result.peer_trusted = true;
  uint32_t hop = 0;
  ForEachFromRight(headers, [&](std::string_view element) {
    if (++hop < trusted.hops) return true;
    if (const std::optional<net::IpAddress> address = ParseElement(element))
      result.address = *address;
    return false;
  });
  return result;
}

}  // namespace gatehouse::http
