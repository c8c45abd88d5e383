// What a complete head means: target, host, framing, the fate of the connection. And the way of a
// head from the scratch into an arena.
#include <algorithm>
#include <cstring>
#include <limits>

#include "source/http/chars.h"
#include "source/http/h1_head_reader.h"
#include "source/http/list.h"
#include "source/http/normalize.h"
#include "source/http/trailers.h"

namespace gatehouse::http {
namespace {

// Spare room for the fields that filters add.
constexpr size_t kSpareFields = 8;

// 1*DIGIT up to 2^63 - 1, nothing else: no sign, no space, no list.
bool ParseLength(std::string_view text, uint64_t& length) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (text.empty()) return false;
  uint64_t value = 0;
  for (char c : text) {
    if (!IsDigit(c)) return false;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (kMost - digit) / 10) return false;
    value = value * 10 + digit;
  }
  length = value;
  return true;
}

// What nearly all clients send, in the spelling of nearly all.
bool IsKeepAlive(std::string_view value) {
  constexpr std::string_view kText = "keep-alive";
  return value.size() == kText.size() && std::memcmp(value.data(), kText.data(), 10) == 0;
}

// Skips "http://" or "https://"; 0 when it is neither.
size_t SchemeSize(std::string_view target) {
  constexpr std::string_view kSchemes[] = {"http://", "https://"};
  for (std::string_view scheme : kSchemes) {
    if (EqualsIgnoreCase(target.substr(0, scheme.size()), scheme)) return scheme.size();
  }
  return 0;
}

}  // namespace

// RFC 9112, section 3.2: the form must fit the method. Any form but the usual "/...".
H1Fault H1HeadReader::ReadUnusualTarget() {
  const std::string_view target = TextOf(scratch_.target_);
  scratch_.authority_ = {};
  scratch_.path_ = scratch_.target_;
  if (scratch_.method_ == Method::kConnect) {
    scratch_.target_form_ = TargetForm::kAuthority;
    scratch_.authority_ = scratch_.target_;
    // The port is not optional here (RFC 9110, section 9.3.6).
    const bool has_port =
        target.find_last_of(':') != std::string_view::npos && target.back() != ']';
    return has_port && IsAuthority(target) ? H1Fault::kNone : H1Fault::kBadTarget;
  }
  if (target == "*") {
    scratch_.target_form_ = TargetForm::kAsterisk;
    return scratch_.method_ == Method::kOptions ? H1Fault::kNone : H1Fault::kBadTarget;
  }
  const size_t scheme = SchemeSize(target);
  if (scheme == 0) return H1Fault::kBadTarget;
  scratch_.target_form_ = TargetForm::kAbsolute;
  const std::string_view rest = target.substr(scheme);
  const size_t path = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, path);
  if (!IsAuthority(authority)) return H1Fault::kBadTarget;
  scratch_.authority_ = SpanOf(authority);
  scratch_.path_ = SpanOf(rest.substr(path));
  return H1Fault::kNone;
}

// RFC 9112, section 3.2: exactly one, and none that is not a host. HTTP/1.0 may lack it.
H1Fault H1HeadReader::ReadHost() {
  const size_t count = CountOf(Name::kHost);
  if (__builtin_expect(count != 1, 0)) {
    if (count > 1) return H1Fault::kSeveralHosts;
    return scratch_.version_ == Version::kHttp10 ? H1Fault::kNone : H1Fault::kMissingHost;
  }
  const std::string_view host = FirstOf(Name::kHost).value_view();
  if (!IsAuthority(host)) return H1Fault::kBadHost;
  if (scratch_.target_form_ == TargetForm::kOrigin ||
      scratch_.target_form_ == TargetForm::kAsterisk) {
    scratch_.authority_ = SpanOf(host);
  }
  return H1Fault::kNone;
}

