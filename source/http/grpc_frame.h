// What gRPC puts on top of HTTP (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md):
// messages in frames of five bytes and themselves, the status of a call, and its time.
//
// Pure functions and one decoder. Owner of a GrpcFrameDecoder: a call. Thread: its loop. Texts that
// are returned are views of the input or lie in the arena.
//
//   AppendGrpcMessage(request, body, slabs);
//   while ((result = decoder.Next(data, message)) == GrpcFrameDecoder::Result::kMessage)
//   Use(message); if (auto timeout = ParseGrpcTimeout(value)) deadline = std::min(deadline, now +
//   *timeout);
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/base/time.h"

namespace gatehouse::http {

// google.rpc.Code.
enum class GrpcStatus : uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

inline constexpr size_t kGrpcPrefix = 5;

// The prefix of a message that is not compressed.
void WriteGrpcPrefix(uint32_t message_bytes, char* out);
// The message in its frame, copied behind what `out` holds.
void AppendGrpcMessage(std::string_view message, Chain& out, SlabPool& pool);

// Takes messages out of a body that comes in pieces. It holds at most the limit's bytes.
class GrpcFrameDecoder {
 public:
  enum class Result : uint8_t {
    kNeedMore,    // all of the data was taken
    kMessage,     // one message is whole; the data may hold more
    kTooLarge,    // over the limit: kResourceExhausted
    kCompressed,  // we never say that we take that: kInternal
    kMalformed,   // an unknown flag: kInternal
  };

  explicit GrpcFrameDecoder(size_t max_message_bytes) : limit_(max_message_bytes) {}

  // Takes from the front of `data`. With kMessage, `message` is it, in place of what was there,
  // and may be empty. After another result than these two, every call gives the same.
  [[nodiscard]] Result Next(Chain& data, Chain& message);
  // The body may end here: no message has begun.
  [[nodiscard]] bool at_boundary() const { return prefix_size_ == 0 && !broken(); }

 private:
  [[nodiscard]] bool broken() const { return result_ != Result::kNeedMore; }
  [[nodiscard]] Result ReadPrefix(Chain& data);

  size_t limit_;
  size_t missing_ = 0;  // bytes of the message that has begun
  Chain message_;       // those that came
  char prefix_[kGrpcPrefix];
  uint8_t prefix_size_ = 0;
  Result result_ = Result::kNeedMore;
};

// The value of grpc-status. A number that is no code is kUnknown; nullopt: it is no number.
[[nodiscard]] std::optional<GrpcStatus> ParseGrpcStatus(std::string_view text);
// grpc-message, percent-encoded so that any text is a header value.
[[nodiscard]] std::string_view EncodeGrpcMessage(std::string_view text, Arena& arena);
// What is no escape stays as it is: a message is for people, and never an error.
[[nodiscard]] std::string_view DecodeGrpcMessage(std::string_view text, Arena& arena);

// The value of grpc-timeout: up to eight digits and a unit (H, M, S, m, u, n). nullopt: it is none.
// Never less than a microsecond, since zero stands for "no timeout" here.
[[nodiscard]] std::optional<Duration> ParseGrpcTimeout(std::string_view text);
inline constexpr size_t kMaxGrpcTimeout = 9;
// Writes the value in the largest unit that holds it exactly, else rounded up, and returns its
// size; `out` has room for kMaxGrpcTimeout. What is not positive is the shortest, what is too long
// the longest that can be said.
size_t FormatGrpcTimeout(Duration timeout, char* out);

}  // namespace gatehouse::http
