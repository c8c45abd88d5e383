// Options of HTTP/2 connections, both sides. Values, made when the config is built.
#pragma once

#include <cstdint>

#include "source/base/time.h"
#include "source/http/h1_server_connection.h"

namespace gatehouse::http {

// What a peer may do before the connection ends with ENHANCE_YOUR_CALM. Of frames that cost us more
// than the peer (RFC 9113, section 10.5): a bucket each, of `burst`, refilled by `per_second`.
struct H2AbuseLimits {
  uint32_t resets_burst = 200;  // streams that the client opened and reset (rapid reset)
  uint32_t resets_per_second = 50;
  uint32_t control_burst = 400;  // SETTINGS, PING, PRIORITY, WINDOW_UPDATE beyond what data needs
  uint32_t control_per_second = 100;
  uint32_t empty_burst = 100;  // DATA, HEADERS and CONTINUATION frames that carry nothing
  uint32_t empty_per_second = 20;
  uint32_t errors_burst = 100;  // requests refused as malformed
  uint32_t errors_per_second = 20;
  uint32_t max_continuations = 8;  // frames of one header block
};

struct H2ServerOptions {
  // Limits of heads, timeouts and rates are the same for both protocols. keep_alive_timeout is for
  // a connection without streams; max_requests and max_age end it by GOAWAY.
  H1ServerOptions common;
  uint32_t max_streams = 100;
  uint32_t stream_window = 64 * 1024;        // bytes a client may send before the origin takes them
  uint32_t connection_window = 1024 * 1024;  // of all streams together
  Duration ping_interval = kNoTimeout;       // zero: idle clients are not asked
  Duration ping_timeout = std::chrono::seconds(20);
  bool extended_connect = true;  // WebSockets (RFC 8441)
  H2AbuseLimits abuse;
};

struct H2ClientOptions {
  uint32_t max_streams = 100;  // we use on a connection; the origin's own limit may be lower
  uint32_t stream_window = 256 * 1024;
  uint32_t connection_window = 16 * 1024 * 1024;
  Duration ping_interval = kNoTimeout;  // zero: idle origins are not asked
  Duration ping_timeout = std::chrono::seconds(20);

  friend bool operator==(const H2ClientOptions&, const H2ClientOptions&) = default;
};

}  // namespace gatehouse::http
