// Heads of HTTP/2 messages: from fields as HPACK gives them to RequestHead and ResponseHead, and
// back to nghttp2's form (RFC 9113, section 8). nghttp2 has checked what it can: characters, order
// and number of pseudo-fields, connection-specific fields, content-length against DATA.
//
// Functions of a stream and its arena; request path.
//
//   AddRequestField(stream, name, value, flags, underscores);    // for each field of the block
//   if (Error error = FinishRequest(stream, end, limits)) ...
//   H2Fields fields = ResponseFields(head, has_length, length, date, session.first_head());
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nghttp2/nghttp2.h>

#include "source/http/h1_parser.h"
#include "source/http/h2_stream.h"

namespace gatehouse::http {

// In an arena; nghttp2 copies what they refer to.
struct H2Fields {
  nghttp2_nv* fields;
  size_t count;
};

// `flags`: nghttp2's, of the field.
void AddRequestField(H2Stream& stream, std::string_view name, std::string_view value, uint8_t flags,
                     UnderscorePolicy underscores);
// The block has ended. The head is complete, or this is why not.
[[nodiscard]] Error FinishRequest(H2Stream& stream, bool end, const H1Limits& limits, bool secure);

void AddResponseField(H2Stream& stream, std::string_view name, std::string_view value,
                      uint8_t flags);
void FinishResponse(H2Stream& stream, bool end);

// By the content-type.
[[nodiscard]] bool IsGrpc(const HeaderMap& headers);

void AddTrailerField(HeaderMap& trailers, std::string_view name, std::string_view value,
                     uint8_t flags);

// ":status" of 100 to 599; static text.
[[nodiscard]] nghttp2_nv StatusField(uint16_t status);
// `date`: for responses that say none; empty: none is added. `first_head`: of the connection.
[[nodiscard]] H2Fields ResponseFields(const ResponseHead& head, bool has_length, uint64_t length,
                                      std::string_view date, bool first_head);
// An upgrade becomes an extended CONNECT (RFC 8441, section 4).
[[nodiscard]] H2Fields RequestFields(const RequestHead& head, std::string_view scheme,
                                     bool first_head);
[[nodiscard]] H2Fields TrailerFields(const HeaderMap& trailers);

}  // namespace gatehouse::http
