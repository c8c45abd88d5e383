// The two codings of gRPC-Web that gRPC does not know: bodies as Base64 text, and trailers as a
// frame at the end of the body
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
//
// Owner: a call of the filter. Thread: one loop. Bytes come in pieces that end anywhere; nothing is
// kept of them but what one more character could complete.
//
//   if (!decoder.Decode(data, slabs) || (end && !decoder.complete())) return Malformed();
//   EncodeText(data, slabs);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "source/base/arena.h"
#include "source/base/chain.h"
#include "source/http/header_map.h"

namespace gatehouse::filters {

// Clients encode a piece at a time and pad each, so padding may come in the middle.
class TextDecoder {
 public:
  // Puts the bytes that `data` stands for in its place. False: it is not Base64.
  [[nodiscard]] bool Decode(Chain& data, SlabPool& pool);
  // No character waits for others of its group: the text may end here.
  [[nodiscard]] bool complete() const { return kept_ == 0; }

 private:
  [[nodiscard]] bool DecodeSlice(std::string_view text, Chain& out, SlabPool& pool);
  // The kept characters and the first ones of `text`, which are taken off. False: malformed.
  [[nodiscard]] bool DecodeKept(std::string_view& text, Chain& out, SlabPool& pool);

  char group_[4];
  uint8_t kept_ = 0;
};

// Puts the Base64 of `data` in its place, padded, so that the client needs nothing of what follows
// to read all of it.
void EncodeText(Chain& data, SlabPool& pool);

enum class FrameOf : uint8_t {
  kAll,     // trailers
  kStatus,  // a head: grpc-status and what belongs to it
};
// The frame that holds those fields, in the arena. Empty when there is none of them.
[[nodiscard]] std::string_view TrailerFrame(const http::HeaderMap& fields, FrameOf which,
                                            Arena& arena);
// Whether the field tells a call's status: grpc-status, grpc-message, grpc-status-details-bin.
[[nodiscard]] bool IsStatusField(const http::HeaderEntry& entry);

}  // namespace gatehouse::filters
