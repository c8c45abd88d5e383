#include "source/http/h1_parser.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "source/http/chars.h"
#include "source/http/h1_head_reader.h"
#include "source/http/name_lookup.h"

namespace gatehouse::http {
namespace {

// RFC 9112, section 2.2: a few old clients send an empty line behind a request body.
constexpr uint8_t kMaxEmptyLines = 4;
constexpr ptrdiff_t kMaxMethod = 32;
// "HTTP/1.1"
constexpr ptrdiff_t kVersionSize = 8;

H1Fault FaultOf(char c, H1Fault otherwise) {
  if (c == '\r') return H1Fault::kBareCr;
  if (c == '\n') return H1Fault::kBareLf;
  if (IsControl(c)) return H1Fault::kControlCharacter;
  return otherwise;
}

Error::What WhatOf(H1Fault fault) {
  switch (fault) {
    case H1Fault::kMethodTooLong:
    case H1Fault::kUnsupportedTransferCoding:
      return Error::What::kNotImplemented;
    case H1Fault::kUriTooLong:
      return Error::What::kUriTooLong;
    case H1Fault::kUnsupportedVersion:
    case H1Fault::kHttp2Preface:
      return Error::What::kVersionNotSupported;
    case H1Fault::kHeadTooLarge:
    case H1Fault::kTooManyHeaders:
    case H1Fault::kTrailersTooLarge:
      return Error::What::kHeadersTooLarge;
    case H1Fault::kUnknownExpectation:
      return Error::What::kExpectationFailed;
    default:
      return Error::What::kBadRequest;
  }
}

}  // namespace

H1HeadScratch::H1HeadScratch() : capacity_(128) {
  fields_ = std::make_unique<HeaderEntry[]>(capacity_);
}

H1HeadReader::H1HeadReader(Kind kind, std::string_view buffered, const H1Limits& limits,
                           H1HeadParser& parser, H1HeadScratch& scratch)
    : limits_(limits), parser_(parser), scratch_(scratch), floor_(buffered.data()), kind_(kind) {
  const size_t most = kind == Kind::kTrailers ? limits.max_trailer_bytes : limits.max_head_bytes;
  full_ = buffered.size() >= most;
  end_ = floor_ + (full_ ? most : buffered.size());
  if (__builtin_expect(scratch.capacity_ < limits.max_headers, 0)) {
    scratch.fields_ = std::make_unique<HeaderEntry[]>(limits.max_headers);
    scratch.capacity_ = limits.max_headers;
  }
}

H1ParseStatus H1HeadReader::Run(Method request_method) {
  if (!MayGoOn()) return Pending(floor_ + parser_.line_start_, parser_.lines_);
  const bool in_one_pass = parser_.lines_ == 0;
  H1ParseStatus status = ReadHead();
  if (status == H1ParseStatus::kDone && !in_one_pass) {
    parser_.Reset();
    status = ReadHead();
  }
  if (status != H1ParseStatus::kDone) return status;
  switch (kind_) {
    case Kind::kRequest:
      return FinishRequest();
    case Kind::kResponse:
      return FinishResponse(request_method);
    case Kind::kTrailers:
      break;
  }
  return H1ParseStatus::kDone;
}

// False when the new bytes cannot complete or break a line, so that the line need not be read
// again.
inline bool H1HeadReader::MayGoOn() const {
  // At the limit the line is read as well: what is wrong with it goes before its being too long.
  if (parser_.scanned_ == 0 || full_) return true;
  const char* from = floor_ + parser_.scanned_;
  const char* stop = FindControl(from, end_, floor_);
  if (stop != end_ && !(*stop == '\r' && stop + 1 == end_)) return true;
  // A request line without an end: once it is too long for any, read it to learn what is wrong.
  return kind_ == Kind::kRequest && parser_.lines_ == 0 &&
         end_ - floor_ - parser_.line_start_ > ptrdiff_t{limits_.max_uri_bytes} + 64;
}

H1ParseStatus H1HeadReader::Pending(const char* line_start, uint32_t lines) {
  if (full_) {
    return Fail(kind_ == Kind::kTrailers ? H1Fault::kTrailersTooLarge : H1Fault::kHeadTooLarge);
  }
  parser_.line_start_ = static_cast<uint32_t>(line_start - floor_);
  parser_.lines_ = lines;
  parser_.scanned_ = static_cast<uint32_t>(end_ - floor_);
  // A last CR is looked at again together with what follows.
  if (end_ != line_start && end_[-1] == '\r') --parser_.scanned_;
  return H1ParseStatus::kNeedMore;
}

H1HeadReader::Line H1HeadReader::Broken(H1Fault fault) {
  Fail(fault);
  return Line::kBroken;
}

H1ParseStatus H1HeadReader::Fail(H1Fault fault) {
  scratch_.fault_ = fault;
  const Error::What what = WhatOf(fault);
  if (kind_ == Kind::kResponse) {
    scratch_.error_ = Error::Upstream(what == Error::What::kHeadersTooLarge
                                          ? Error::What::kResponseTooLarge
                                          : Error::What::kUpstreamProtocolError);
  } else {
    scratch_.error_ = Error::Downstream(what);
  }
  return H1ParseStatus::kError;
}

H1ParseStatus H1HeadReader::ReadHead() {
  const char* at = floor_ + parser_.line_start_;
  uint32_t lines = parser_.lines_;
  if (lines == 0) {
    scratch_.count_ = 0;
    std::memset(scratch_.framing_count_, 0, sizeof(scratch_.framing_count_));
    scratch_.start_ = floor_;
    if (kind_ != Kind::kTrailers) {
      const Line line = ReadStartLine(at);
      if (line == Line::kBroken) return H1ParseStatus::kError;
      if (line == Line::kIncomplete) return Pending(at, 0);
      lines = 1;
    }
  } else {
    // Checked again, not kept: the whole head is read once more when it is complete.
    scratch_.count_ = 0;
  }
  const uint32_t most_lines = limits_.max_headers + (kind_ != Kind::kTrailers ? 1u : 0u);
  while (true) {
    lines += ReadUsualFields(at, most_lines - lines);
    if (at == end_) return Pending(at, lines);
    if (*at == '\r') break;
    if (lines >= most_lines) return Fail(H1Fault::kTooManyHeaders);
    const char* line_start = at;
    const Line line = ReadField(at);
    if (line != Line::kOk) {
      return line == Line::kBroken ? H1ParseStatus::kError : Pending(line_start, lines);
    }
    ++lines;
  }
  if (at + 1 == end_) return Pending(at, lines);
  if (at[1] != '\n') return Fail(H1Fault::kBareCr);
  at += 2;
  scratch_.head_size_ = static_cast<uint32_t>(at - scratch_.start_);
  scratch_.consumed_ = static_cast<size_t>(at - floor_);
  return H1ParseStatus::kDone;
}

// On kIncomplete `at` is where the start line begins, on kOk behind its end.
inline H1HeadReader::Line H1HeadReader::ReadStartLine(const char*& at) {
  if (kind_ == Kind::kRequest) {
    const Line line = SkipEmptyLines(at);
    if (line != Line::kOk) return line;
  }
  const char* start = at;
  scratch_.start_ = start;
  const Line line = kind_ == Kind::kRequest ? ReadRequestLine(at) : ReadStatusLine(at);
  if (line == Line::kIncomplete) at = start;
  return line;
}

inline H1HeadReader::Line H1HeadReader::SkipEmptyLines(const char*& at) {
  while (at != end_ && *at == '\r') {
    if (at + 1 == end_) return Line::kIncomplete;
    if (at[1] != '\n') return Broken(H1Fault::kBareCr);
    if (parser_.empty_lines_ == kMaxEmptyLines) return Broken(H1Fault::kBadRequestLine);
    ++parser_.empty_lines_;
    at += 2;
  }
  return Line::kOk;
}

// CRLF at `at`, else a fault that tells what is there.
inline H1HeadReader::Line H1HeadReader::ReadLineEnd(const char*& at, H1Fault otherwise) {
  if (at == end_) return Line::kIncomplete;
  if (*at != '\r') return Broken(FaultOf(*at, otherwise));
  if (at + 1 == end_) return Line::kIncomplete;
  if (at[1] != '\n') return Broken(H1Fault::kBareCr);
  at += 2;
  return Line::kOk;
}

// RFC 9112, section 3: method SP request-target SP HTTP-version CRLF, each SP exactly one.
H1HeadReader::Line H1HeadReader::ReadRequestLine(const char*& at) {
  const char* method = at;
  const char* limit = end_ - at > kMaxMethod ? at + kMaxMethod + 1 : end_;
  const bool get = end_ - at > 4 && std::memcmp(at, "GET ", 4) == 0;
  if (get) {
    at += 3;
  } else {
    while (at != limit && IsTokenChar(*at)) ++at;
  }
  if (at - method > kMaxMethod) return Broken(H1Fault::kMethodTooLong);
  if (at == end_) return Line::kIncomplete;
  if (*at != ' ' || at == method) return Broken(FaultOf(*at, H1Fault::kBadMethod));
  const std::string_view method_text(method, static_cast<size_t>(at - method));

  const char* target = ++at;
  const ptrdiff_t most = limits_.max_uri_bytes;
  limit = end_ - target > most ? target + most + 1 : end_;
  at = FindTargetEnd(target, limit, floor_);
  if (at - target > most) return Broken(H1Fault::kUriTooLong);
  if (at == end_) return Line::kIncomplete;
  if (*at != ' ' || at == target) return Broken(FaultOf(*at, H1Fault::kBadTarget));
  const std::string_view target_text(target, static_cast<size_t>(at - target));

  ++at;
  scratch_.method_text_ = SpanOf(method_text);
  scratch_.target_ = SpanOf(target_text);
  scratch_.method_ = get ? Method::kGet : FindMethod(method_text);
  const Line version = ReadVersion(at);
  if (version != Line::kOk) {
    // The first 16 bytes of an HTTP/2 connection (RFC 9113, section 3.4) look like a request.
    if (scratch_.fault_ == H1Fault::kUnsupportedVersion && version == Line::kBroken &&
        method_text == "PRI" && target_text == "*") {
      scratch_.fault_ = H1Fault::kHttp2Preface;
    }
    return version;
  }
  const Line end = ReadLineEnd(at, H1Fault::kBadVersion);
  if (end != Line::kOk) return end;
  if (__builtin_expect(*target == '/' && scratch_.method_ != Method::kConnect, 1)) {
    scratch_.target_form_ = TargetForm::kOrigin;
    scratch_.path_ = scratch_.target_;
    scratch_.authority_ = {};  // Host will tell
    return Line::kOk;
  }
  const H1Fault fault = ReadUnusualTarget();
  return fault == H1Fault::kNone ? Line::kOk : Broken(fault);
}

// "HTTP/" DIGIT "." DIGIT. A minor version above 1 is 1.1 (RFC 9110, section 2.5).
inline H1HeadReader::Line H1HeadReader::ReadVersion(const char*& at) {
  constexpr char kPattern[] = "HTTP/1.1";
  if (__builtin_expect(end_ - at >= kVersionSize && std::memcmp(at, kPattern, 8) == 0, 1)) {
    scratch_.version_ = Version::kHttp11;
    at += kVersionSize;
    return Line::kOk;
  }
  for (ptrdiff_t i = 0; i < kVersionSize; ++i) {
    if (at + i == end_) return Line::kIncomplete;
    const bool fits = i == 5 || i == 7 ? IsDigit(at[i]) : at[i] == kPattern[i];
    if (!fits) return Broken(FaultOf(at[i], H1Fault::kBadVersion));
  }
  if (at[5] != '1') return Broken(H1Fault::kUnsupportedVersion);
  scratch_.version_ = at[7] == '0' ? Version::kHttp10 : Version::kHttp11;
  at += kVersionSize;
  return Line::kOk;
}

// RFC 9112, section 4: HTTP-version SP 3DIGIT [SP reason] CRLF. Origins leave out the last SP.
H1HeadReader::Line H1HeadReader::ReadStatusLine(const char*& at) {
  const Line version = ReadVersion(at);
  if (version != Line::kOk) return version;
  if (at == end_) return Line::kIncomplete;
  if (*at != ' ') return Broken(FaultOf(*at, H1Fault::kBadStatusLine));
  ++at;
  unsigned status = 0;
  for (int i = 0; i < 3; ++i, ++at) {
    if (at == end_) return Line::kIncomplete;
    if (!IsDigit(*at)) return Broken(FaultOf(*at, H1Fault::kBadStatusLine));
    status = status * 10 + static_cast<unsigned>(*at - '0');
  }
  if (status < 100) return Broken(H1Fault::kBadStatusLine);
  scratch_.status_ = static_cast<uint16_t>(status);
  if (at != end_ && *at == ' ') at = FindControl(at, end_, floor_);
  return ReadLineEnd(at, H1Fault::kBadStatusLine);
}

// `stop` is the first byte that cannot be in a name, or the end.
H1HeadReader::Line H1HeadReader::BrokenName(const char* at, const char* stop) {
  if (stop == end_) return Line::kIncomplete;
  if (IsSpace(*stop)) {
    return Broken(stop == at ? H1Fault::kLineFolding : H1Fault::kSpaceBeforeColon);
  }
  return Broken(FaultOf(*stop, H1Fault::kBadHeaderName));
}

H1HeadReader::Line H1HeadReader::CheckUnknownName(std::string_view name, bool& keep) {
  const char* stop = name.data();
  const char* colon = stop + name.size();
  bool underscore = false;
  for (; stop != colon && IsTokenChar(*stop); ++stop) underscore |= *stop == '_';
  if (stop != colon || name.empty()) return BrokenName(name.data(), stop);
  if (name.size() > std::numeric_limits<uint16_t>::max()) return Broken(H1Fault::kHeadTooLarge);
  if (underscore && kind_ != Kind::kResponse) {
    if (limits_.underscores == UnderscorePolicy::kReject) {
      return Broken(H1Fault::kUnderscoreInName);
    }
    keep = limits_.underscores == UnderscorePolicy::kAllow;
  }
  return Line::kOk;
}

inline void H1HeadReader::NoteFraming(Name id, size_t position) {
  const auto index = static_cast<unsigned>(id);
  if (__builtin_expect(index - 1 >= static_cast<unsigned>(kLastFramingName), 1)) return;
  if (scratch_.framing_count_[index]++ == 0) {
    scratch_.framing_first_[index] = static_cast<uint16_t>(position);
  }
}

// RFC 9112, section 5: field-name ":" OWS field-value OWS CRLF. `at` is not at the end and not at a
// CR; on kOk it is behind the line. For fields that ReadUsualFields leaves.
H1HeadReader::Line H1HeadReader::ReadField(const char*& at) {
  const char* name = at;
  const char* colon = FindColon(name, end_, floor_);
  if (colon == end_) return BrokenName(name, std::find_if_not(name, end_, IsTokenChar));
  const std::string_view name_text(name, static_cast<size_t>(colon - name));
  const Name id = FindName(name_text);
  bool keep = true;
  if (id == Name::kUnknown) {  // a known name is a token by being known
    const Line line = CheckUnknownName(name_text, keep);
    if (line != Line::kOk) return line;
  }
  const char* value = colon + 1;
  while (value != end_ && IsSpace(*value)) ++value;
  const char* stop = FindControl(value, end_, floor_);
  at = stop;
  const Line line = ReadLineEnd(at, H1Fault::kControlCharacter);
  if (line != Line::kOk || !keep) return line;
  while (stop != value && IsSpace(stop[-1])) --stop;
  NoteFraming(id, scratch_.count_);
  scratch_.fields_[scratch_.count_++] = {.name = name,
                                         .value = value,
                                         .value_len = static_cast<uint32_t>(stop - value),
                                         .name_len = static_cast<uint16_t>(name_text.size()),
                                         .id = id,
                                         .flags = 0};
  return Line::kOk;
}

#if defined(__SSE2__)
namespace {

constexpr ptrdiff_t kWord = 16;

// 16 bytes of a head, and what is among them. Near the end these are the last 16 bytes, looked at
// from `at` on; behind the end there is nothing.
template <bool kNearEnd>
class HeadWord {
 public:
  // `last` is where the last 16 bytes of the head begin; `at` is not behind it unless kNearEnd.
  HeadWord(const char* at, const char* last) {
    const char* from = at;
    if constexpr (kNearEnd) {
      from = std::min(at, last);
      shift_ = static_cast<unsigned>(at - from);
    }
    bytes_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  }
  [[nodiscard]] unsigned Controls() const { return From(ControlsAndTabs(bytes_)); }
  [[nodiscard]] unsigned Colons() const { return From(MaskOf(bytes_, ':')); }
  // Letters, digits and '-': all that most names are made of.
  [[nodiscard]] unsigned NameBytes() const {
    const auto between = [](__m128i bytes, char low, char high) {
      return _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(static_cast<char>(low - 1))),
                           _mm_cmplt_epi8(bytes, _mm_set1_epi8(static_cast<char>(high + 1))));
    };
    const __m128i letters = between(_mm_or_si128(bytes_, _mm_set1_epi8(0x20)), 'a', 'z');
    const __m128i digits = between(bytes_, '0', '9');
    const __m128i dashes = _mm_cmpeq_epi8(bytes_, _mm_set1_epi8('-'));
    return From(static_cast<unsigned>(
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letters, digits), dashes))));
  }

 private:
  [[nodiscard]] unsigned From(unsigned mask) const { return kNearEnd ? mask >> shift_ : mask; }

  __m128i bytes_;
  unsigned shift_ = 0;
};

