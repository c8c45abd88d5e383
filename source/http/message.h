// The heads of messages as every codec hands them over: parsed, checked, in an arena.
//
// Owner: the Exchange (or a codec, for messages without one). Thread: one loop. All views point
// into the arena given to the constructor (or into static text) and live until it is reset.
//
//   RequestHead request(arena);
//   scratch.CopyTo(arena, request);                   // from the HTTP/1 parser
//   if (request.method == Method::kGet) Serve(request.path, request.headers);
#pragma once

#include <cstdint>
#include <string_view>

#include "source/base/arena.h"
#include "source/http/header_map.h"

namespace gatehouse::http {

enum class Method : uint8_t {
  kGet,
  kHead,
  kPost,
  kPut,
  kDelete,
  kConnect,
  kOptions,
  kTrace,
  kPatch,
  kOther,
};

enum class Version : uint8_t { kHttp10, kHttp11, kHttp2 };

// How the end of a message's body is known (RFC 9112, section 6).
enum class BodyKind : uint8_t {
  kNone,        // no body at all
  kLength,      // content_length bytes, which may be 0
  kChunked,     // chunks, then trailers; also an HTTP/2 body without a content-length
  kUntilClose,  // responses only: the end of the connection
};

// Which of the four forms of RFC 9112, section 3.2, the request target had.
enum class TargetForm : uint8_t { kOrigin, kAbsolute, kAsterisk, kAuthority };

// Method names are case-sensitive: "get" is kOther.
[[nodiscard]] Method FindMethod(std::string_view text);
// The name of a known method; empty for kOther.
[[nodiscard]] std::string_view MethodText(Method method);
// RFC 9110, section 9.2: safe and idempotent methods. kOther is neither.
[[nodiscard]] constexpr bool IsSafe(Method method) {
  return method == Method::kGet || method == Method::kHead || method == Method::kOptions ||
         method == Method::kTrace;
}
[[nodiscard]] constexpr bool IsIdempotent(Method method) {
  return IsSafe(method) || method == Method::kPut || method == Method::kDelete;
}
// RFC 9110, sections 6.4.1, 9.3.2 and 9.3.6: responses that end with their head, whatever their
// framing fields say. A 2xx to CONNECT is a tunnel from there on.
[[nodiscard]] constexpr bool ResponseHasNoBody(Method request_method, uint16_t status) {
  return status < 200 || status == 204 || status == 304 || request_method == Method::kHead ||
         (request_method == Method::kConnect && status < 300);
}
// The standard reason phrase; empty when there is none.
[[nodiscard]] std::string_view ReasonPhrase(uint16_t status);

struct RequestHead {
  explicit RequestHead(Arena& arena) : headers(arena) {}

  // Forgets everything. Call it when the arena was reset.
  void Reset();

  [[nodiscard]] bool has_body() const {
    return body == BodyKind::kChunked || (body == BodyKind::kLength && content_length > 0);
  }

  std::string_view method_text;
  std::string_view scheme;     // "http" or "https": set by the connection, which knows
  std::string_view authority;  // host[:port] as it came; an absolute-form target wins over Host
  std::string_view target;     // what stood in the request line
  std::string_view path;       // path[?query]; "*" for OPTIONS *; the authority for CONNECT
  HeaderMap headers;           // Host stays in it, equal to authority
  uint64_t content_length = 0;
  std::string_view upgrade_protocol;  // the Upgrade field, when `upgrade`
  Method method = Method::kGet;
  Version version = Version::kHttp11;
  TargetForm target_form = TargetForm::kOrigin;
  BodyKind body = BodyKind::kNone;
  bool keep_alive = true;         // the client lets the connection live after this exchange
  bool expect_continue = false;   // the client waits for 100 before it sends the body
  bool upgrade = false;           // Connection: upgrade and an Upgrade field, or extended_connect
  bool extended_connect = false;  // the upgrade was asked for by HTTP/2's CONNECT (RFC 8441)
  bool early_data = false;        // came before the TLS handshake was complete (RFC 8470)
};

struct ResponseHead {
  explicit ResponseHead(Arena& arena) : headers(arena) {}

  // Forgets everything. Call it when the arena was reset.
  void Reset();

  [[nodiscard]] bool has_body() const {
    return body == BodyKind::kChunked || body == BodyKind::kUntilClose ||
           (body == BodyKind::kLength && content_length > 0);
  }

  HeaderMap headers;
  // Meaningful with kLength, and with kNone when has_content_length: what a HEAD or 304 announced.
  uint64_t content_length = 0;
  std::string_view upgrade_protocol;  // the Upgrade field, when `upgrade`
  uint16_t status = 0;
  Version version = Version::kHttp11;
  BodyKind body = BodyKind::kNone;
  bool has_content_length = false;
  bool keep_alive = true;  // the origin lets the connection live; never with kUntilClose
  bool upgrade = false;    // 101: the bytes behind the head are another protocol
  bool last = false;       // the client's connection ends after it; the gateway's own word
};

}  // namespace gatehouse::http
