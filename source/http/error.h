// Error: what went wrong with an exchange on the data path, in four bytes and no strings.
//
// A value, copied freely. Which status, gRPC code and log word an Error becomes is written in one
// table, proxy/local_reply; the statuses below only say what the names mean.
//
//   if (too_long) return Error::Downstream(Error::What::kUriTooLong);
//   if (error) Fail(error);
#pragma once

#include <cstdint>

namespace gatehouse::http {

struct Error {
  // Whose side broke.
  enum class Where : uint8_t { kNone, kDownstream, kUpstream, kGateway };

  enum class What : uint8_t {
    kNone = 0,
    // The client's message (kDownstream).
    kBadRequest,           // 400; after it the connection closes
    kUriTooLong,           // 414
    kHeadersTooLarge,      // 431: bytes or count
    kBodyTooLarge,         // 413
    kNotImplemented,       // 501: a transfer coding or method that nobody here knows
    kVersionNotSupported,  // 505
    kExpectationFailed,    // 417
    kMisdirectedRequest,   // 421: this connection does not serve that authority
    kTooEarly,             // 425: early data that must not be acted on yet
    kUpgradeRequired,      // 426
    kRequestTimeout,       // 408: the client was too slow
    kClientAbort,          // 499, for the log only: the client left
    // Our own answer (kGateway).
    kNoRoute,            // 404
    kMethodNotAllowed,   // 405
    kClusterNotFound,    // 503: the route names a cluster that is not there
    kNoHealthyUpstream,  // 503
    kUpstreamOverflow,   // 503: a connection, queue or retry limit
    kOverload,           // 503: the gateway protects itself
    kShuttingDown,       // 503: draining
    kFilterFailed,       // 500: a filter could not do its work
    kInternal,           // 500
    // The origin (kUpstream).
    kConnectFailure,         // 503: refused or unreachable; nothing was sent
    kConnectTimeout,         // 504; nothing was sent
    kUpstreamReset,          // 502: the connection or stream ended early
    kUpstreamRefusedStream,  // 503: provably not processed
    kUpstreamProtocolError,  // 502: an invalid response
    kResponseTooLarge,       // 502: head or buffered body over the limit
    kUpstreamTimeout,        // 504: the deadline of the request or of the try
    kUpstreamIdleTimeout,    // 504: the stream stood still
  };

  Where where = Where::kNone;
  What what = What::kNone;
  // The origin provably did not process the request, so any method may be tried again.
  bool retryable = false;

  // True when there is an error.
  [[nodiscard]] constexpr explicit operator bool() const { return what != What::kNone; }
  [[nodiscard]] constexpr bool operator==(const Error&) const = default;

  [[nodiscard]] static constexpr Error Downstream(What what) {
    return {Where::kDownstream, what, false};
  }
  [[nodiscard]] static constexpr Error Upstream(What what, bool retryable = false) {
    return {Where::kUpstream, what, retryable};
  }
  [[nodiscard]] static constexpr Error Gateway(What what) { return {Where::kGateway, what, false}; }
};

}  // namespace gatehouse::http
