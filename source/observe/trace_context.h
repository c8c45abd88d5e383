// Trace context: who a request is, across hops. W3C Trace Context, X-Request-ID, X-Trace-ID.
//
// Plain functions and values; no allocation; any thread. Everything that a peer sends is checked
// here first: what fails is replaced, never forwarded. X-Trace-ID is the trace-id of traceparent.
//
//   TraceIds ids = TraceIds::Join(traceparent, x_trace_id, ThreadRandom());
//   char buffer[kTraceparentSize];
//   headers.Set(Name::kTraceparent, ids.WriteTraceparent(buffer));
//   headers.Set(Name::kXTraceId, ids.trace_id());
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "source/base/random.h"

namespace gatehouse::observe {

inline constexpr size_t kTraceIdSize = 32;
inline constexpr size_t kSpanIdSize = 16;
inline constexpr size_t kTraceparentSize = 55;
inline constexpr size_t kRequestIdSize = 36;
inline constexpr size_t kMaxTracestateMembers = 32;
inline constexpr size_t kMaxTracestateSize = 1024;

// A traceparent header taken apart. Views point into the text that was parsed.
struct Traceparent {
  std::string_view trace_id;   // 32 lower-case hex digits, not all zero
  std::string_view parent_id;  // 16 of the same
  uint8_t flags = 0;           // bit 0: sampled
};
// W3C Trace Context 3.2. A version after 00 is read by 00's rules and may be longer (3.2.4).
[[nodiscard]] std::optional<Traceparent> ParseTraceparent(std::string_view text);

// W3C Trace Context 3.3: at most 32 members of valid form, no key twice, and at most 1 KiB. The
// header may come in several lines. What is not valid is dropped whole; traceparent stays.
[[nodiscard]] bool ValidTracestate(std::span<const std::string_view> lines);
[[nodiscard]] inline bool ValidTracestate(std::string_view line) {
  return ValidTracestate(std::span<const std::string_view>(&line, 1));
}

// [A-Za-z0-9._-]{1,128}: for X-Trace-ID and X-Request-ID that come from outside.
[[nodiscard]] bool ValidExternalId(std::string_view text);

// A random UUID (RFC 9562, version 4) in lower case. Not a secret.
std::string_view WriteRequestId(Random& random, std::span<char, kRequestIdSize> to);
// Random lower-case hex digits, never all zero.
std::string_view WriteTraceId(Random& random, std::span<char, kTraceIdSize> to);
std::string_view WriteSpanId(Random& random, std::span<char, kSpanIdSize> to);

// The trace that a request belongs to and the gateway's own span in it. 88 bytes, copyable.
class TraceIds {
 public:
  // Joins the trace of a valid `traceparent`; else that of a valid `x_trace_id` (32 hex digits are
  // the trace-id, any other accepted text gives one by hash, the same one each time); else starts a
  // new one. Either text may be empty.
  [[nodiscard]] static TraceIds Join(std::string_view traceparent, std::string_view x_trace_id,
                                     Random& random);

  // Also the value of X-Trace-ID.
  [[nodiscard]] std::string_view trace_id() const { return {trace_id_.data(), kTraceIdSize}; }
  // The gateway's span: parent of the upstream's.
  [[nodiscard]] std::string_view span_id() const { return {span_id_.data(), kSpanIdSize}; }
  // The client's span; empty when the trace did not come by traceparent.
  [[nodiscard]] std::string_view parent_id() const {
    return {parent_id_.data(), has_parent_ ? kSpanIdSize : 0};
  }
  // True when `traceparent` was accepted: only then may tracestate be forwarded.
  [[nodiscard]] bool has_parent() const { return has_parent_; }
  [[nodiscard]] bool sampled() const { return (flags_ & 1) != 0; }
  void set_sampled(bool sampled) { flags_ = static_cast<uint8_t>((flags_ & ~1) | sampled); }
  // A fresh span for another attempt.
  void NewSpan(Random& random);

  // "00-<trace id>-<span id>-<flags>", for the upstream.
  std::string_view WriteTraceparent(std::span<char, kTraceparentSize> to) const;

 private:
  std::array<char, kTraceIdSize> trace_id_{};
  std::array<char, kSpanIdSize> span_id_{};
  std::array<char, kSpanIdSize> parent_id_{};
  bool has_parent_ = false;
  uint8_t flags_ = 0;
};

}  // namespace gatehouse::observe
