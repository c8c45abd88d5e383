// The body decoder: the same payload, end and verdict however the bytes arrive, and what the chunk
// writer writes decodes to what went in. The first byte of an input chooses the kind of body.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/http/h1_body.h"
#include "source/http/h1_writer.h"
#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

std::vector<size_t> Cuts(std::string_view bytes, size_t seed) {
  std::vector<size_t> cuts;
  for (size_t at = 1 + seed % 7; at < bytes.size(); at += 1 + (at * 31 + seed) % 13) {
    cuts.push_back(at);
  }
  return cuts;
}

// The bytes as chunks whose sizes come from themselves, and back.
void CheckRoundTrip(std::string_view payload, const H1Limits& limits) {
  std::string chunks;
  for (size_t at = 0; at < payload.size();) {
    const size_t size =
        std::min<size_t>(1 + static_cast<uint8_t>(payload[at]), payload.size() - at);
    char header[kMaxChunkHeader];
    chunks.append(header, WriteChunkHeader(header, size));
    chunks += payload.substr(at, size);
    chunks += kChunkEnd;
    at += size;
  }
  Arena arena;
  HeaderMap trailers(arena);
  trailers.Add("X-Sum", "1");
  std::string last(LastChunkBound(&trailers), '\0');
  last.resize(static_cast<size_t>(WriteLastChunk(last.data(), &trailers) - last.data()));
  chunks += last;
  const Decoded decoded =
      DecodeInPieces(chunks, BodyKind::kChunked, 0, limits, Cuts(chunks, payload.size()));
  CHECK(decoded.status == H1BodyStatus::kDone);
  CHECK(decoded.payload == payload);
  CHECK(decoded.consumed == chunks.size());
  CHECK(decoded.trailers == "[X-Sum: 1]");
}

void Fuzz(uint8_t choice, std::string_view bytes) {
  H1Limits limits;
  if (choice & 0x40) {
    limits.max_chunk_extra_bytes = 8;
    limits.max_trailer_bytes = 32;
    limits.max_headers = 2;
  }
  const auto kind = choice % 4 == 0 ? BodyKind::kLength : BodyKind::kChunked;
  const uint64_t length = choice >> 1;
  // A broken trailer may be refused before its line's end is there, or then: let every line end.
  const std::string ended = std::string(bytes) + "\r\n\r\n";
  const Decoded whole = DecodeInPieces(ended, kind, length, limits, {});
  const Decoded pieces = DecodeInPieces(ended, kind, length, limits, Cuts(ended, choice));
  CHECK(whole == pieces);
  CHECK(whole.consumed <= ended.size());
  CHECK(whole.payload.size() <= ended.size());
  CheckRoundTrip(bytes, H1Limits());
}

}  // namespace
}  // namespace gatehouse::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 8192) return 0;
  gatehouse::http::Fuzz(data[0], {reinterpret_cast<const char*>(data + 1), size - 1});
  return 0;
}
