// Runs one message through the HTTP/1 parsers in every way in which its bytes may arrive, and says
// what came out as text, so that results are compared and read in a test's output.
//
// Each call of the parser gets its bytes in an allocation of exactly their size: a sanitizer sees
// every read behind the end.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"
#include "source/base/arena.h"
#include "source/http/h1_body.h"
#include "source/http/h1_parser.h"
#include "source/http/message.h"

namespace gatehouse::http {

// What a parse came to.
struct Parsed {
  H1ParseStatus status = H1ParseStatus::kNeedMore;
  Error error;
  H1Fault fault = H1Fault::kNone;
  size_t consumed = 0;
  std::string text;  // the head, field by field

  bool operator==(const Parsed&) const = default;
};

inline std::string Describe(const HeaderMap& headers) {
  std::string text;
  for (const HeaderEntry& entry : headers) {
    text += fmt::format("[{}: {}]", entry.name_view(), entry.value_view());
  }
  return text;
}

inline std::string_view KindText(BodyKind kind) {
  constexpr std::string_view kTexts[] = {"none", "length", "chunked", "until close"};
  return kTexts[static_cast<size_t>(kind)];
}

inline std::string Describe(const RequestHead& head) {
  return fmt::format("{} {} at '{}' 1.{} body {} {}{}{}{}{} {}", head.method_text, head.path,
                     head.authority, head.version == Version::kHttp10 ? 0 : 1, KindText(head.body),
                     head.content_length, head.keep_alive ? " keep-alive" : " close",
                     head.expect_continue ? " expect" : "", head.upgrade ? " upgrade " : "",
                     head.upgrade_protocol, Describe(head.headers));
}

inline std::string Describe(const ResponseHead& head) {
  return fmt::format("{} 1.{} body {} {}{}{}{} {}", head.status,
                     head.version == Version::kHttp10 ? 0 : 1, KindText(head.body),
                     head.content_length, head.has_content_length ? " announced" : "",
                     head.keep_alive ? " keep-alive" : " close", head.upgrade ? " upgrade" : "",
                     Describe(head.headers));
}

// Parses what is buffered.
using ParseCall = std::function<H1ParseStatus(H1HeadParser&, std::string_view, H1HeadScratch&)>;
// Copies the result out of the scratch and describes it.
using DescribeCall = std::function<std::string(const H1HeadScratch&)>;

// Feeds `bytes` so that they arrive up to each of the given ends in turn, then all.
inline Parsed ParseInPieces(std::string_view bytes, const std::vector<size_t>& ends,
                            const ParseCall& parse, const DescribeCall& describe) {
  static H1HeadScratch scratch;
  H1HeadParser parser;
  Parsed result;
  std::vector<size_t> all = ends;
  all.push_back(bytes.size());
  for (size_t end : all) {
    // Without a terminating zero, unlike std::string.
    auto exact = std::make_unique<char[]>(end);
    bytes.copy(exact.get(), end);
    const std::string_view buffered(exact.get(), end);
    result.status = parse(parser, buffered, scratch);
    if (result.status == H1ParseStatus::kNeedMore) continue;
    if (result.status == H1ParseStatus::kError) {
      result.error = scratch.error();
      result.fault = scratch.fault();
    } else {
      result.consumed = scratch.consumed();
      result.text = describe(scratch);
    }
    break;
  }
  return result;
}

// Whole; in two pieces, cut at every byte; byte by byte. Returns the result of the whole one;
// `differs` tells where another one was not the same.
inline Parsed ParseEveryWay(std::string_view bytes, const ParseCall& parse,
                            const DescribeCall& describe, std::string& differs) {
  const Parsed whole = ParseInPieces(bytes, {}, parse, describe);
  const auto compare = [&](const Parsed& other, std::string_view how) {
    if (!(other == whole) && differs.empty()) {
      differs = fmt::format("{}: status {} fault '{}' consumed {} {}", how,
                            static_cast<int>(other.status), H1FaultText(other.fault),
                            other.consumed, other.text);
    }
  };
  // Large messages in larger steps: each step copies what is buffered.
  const size_t step = bytes.size() < 4096 ? 1 : 97;
  std::vector<size_t> each;
  for (size_t cut = 1; cut < bytes.size(); cut += step) {
    compare(ParseInPieces(bytes, {cut}, parse, describe), fmt::format("cut at {}", cut));
    each.push_back(cut);
  }
  compare(ParseInPieces(bytes, each, parse, describe), "byte by byte");
  return whole;
}

inline Parsed ParseRequestEveryWay(std::string_view bytes, const H1Limits& limits,
                                   std::string& differs) {
  return ParseEveryWay(
      bytes,
      [&limits](H1HeadParser& parser, std::string_view buffered, H1HeadScratch& scratch) {
        return parser.ParseRequest(buffered, limits, scratch);
      },
      [](const H1HeadScratch& scratch) {
        Arena arena;
        RequestHead head(arena);
        scratch.CopyTo(arena, head);
        return Describe(head);
      },
      differs);
}

inline Parsed ParseResponseEveryWay(std::string_view bytes, Method method, const H1Limits& limits,
                                    std::string& differs) {
  return ParseEveryWay(
      bytes,
      [&limits, method](H1HeadParser& parser, std::string_view buffered, H1HeadScratch& scratch) {
        return parser.ParseResponse(buffered, method, limits, scratch);
      },
      [](const H1HeadScratch& scratch) {
        Arena arena;
        ResponseHead head(arena);
        scratch.CopyTo(arena, head);
        return Describe(head);
      },
      differs);
}

inline Parsed ParseTrailersEveryWay(std::string_view bytes, const H1Limits& limits,
                                    std::string& differs) {
  return ParseEveryWay(
      bytes,
      [&limits](H1HeadParser& parser, std::string_view buffered, H1HeadScratch& scratch) {
        return parser.ParseTrailers(buffered, limits, scratch);
      },
      [](const H1HeadScratch& scratch) {
        Arena arena;
        HeaderMap trailers(arena);
        scratch.CopyTrailersTo(trailers);
        return Describe(trailers);
      },
      differs);
}

// What a body came to: its payload and how much of the input it took.
struct Decoded {
  H1BodyStatus status = H1BodyStatus::kNeedMore;
  H1Fault fault = H1Fault::kNone;
  size_t consumed = 0;
  std::string payload;
  std::string trailers;

