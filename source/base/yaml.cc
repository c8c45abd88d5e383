#include "source/base/yaml.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <istream>
#include <optional>
#include <streambuf>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "source/base/utf8.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace gatehouse {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kStandardTag = "tag:yaml.org,2002:";

// Opening brackets that follow each other. The library reads all of them before it hands over the
// first, so that the builder's own limit would come too late to bound its memory.
constexpr int kMaxOpenBrackets = 1000;

// Thrown through the library when the builder has failed: there is no other way to stop it.
struct Stopped {};

class MemoryBuffer : public std::streambuf {
 public:
  explicit MemoryBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // only ever read
    setg(begin, begin, begin + text.size());
  }
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool AllDigits(std::string_view text, bool (*is_digit)(char)) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (!is_digit(c)) return false;
  }
  return true;
}

// Decimal numbers of the core schema, without leading zeros.
bool IsDecimal(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  size_t at = 0;
  while (at < text.size() && IsDigit(text[at])) ++at;
  size_t digits = at;
  if (digits > 1 && text[0] == '0') return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    while (at < text.size() && IsDigit(text[at])) ++at, ++digits;
  }
  if (digits == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    return AllDigits(text.substr(at), IsDigit);
  }
  return at == text.size();
}

// What a scalar without quotes is.
NodeKind Resolve(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return NodeKind::kNull;
  }
  if (text == "true" || text == "True" || text == "TRUE" || text == "false" || text == "False" ||
      text == "FALSE") {
    return NodeKind::kBool;
  }
  const char first = text[0];
  if (!IsDigit(first) && first != '-' && first != '+' && first != '.') return NodeKind::kString;
  if (text.starts_with("0x")) {
    const auto is_hex = [](char c) {
      return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    return AllDigits(text.substr(2), is_hex) ? NodeKind::kNumber : NodeKind::kString;
  }
  if (text.starts_with("0o")) {
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    return AllDigits(text.substr(2), is_octal) ? NodeKind::kNumber : NodeKind::kString;
  }
  return IsDecimal(text) ? NodeKind::kNumber : NodeKind::kString;
}

class Events : public YAML::EventHandler {
 public:
  explicit Events(DocumentBuilder& builder) : builder_(builder) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      Stop(mark, "a second document begins here; a file holds one (remove the \"---\")");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (builder_.expects_key()) Stop(mark, "a map key is missing");
    Check(builder_.Scalar(NodeKind::kNull, "", At(mark), true));
    Remember(anchor, 1);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Stop(mark, "an alias stands inside the value that it names");
    if (builder_.expects_key() && !found->second.node.is_scalar()) {
      Stop(mark, "a map key must be a scalar");
    }
    Check(builder_.Share(found->second.node, found->second.weight));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool plain = tag == "?";
    NodeKind kind = NodeKind::kString;
    if (plain) {
      kind = Resolve(value);
    } else if (tag != "!") {
      kind = KindOfTag(mark, tag, value);
    }
    if (!plain) last_quoted_ = mark;
    Check(builder_.Scalar(kind, value, At(mark), plain));
    Remember(anchor, 1);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    Begin(mark, tag, "seq", NodeKind::kSequence, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    Begin(mark, tag, "map", NodeKind::kMap, anchor);
  }
  void OnMapEnd() override { End(); }

  [[nodiscard]] int documents() const { return documents_; }
  [[nodiscard]] const YAML::Mark& last_quoted() const { return last_quoted_; }
  [[nodiscard]] static SourcePosition At(const YAML::Mark& mark) {
    if (mark.is_null()) return {};
    return {static_cast<uint32_t>(mark.line) + 1, static_cast<uint32_t>(mark.column) + 1};
  }

 private:
  struct Anchored {
    Node node;
    size_t weight;
  };
  struct Open {
    YAML::anchor_t anchor;
    size_t nodes_before;
  };

  [[noreturn]] void Stop(const YAML::Mark& mark, std::string message) {
    builder_.Fail(At(mark), std::move(message));
    throw Stopped();
  }
  void Check(bool ok) {
    if (!ok) throw Stopped();
  }

  void Begin(const YAML::Mark& mark, const std::string& tag, std::string_view wanted, NodeKind kind,
             YAML::anchor_t anchor) {
    if (tag.size() > 1 && tag != fmt::format("{}{}", kStandardTag, wanted)) {
      Stop(mark, fmt::format("unknown tag \"{}\"", tag.substr(0, 64)));
    }
    open_.push_back({anchor, builder_.nodes()});
    Check(builder_.Begin(kind, At(mark)));
  }
  void End() {
    Check(builder_.End(/*merge=*/true));
    const Open open = open_.back();
    open_.pop_back();
    Remember(open.anchor, builder_.nodes() - open.nodes_before);
  }
  void Remember(YAML::anchor_t anchor, size_t weight) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = {builder_.last(), weight};
  }

  NodeKind KindOfTag(const YAML::Mark& mark, std::string_view tag, std::string_view value) {
    if (tag.starts_with(kStandardTag)) {
      const std::string_view name = tag.substr(kStandardTag.size());
      const NodeKind kind = Resolve(value);
      if (name == "str") return NodeKind::kString;
      if (((name == "int" || name == "float") && kind == NodeKind::kNumber) ||
          (name == "bool" && kind == NodeKind::kBool) ||
          (name == "null" && kind == NodeKind::kNull)) {
        return kind;
      }
    }
    Stop(mark, fmt::format("unknown tag \"{}\", or it does not fit its value", tag.substr(0, 64)));
  }

  DocumentBuilder& builder_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  std::vector<Open> open_;
  YAML::Mark last_quoted_ = YAML::Mark::null_mark();
  int documents_ = 0;
};

