#include "source/http/forwarded.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "source/http/chars.h"

namespace gatehouse::http {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

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

// An address as proxies write it: alone, "10.0.0.1:4711", "[2001:db8::1]" or "[2001:db8::1]:4711".
std::optional<IpAddress> ParseElement(std::string_view text) {
  if (text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
    return IpAddress::Parse(text.substr(1, close - 1));
  }
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    text = text.substr(0, colon);
  }
  return IpAddress::Parse(text);
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof(buffer)) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  if (std::strlen(buffer) != text.size()) return std::nullopt;
  IpAddress address;
  if (text.find(':') != std::string_view::npos) {
    if (inet_pton(AF_INET6, buffer, address.bytes_) != 1) return std::nullopt;
    return address;
  }
  in_addr v4;
  if (inet_pton(AF_INET, buffer, &v4) != 1) return std::nullopt;
  return FromV4(ntohl(v4.s_addr));
}

IpAddress IpAddress::FromV4(uint32_t host_order) {
  IpAddress address;
  std::memcpy(address.bytes_, kMappedPrefix, sizeof(kMappedPrefix));
  for (int i = 0; i < 4; ++i) {
    address.bytes_[12 + i] = static_cast<uint8_t>(host_order >> (8 * (3 - i)));
  }
  return address;
}

IpAddress IpAddress::FromV6(const uint8_t (&bytes)[16]) {
  IpAddress address;
  std::memcpy(address.bytes_, bytes, sizeof(bytes));
  return address;
}

bool IpAddress::is_v4() const {
  return std::memcmp(bytes_, kMappedPrefix, sizeof(kMappedPrefix)) == 0;
}

std::string IpAddress::ToString() const {
  char buffer[INET6_ADDRSTRLEN];
  if (is_v4()) {
    inet_ntop(AF_INET, bytes_ + 12, buffer, sizeof(buffer));
  } else {
    inet_ntop(AF_INET6, bytes_, buffer, sizeof(buffer));
  }
  return buffer;
}

std::optional<Cidr> Cidr::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::optional<IpAddress> address = IpAddress::Parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  Cidr cidr;
  cidr.address_ = *address;
  if (slash == std::string_view::npos) return cidr;
  const std::string_view digits = text.substr(slash + 1);
  if (digits.empty() || digits.size() > 3 || !std::all_of(digits.begin(), digits.end(), IsDigit)) {
    return std::nullopt;
  }
  unsigned bits = 0;
  for (char c : digits) bits = bits * 10 + static_cast<unsigned>(c - '0');
  const bool written_as_v4 = text.substr(0, slash).find(':') == std::string_view::npos;
  if (written_as_v4) bits += 96;
  if (bits > 128) return std::nullopt;
  cidr.bits_ = static_cast<uint8_t>(bits);
  for (unsigned bit = bits; bit < 128; ++bit) {
    if ((cidr.address_.bytes()[bit / 8] >> (7 - bit % 8)) & 1) return std::nullopt;
  }
  return cidr;
}

bool Cidr::Contains(const IpAddress& address) const {
  const size_t whole = bits_ / 8;
  if (std::memcmp(address.bytes(), address_.bytes(), whole) != 0) return false;
  const unsigned rest = bits_ % 8;
  if (rest == 0) return true;
  const unsigned different = address.bytes()[whole] ^ address_.bytes()[whole];
  return (different >> (8 - rest)) == 0;
}

bool TrustedProxies::Trusts(const IpAddress& address) const {
  return std::any_of(networks.begin(), networks.end(),
                     [&address](const Cidr& network) { return network.Contains(address); });
}

ClientAddressResult ClientAddress(const IpAddress& peer, const HeaderMap& headers,
                                  const TrustedProxies& trusted) {
  ClientAddressResult result{.address = peer};
  if (!trusted.networks.empty()) {
    if (!trusted.Trusts(peer)) return result;
    result.peer_trusted = true;
    ForEachFromRight(headers, [&](std::string_view element) {
      const std::optional<IpAddress> address = ParseElement(element);
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
    if (const std::optional<IpAddress> address = ParseElement(element)) result.address = *address;
    return false;
  });
  return result;
}

}  // namespace gatehouse::http