// CRLF; both bytes are there.
inline bool IsLineEnd(const char* at) {
  uint16_t two;
  std::memcpy(&two, at, sizeof(two));
  return two == ('\n' << 8 | '\r');
}

}  // namespace

// ReadField for as many fields as are what nearly all are: complete, with a known name or one of at
// most 15 letters, digits and '-'. One load finds the colon and the first control character; known
// names need no other check. Returns how many; `at` is behind them, at whatever comes next, which
// may be anything. The last field or two are near the end: they are read the same way, but with
// words that must not reach over it.
template <bool kNearEnd>
uint32_t H1HeadReader::ReadUsualFieldsUpTo(const char*& at, uint32_t most) {
  using Word = HeadWord<kNearEnd>;
  const char* const last = end_ - kWord;
  // A word may follow one that begins here or before.
  const char* const last_but_one = (kNearEnd ? end_ - 1 : last) - kWord;
  const char* const last_stop = end_ - 2;
  // FindFolded reads eight bytes.
  const char* const last_name = kNearEnd ? end_ - 8 : last;
  HeaderEntry* const begin = &scratch_.fields_[scratch_.count_];
  HeaderEntry* entry = begin;
  const HeaderEntry* const entries_end = begin + most;
  const char* name = at;
  for (; entry != entries_end && name <= last_name && *name != '\r'; ++entry) {
    const Word first(name, last);
    unsigned controls = first.Controls();
    unsigned colons = first.Colons();
    const char* word = name;
    while (__builtin_expect(colons == 0, 0)) {
      if (controls != 0 || word > last_but_one) break;
      word += kWord;
      const Word next(word, last);
      controls = next.Controls();
      colons = next.Colons();
    }
    if (__builtin_expect(colons == 0, 0)) break;
    const char* const colon = word + __builtin_ctz(colons);
    while (controls == 0 && word <= last_but_one) {
      word += kWord;
      controls = Word(word, last).Controls();
    }
    if (__builtin_expect(controls == 0, 0)) break;
    const char* stop = word + __builtin_ctz(controls);
    // Not so, too, when it is a tab or another control, and when it is in front of the colon.
    if (__builtin_expect(stop < colon || stop > last_stop || !IsLineEnd(stop), 0)) break;
    const auto name_size = static_cast<size_t>(colon - name);
    const Name id = names_internal::FindFolded(name, name_size);
    if (id == Name::kUnknown) {
      const unsigned bits = (1u << (name_size & 15)) - 1;
      if (name_size == 0 || name_size > 15 || (first.NameBytes() & bits) != bits) break;
    }
    entry->name = name;
    name = stop + 2;
    const char* value = colon + 1;
    if (__builtin_expect(*value == ' ', 1)) ++value;
    while (__builtin_expect(*value == ' ', 0)) ++value;  // stops at the CR
    while (__builtin_expect(stop[-1] == ' ', 0) && stop != value) --stop;
    entry->value = value;
    entry->value_len = static_cast<uint32_t>(stop - value);
    entry->name_len = static_cast<uint16_t>(name_size);
    entry->id = id;
    entry->flags = 0;
    NoteFraming(id, static_cast<size_t>(entry - &scratch_.fields_[0]));
  }
  at = name;
  const auto read = static_cast<uint32_t>(entry - begin);
  scratch_.count_ += read;
  return read;
}

