// What servers' and clients' contexts have in common: versions, ciphers, groups, signatures.
//
// Control path, pure functions.
#pragma once

#include <string>
#include <vector>

#include "openssl/base.h"
#include "source/base/status.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

// A context of modern algorithms, for handshakes whose certificates are buffers.
[[nodiscard]] bssl::UniquePtr<SSL_CTX> NewTlsContext(TlsVersion min_version);
// RFC 7301, section 3.1: each name behind its length.
[[nodiscard]] absl::StatusOr<std::string> AlpnToWire(const std::vector<std::string>& alpn);

}  // namespace gatehouse::net
