// LogRecord: what one request leaves behind for the access log. Plain views and numbers.
//
// Owner: the exchange fills one on the stack in Finish; views need to live until Write returns.
// Thread: one worker. An empty view, a status of 0 and a time of -1 are logged as absent ("-" in
// text, null in JSON).
#pragma once

#include <cstdint>
#include <string_view>

namespace gatehouse::observe {

// Why a request ended as it did. Several may hold. docs/access_log.md explains each.
enum class LogFlag : uint32_t {
  kNoRoute = 1u << 0,                   // NR
  kNoHealthyUpstream = 1u << 1,         // UH
  kUpstreamConnectFailure = 1u << 2,    // UF
  kUpstreamOverflow = 1u << 3,          // UO
  kUpstreamTimeout = 1u << 4,           // UT
  kUpstreamReset = 1u << 5,             // UR
  kUpstreamClosed = 1u << 6,            // UC
  kUpstreamProtocolError = 1u << 7,     // UPE
  kRetryLimit = 1u << 8,                // URX
  kRateLimited = 1u << 9,               // RL
  kUnauthorized = 1u << 10,             // UAEX
  kDownstreamClosed = 1u << 11,         // DC
  kDownstreamProtocolError = 1u << 12,  // DPE
  kDownstreamTimeout = 1u << 13,        // DT
  kInvalidHeaders = 1u << 14,           // IH
  kStreamIdle = 1u << 15,               // SI
  kLocalHealth = 1u << 16,              // LH
  kOverload = 1u << 17,                 // OM
  kDraining = 1u << 18,                 // DR
  kRateLimitDryRun = 1u << 19,          // RLD
  kRateLimitUnavailable = 1u << 20,     // RLU
  kRateLimitDelayed = 1u << 21,         // RLW
};
inline constexpr int kLogFlagCount = 22;

// A set of flags.
class LogFlags {
 public:
  constexpr LogFlags() = default;
  constexpr LogFlags(LogFlag flag) : bits_(static_cast<uint32_t>(flag)) {}  // NOLINT: a set of one
  constexpr void Add(LogFlags other) { bits_ |= other.bits_; }
  [[nodiscard]] constexpr bool Has(LogFlag flag) const {
    return (bits_ & static_cast<uint32_t>(flag)) != 0;
  }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  [[nodiscard]] constexpr uint32_t bits() const { return bits_; }

 private:
  uint32_t bits_ = 0;
};

// "NR", for the flag that is bit `index`.
[[nodiscard]] std::string_view LogFlagName(int index);

struct LogRecord {
  static constexpr int64_t kNotMeasured = -1;

  // Finds a header by its lower-case name: of the response, or of the request. Empty when absent.
  using HeaderLookup = std::string_view (*)(const void* context, bool response,
                                            std::string_view name);

  int64_t wall_us = 0;  // when the request began: microseconds since 1970
  std::string_view method;
  std::string_view scheme;
  std::string_view host;
  std::string_view path;      // as the client sent it, without the query
  std::string_view query;     // after the '?'; what is logged of it is the format's choice
  std::string_view protocol;  // "HTTP/1.1", "HTTP/2"
  int status = 0;             // 0: none was sent
  LogFlags flags;
  std::string_view code;  // a stable word, such as "upstream_timeout"
  std::string_view listener;
  std::string_view table;
  std::string_view route;
  std::string_view cluster;
  std::string_view upstream_address;  // of the last attempt
  int64_t upstream_status = 0;        // 0: the upstream sent none
  std::string_view upstream_failure;  // why no connection could be made, in words
  int64_t attempts = 0;
  int64_t request_bytes = 0;          // body
  int64_t response_bytes = 0;         // body
  int64_t duration_us = 0;            // first byte in to last byte out
  int64_t gateway_us = kNotMeasured;  // of it, inside the gateway
  int64_t upstream_us = kNotMeasured;
  std::string_view client_ip;     // after trusted proxies
  std::string_view peer_address;  // the socket's other end, with port
  std::string_view tls_version;   // "TLSv1.3"; these five are empty without TLS
  std::string_view tls_cipher;
  std::string_view tls_server_name;  // SNI
  std::string_view tls_client_subject;
  std::string_view tls_client_fingerprint;
  std::string_view consumer;  // who, by authentication: an id, never a key
  std::string_view trace_id;
  std::string_view span_id;
  std::string_view request_id;
  std::string_view user_agent;
  std::string_view referer;
  HeaderLookup header = nullptr;  // for $(request.header.x) and $(response.header.x)
  const void* header_context = nullptr;
};

}  // namespace gatehouse::observe
