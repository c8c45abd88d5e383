#include "source/http/h1_body.h"

#include <algorithm>
#include <limits>

#include "source/base/check.h"
#include "source/http/chars.h"

namespace gatehouse::http {
namespace {

constexpr uint8_t kMaxSizeDigits = 16;

}  // namespace

void H1BodyDecoder::Start(BodyKind kind, uint64_t content_length, Error::Where from) {
  from_ = from;
  remaining_ = content_length;
  payload_ = 0;
  trailer_bytes_.reset();
  extra_ = 0;
  digits_ = 0;
  error_ = {};
  fault_ = H1Fault::kNone;
  switch (kind) {
    case BodyKind::kNone:
      state_ = State::kDone;
      break;
    case BodyKind::kLength:
      state_ = content_length == 0 ? State::kDone : State::kLength;
      break;
    case BodyKind::kChunked:
      state_ = State::kSize;
      remaining_ = 0;
      break;
    case BodyKind::kUntilClose:
      state_ = State::kUntilClose;
      break;
  }
}

H1BodyDecoder::Step H1BodyDecoder::Decode(std::string_view in, const H1Limits& limits,
                                          H1HeadScratch& scratch) {
  switch (state_) {
    case State::kDone:
      return {H1BodyStatus::kDone, 0, {}};
    case State::kFailed:
      return {H1BodyStatus::kError, 0, {}};
    case State::kUntilClose:
      if (in.empty()) return {H1BodyStatus::kNeedMore, 0, {}};
      payload_ += in.size();
      return {H1BodyStatus::kData, in.size(), in};
    case State::kLength: {
      const size_t size = static_cast<size_t>(std::min<uint64_t>(in.size(), remaining_));
      if (size == 0) return {H1BodyStatus::kNeedMore, 0, {}};
      remaining_ -= size;
      payload_ += size;
      if (remaining_ == 0) state_ = State::kDone;
      return {H1BodyStatus::kData, size, in.substr(0, size)};
    }
    default:
      return DecodeChunked(in, limits, scratch);
  }
}

H1BodyDecoder::Step H1BodyDecoder::DecodeChunked(std::string_view in, const H1Limits& limits,
                                                 H1HeadScratch& scratch) {
  size_t at = 0;
  while (at < in.size()) {
    if (state_ == State::kChunkData) {
      const size_t size = static_cast<size_t>(std::min<uint64_t>(in.size() - at, remaining_));
      remaining_ -= size;
      payload_ += size;
      if (remaining_ == 0) state_ = State::kDataCr;
      return {H1BodyStatus::kData, at + size, in.substr(at, size)};
    }
    if (state_ == State::kTrailers || (state_ == State::kTrailerStart && in[at] != '\r')) {
      return CollectTrailers(in, at, limits, scratch);
    }
    const H1Fault fault = TakeByte(in[at], limits);
    if (fault != H1Fault::kNone) return Fail(fault, at);
    ++at;
    if (state_ == State::kDone) return {H1BodyStatus::kDone, at, {}};
  }
  return {H1BodyStatus::kNeedMore, at, {}};
}

// RFC 9112, section 7.1. No white space is forgiven anywhere: "5 ;x" is two different things to two
// parsers.
H1Fault H1BodyDecoder::TakeByte(char c, const H1Limits& limits) {
  switch (state_) {
    case State::kSize:
      return TakeSizeByte(c);
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeLf;
        return H1Fault::kNone;
      }
      if (c == '\n') return H1Fault::kBareLf;
      if (IsControl(c)) return H1Fault::kControlCharacter;
      return ++extra_ > limits.max_chunk_extra_bytes ? H1Fault::kChunkExtensionsTooLarge
                                                     : H1Fault::kNone;
    case State::kSizeLf:
      if (c != '\n') return H1Fault::kBareCr;
      digits_ = 0;
      state_ = remaining_ == 0 ? State::kTrailerStart : State::kChunkData;
      return H1Fault::kNone;
    case State::kDataCr:
      if (c != '\r') return H1Fault::kBadChunkEnd;
      state_ = State::kDataLf;
      return H1Fault::kNone;
    case State::kDataLf:
      if (c != '\n') return H1Fault::kBadChunkEnd;
      state_ = State::kSize;
      return H1Fault::kNone;
    case State::kTrailerStart:  // c is CR
      state_ = State::kFinalLf;
      return H1Fault::kNone;
    case State::kFinalLf:
      if (c != '\n') return H1Fault::kBareCr;
      state_ = State::kDone;
      return H1Fault::kNone;
    default:
      break;
  }
  CHECK(false);
}

