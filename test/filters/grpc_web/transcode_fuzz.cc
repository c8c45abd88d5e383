// The Base64 of gRPC-Web: the same bytes and verdict however the text is split, what is encoded
// decodes to what went in, padded anywhere; and frames hold the fields that they are made of. The
// first byte of an input says how it is split.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "source/base/check.h"
#include "source/base/crypto.h"
#include "source/filters/grpc_web/transcode.h"

namespace gatehouse::filters {
namespace {

size_t NextCut(size_t at, size_t seed) { return 1 + (at * 31 + seed) % 13; }

std::string TextOf(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

struct Decoded {
  bool ok = true;
  std::string bytes;

  bool operator==(const Decoded& other) const {
    return ok == other.ok && (!ok || bytes == other.bytes);
  }
};

// In pieces of a few slices each.
Decoded Decode(std::string_view text, size_t seed, bool split, SlabPool& pool) {
  Decoded decoded;
  TextDecoder decoder;
  for (size_t at = 0; at < text.size() && decoded.ok;) {
    Chain data;
    for (int slices = 0; slices < 3 && at < text.size(); ++slices) {
      const size_t size = split ? std::min(NextCut(at, seed), text.size() - at) : text.size();
      data.Append(Slice::Unowned(text.substr(at, size)));
      at += size;
    }
    decoded.ok = decoder.Decode(data, pool);
    decoded.bytes += TextOf(data);
  }
  decoded.ok = decoded.ok && decoder.complete();
  return decoded;
}

void CheckRoundTrip(std::string_view bytes, size_t seed, SlabPool& pool) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    Chain data;
    for (int slices = 0; slices < 2 && at < bytes.size(); ++slices) {
      const size_t size = std::min(NextCut(at, seed), bytes.size() - at);
      data.Append(Slice::Unowned(bytes.substr(at, size)));
      at += size;
    }
    EncodeText(data, pool);
    CHECK(data.bytes() % 4 == 0);
    text += TextOf(data);
  }
  const Decoded decoded = Decode(text, seed, true, pool);
  CHECK(decoded.ok && decoded.bytes == bytes);
}

void CheckFrame(std::string_view bytes) {
  Arena arena;
  http::HeaderMap fields(arena);
  fields.Add("Grpc-Message", bytes);
  fields.Add("X-Other", bytes);
  for (const FrameOf which : {FrameOf::kAll, FrameOf::kStatus}) {
    const std::string_view frame = TrailerFrame(fields, which, arena);
    if (frame.empty()) continue;
    size_t size = 0;
    for (int i = 1; i < 5; ++i) size = size << 8 | static_cast<uint8_t>(frame[i]);
    CHECK(static_cast<uint8_t>(frame[0]) == 0x80 && frame.size() == 5 + size);
    CHECK(frame.substr(5).starts_with("grpc-message:") && frame.ends_with("\r\n"));
    const size_t lines = static_cast<size_t>(std::count(frame.begin() + 5, frame.end(), '\n'));
    CHECK(lines == (which == FrameOf::kAll ? 2 : 1));
  }
}

}  // namespace
}  // namespace gatehouse::filters

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 8192) return 0;
  using namespace gatehouse;
  using namespace gatehouse::filters;
  static SlabPool pool;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const Decoded whole = Decode(bytes, data[0], false, pool);
  CHECK(whole == Decode(bytes, data[0], true, pool));
  const auto strict = Base64Decode(bytes, Base64::kStandard);
  CHECK(!strict.has_value() || (whole.ok && whole.bytes == *strict));
  CheckRoundTrip(bytes, data[0], pool);
  CheckFrame(bytes);
  return 0;
}