H1Fault H1HeadReader::ReadLength(bool identical_may_repeat) {
  const HeaderEntry& first = FirstOf(Name::kContentLength);
  uint64_t length = 0;
  if (!identical_may_repeat) {
    // Even equal values: whoever sends two has a bug or a purpose.
    if (CountOf(Name::kContentLength) > 1) return H1Fault::kSeveralContentLengths;
    if (!ParseLength(first.value_view(), length)) return H1Fault::kBadContentLength;
  } else {
    H1Fault fault = H1Fault::kNone;
    size_t seen = 0;
    ForEachOf(Name::kContentLength, [&](std::string_view value) {
      if (value.empty()) fault = H1Fault::kBadContentLength;
      ForEachElement(value, [&](std::string_view element) {
        uint64_t next = 0;
        if (!ParseLength(element, next)) fault = H1Fault::kBadContentLength;
        if (seen++ > 0 && next != length) fault = H1Fault::kSeveralContentLengths;
        length = next;
      });
    });
    if (fault != H1Fault::kNone) return fault;
    if (seen == 0) return H1Fault::kBadContentLength;
  }
  scratch_.has_content_length_ = true;
  scratch_.content_length_ = length;
  return H1Fault::kNone;
}

// RFC 9112, section 6.1. We know no coding but chunked, which must be there once, and last.
H1Fault H1HeadReader::ReadTransferEncoding() {
  if (scratch_.version_ == Version::kHttp10) return H1Fault::kTransferEncodingInHttp10;
  if (CountOf(Name::kContentLength) > 0) return H1Fault::kLengthAndTransferEncoding;
  size_t chunked = 0;
  size_t others = 0;
  bool last_is_chunked = false;
  bool broken = false;
  ForEachOf(Name::kTransferEncoding, [&](std::string_view value) {
    // An empty list, or an empty element as in ",chunked", is how parsers are told apart.
    size_t elements = 0;
    ForEachElement(value, [&](std::string_view coding) {
      ++elements;
      last_is_chunked = EqualsIgnoreCase(coding, "chunked");
      ++(last_is_chunked ? chunked : others);
      broken = broken || !IsToken(coding);
    });
    size_t commas = 0;
    for (char c : value) commas += c == ',';
    broken = broken || elements != commas + 1;
  });
  if (broken || chunked != 1 || !last_is_chunked) return H1Fault::kBadTransferEncoding;
  return others == 0 ? H1Fault::kNone : H1Fault::kUnsupportedTransferCoding;
}

// RFC 9112, section 9.3, and RFC 9110, section 7.8.
void H1HeadReader::ReadConnection() {
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
  if (CountOf(Name::kConnection) == 1 && IsKeepAlive(FirstOf(Name::kConnection).value_view())) {
    scratch_.keep_alive_ = true;
    scratch_.upgrade_ = false;
    return;
  }
  ForEachOf(Name::kConnection, [&](std::string_view value) {
    ForEachElement(value, [&](std::string_view option) {
      if (EqualsIgnoreCase(option, "close")) {
        close = true;
      } else if (EqualsIgnoreCase(option, "keep-alive")) {
        keep_alive = true;
      } else if (EqualsIgnoreCase(option, "upgrade")) {
        upgrade = true;
      }
    });
  });
  scratch_.keep_alive_ = !close && (scratch_.version_ != Version::kHttp10 || keep_alive);
  scratch_.upgrade_ = false;
  if (__builtin_expect(!upgrade, 1)) return;
  if (scratch_.version_ != Version::kHttp11 || CountOf(Name::kUpgrade) != 1) return;
  const std::string_view protocol = FirstOf(Name::kUpgrade).value_view();
  if (protocol.empty()) return;
  scratch_.upgrade_ = true;
  scratch_.upgrade_protocol_ = SpanOf(protocol);
}

// RFC 9110, section 10.1.1.
H1Fault H1HeadReader::ReadExpect() {
  if (CountOf(Name::kExpect) > 1 ||
      !EqualsIgnoreCase(FirstOf(Name::kExpect).value_view(), "100-continue")) {
    return H1Fault::kUnknownExpectation;
  }
  const bool has_body = scratch_.body_ == BodyKind::kChunked ||
                        (scratch_.body_ == BodyKind::kLength && scratch_.content_length_ > 0);
  scratch_.expect_continue_ = has_body && scratch_.version_ != Version::kHttp10;
  return H1Fault::kNone;
}

