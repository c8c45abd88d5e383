#include "source/route/path_pattern.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fmt/format.h"
#include "re2/re2.h"
#include "source/base/status.h"
#include "source/http/chars.h"
#include "source/route/regex.h"

namespace gatehouse::route {
namespace {

using Kind = PathPattern::Kind;
using Segment = PathPattern::Segment;

// Requests are matched by their normalised path: a route that is written in another form would
// never match. Empty, or what is wrong with the escapes and 8-bit characters.
std::string NotNormalised(std::string_view text) {
  const bool plain = std::ranges::none_of(
      text, [](char c) { return c == '\\' || c == '%' || static_cast<unsigned char>(c) >= 0x80; });
  if (plain) return {};
  std::string normal;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') return "must not contain '\\': a request with one is refused";
    if (static_cast<unsigned char>(c) >= 0x80) {
      fmt::format_to(std::back_inserter(normal), "%{:02X}", static_cast<unsigned char>(c));
      continue;
    }
    if (c != '%') {
      normal.push_back(c);
      continue;
    }
    const int high = i + 2 < text.size() ? http::HexValue(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? http::HexValue(text[i + 2]) : -1;
    if (high < 0 || low < 0) return "has a '%' without two hex digits; a plain one is %25";
    const char meant = static_cast<char>(high << 4 | low);
    if (http::IsUnreserved(meant)) {
      normal.push_back(meant);
    } else {
      fmt::format_to(std::back_inserter(normal), "%{:02X}", static_cast<unsigned char>(meant));
    }
    i += 2;
  }
  if (normal == text) return {};
  return fmt::format("would never match, since requests are matched in their normal form: write {}",
                     normal);
}

// Checks what holds for every path that is not a regex.
bool CheckPathText(std::string_view text, std::vector<std::string>& errors) {
  const size_t before = errors.size();
  if (text.empty() || text.front() != '/') {
    errors.push_back("must start with '/'");
    return false;
  }
  if (text.size() > kMaxPathSize) {
    errors.push_back(fmt::format("is longer than {} characters", kMaxPathSize));
    return false;
  }
  for (char c : text) {
    if (c == '?') {
      errors.push_back("must not contain '?': match the query with match.query");
    } else if (c == '#') {
      errors.push_back("must not contain '#': a fragment never reaches a server");
    } else if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
      errors.push_back("must not contain spaces or control characters: write %20");
    } else {
      continue;
    }
    break;
  }
  if (errors.size() == before) {
    if (std::string wrong = NotNormalised(text); !wrong.empty()) errors.push_back(std::move(wrong));
  }
  return errors.size() == before;
}

std::vector<std::string_view> SplitSegments(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    path.remove_prefix(1);
    segments.push_back(path.substr(0, path.find('/')));
    path.remove_prefix(segments.back().size());
  }
  return segments;
}

bool CheckSegments(const std::vector<std::string_view>& segments,
                   std::vector<std::string>& errors) {
  for (std::string_view segment : segments) {
    if (segment == "." || segment == "..") {
      errors.push_back(
          "must not contain '.' or '..' segments: the request's path has them resolved");
      return false;
    }
  }
  if (segments.size() > kMaxSegments) {
    errors.push_back(fmt::format("has more than {} segments", kMaxSegments));
    return false;
  }
  return true;
}

bool IsCaptureName(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// "{id}" -> "id", "{rest*}" -> "rest", "*" and "**" -> "". False if it is not such a capture.
bool ParseCapture(std::string_view segment, std::string& name, bool& tail) {
  tail = false;
  name.clear();
  if (segment == "*") return true;
  if (segment == "**") return tail = true;
  if (segment.size() < 3 || segment.front() != '{' || segment.back() != '}') return false;
  segment = segment.substr(1, segment.size() - 2);
  if (segment.back() == '*') {
    tail = true;
    segment.remove_suffix(1);
  }
  name = segment;
  return IsCaptureName(name);
}

void AddCaptureName(PathPattern& pattern, std::string name, std::vector<std::string>& errors) {
  auto& names = pattern.capture_names;
  if (!name.empty() && std::find(names.begin(), names.end(), name) != names.end()) {
    errors.push_back(fmt::format("has the capture '{}' twice", name));
  }
  names.push_back(std::move(name));
  if (names.size() == kMaxCaptures + 1) {
    errors.push_back(fmt::format("has more than {} captures", kMaxCaptures));
  }
}

void ParseTemplate(PathPattern& pattern, std::vector<std::string>& errors) {
  if (!CheckPathText(pattern.text, errors)) return;
  std::vector<std::string_view> segments = SplitSegments(pattern.text);
  if (!CheckSegments(segments, errors)) return;
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string_view segment = segments[i];
    if (segment.find_first_of("{}*") == std::string_view::npos) {
      pattern.segments.push_back({segment, false});
      continue;
    }
    std::string name;
    if (!ParseCapture(segment, name, pattern.tail)) {
      errors.push_back(fmt::format(
          "has the segment '{}': a capture fills its segment and is {{name}}, {{name*}}, * or **",
          segment));
      return;
    }
    AddCaptureName(pattern, std::move(name), errors);
    if (!pattern.tail) {
      pattern.segments.push_back({{}, true});
    } else if (i + 1 != segments.size()) {
      errors.push_back(fmt::format("has '{}' before its end: it takes all that follows", segment));
      return;
    }
  }
  if (pattern.capture_names.empty()) {
    pattern.kind = Kind::kExact;
    pattern.segments.clear();
  }
}

