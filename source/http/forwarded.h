// Who the client is, when trusted proxies stand between it and us: a pure function of the peer's
// address, the X-Forwarded-For fields and what is trusted.
//
// Addresses are values. A TrustedProxies is built on the control path, then const and shared.
//
//   const net::IpAddress client = ClientAddress(peer, headers, trust).address;
#pragma once

#include <cstdint>
#include <vector>

#include "source/http/header_map.h"
#include "source/net/address.h"

namespace gatehouse::http {

// Whom we believe. With networks: walk X-Forwarded-For from the right while the addresses are
// trusted. With hops: so many proxies of ours stand in front. Neither: believe nobody.
struct TrustedProxies {
  std::vector<net::Cidr> networks;
  uint32_t hops = 0;

  [[nodiscard]] bool Trusts(const net::IpAddress& address) const;
};

struct ClientAddressResult {
  net::IpAddress address;
  // The peer itself is believed, so its X-Forwarded-* and Forwarded fields may stay.
  bool peer_trusted = false;
};

// The leftmost address is never believed for its own sake. With networks: peer, then the fields
// from right to left; the first address that is not trusted is the client; if all are trusted, the
// leftmost of them. With hops: the address that the outermost of our proxies saw, that is the
// hops-th from the right; the peer when the list is shorter. An entry that is no address ends the
// walk at the address right of it.
[[nodiscard]] ClientAddressResult ClientAddress(const net::IpAddress& peer,
                                                const HeaderMap& headers,
                                                const TrustedProxies& trusted);

}  // namespace gatehouse::http
