// H1BodyDecoder: finds the payload in the bytes behind an HTTP/1 head, without copying it.
//
// Owner: a connection, one per direction, reused for every message. Thread: one loop. The input may
// come in pieces of any size and need not be contiguous; each call looks at one piece and says how
// many bytes it used and which sub-range of them is payload, so that the caller slices its buffers.
// Strict: one hex number of at most 16 digits, exact CRLFs, a cap on extensions (RFC 9112, 7.1).
//
//   decoder.Start(head.body, head.content_length);
//   while (true) {
//     H1BodyDecoder::Step step = decoder.Decode(input, limits, scratch);
//     if (step.status == H1BodyStatus::kData) Deliver(step.data);    // views `input`
//     input.remove_prefix(step.consumed);
//     if (step.status == H1BodyStatus::kNeedMore) break;             // all of `input` was used
//     if (step.status == H1BodyStatus::kError) return Fail(decoder.error());
//     if (step.status == H1BodyStatus::kDone) { ...; break; }        // the rest is the next
//     message
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "source/http/error.h"
#include "source/http/h1_parser.h"
#include "source/http/header_map.h"
#include "source/http/message.h"

namespace gatehouse::http {

enum class H1BodyStatus : uint8_t { kNeedMore, kData, kDone, kError };

class H1BodyDecoder {
 public:
  struct Step {
    H1BodyStatus status;
    size_t consumed;        // bytes of the input that are dealt with; kNeedMore: all of them
    std::string_view data;  // kData only: never empty, inside the consumed bytes
  };

  // Begins a body; one of known length 0 (or none) is done at once. `from` is whose error it will
  // be if the body is broken.
  void Start(BodyKind kind, uint64_t content_length, Error::Where from = Error::Where::kDownstream);

  // kData: call again with the rest. kDone: the body is complete, and stays so. After kError only
  // Start() helps; error() and fault() tell why. The scratch is touched by trailers only.
  [[nodiscard]] Step Decode(std::string_view in, const H1Limits& limits, H1HeadScratch& scratch);
  // The peer closed: true if that is a proper end (kUntilClose, or already done).
  [[nodiscard]] bool FinishAtEof();

  // The body is complete. True also before the first Start().
  [[nodiscard]] bool done() const { return state_ == State::kDone; }
  // Payload bytes known to be still to come: the rest of the body or of the chunk. A hint for how
  // much to read; 0 when not known.
  [[nodiscard]] uint64_t remaining() const {
    return state_ == State::kLength || state_ == State::kChunkData ? remaining_ : 0;
  }
  [[nodiscard]] uint64_t payload_bytes() const { return payload_; }

  [[nodiscard]] bool has_trailers() const { return trailer_bytes_ != nullptr && done(); }
  // After kDone: adds the trailers to the map and frees their bytes.
  void TakeTrailers(const H1Limits& limits, H1HeadScratch& scratch, HeaderMap& trailers);

  [[nodiscard]] Error error() const { return error_; }
  [[nodiscard]] H1Fault fault() const { return fault_; }

 private:
  enum class State : uint8_t {
    kDone,
    kLength,
    kUntilClose,
    kSize,       // digits of a chunk size, then ';' or CR
    kExtension,  // behind ';'
    kSizeLf,     // LF of the size line
    kChunkData,
    kDataCr,  // CRLF behind the data of a chunk
    kDataLf,
    kTrailerStart,  // behind the last chunk: CR of the empty line or a trailer
    kFinalLf,       // LF of the empty line when there are no trailers
    kTrailers,      // collecting trailers
    kFailed,
  };
  struct Trailers {
    std::string bytes;
    H1HeadParser parser;
  };

  Step Fail(H1Fault fault, size_t consumed);
  Step DecodeChunked(std::string_view in, const H1Limits& limits, H1HeadScratch& scratch);
  // One byte of the framing between payloads.
  [[nodiscard]] H1Fault TakeByte(char c, const H1Limits& limits);
  [[nodiscard]] H1Fault TakeSizeByte(char c);
  Step CollectTrailers(std::string_view in, size_t at, const H1Limits& limits,
                       H1HeadScratch& scratch);

  uint64_t remaining_ = 0;
  uint64_t payload_ = 0;
  std::unique_ptr<Trailers> trailer_bytes_;  // made only when trailers come: they are rare
  uint32_t extra_ = 0;                       // bytes of chunk extensions so far
  State state_ = State::kDone;
  uint8_t digits_ = 0;
  Error::Where from_ = Error::Where::kDownstream;
  Error error_;
  H1Fault fault_ = H1Fault::kNone;
};

}  // namespace gatehouse::http