uint32_t H1HeadReader::ReadUsualFields(const char*& at, uint32_t most) {
  if (end_ - floor_ < kWord) return 0;
  const uint32_t read = ReadUsualFieldsUpTo<false>(at, most);
  return read + ReadUsualFieldsUpTo<true>(at, most - read);
}
#else
uint32_t H1HeadReader::ReadUsualFields(const char*&, uint32_t) { return 0; }
#endif

H1ParseStatus H1HeadParser::ParseRequest(std::string_view buffered, const H1Limits& limits,
                                         H1HeadScratch& scratch) {
  return H1HeadReader(H1HeadReader::Kind::kRequest, buffered, limits, *this, scratch)
      .Run(Method::kOther);
}

H1ParseStatus H1HeadParser::ParseResponse(std::string_view buffered, Method request_method,
                                          const H1Limits& limits, H1HeadScratch& scratch) {
  return H1HeadReader(H1HeadReader::Kind::kResponse, buffered, limits, *this, scratch)
      .Run(request_method);
}

H1ParseStatus H1HeadParser::ParseTrailers(std::string_view buffered, const H1Limits& limits,
                                          H1HeadScratch& scratch) {
  return H1HeadReader(H1HeadReader::Kind::kTrailers, buffered, limits, *this, scratch)
      .Run(Method::kOther);
}

}  // namespace gatehouse::http
