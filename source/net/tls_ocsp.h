// An OCSP response (RFC 6960) that is to be stapled: read as far as it takes to see that clients
// will make something of it. Its signature is theirs to check.
//
// Control path, pure function.
#pragma once

#include <cstdint>
#include <string>

#include "openssl/base.h"
#include "source/base/status.h"
#include "source/net/tls_spec.h"

namespace gatehouse::net {

struct OcspResponse {
  std::string der;
  int64_t until = 0;  // its nextUpdate, in seconds since 1970
};

// `text` is DER, or PEM. It must say that `leaf` is good, now (`now` in seconds since 1970).
// `issuer` may be null.
[[nodiscard]] absl::StatusOr<OcspResponse> ReadOcspResponse(const TlsText& text, const X509* leaf,
                                                            const X509* issuer, int64_t now);

}  // namespace gatehouse::net
