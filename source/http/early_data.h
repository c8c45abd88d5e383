// Early data (RFC 8446, section 2.3): requests that came before the TLS handshake was complete and
// that somebody in between may send again. What RFC 8470 asks of a gateway.
//
// Pure, request path. A client's own Early-Data field, by which a proxy in front says the same, is
// removed by StripUntrusted() unless that proxy is trusted.
//
//   if (!AdmitEarlyData(request, transport.early_data())) return Fail(What::kTooEarly);
#pragma once

#include "source/http/message.h"

namespace gatehouse::http {

// True for a request that does no harm when it is sent twice: a safe method, no body (the rest of
// it might differ), no change of protocol.
[[nodiscard]] bool IsReplaySafe(const RequestHead& request);

// `early`: its head came as early data of this connection. False: to be answered with 425, after
// which the client sends it again when the handshake is complete. Otherwise an early one gets
// `Early-Data: 1`, so that the origin can decide for itself.
[[nodiscard]] bool AdmitEarlyData(RequestHead& request, bool early);

}  // namespace gatehouse::http