  bool operator==(const Decoded&) const = default;
};

// Feeds the body so that it arrives up to each of the given ends in turn, then all.
inline Decoded DecodeInPieces(std::string_view bytes, BodyKind kind, uint64_t length,
                              const H1Limits& limits, const std::vector<size_t>& ends) {
  static H1HeadScratch scratch;
  H1BodyDecoder decoder;
  decoder.Start(kind, length);
  Decoded result;
  std::vector<size_t> all = ends;
  all.push_back(bytes.size());
  size_t at = 0;
  for (size_t end : all) {
    while (true) {
      auto exact = std::make_unique<char[]>(end - at);
      bytes.substr(at, end - at).copy(exact.get(), end - at);
      const H1BodyDecoder::Step step = decoder.Decode({exact.get(), end - at}, limits, scratch);
      result.status = step.status;
      at += step.consumed;
      result.payload += step.data;
      if (step.status != H1BodyStatus::kData) break;
    }
    if (result.status == H1BodyStatus::kError) {
      // How far it came depends on the pieces; what it found must not.
      result.fault = decoder.fault();
      return result;
    }
    if (result.status == H1BodyStatus::kDone) break;
  }
  result.consumed = at;
  if (decoder.has_trailers()) {
    Arena arena;
    HeaderMap trailers(arena);
    decoder.TakeTrailers(limits, scratch, trailers);
    result.trailers = Describe(trailers);
  }
  return result;
}

}  // namespace gatehouse::http