void ParseRegex(PathPattern& pattern, std::vector<std::string>& errors) {
  if (pattern.text.size() > kMaxPathSize) {
    errors.push_back(fmt::format("is longer than {} characters", kMaxPathSize));
    return;
  }
  absl::StatusOr<std::unique_ptr<const re2::RE2>> regex = CompileRegex(pattern.text);
  if (!regex.ok()) {
    errors.push_back(MessageOf(regex.status()));
    return;
  }
  pattern.literal = LiteralPrefixOfRegex(pattern.text);
  // What it matches lies between the two; what starts with a '/' is less than "0".
  std::string least, most;
  const bool elsewhere =
      (*regex)->PossibleMatchRange(&least, &most, 8) && (least >= "0" || most < "/");
  if (elsewhere || (!pattern.literal.empty() && pattern.literal.front() != '/')) {
    errors.push_back("never matches: every path starts with '/'");
  }
  for (const auto& [index, name] : (*regex)->CapturingGroupNames()) {
    if (index > kMaxRegexGroups) {
      errors.push_back(
          fmt::format("has the named group '{}' after {} other groups", name, kMaxRegexGroups));
      return;
    }
    AddCaptureName(pattern, name, errors);
  }
}

// Moves past a character class that starts at `at`; npos if it does not end.
size_t EndOfClass(std::string_view regex, size_t at) {
  ++at;
  if (at < regex.size() && regex[at] == '^') ++at;
  if (at < regex.size() && regex[at] == ']') ++at;  // literal when it comes first
  while (at < regex.size() && regex[at] != ']') {
    if (regex[at] == '\\') {
      ++at;
    } else if (regex.substr(at, 2) == "[:") {
      const size_t end = regex.find(":]", at + 2);
      if (end != std::string_view::npos) at = end + 1;
    }
    ++at;
  }
  return at < regex.size() ? at + 1 : std::string_view::npos;
}

// "(?i)": RE2 lets a repetition behind it apply to what stands before it.
bool IsFlagGroup(std::string_view regex) {
  if (!regex.starts_with("(?")) return false;
  const size_t end = regex.find_first_not_of("imsU-", 2);
  return end != std::string_view::npos && regex[end] == ')';
}

// Whether an alternative may start outside all groups.
bool HasTopLevelAlternative(std::string_view regex) {
  int depth = 0;
  for (size_t at = 0; at < regex.size();) {
    const char c = regex[at];
    if (c == '\\') {
      const std::string_view escape = regex.substr(at, 2);
      if (escape == "\\Q" || escape == "\\E") return true;  // quoted text: in doubt
      at += 2;
      continue;
    }
    if (c == '[') {
      at = EndOfClass(regex, at);
      if (at == std::string_view::npos) return true;
      continue;
    }
    if (c == '(') ++depth;
    if (c == ')') --depth;
    if (c == '|' && depth == 0) return true;
    ++at;
  }
  return false;
}

}  // namespace

std::string_view LiteralPrefixOfRegex(std::string_view regex) {
  if (HasTopLevelAlternative(regex)) return {};
  size_t end = 0;
  while (end < regex.size()) {
    const char c = regex[end];
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("/_-~%!@&=:;,'").find(c) != std::string_view::npos;
    if (!plain) break;
    ++end;
  }
  // A repetition applies to the last character: it may be absent.
  std::string_view next = regex.substr(end);
  while (IsFlagGroup(next)) next.remove_prefix(next.find(')') + 1);
  if (end > 0 && !next.empty() && std::string_view("*?{").find(next[0]) != std::string_view::npos) {
    --end;
  }
  return regex.substr(0, end);
}

bool LiesUnder(const PathPattern& pattern, std::string_view prefix) {
  if (prefix.empty() || pattern.any) return true;
  const auto below = [&](std::string_view text) {
    return text.size() > prefix.size() && text.substr(0, prefix.size()) == prefix &&
           text[prefix.size()] == '/';
  };
  switch (pattern.kind) {
    case Kind::kExact:
    case Kind::kPrefix:
      return pattern.text == prefix || below(pattern.text);
    case Kind::kRegex:
      return below(pattern.literal);
    case Kind::kTemplate:
      break;
  }
  size_t at = 0;
  for (const Segment& segment : pattern.segments) {
    if (at == prefix.size()) return true;
    if (segment.capture) return false;
    if (prefix.substr(at + 1, segment.text.size()) != segment.text) return false;
    at += 1 + segment.text.size();
    if (at < prefix.size() && prefix[at] != '/') return false;
  }
  return at == prefix.size();
}

PathPattern ParsePathPattern(const PathMatch& path, std::vector<std::string>& errors) {
  PathPattern pattern;
  pattern.text = path.text;
  switch (path.kind) {
    case PathMatch::Kind::kAny:
      pattern.any = true;
      pattern.text = {};
      break;
    case PathMatch::Kind::kExact:
      pattern.kind = Kind::kExact;
      if (CheckPathText(path.text, errors)) {
        (void)CheckSegments(SplitSegments(path.text), errors);
      }
      break;
    case PathMatch::Kind::kPrefix:
      if (!CheckPathText(path.text, errors)) break;
      if (pattern.text.back() == '/') pattern.text.remove_suffix(1);
      for (std::string_view segment : SplitSegments(pattern.text)) {
        pattern.segments.push_back({segment, false});
      }
      (void)CheckSegments(SplitSegments(pattern.text), errors);
      break;
    case PathMatch::Kind::kTemplate:
      pattern.kind = Kind::kTemplate;
      ParseTemplate(pattern, errors);
      break;
    case PathMatch::Kind::kRegex:
      pattern.kind = Kind::kRegex;
      ParseRegex(pattern, errors);
      break;
  }
  return pattern;
}

}  // namespace gatehouse::route
