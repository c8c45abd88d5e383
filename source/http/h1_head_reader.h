// H1HeadReader: one Parse call of H1HeadParser at work. Not for use outside the parser.
//
// A stack object. h1_parser.cc reads the lines, h1_framing.cc decides what they mean once they are
// all there; the order makes the result independent of how the bytes came: syntax is judged line by
// line, meaning only for a complete head.
//
//        start line            fields             empty line
//   ---> ReadStartLine --> ReadField (repeated) --> Finish: kDone or kError
//             |                  |
//             +--- incomplete ---+--> Pending: remember the line, kNeedMore
//
// When an earlier call has checked some lines already, the fields it saw are gone (the scratch is
// shared), so reaching the empty line means one more pass, over a head known to be well-formed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "source/http/h1_parser.h"

namespace gatehouse::http {

class H1HeadReader {
 public:
  enum class Kind : uint8_t { kRequest, kResponse, kTrailers };

  H1HeadReader(Kind kind, std::string_view buffered, const H1Limits& limits, H1HeadParser& parser,
               H1HeadScratch& scratch);

  // `request_method` is for responses.
  [[nodiscard]] H1ParseStatus Run(Method request_method);

 private:
  // What became of a line.
  enum class Line : uint8_t { kOk, kIncomplete, kBroken };

  // h1_parser.cc
  [[nodiscard]] bool MayGoOn() const;
  [[nodiscard]] H1ParseStatus ReadHead();
  [[nodiscard]] Line ReadStartLine(const char*& at);
  [[nodiscard]] Line SkipEmptyLines(const char*& at);
  [[nodiscard]] Line ReadRequestLine(const char*& at);
  [[nodiscard]] Line ReadVersion(const char*& at);
  [[nodiscard]] Line ReadStatusLine(const char*& at);
  [[nodiscard]] Line ReadLineEnd(const char*& at, H1Fault otherwise);
  [[nodiscard]] Line ReadField(const char*& at);
  [[nodiscard]] uint32_t ReadUsualFields(const char*& at, uint32_t most);
  template <bool kNearEnd>
  [[nodiscard]] uint32_t ReadUsualFieldsUpTo(const char*& at, uint32_t most);
  void NoteFraming(Name id, size_t position);
  [[nodiscard]] Line CheckUnknownName(std::string_view name, bool& keep);
  [[nodiscard]] Line BrokenName(const char* at, const char* stop);
  [[nodiscard]] H1ParseStatus Pending(const char* line_start, uint32_t lines);
  Line Broken(H1Fault fault);
  H1ParseStatus Fail(H1Fault fault);

  // h1_framing.cc
  [[nodiscard]] H1ParseStatus FinishRequest();
  [[nodiscard]] H1ParseStatus FinishResponse(Method request_method);
  [[nodiscard]] H1Fault ReadUnusualTarget();
  [[nodiscard]] H1Fault ReadHost();
  [[nodiscard]] H1Fault ReadLength(bool identical_may_repeat);
  [[nodiscard]] H1Fault ReadTransferEncoding();
  void ReadConnection();
  [[nodiscard]] H1Fault ReadExpect();
  [[nodiscard]] size_t CountOf(Name name) const {
    return scratch_.framing_count_[static_cast<size_t>(name)];
  }
  [[nodiscard]] const HeaderEntry& FirstOf(Name name) const {
    return scratch_.fields_[scratch_.framing_first_[static_cast<size_t>(name)]];
  }
  template <typename Visit>
  void ForEachOf(Name name, Visit&& visit) const {
    size_t left = CountOf(name);
    for (const HeaderEntry* entry = left > 0 ? &FirstOf(name) : nullptr; left > 0; ++entry) {
      if (entry->id != name) continue;
      visit(entry->value_view());
      --left;
    }
  }
  [[nodiscard]] std::string_view TextOf(H1HeadScratch::Span span) const {
    return {scratch_.start_ + span.at, span.size};
  }
  [[nodiscard]] H1HeadScratch::Span SpanOf(std::string_view text) const {
    return {static_cast<uint32_t>(text.data() - scratch_.start_),
            static_cast<uint32_t>(text.size())};
  }

  const H1Limits& limits_;
  H1HeadParser& parser_;
  H1HeadScratch& scratch_;
  const char* const floor_;  // the first buffered byte
  const char* end_;          // the last byte that the limits let us look at, and one
  bool full_;                // the limit is reached: what is not complete now is too large
  const Kind kind_;
};

}  // namespace gatehouse::http