// Refuses what the library would misread: it stops at a U+0004, guesses other encodings, and does
// not check UTF-8.
std::optional<DocumentError> CheckCharacters(std::string_view text) {
  SourcePosition position{1, 1};
  int open_brackets = 0;
  for (size_t at = 0; at < text.size(); ++position.column) {
    const char c = text[at];
    if (c == '\n') {
      ++at;
      ++position.line;
      position.column = 0;
      continue;
    }
    const size_t length = Utf8SequenceLength(text.substr(at));
    if (length == 0) return DocumentError{position, "not UTF-8"};
    const unsigned char byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t' && c != '\r') || byte == 0x7F) {
      return DocumentError{position, fmt::format("a control character (0x{:02x})", byte)};
    }
    if (c == '[' || c == '{') {
      if (++open_brackets > kMaxOpenBrackets) return DocumentError{position, "nested too deep"};
    } else if (c != ' ' && c != '\t') {
      open_brackets = 0;
    }
    at += length;
  }
  return std::nullopt;
}

// The library takes the end of the text for the end of a quoted scalar when a line break comes
// before it. Only the last scalar can be one of those; `at` is where it begins, perhaps with anchor
// and tag.
bool IsClosed(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == '&' || text[at] == '!')) {
    at = std::min(text.find_first_of(" \t\r\n", at), text.size());
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
  }
  if (at >= text.size() || (text[at] != '"' && text[at] != '\'')) return true;  // a block scalar
  const char quote = text[at];
  for (++at; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote) {
      if (quote == '"' || at + 1 >= text.size() || text[at + 1] != quote) return true;
      ++at;  // '' stands for '
    }
  }
  return false;
}

// The library's words for what goes wrong most often, with what to do about it.
std::string Explain(const std::string& message) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"illegal map value",
       "a map cannot begin here; is the indentation right, or does a text with \": \" need "
       "quotes?"},
      {"illegal map key", "a map key cannot stand here; is the indentation right?"},
      {"illegal block entry",
       "a list item (\"- \") cannot stand here; put it on a line of its own"},
      {"end of map not found", "expected the next key of a map; is the indentation right?"},
      {"end of sequence not found",
       "expected the next \"- \" of a list; is the indentation right?"},
      {"end of map flow not found", "a map in braces has no '}' (or lacks a ',')"},
      {"end of sequence flow not found", "a list in brackets has no ']' (or lacks a ',')"},
      {"illegal EOF in scalar", "a quoted text has no closing quote"},
      {"unknown token", "this character cannot begin a value; put the value in quotes"},
  };
  for (const auto& [theirs, ours] : kWords) {
    if (message == theirs) return std::string(ours);
  }
  return message;
}

// YAML indents with spaces. The library says something else about a tab, or something of the line
// after.
bool TabIndents(std::string_view text, uint32_t line) {
  for (uint32_t at = 1; at < line && !text.empty(); ++at) {
    const size_t newline = text.find('\n');
    if (newline == std::string_view::npos) return false;
    text.remove_prefix(newline + 1);
  }
  const size_t first = text.find_first_not_of(' ');
  return first != std::string_view::npos && text[first] == '\t';
}

void FailWith(const YAML::Exception& error, std::string_view text, DocumentBuilder& builder) {
  SourcePosition position = Events::At(error.mark);
  for (const uint32_t line : {position.line, position.line - 1}) {
    if (line > 0 && line <= position.line && TabIndents(text, line)) {
      builder.Fail({line, 1}, "a tab indents this line; YAML indents with spaces only");
      return;
    }
  }
  builder.Fail(position, Explain(error.msg));
}

}  // namespace

ParsedDocument ParseYaml(std::string_view text, const DocumentLimits& limits) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  DocumentBuilder builder(limits);
  if (text.size() > limits.max_bytes) {
    builder.Fail({}, fmt::format("larger than {} bytes", limits.max_bytes));
    return builder.Finish();
  }
  if (std::optional<DocumentError> error = CheckCharacters(text)) {
    builder.Fail(error->position, std::move(error->message));
    return builder.Finish();
  }
  Events events(builder);
  try {
    MemoryBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) {
    }
    const YAML::Mark& quoted = events.last_quoted();
    if (events.documents() == 0) {
      builder.Fail({1, 1}, "the text is empty");
    } else if (!quoted.is_null() && !IsClosed(text, static_cast<size_t>(quoted.pos))) {
      builder.Fail(Events::At(quoted), "a quoted text has no closing quote");
    }
  } catch (const Stopped&) {
  } catch (const YAML::Exception& error) {
    FailWith(error, text, builder);
  } catch (const std::exception& error) {
    builder.Fail({}, error.what());
  }
  return builder.Finish();
}

}  // namespace gatehouse
