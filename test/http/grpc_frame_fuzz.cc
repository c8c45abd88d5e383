// gRPC's frames: the same messages and verdict however the bytes come; messages and timeouts that
// are written are read as what they were. The first byte of an input is the limit of a message.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "source/base/check.h"
#include "source/http/grpc_frame.h"

namespace gatehouse::http {
namespace {

using Result = GrpcFrameDecoder::Result;

std::string Decode(std::string_view bytes, size_t limit, bool split) {
  GrpcFrameDecoder decoder(limit);
  std::string read;
  for (size_t at = 0; at < bytes.size();) {
    const size_t size =
        split ? std::min(1 + (at * 31 + limit) % 7, bytes.size() - at) : bytes.size();
    Chain data;
    data.Append(Slice::Unowned(bytes.substr(at, size)));
    at += size;
    Chain message;
    Result result;
    while ((result = decoder.Next(data, message)) == Result::kMessage) {
      CHECK(message.bytes() <= limit);
      for (size_t i = 0; i < message.slices(); ++i) read += message[i].view();
      read += '|';
    }
    if (result != Result::kNeedMore)
      return read + static_cast<char>('0' + static_cast<int>(result));
    CHECK(data.empty());
  }
  return read + (decoder.at_boundary() ? "." : "?");
}

void CheckTimeouts(std::string_view text) {
  char out[kMaxGrpcTimeout];
  if (const auto timeout = ParseGrpcTimeout(text)) {
    CHECK(timeout->count() > 0);
    CHECK(ParseGrpcTimeout({out, FormatGrpcTimeout(*timeout, out)}) >= timeout);
  }
  int64_t micros = 0;
  std::memcpy(&micros, text.data(), std::min<size_t>(text.size(), 8));
  const auto again = ParseGrpcTimeout({out, FormatGrpcTimeout(Duration(micros), out)});
  CHECK(again.has_value());
  CHECK(*again >= Duration(micros) || *again == std::chrono::hours(99'999'999));
}

}  // namespace
}  // namespace gatehouse::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gatehouse;
  using namespace gatehouse::http;
  if (size == 0 || size > 4096) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  CHECK(Decode(bytes, data[0], false) == Decode(bytes, data[0], true));
  CheckTimeouts(bytes.substr(0, kMaxGrpcTimeout));
  Arena arena;
  CHECK(DecodeGrpcMessage(EncodeGrpcMessage(bytes, arena), arena) == bytes);
  CHECK(DecodeGrpcMessage(bytes, arena).size() <= bytes.size());
  (void)ParseGrpcStatus(bytes);
  return 0;
}
