#include "source/base/json.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "fmt/format.h"
#include "source/base/utf8.h"

// RapidJSON adds to a null pointer before its stack has memory. The sanitizer is right, and it does
// no harm.
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("pointer-overflow"))), apply_to = function)
#endif
#include "rapidjson/error/en.h"
#include "rapidjson/memorystream.h"
#include "rapidjson/reader.h"
#ifdef __clang__
#pragma clang attribute pop
#endif

namespace gatehouse {
namespace {

constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag |
                            rapidjson::kParseNumbersAsStringsFlag;

// The library's events with positions added: it reports a token when it stands behind it.
class Events {
 public:
  Events(std::string_view text, const rapidjson::MemoryStream& stream, DocumentBuilder& builder)
      : text_(text), stream_(stream), builder_(builder) {}

  bool Null() { return builder_.Scalar(NodeKind::kNull, "", Back(4)); }
  bool Bool(bool value) {
    return builder_.Scalar(NodeKind::kBool, value ? "true" : "false", Back(value ? 4 : 5));
  }
  bool RawNumber(const char* lexeme, rapidjson::SizeType size, bool /*copy*/) {
    return builder_.Scalar(NodeKind::kNumber, {lexeme, size}, Back(size));
  }
  bool String(const char* value, rapidjson::SizeType size, bool /*copy*/) {
    return builder_.Scalar(NodeKind::kString, {value, size}, At(OpeningQuote()));
  }
  bool Key(const char* value, rapidjson::SizeType size, bool copy) {
    return String(value, size, copy);
  }
  bool StartObject() { return builder_.Begin(NodeKind::kMap, At(stream_.Tell())); }
  bool EndObject(rapidjson::SizeType /*members*/) { return builder_.End(); }
  bool StartArray() { return builder_.Begin(NodeKind::kSequence, At(stream_.Tell())); }
  bool EndArray(rapidjson::SizeType /*items*/) { return builder_.End(); }

  // Numbers come as RawNumber.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }

  SourcePosition At(size_t offset) {
    if (offset < line_start_) {  // an error before the last token: begin anew
      line_start_ = 0;
      line_ = 1;
    }
    const char* const end = text_.data() + offset;
    const char* from = text_.data() + line_start_;
    while (const void* newline = std::memchr(from, '\n', static_cast<size_t>(end - from))) {
      from = static_cast<const char*>(newline) + 1;
      ++line_;
    }
    line_start_ = static_cast<size_t>(from - text_.data());
    return {line_, static_cast<uint32_t>(offset - line_start_ + 1)};
  }

 private:
  SourcePosition Back(size_t size) { return At(stream_.Tell() - size); }
  // Of the string that ends here. Inside it every quote has an odd number of backslashes before it.
  size_t OpeningQuote() const {
    size_t at = stream_.Tell() - 1;
    while (at > 0) {
      --at;
      if (text_[at] != '"') continue;
      size_t backslashes = 0;
      while (backslashes < at && text_[at - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) break;
    }
    return at;
  }

  std::string_view text_;
  const rapidjson::MemoryStream& stream_;
  DocumentBuilder& builder_;
  size_t line_start_ = 0;
  uint32_t line_ = 1;
};

std::string MessageOf(rapidjson::ParseErrorCode code) {
  switch (code) {
    case rapidjson::kParseErrorDocumentEmpty:
      return "the text is empty";
    case rapidjson::kParseErrorDocumentRootNotSingular:
      return "there is more text behind the end of the JSON value";
    case rapidjson::kParseErrorObjectMissName:
      return "expected a name in double quotes (no comma before '}')";
    case rapidjson::kParseErrorObjectMissColon:
      return "expected ':' after a name";
    case rapidjson::kParseErrorObjectMissCommaOrCurlyBracket:
      return "expected ',' or '}' in an object";
    case rapidjson::kParseErrorArrayMissCommaOrSquareBracket:
      return "expected ',' or ']' in an array";
    case rapidjson::kParseErrorValueInvalid:
      return "expected a value";
    case rapidjson::kParseErrorStringMissQuotationMark:
      return "a string has no closing '\"'";
    case rapidjson::kParseErrorStringInvalidEncoding:
      return "a string has a control character or is not valid UTF-8";
    default:
      return rapidjson::GetParseError_En(code);
  }
}

class Writer {
 public:
  Writer(std::string* out, int indent) : out_(out), indent_(indent) {}

  void Write(const Node& node, int depth) {
    switch (node.kind()) {
      case NodeKind::kNull:
        out_->append("null");
        return;
      case NodeKind::kBool:
      case NodeKind::kNumber:
        out_->append(node.text());
        return;
      case NodeKind::kString:
        AppendJsonString(out_, node.text());
        return;
      case NodeKind::kSequence:
        WriteSequence(node, depth);
        return;
      case NodeKind::kMap:
        WriteMap(node, depth);
        return;
    }
  }

 private:
  void WriteSequence(const Node& node, int depth) {
    out_->push_back('[');
    bool first = true;
    for (const Node& item : node.items()) {
      Separate(first, depth + 1);
      first = false;
      Write(item, depth + 1);
    }
    if (!first) NewLine(depth);
    out_->push_back(']');
  }

  void WriteMap(const Node& node, int depth) {
    out_->push_back('{');
    bool first = true;
    for (const NodeMember& member : node.members()) {
      Separate(first, depth + 1);
      first = false;
      AppendJsonString(out_, member.key.text());
      out_->append(indent_ > 0 ? ": " : ":");
      Write(member.value, depth + 1);
    }
    if (!first) NewLine(depth);
    out_->push_back('}');
  }

  void Separate(bool first, int depth) {
    if (!first) out_->push_back(',');
    NewLine(depth);
  }
  void NewLine(int depth) {
    if (indent_ == 0) return;
    out_->push_back('\n');
    out_->append(static_cast<size_t>(depth * indent_), ' ');
  }

  std::string* out_;
  int indent_;
};

}  // namespace

ParsedDocument ParseJson(std::string_view text, const DocumentLimits& limits) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  DocumentBuilder builder(limits);
  if (text.size() > limits.max_bytes) {
    builder.Fail({}, fmt::format("larger than {} bytes", limits.max_bytes));
    return builder.Finish();
  }
  rapidjson::MemoryStream stream(text.data(), text.size());
  Events events(text, stream, builder);
  rapidjson::Reader reader;
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, events);
  if (result.IsError()) {
    // After kParseErrorTermination the builder has its own error, and this one is not taken.
    builder.Fail(events.At(std::min(result.Offset(), text.size())), MessageOf(result.Code()));
  } else if (stream.Tell() < text.size()) {  // the library takes NUL for the end
    builder.Fail(events.At(stream.Tell()), "a NUL character");
  }
  return builder.Finish();
}

std::string WriteJson(const Node& root, int indent) {
  std::string out;
  Writer(&out, indent).Write(root, 0);
  return out;
}

void AppendJsonString(std::string* out, std::string_view text) {
  out->push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    const char c = text[0];
    if (length == 0) {
      out->append("\xEF\xBF\xBD");
    } else if (length > 1) {
      out->append(text.substr(0, length));
    } else if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(*out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out->push_back(c);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out->push_back('"');
}

std::string QuoteJson(std::string_view text) {
  std::string out;
  AppendJsonString(&out, text);
  return out;
}

}  // namespace gatehouse
