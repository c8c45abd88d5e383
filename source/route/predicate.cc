#include "source/route/predicate.h"

#include <charconv>
#include <optional>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/route/regex.h"

namespace gatehouse::route {
namespace {

using Kind = ValueMatch::Kind;
using Source = Predicate::Source;

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// `lower` is in lower case.
bool EqualsLower(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (LowerCase(text[i]) != lower[i]) return false;
  }
  return true;
}

bool TextMatches(const Predicate& predicate, std::string_view value) {
  switch (predicate.kind) {
    case Kind::kPresent:
      return true;
    case Kind::kExact:
      return value == predicate.text;
    case Kind::kPrefix:
      return value.starts_with(predicate.text);
    case Kind::kSuffix:
      return value.ends_with(predicate.text);
    case Kind::kContains:
      return value.find(predicate.text) != std::string_view::npos;
    case Kind::kRegex:
      return FullMatch(*predicate.regex, value);
    case Kind::kRange: {
      int64_t number = 0;
      const char* end = value.data() + value.size();
      const auto [stop, error] = std::from_chars(value.data(), end, number);
      return error == std::errc() && stop == end && number >= predicate.from &&
             number <= predicate.to;
    }
  }
  return false;
}

// Calls visit(value) for each field of that name until it returns true; whether it did.
template <typename Visit>
bool AnyHeader(const http::HeaderMap& headers, http::Name id, std::string_view name,
               Visit&& visit) {
  if (id != http::Name::kUnknown) {
    const http::HeaderEntry* entry = headers.Find(id);
    if (entry == nullptr) return false;
    for (; entry != headers.end(); ++entry) {
      if (entry->id == id && visit(entry->value_view())) return true;
    }
    return false;
  }
  if (!headers.Has(http::Name::kUnknown)) return false;
  for (const http::HeaderEntry& entry : headers) {
    if (entry.id == http::Name::kUnknown && EqualsLower(entry.name_view(), name) &&
        visit(entry.value_view())) {
      return true;
    }
  }
  return false;
}

// Calls visit(value) for each cookie of that name until it returns true (RFC 6265, section 4.2.1).
template <typename Visit>
bool AnyCookie(const http::HeaderMap& headers, std::string_view name, Visit&& visit) {
  return AnyHeader(headers, http::Name::kCookie, {}, [&](std::string_view line) {
    while (!line.empty()) {
      std::string_view pair = line.substr(0, line.find(';'));
      line.remove_prefix(pair.size() == line.size() ? pair.size() : pair.size() + 1);
      pair = http::TrimSpace(pair);
      const size_t equals = pair.find('=');
      if (equals == name.size() && pair.substr(0, equals) == name &&
          visit(pair.substr(equals + 1))) {
        return true;
      }
    }
    return false;
  });
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = LowerCase(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The next character of form-encoded text; advances `at`. A '%' that is no escape is itself.
char NextDecoded(std::string_view text, size_t& at) {
  const char c = text[at++];
  if (c == '+') return ' ';
  if (c != '%' || at + 2 > text.size()) return c;
  const int high = HexDigit(text[at]);
  const int low = HexDigit(text[at + 1]);
  if (high < 0 || low < 0) return c;
  at += 2;
  return static_cast<char>(high * 16 + low);
}

bool DecodesTo(std::string_view encoded, std::string_view text) {
  size_t at = 0;
  for (char c : text) {
    if (at == encoded.size() || NextDecoded(encoded, at) != c) return false;
  }
  return at == encoded.size();
}

// Like TextMatches for an encoded value; nothing if it cannot be decoded here.
std::optional<bool> EncodedMatches(const Predicate& predicate, std::string_view value) {
  if (predicate.kind == Kind::kPresent || value.find_first_of("%+") == std::string_view::npos) {
    return TextMatches(predicate, value);
  }
  char decoded[kMaxDecodedValue];
  size_t size = 0;
  for (size_t at = 0; at < value.size();) {
    if (size == kMaxDecodedValue) return std::nullopt;
    decoded[size++] = NextDecoded(value, at);
  }
  return TextMatches(predicate, {decoded, size});
}

bool QueryHolds(const Predicate& predicate, std::string_view query) {
  bool found = false;
  while (!query.empty() && !found) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(pair.size() == query.size() ? pair.size() : pair.size() + 1);
    const std::string_view name = pair.substr(0, pair.find('='));
    if (pair.empty() || !DecodesTo(name, predicate.name)) continue;
    const std::string_view value =
        name.size() == pair.size() ? std::string_view() : pair.substr(name.size() + 1);
    const std::optional<bool> matches = EncodedMatches(predicate, value);
    if (!matches) return false;
    found = *matches;
  }
  return found != predicate.invert;
}

std::string_view SourceName(Source source) {
  switch (source) {
    case Source::kHeader:
      return "header";
    case Source::kQuery:
      return "query";
    case Source::kCookie:
      return "cookie";
  }
  return {};
}

}  // namespace

bool Holds(const Predicate& predicate, const RequestView& request) {
  if (predicate.source == Source::kQuery) return QueryHolds(predicate, request.query);
  if (request.headers == nullptr) return predicate.invert;
  const auto matches = [&](std::string_view value) { return TextMatches(predicate, value); };
  const bool found = predicate.source == Source::kHeader
                         ? AnyHeader(*request.headers, predicate.header_id, predicate.name, matches)
                         : AnyCookie(*request.headers, predicate.name, matches);
  return found != predicate.invert;
}

void CollectHeader(const http::HeaderMap& headers, http::Name id, std::string_view name,
                   HeaderValues& out) {
  out.overflow = AnyHeader(headers, id, name, [&](std::string_view value) {
    if (out.count == HeaderValues::kMax) return true;
    out.values[out.count++] = value;
    return false;
  });
}

std::string Describe(const Predicate& predicate) {
  std::string text = fmt::format("{} {}: {}", SourceName(predicate.source), predicate.name,
                                 predicate.invert ? "not " : "");
  switch (predicate.kind) {
    case Kind::kPresent:
      return text + "present";
    case Kind::kExact:
      return text + fmt::format("exact '{}'", predicate.text);
    case Kind::kPrefix:
      return text + fmt::format("prefix '{}'", predicate.text);
    case Kind::kSuffix:
      return text + fmt::format("suffix '{}'", predicate.text);
    case Kind::kContains:
      return text + fmt::format("contains '{}'", predicate.text);
    case Kind::kRegex:
      return text + fmt::format("regex '{}'", predicate.text);
    case Kind::kRange:
      return text + fmt::format("range {} to {}", predicate.from, predicate.to);
  }
  return text;
}

void CheckValueMatch(const ValueMatch& match, Source source, std::vector<std::string>& errors) {
  if (match.name.empty()) {
    errors.push_back(".name: must not be empty");
  } else if (source == Source::kHeader && match.name[0] == ':') {
    errors.push_back(
        ".name: is a pseudo-header: match.methods, match.path and domains stand for it");
  } else if (source != Source::kQuery && !http::IsToken(match.name)) {
    errors.push_back(fmt::format(".name: '{}' is not a {} name", match.name, SourceName(source)));
  }
  switch (match.kind) {
    case Kind::kPresent:
    case Kind::kExact:
      break;
    case Kind::kPrefix:
      if (match.text.empty()) errors.push_back(".prefix: must not be empty: use present");
      break;
    case Kind::kSuffix:
      if (match.text.empty()) errors.push_back(".suffix: must not be empty: use present");
      break;
    case Kind::kContains:
      if (match.text.empty()) errors.push_back(".contains: must not be empty: use present");
      break;
    case Kind::kRegex:
      if (auto regex = CompileRegex(match.text); !regex.ok()) {
        errors.push_back(fmt::format(".regex: {}", MessageOf(regex.status())));
      }
      break;
    case Kind::kRange:
      if (match.from > match.to) errors.push_back(".range: from is greater than to");
      break;
  }
}

}  // namespace gatehouse::route