H1Fault H1BodyDecoder::TakeSizeByte(char c) {
  const int digit = HexValue(c);
  if (digit >= 0) {
    if (digits_ == kMaxSizeDigits) return H1Fault::kChunkSizeOverflow;
    ++digits_;
    remaining_ = remaining_ << 4 | static_cast<uint64_t>(digit);
    return H1Fault::kNone;
  }
  if (digits_ == 0) return H1Fault::kBadChunkSize;
  if (remaining_ > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return H1Fault::kChunkSizeOverflow;
  }
  if (c == '\r') {
    state_ = State::kSizeLf;
  } else if (c == ';') {
    ++extra_;
    state_ = State::kExtension;
  } else {
    return c == '\n' ? H1Fault::kBareLf : H1Fault::kBadChunkSize;
  }
  return H1Fault::kNone;
}

H1BodyDecoder::Step H1BodyDecoder::CollectTrailers(std::string_view in, size_t at,
                                                   const H1Limits& limits, H1HeadScratch& scratch) {
  if (trailer_bytes_ == nullptr) {
    trailer_bytes_ = std::make_unique<Trailers>();
    state_ = State::kTrailers;
  }
  std::string& bytes = trailer_bytes_->bytes;
  const size_t before = bytes.size();
  const size_t room = limits.max_trailer_bytes - std::min<size_t>(limits.max_trailer_bytes, before);
  bytes.append(in.substr(at, room));
  switch (trailer_bytes_->parser.ParseTrailers(bytes, limits, scratch)) {
    case H1ParseStatus::kNeedMore:
      return {H1BodyStatus::kNeedMore, in.size(), {}};
    case H1ParseStatus::kError:
      return Fail(scratch.fault(), at);
    case H1ParseStatus::kDone:
      break;
  }
  bytes.resize(scratch.consumed());
  state_ = State::kDone;
  return {H1BodyStatus::kDone, at + scratch.consumed() - before, {}};
}

H1BodyDecoder::Step H1BodyDecoder::Fail(H1Fault fault, size_t consumed) {
  const bool too_large = fault == H1Fault::kTrailersTooLarge || fault == H1Fault::kTooManyHeaders;
  fault_ = fault;
  if (from_ == Error::Where::kUpstream) {
    error_ = Error::Upstream(too_large ? Error::What::kResponseTooLarge
                                       : Error::What::kUpstreamProtocolError);
  } else {
    error_ =
        Error::Downstream(too_large ? Error::What::kHeadersTooLarge : Error::What::kBadRequest);
  }
  trailer_bytes_.reset();
  state_ = State::kFailed;
  return {H1BodyStatus::kError, consumed, {}};
}

bool H1BodyDecoder::FinishAtEof() {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  return state_ == State::kDone;
}

void H1BodyDecoder::TakeTrailers(const H1Limits& limits, H1HeadScratch& scratch,
                                 HeaderMap& trailers) {
  if (!has_trailers()) return;
  // The scratch may have seen other messages since: read the lines, known to be good, once more.
  trailer_bytes_->parser.Reset();
  const H1ParseStatus status =
      trailer_bytes_->parser.ParseTrailers(trailer_bytes_->bytes, limits, scratch);
  if (status == H1ParseStatus::kDone) scratch.CopyTrailersTo(trailers);
  trailer_bytes_.reset();
}

}  // namespace gatehouse::http
