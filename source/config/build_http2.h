// What the HTTP/2 options of listeners and clusters have in common. Inside config/ only; main
// thread.
#pragma once

#include <cstdint>

#include "source/base/time.h"
#include "source/config/field.h"

namespace gatehouse::config {

inline constexpr uint64_t kMaxH2Streams = 100'000;
// RFC 9113, section 6.9.1.
inline constexpr uint64_t kMaxH2Window = INT32_MAX;
// A connection's window begins at 65535 bytes and cannot be made smaller (section 6.9.2).
inline constexpr uint64_t kMinH2ConnectionWindow = 64 * 1024;
inline constexpr uint64_t kMinH2StreamWindow = 1024;

// Fields of the same names in v1::Http2Options and v1::Http2ClientOptions. What is there already
// are the defaults.
template <typename Message>
void ReadHttp2Windows(const Message& message, uint32_t* stream, uint32_t* connection,
                      const Field& field) {
  *stream = static_cast<uint32_t>(
      ReadSize(message.initial_stream_window(),
               {.fallback = *stream, .min = kMinH2StreamWindow, .max = kMaxH2Window},
               field.Below("initial_stream_window")));
  *connection = static_cast<uint32_t>(
      ReadSize(message.initial_connection_window(),
               {.fallback = *connection, .min = kMinH2ConnectionWindow, .max = kMaxH2Window},
               field.Below("initial_connection_window")));
}

template <typename Message>
void ReadHttp2Pings(const Message& message, Duration* interval, Duration* timeout,
                    const Field& field) {
  *interval =
      ReadDuration(message.has_ping_interval(), message.ping_interval(),
                   {.fallback = *interval, .zero_is_none = true}, field.Below("ping_interval"));
  *timeout = ReadDuration(message.has_ping_timeout(), message.ping_timeout(),
                          {.fallback = *timeout}, field.Below("ping_timeout"));
}

}  // namespace gatehouse::config
