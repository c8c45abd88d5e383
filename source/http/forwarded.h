// Who the client is, when trusted proxies stand between it and us: a pure function of the peer's
// address, the X-Forwarded-For fields and what is trusted.
//
// Addresses are values. A TrustedProxies is built on the control path, then const and shared.
//
//   std::optional<IpAddress> client = ClientAddress(peer, headers, trust);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/http/header_map.h"

namespace gatehouse::http {

// An IPv4 or IPv6 address. IPv4 is kept as the IPv6 address that maps it, so ::ffff:10.0.0.1 and
// 10.0.0.1 are the same.
class IpAddress {
 public:
  // "10.0.0.1", "2001:db8::1"; no port, no brackets, no zone.
  [[nodiscard]] static std::optional<IpAddress> Parse(std::string_view text);
  [[nodiscard]] static IpAddress FromV4(uint32_t host_order);
  [[nodiscard]] static IpAddress FromV6(const uint8_t (&bytes)[16]);

  [[nodiscard]] bool is_v4() const;
  [[nodiscard]] const uint8_t (&bytes() const)[16] { return bytes_; }
  [[nodiscard]] std::string ToString() const;
  bool operator==(const IpAddress&) const = default;

 private:
  uint8_t bytes_[16] = {};
};

class Cidr {
 public:
  // "10.0.0.0/8", "fd00::/8", or an address alone. Bits behind the prefix must be 0.
  [[nodiscard]] static std::optional<Cidr> Parse(std::string_view text);
  [[nodiscard]] bool Contains(const IpAddress& address) const;

 private:
  IpAddress address_;
  uint8_t bits_ = 128;  // of the 16 bytes
};

// Whom we believe. With networks: walk X-Forwarded-For from the right while the addresses are
// trusted. With hops: so many proxies of ours stand in front. Neither: believe nobody.
struct TrustedProxies {
  std::vector<Cidr> networks;
  uint32_t hops = 0;

  [[nodiscard]] bool Trusts(const IpAddress& address) const;
};

struct ClientAddressResult {
  IpAddress address;
  // The peer itself is believed, so its X-Forwarded-* and Forwarded fields may stay.
  bool peer_trusted = false;
};

// The leftmost address is never believed for its own sake. With networks: peer, then the fields
// from right to left; the first address that is not trusted is the client; if all are trusted, the
// leftmost of them. With hops: the address that the outermost of our proxies saw, that is the
// hops-th from the right; the peer when the list is shorter. An entry that is no address ends the
// walk at the address right of it.
[[nodiscard]] ClientAddressResult ClientAddress(const IpAddress& peer, const HeaderMap& headers,
                                                const TrustedProxies& trusted);

}  // namespace gatehouse::http