H1ParseStatus H1HeadReader::FinishRequest() {
  scratch_.body_ = BodyKind::kNone;
  scratch_.content_length_ = 0;
  scratch_.has_content_length_ = false;
  scratch_.expect_continue_ = false;
  scratch_.upgrade_protocol_ = {};
  if (H1Fault fault = ReadHost(); fault != H1Fault::kNone) return Fail(fault);
  if (CountOf(Name::kTransferEncoding) > 0) {
    if (H1Fault fault = ReadTransferEncoding(); fault != H1Fault::kNone) return Fail(fault);
    scratch_.body_ = BodyKind::kChunked;
  } else if (CountOf(Name::kContentLength) > 0) {
    if (H1Fault fault = ReadLength(false); fault != H1Fault::kNone) return Fail(fault);
    scratch_.body_ = BodyKind::kLength;
  }
  if (CountOf(Name::kConnection) > 0) {
    ReadConnection();
  } else {
    scratch_.keep_alive_ = scratch_.version_ != Version::kHttp10;
    scratch_.upgrade_ = false;
  }
  if (CountOf(Name::kExpect) > 0) {
    if (H1Fault fault = ReadExpect(); fault != H1Fault::kNone) return Fail(fault);
  }
  return H1ParseStatus::kDone;
}

// RFC 9112, section 6.3.
H1ParseStatus H1HeadReader::FinishResponse(Method request_method) {
  scratch_.content_length_ = 0;
  scratch_.has_content_length_ = false;
  scratch_.upgrade_protocol_ = {};
  const bool has_coding = CountOf(Name::kTransferEncoding) > 0;
  if (has_coding) {
    if (H1Fault fault = ReadTransferEncoding(); fault != H1Fault::kNone) return Fail(fault);
  } else if (CountOf(Name::kContentLength) > 0) {
    if (H1Fault fault = ReadLength(true); fault != H1Fault::kNone) return Fail(fault);
  }
  if (CountOf(Name::kConnection) > 0) {
    ReadConnection();
  } else {
    scratch_.keep_alive_ = scratch_.version_ != Version::kHttp10;
  }
  scratch_.upgrade_ = scratch_.status_ == 101;
  if (ResponseHasNoBody(request_method, scratch_.status_)) {
    scratch_.body_ = BodyKind::kNone;
    // What is announced for a status that has no body may follow all the same: do not wait for it,
    // and do not read it as the next response.
    const bool never_has = scratch_.status_ < 200 || scratch_.status_ == 204;
    if (never_has && (has_coding || scratch_.content_length_ > 0)) scratch_.keep_alive_ = false;
    if (never_has) scratch_.has_content_length_ = false;
    if (scratch_.upgrade_) {
      scratch_.keep_alive_ = false;
      if (CountOf(Name::kUpgrade) > 0) {
        scratch_.upgrade_protocol_ = SpanOf(FirstOf(Name::kUpgrade).value_view());
      }
    }
  } else if (has_coding) {
    scratch_.body_ = BodyKind::kChunked;
  } else if (scratch_.has_content_length_) {
    scratch_.body_ = BodyKind::kLength;
  } else {
    scratch_.body_ = BodyKind::kUntilClose;
    scratch_.keep_alive_ = false;
  }
  return H1ParseStatus::kDone;
}

void H1HeadScratch::CopyFields(const char* copy, HeaderMap& headers, size_t extra) const {
  headers.Reserve(headers.size() + count_ + extra);
  headers.AdoptBlock(fields_.get(), count_, start_, copy);
}

void H1HeadScratch::CopyTo(Arena& arena, RequestHead& head) const {
  char* copy = arena.AllocateChars(head_size_);
  std::memcpy(copy, start_, head_size_);
  const auto text = [copy](Span span) { return std::string_view(copy + span.at, span.size); };
  head.method = method_;
  head.method_text = text(method_text_);
  head.target = text(target_);
  head.target_form = target_form_;
  head.authority = text(authority_);
  head.path = text(path_);
  head.version = version_;
  head.body = body_;
  head.content_length = content_length_;
  head.keep_alive = keep_alive_;
  head.expect_continue = expect_continue_;
  head.upgrade = upgrade_;
  head.upgrade_protocol = text(upgrade_protocol_);
  CopyFields(copy, head.headers, kSpareFields);
  if (__builtin_expect(target_form_ == TargetForm::kOrigin, 1)) return;
  if (target_form_ == TargetForm::kAbsolute && (head.path.empty() || head.path[0] != '/')) {
    // RFC 9112, sections 3.2.1 and 3.2.4: an absent path is "/", to OPTIONS it is "*".
    if (head.path.empty()) {
      head.path = method_ == Method::kOptions ? "*" : "/";
    } else {
      head.path = arena.Concat("/", head.path);
    }
  }
  // RFC 9112, section 3.2.2: a proxy replaces Host by what the target says.
  if (target_form_ != TargetForm::kAsterisk && head.headers.Get(Name::kHost) != head.authority) {
    head.headers.Set(Name::kHost, head.authority);
  }
}

