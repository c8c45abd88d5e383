#include "source/http/h1_writer.h"

#include <bit>
#include <cstring>

#include "source/base/check.h"
#include "source/http/chars.h"
#include "source/http/codec_names.h"
#include "source/http/list.h"

namespace gatehouse::http {
namespace {

// What the writer says by itself, at most: version, Connection with all its options, the longest
// framing field, Date, Expect, TE, line ends. The caller's texts are added.
constexpr size_t kOwnWords = 320;
constexpr size_t kPerField = 4;  // ": " and CRLF

// Copies without a call for the sizes that names and most values have, reading nothing but `size`
// bytes: two overlapping words cover any size between one and two of them.
inline char* Put(char* out, const char* from, size_t size) {
  if (size >= 16) {
    if (size > 64) {
      std::memcpy(out, from, size);
      return out + size;
    }
    for (size_t at = 0; at + 16 < size; at += 16) std::memcpy(out + at, from + at, 16);
    std::memcpy(out + size - 16, from + size - 16, 16);
  } else if (size >= 8) {
    std::memcpy(out, from, 8);
    std::memcpy(out + size - 8, from + size - 8, 8);
  } else if (size >= 4) {
    std::memcpy(out, from, 4);
    std::memcpy(out + size - 4, from + size - 4, 4);
  } else if (size > 0) {
    out[0] = from[0];
    out[size / 2] = from[size / 2];
    out[size - 1] = from[size - 1];
  }
  return out + size;
}
inline char* Put(char* out, std::string_view text) { return Put(out, text.data(), text.size()); }

template <size_t N>
inline char* PutLiteral(char* out, const char (&text)[N]) {
  std::memcpy(out, text, N - 1);
  return out + N - 1;
}

inline char* PutField(char* out, const HeaderEntry& entry) {
  out = Put(out, entry.name, entry.name_len);
  out = PutLiteral(out, ": ");
  out = Put(out, entry.value, entry.value_len);
  return PutLiteral(out, "\r\n");
}

char* PutNumber(char* out, uint64_t number) {
  char digits[20];
  char* at = digits + sizeof(digits);
  do {
    *--at = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return Put(out, at, static_cast<size_t>(digits + sizeof(digits) - at));
}

char* PutContentLength(char* out, uint64_t length) {
  out = PutLiteral(out, "content-length: ");
  out = PutNumber(out, length);
  return PutLiteral(out, "\r\n");
}

size_t FieldBytes(const HeaderMap& headers) {
  size_t bytes = 0;
  for (const HeaderEntry& entry : headers) {
    bytes += size_t{entry.name_len} + entry.value_len + kPerField;
  }
  return bytes;
}

bool AllTargetChars(std::string_view text) {
  const char* end = text.data() + text.size();
  return !text.empty() && FindTargetEnd(text.data(), end, text.data()) == end;
}

// RFC 9110, section 8.6: a user agent says 0 where the method suggests a body.
bool SuggestsBody(Method method) {
  return method == Method::kPost || method == Method::kPut || method == Method::kPatch;
}

// "connection: a, b": nothing when no option was added.
class ConnectionField {
 public:
  explicit ConnectionField(char* out) : out_(out) {}
  void Add(std::string_view option) {
    out_ = any_ ? PutLiteral(out_, ", ") : PutLiteral(out_, "connection: ");
    out_ = Put(out_, option);
    any_ = true;
  }
  [[nodiscard]] char* End() { return any_ ? PutLiteral(out_, "\r\n") : out_; }

 private:
  char* out_;
  bool any_ = false;
};

char* PutUpgrade(char* out, std::string_view protocol) {
  out = PutLiteral(out, "upgrade: ");
  out = Put(out, protocol);
  return PutLiteral(out, "\r\n");
}

bool TakesTrailers(const HeaderMap& headers) {
  bool takes = false;
  headers.ForEach(
      Name::kTe, [&takes](std::string_view value) { takes = takes || ListHas(value, "trailers"); });
  return takes;
}

}  // namespace

H1RequestFraming H1RequestFraming::Of(const RequestHead& head) {
  return {.target = head.path,
          .host = head.authority,
          .body = head.body,
          .content_length = head.content_length,
          .keep_alive = true,
          .expect_continue = head.expect_continue,
          .upgrade_protocol = head.upgrade ? head.upgrade_protocol : std::string_view()};
}

size_t RequestHeadBound(const RequestHead& head, const H1RequestFraming& framing) {
  return kOwnWords + head.method_text.size() + framing.target.size() + framing.host.size() +
         framing.upgrade_protocol.size() + FieldBytes(head.headers);
}

char* WriteRequestHead(char* out, const RequestHead& head, const H1RequestFraming& framing) {
  DCHECK(framing.body != BodyKind::kUntilClose);
  if (!AllTargetChars(framing.target) || !IsFieldValue(framing.host) ||
      !IsFieldValue(framing.upgrade_protocol)) {
    return out;
  }
  out = Put(out, head.method_text);
  *out++ = ' ';
  out = Put(out, framing.target);
  out = PutLiteral(out, " HTTP/1.1\r\nhost: ");
  out = Put(out, framing.host);
  out = PutLiteral(out, "\r\n");
  for (const HeaderEntry& entry : head.headers) {
    if (__builtin_expect(!kNotFromRequest.Has(entry.id), 1)) out = PutField(out, entry);
  }
  if (framing.body == BodyKind::kChunked) {
    out = PutLiteral(out, "transfer-encoding: chunked\r\n");
  } else if (framing.body == BodyKind::kLength || SuggestsBody(head.method)) {
    out = PutContentLength(out, framing.body == BodyKind::kLength ? framing.content_length : 0);
  }
  const bool trailers = TakesTrailers(head.headers);
  ConnectionField connection(out);
  if (!framing.keep_alive) connection.Add("close");
  if (!framing.upgrade_protocol.empty()) connection.Add("upgrade");
  if (trailers) connection.Add("te");  // RFC 9110, section 10.1.4
  out = connection.End();
  if (!framing.upgrade_protocol.empty()) out = PutUpgrade(out, framing.upgrade_protocol);
  if (trailers) out = PutLiteral(out, "te: trailers\r\n");
  if (framing.expect_continue) out = PutLiteral(out, "expect: 100-continue\r\n");
  return PutLiteral(out, "\r\n");
}

H1ResponseFraming FrameResponse(Method request_method, Version client_version,
                                const ResponseHead& head, bool keep_alive) {
  H1ResponseFraming framing{.request_method = request_method,
                            .client_version = client_version,
                            .body = head.body,
                            .content_length = head.content_length,
                            .has_content_length = head.has_content_length,
                            .keep_alive = keep_alive};
  if (head.upgrade) framing.upgrade_protocol = head.upgrade_protocol;
  if (ResponseHasNoBody(request_method, head.status)) {
    // A length is announced for HEAD and 304 only (RFC 9110, section 8.6).
    const bool may_announce =
        head.status >= 200 && head.status != 204 && request_method != Method::kConnect;
    framing.has_content_length =
        may_announce && (head.has_content_length || head.body == BodyKind::kLength);
    framing.body = BodyKind::kNone;
    return framing;
  }
  if (head.body == BodyKind::kNone) {
    framing.body = BodyKind::kLength;
    framing.content_length = 0;
  } else if (head.body != BodyKind::kLength) {
    // Chunks keep the connection alive where an HTTP/1.1 client can read them.
    framing.body = client_version == Version::kHttp10 ? BodyKind::kUntilClose : BodyKind::kChunked;
    if (framing.body == BodyKind::kUntilClose) framing.keep_alive = false;
  }
  framing.has_content_length = framing.body == BodyKind::kLength;
  return framing;
}

size_t ResponseHeadBound(const ResponseHead& head, const H1ResponseFraming& framing) {
  return kOwnWords + framing.date.size() + framing.upgrade_protocol.size() +
         FieldBytes(head.headers);
}

char* WriteResponseHead(char* out, const ResponseHead& head, const H1ResponseFraming& framing) {
  DCHECK(head.status >= 100 && head.status <= 999);
  DCHECK(framing.body != BodyKind::kChunked || framing.client_version != Version::kHttp10);
  out = PutLiteral(out, "HTTP/1.1 ");
  out = PutNumber(out, head.status);
  *out++ = ' ';
  out = Put(out, ReasonPhrase(head.status));
  out = PutLiteral(out, "\r\n");
  for (const HeaderEntry& entry : head.headers) {
    if (__builtin_expect(!kNotFromResponse.Has(entry.id), 1)) out = PutField(out, entry);
  }
  if (head.status >= 200 && !framing.date.empty() && !head.headers.Has(Name::kDate)) {
    out = PutLiteral(out, "date: ");
    out = Put(out, framing.date);
    out = PutLiteral(out, "\r\n");
  }
  if (framing.body == BodyKind::kChunked) {
    out = PutLiteral(out, "transfer-encoding: chunked\r\n");
  } else if (framing.body == BodyKind::kLength ||
             (framing.body == BodyKind::kNone && framing.has_content_length)) {
    out = PutContentLength(out, framing.content_length);
  }
  if (head.status < 200 && head.status != 101) return PutLiteral(out, "\r\n");
  ConnectionField connection(out);
  if (head.status == 101) {
    connection.Add("upgrade");
  } else if (!framing.keep_alive || framing.body == BodyKind::kUntilClose) {
    connection.Add("close");
  } else if (framing.client_version == Version::kHttp10) {
    connection.Add("keep-alive");
  }
  out = connection.End();
  if (!framing.upgrade_protocol.empty()) out = PutUpgrade(out, framing.upgrade_protocol);
  return PutLiteral(out, "\r\n");
}

std::string_view ContinueHead() { return "HTTP/1.1 100 Continue\r\n\r\n"; }

char* WriteChunkHeader(char* out, uint64_t size) {
  DCHECK(size != 0);
  const int digits = (static_cast<int>(std::bit_width(size)) + 3) / 4;
  for (int i = digits - 1; i >= 0; --i) {
    *out++ = "0123456789abcdef"[(size >> (4 * i)) & 15];
  }
  return PutLiteral(out, "\r\n");
}

size_t LastChunkBound(const HeaderMap* trailers) {
  return 5 + (trailers != nullptr ? FieldBytes(*trailers) : 0);
}

char* WriteLastChunk(char* out, const HeaderMap* trailers) {
  out = PutLiteral(out, "0\r\n");
  if (trailers != nullptr) {
    for (const HeaderEntry& entry : *trailers) {
      if (!kNotFromRequest.Has(entry.id)) out = PutField(out, entry);
    }
  }
  return PutLiteral(out, "\r\n");
}

}  // namespace gatehouse::http
