// The HTTP/1 head parser: bytes in, a checked head out. Strict (RFC 9112 without its leniencies),
// because two parsers that disagree about one byte are how requests are smuggled.
//
// H1HeadParser is the small state that a connection keeps; H1HeadScratch is the room for the fields
// while they are parsed, one per loop, shared by all its connections: what a Parse call left in it
// is valid until the next Parse call on that loop and while the buffered bytes stay where they are.
//
// `buffered` is always all bytes from the start of the message on, contiguous. Nothing is consumed
// on kNeedMore; what was checked is remembered, so a head that comes byte by byte costs O(n). A
// whole head is parsed in one pass. Whatever the pieces, the result is the same.
//
//   switch (parser.ParseRequest(buffered, limits, scratch)) {
//     case H1ParseStatus::kNeedMore: return;                   // keep the bytes, read more
//     case H1ParseStatus::kError: return Fail(scratch.error());  // answer, then close
//     case H1ParseStatus::kDone: break;
//   }
//   scratch.CopyTo(arena, request);                            // one memcpy of the head
//   input.Drop(scratch.consumed());
//   parser.Reset();                                            // ready for the next message
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "source/base/arena.h"
#include "source/http/error.h"
#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/http/names.h"

namespace gatehouse::http {

// What to do with request header names that hold '_', which CGI-like origins cannot tell from '-':
// "X_User_Id" would pass for the "X-User-Id" that the gateway vouches for.
enum class UnderscorePolicy : uint8_t { kDrop, kReject, kAllow };

struct H1Limits {
  uint32_t max_head_bytes = 61440;  // 431
  uint32_t max_uri_bytes = 8192;    // 414
  uint16_t max_headers = 100;       // 431; fields that the underscore policy drops count too
  UnderscorePolicy underscores = UnderscorePolicy::kDrop;
  uint32_t max_chunk_extra_bytes = 4096;  // chunk extensions of one body, all together: 400
  uint32_t max_trailer_bytes = 8192;      // 431
};

enum class H1ParseStatus : uint8_t { kNeedMore, kDone, kError };

// Why a message was refused: for logs, counters and tests. Clients see only the status.
enum class H1Fault : uint8_t {
  kNone = 0,
  kBadMethod,
  kMethodTooLong,
  kBadTarget,
  kUriTooLong,
  kBadVersion,
  kUnsupportedVersion,
  kHttp2Preface,  // "PRI * HTTP/2.0": a client that speaks HTTP/2 where HTTP/1 is spoken
  kBadRequestLine,
  kBadStatusLine,
  kBadHeaderName,
  kSpaceBeforeColon,
  kLineFolding,
  kBareCr,
  kBareLf,
  kControlCharacter,
  kHeadTooLarge,
  kTooManyHeaders,
  kUnderscoreInName,
  kMissingHost,
  kSeveralHosts,
  kBadHost,
  kLengthAndTransferEncoding,
  kTransferEncodingInHttp10,
  kBadTransferEncoding,
  kUnsupportedTransferCoding,
  kBadContentLength,
  kSeveralContentLengths,
  kUnknownExpectation,
  kBadChunkSize,
  kChunkSizeOverflow,
  kBadChunkEnd,
  kChunkExtensionsTooLarge,
  kTrailersTooLarge,
};
// A short lower-case text, static.
[[nodiscard]] std::string_view H1FaultText(H1Fault fault);

class H1HeadScratch {
 public:
  H1HeadScratch();

  // After kDone: the bytes of the message's head, with the empty line and any empty lines in front.
  [[nodiscard]] size_t consumed() const { return consumed_; }
  // After kError.
  [[nodiscard]] Error error() const { return error_; }
  [[nodiscard]] H1Fault fault() const { return fault_; }

  // After kDone of ParseRequest, ParseResponse, ParseTrailers. The head must be freshly made or
  // reset over the same arena. `scheme` of a request is left alone.
  void CopyTo(Arena& arena, RequestHead& head) const;
  void CopyTo(Arena& arena, ResponseHead& head) const;
  // Adds the trailers to the map. Fields that must not come in trailers (framing, routing,
  // authentication: RFC 9110, section 6.5.1) were dropped.
  void CopyTrailersTo(HeaderMap& trailers) const;

  // Known before the head is copied, for those who decide about the connection first.
  [[nodiscard]] bool keep_alive() const { return keep_alive_; }
  [[nodiscard]] uint16_t status() const { return status_; }

 private:
  friend class H1HeadParser;
  friend class H1HeadReader;

  struct Span {
    uint32_t at = 0;
    uint32_t size = 0;
  };
  void CopyFields(const char* copy, HeaderMap& headers, size_t extra) const;

  // Entries point into the buffered bytes until CopyTo moves them.
  std::unique_ptr<HeaderEntry[]> fields_;
  uint32_t capacity_;
  uint32_t count_ = 0;           // recorded fields
  const char* start_ = nullptr;  // of the start line (or of the first trailer)
  uint32_t head_size_ = 0;       // from start_ on, with the empty line
  size_t consumed_ = 0;
  uint64_t content_length_ = 0;
  Span method_text_;
  Span target_;
  Span authority_;
  Span path_;
  Span upgrade_protocol_;
  // The first field of each framing name, and how many there are.
  uint16_t framing_first_[static_cast<size_t>(kLastFramingName) + 1] = {};
  uint16_t framing_count_[static_cast<size_t>(kLastFramingName) + 1] = {};
  uint16_t status_ = 0;
  Error error_;
  H1Fault fault_ = H1Fault::kNone;
  Method method_ = Method::kGet;
  Version version_ = Version::kHttp11;
  TargetForm target_form_ = TargetForm::kOrigin;
  BodyKind body_ = BodyKind::kNone;
  bool keep_alive_ = true;
  bool expect_continue_ = false;
  bool upgrade_ = false;
  bool has_content_length_ = false;
};

class H1HeadParser {
 public:
  // Ready for the next message. Also needed after an error, though then the connection should end.
  void Reset() { *this = H1HeadParser(); }
  // True once bytes of a message were looked at: a request has begun, its header timer runs.
  [[nodiscard]] bool started() const { return scanned_ != 0; }

  // Up to four empty lines in front of a request line are skipped (RFC 9112, section 2.2).
  [[nodiscard]] H1ParseStatus ParseRequest(std::string_view buffered, const H1Limits& limits,
                                           H1HeadScratch& scratch);
  // `request_method`: of the request that this answers; it decides about the body.
  [[nodiscard]] H1ParseStatus ParseResponse(std::string_view buffered, Method request_method,
                                            const H1Limits& limits, H1HeadScratch& scratch);
  // The lines behind the last chunk, with the empty line that ends them. Limited by
  // max_trailer_bytes and max_headers.
  [[nodiscard]] H1ParseStatus ParseTrailers(std::string_view buffered, const H1Limits& limits,
                                            H1HeadScratch& scratch);

 private:
  friend class H1HeadReader;

  uint32_t line_start_ = 0;  // the first line that is not complete yet
  uint32_t scanned_ = 0;     // no control character between line_start_ and here
  uint32_t lines_ = 0;       // complete lines before line_start_: start line and fields
  uint8_t empty_lines_ = 0;  // skipped in front of the start line
};
static_assert(sizeof(H1HeadParser) <= 32);

}  // namespace gatehouse::http
