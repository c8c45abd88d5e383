// The HTTP/1 head parser: the result must not depend on how the bytes arrive, and what the writer
// makes of a message must parse to the same message again. The first byte of an input chooses what
// it is: a request, a response, trailers.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/check.h"
#include "source/http/h1_parser.h"
#include "source/http/h1_writer.h"
#include "test/http/h1_harness.h"

namespace gatehouse::http {
namespace {

H1Limits FuzzLimits(uint8_t choice) {
  H1Limits limits;
  if (choice & 0x40) {  // small, so that short inputs reach them
    limits.max_head_bytes = 128;
    limits.max_uri_bytes = 24;
    limits.max_headers = 4;
    limits.max_trailer_bytes = 64;
  }
  limits.underscores = static_cast<UnderscorePolicy>((choice >> 4) % 3);
  return limits;
}

std::string Rewrite(std::string_view bytes, const RequestHead& head) {
  const H1RequestFraming framing = H1RequestFraming::Of(head);
  std::string out(RequestHeadBound(head, framing), '\0');
  const char* end = WriteRequestHead(out.data(), head, framing);
  CHECK(end <= out.data() + out.size());
  CHECK(end != out.data() || bytes.empty());
  out.resize(static_cast<size_t>(end - out.data()));
  return out;
}

// Writes the request, and reads and writes that again: the same, or the writer lost something.
void CheckRequest(std::string_view bytes, const H1Limits& limits) {
  Arena arena;
  H1HeadScratch scratch;
  H1HeadParser parser;
  if (parser.ParseRequest(bytes, limits, scratch) != H1ParseStatus::kDone) return;
  RequestHead head(arena);
  scratch.CopyTo(arena, head);
  if (head.authority.empty()) return;  // HTTP/1.0 without a host: the gateway refuses or sets one
  const std::string written = Rewrite(bytes, head);
  H1Limits wide;
  wide.max_head_bytes = 1 << 20;
  wide.max_uri_bytes = 1 << 20;
  wide.max_headers = 1000;
  wide.underscores = UnderscorePolicy::kAllow;
  Arena second_arena;
  H1HeadParser second_parser;
  CHECK(second_parser.ParseRequest(written, wide, scratch) == H1ParseStatus::kDone);
  CHECK(scratch.consumed() == written.size());
  RequestHead second(second_arena);
  scratch.CopyTo(second_arena, second);
  CHECK(second.method_text == head.method_text);
  CHECK(second.path == head.path);
  CHECK(second.authority == head.authority);
  CHECK(second.has_body() == head.has_body());
  CHECK(!head.has_body() || second.body == head.body);
  CHECK(second.content_length == head.content_length);
  CHECK(second.headers.Count(Name::kHost) == 1);
  CHECK(Rewrite(written, second) == written);
}

void CheckResponse(std::string_view bytes, Method method, const H1Limits& limits) {
  Arena arena;
  H1HeadScratch scratch;
  H1HeadParser parser;
  if (parser.ParseResponse(bytes, method, limits, scratch) != H1ParseStatus::kDone) return;
  ResponseHead head(arena);
  scratch.CopyTo(arena, head);
  const H1ResponseFraming framing = FrameResponse(method, Version::kHttp11, head, head.keep_alive);
  std::string written(ResponseHeadBound(head, framing), '\0');
  const char* end = WriteResponseHead(written.data(), head, framing);
  CHECK(end <= written.data() + written.size());
  written.resize(static_cast<size_t>(end - written.data()));
  H1Limits wide;
  wide.max_head_bytes = 1 << 20;
  wide.max_headers = 1000;
  H1HeadParser second_parser;
  CHECK(second_parser.ParseResponse(written, method, wide, scratch) == H1ParseStatus::kDone);
  CHECK(scratch.consumed() == written.size());
  Arena second_arena;
  ResponseHead second(second_arena);
  scratch.CopyTo(second_arena, second);
  CHECK(second.status == head.status);
  CHECK(second.body == framing.body);
  CHECK(second.body != BodyKind::kLength || second.content_length == framing.content_length);
}

// Where the input is cut: positions that its own bytes choose.
std::vector<size_t> Cuts(std::string_view bytes) {
  std::vector<size_t> cuts;
  uint32_t state = 2166136261u;
  size_t at = 0;
  for (char c : bytes) state = (state ^ static_cast<uint8_t>(c)) * 16777619u;
  while (true) {
    state = state * 1664525u + 1013904223u;
    at += 1 + (state >> 16) % 24;
    if (at >= bytes.size()) return cuts;
    cuts.push_back(at);
  }
}

void Fuzz(uint8_t choice, std::string_view bytes) {
  const H1Limits limits = FuzzLimits(choice);
  const auto kind = choice % 3;
  const Method method = (choice & 0x0c) == 0 ? Method::kGet
                        : (choice & 4) != 0  ? Method::kHead
                                             : Method::kConnect;
  const ParseCall parse = [&](H1HeadParser& parser, std::string_view buffered,
                              H1HeadScratch& scratch) {
    if (kind == 0) return parser.ParseRequest(buffered, limits, scratch);
    if (kind == 1) return parser.ParseResponse(buffered, method, limits, scratch);
    return parser.ParseTrailers(buffered, limits, scratch);
  };
  const DescribeCall describe = [&](const H1HeadScratch& scratch) {
    Arena arena;
    if (kind == 0) {
      RequestHead head(arena);
      scratch.CopyTo(arena, head);
      return Describe(head);
    }
    if (kind == 1) {
      ResponseHead head(arena);
      scratch.CopyTo(arena, head);
      return Describe(head);
    }
    HeaderMap trailers(arena);
    scratch.CopyTrailersTo(trailers);
    return Describe(trailers);
  };
  // A broken line may be refused before its end is there, or then: let every line end.
  const std::string ended = std::string(bytes) + "\r\n\r\n";
  const Parsed whole = ParseInPieces(ended, {}, parse, describe);
  const Parsed pieces = ParseInPieces(ended, Cuts(ended), parse, describe);
  CHECK(whole == pieces);
  CHECK(whole.consumed <= ended.size());
  if (kind == 0) CheckRequest(bytes, limits);
  if (kind == 1) CheckResponse(bytes, method, limits);
}

}  // namespace
}  // namespace gatehouse::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 8192) return 0;
  gatehouse::http::Fuzz(data[0], {reinterpret_cast<const char*>(data + 1), size - 1});
  return 0;
}