void H1HeadScratch::CopyTo(Arena& arena, ResponseHead& head) const {
  char* copy = arena.AllocateChars(head_size_);
  std::memcpy(copy, start_, head_size_);
  head.status = status_;
  head.version = version_;
  head.body = body_;
  head.content_length = content_length_;
  head.has_content_length = has_content_length_;
  head.keep_alive = keep_alive_;
  head.upgrade = upgrade_;
  head.upgrade_protocol = {copy + upgrade_protocol_.at, upgrade_protocol_.size};
  CopyFields(copy, head.headers, kSpareFields);
}

void H1HeadScratch::CopyTrailersTo(HeaderMap& trailers) const {
  if (count_ == 0) return;
  const std::string_view copy = trailers.arena().Copy({start_, head_size_});
  CopyFields(copy.data(), trailers, 0);
  DropForbiddenTrailers(trailers);
}

std::string_view H1FaultText(H1Fault fault) {
  switch (fault) {
    case H1Fault::kNone:
      return "none";
    case H1Fault::kBadMethod:
      return "method is not a token";
    case H1Fault::kMethodTooLong:
      return "method too long";
    case H1Fault::kBadTarget:
      return "bad request target";
    case H1Fault::kUriTooLong:
      return "request target too long";
    case H1Fault::kBadVersion:
      return "bad protocol version";
    case H1Fault::kUnsupportedVersion:
      return "protocol version not supported";
    case H1Fault::kHttp2Preface:
      return "http/2 preface on an http/1 connection";
    case H1Fault::kBadRequestLine:
      return "bad request line";
    case H1Fault::kBadStatusLine:
      return "bad status line";
    case H1Fault::kBadHeaderName:
      return "bad header name";
    case H1Fault::kSpaceBeforeColon:
      return "white space in or behind a header name";
    case H1Fault::kLineFolding:
      return "folded header line";
    case H1Fault::kBareCr:
      return "bare cr";
    case H1Fault::kBareLf:
      return "bare lf";
    case H1Fault::kControlCharacter:
      return "control character";
    case H1Fault::kHeadTooLarge:
      return "head too large";
    case H1Fault::kTooManyHeaders:
      return "too many headers";
    case H1Fault::kUnderscoreInName:
      return "underscore in a header name";
    case H1Fault::kMissingHost:
      return "host missing";
    case H1Fault::kSeveralHosts:
      return "several hosts";
    case H1Fault::kBadHost:
      return "bad host";
    case H1Fault::kLengthAndTransferEncoding:
      return "content-length together with transfer-encoding";
    case H1Fault::kTransferEncodingInHttp10:
      return "transfer-encoding in http/1.0";
    case H1Fault::kBadTransferEncoding:
      return "bad transfer-encoding";
    case H1Fault::kUnsupportedTransferCoding:
      return "unsupported transfer coding";
    case H1Fault::kBadContentLength:
      return "bad content-length";
    case H1Fault::kSeveralContentLengths:
      return "several content-lengths";
    case H1Fault::kUnknownExpectation:
      return "unknown expectation";
    case H1Fault::kBadChunkSize:
      return "bad chunk size";
    case H1Fault::kChunkSizeOverflow:
      return "chunk size overflow";
    case H1Fault::kBadChunkEnd:
      return "bad end of chunk";
    case H1Fault::kChunkExtensionsTooLarge:
      return "chunk extensions too large";
    case H1Fault::kTrailersTooLarge:
      return "trailers too large";
  }
  return "unknown";
}

}  // namespace gatehouse::http
