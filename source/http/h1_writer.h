// Writes HTTP/1 heads, chunk headers and trailers from the parsed model. The raw text that came in
// is never copied: the start line, Host, the framing and the Connection field are always our own,
// so whatever the other side could smuggle into them ends here.
//
// Pure functions over caller memory: ask for the bound, have that many bytes, write, get the end.
// The map's hop-by-hop fields, Content-Length and (for requests) Host and Expect are never written
// from the map. Values need no check here: HeaderMap lets nothing in that could split a message,
// and codecs adopt only what they have checked. The texts passed in the options are the caller's
// to have checked; the request target is refused (0 bytes) when it holds a space or a control
// character, since rewrites make new ones.
//
//   char* out = tail.Reserve(RequestHeadBound(head, framing));
//   char* end = WriteRequestHead(out, head, framing);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "source/http/header_map.h"
#include "source/http/message.h"

namespace gatehouse::http {

// How a request goes to the origin. The defaults keep what the client's head says.
struct H1RequestFraming {
  std::string_view target;          // path[?query], "*", or host:port for CONNECT
  std::string_view host;            // value of the Host field
  BodyKind body = BodyKind::kNone;  // kNone, kLength or kChunked
  uint64_t content_length = 0;      // with kLength
  bool keep_alive = true;
  bool expect_continue = false;
  std::string_view upgrade_protocol;  // not empty: Connection: upgrade, and this Upgrade field

  // The client's own target, authority and framing.
  [[nodiscard]] static H1RequestFraming Of(const RequestHead& head);
};

[[nodiscard]] size_t RequestHeadBound(const RequestHead& head, const H1RequestFraming& framing);
// Returns the end of what was written; `out` itself when the target or host is refused.
[[nodiscard]] char* WriteRequestHead(char* out, const RequestHead& head,
                                     const H1RequestFraming& framing);

// How a response goes to the client.
struct H1ResponseFraming {
  Method request_method = Method::kGet;
  Version client_version = Version::kHttp11;
  BodyKind body = BodyKind::kNone;  // what FrameResponse() said
  // With kLength; also for HEAD and 304, where it is announced when has_content_length.
  uint64_t content_length = 0;
  bool has_content_length = false;
  bool keep_alive = true;
  std::string_view date;              // IMF-fixdate; written when the map has none and not empty
  std::string_view upgrade_protocol;  // for 101: Connection: upgrade, and this Upgrade field
};

// The framing that this client can understand for a body of the wanted kind (RFC 9112, 6.3): none
// where the status or method forbids a body, and no chunks to HTTP/1.0, which gets the end of the
// connection instead. kNone where a body could be becomes a length of 0.
[[nodiscard]] H1ResponseFraming FrameResponse(Method request_method, Version client_version,
                                              const ResponseHead& head, bool keep_alive);

[[nodiscard]] size_t ResponseHeadBound(const ResponseHead& head, const H1ResponseFraming& framing);
[[nodiscard]] char* WriteResponseHead(char* out, const ResponseHead& head,
                                      const H1ResponseFraming& framing);

// "HTTP/1.1 100 Continue" and its empty line.
[[nodiscard]] std::string_view ContinueHead();

// A chunk is header, data, kChunkEnd.
inline constexpr size_t kMaxChunkHeader = 18;
inline constexpr std::string_view kChunkEnd = "\r\n";
// `size` must not be 0, which would end the body.
[[nodiscard]] char* WriteChunkHeader(char* out, uint64_t size);
// The last chunk with its trailers (may be null) and the empty line. Without trailers: 5 bytes.
[[nodiscard]] size_t LastChunkBound(const HeaderMap* trailers);
[[nodiscard]] char* WriteLastChunk(char* out, const HeaderMap* trailers);

}  // namespace gatehouse::http
