#include "source/route/rewrite.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fmt/format.h"
#include "re2/re2.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/route/path_pattern.h"
#include "source/route/regex.h"

namespace gatehouse::route {
namespace {

constexpr int kMaxGroups = 10;  // \0 to \9

// Pieces of text that end up as one string in the arena; a single piece is not copied.
class Joiner {
 public:
  explicit Joiner(Arena& arena) : arena_(arena) {}
  void Add(std::string_view text) {
    if (text.empty()) return;
    if (text_.empty()) {
      text_ = text;
      return;
    }
    const size_t size = text_.size() + text.size();
    if (size > capacity_) {
      capacity_ = std::max<size_t>(2 * capacity_, size + 64);
      buffer_ = arena_.AllocateChars(capacity_);
      std::memcpy(buffer_, text_.data(), text_.size());
    }
    std::memcpy(buffer_ + text_.size(), text.data(), text.size());
    text_ = {buffer_, size};
  }
  [[nodiscard]] std::string_view Text() const { return text_; }

 private:
  Arena& arena_;
  char* buffer_ = nullptr;
  size_t capacity_ = 0;
  std::string_view text_;
};

// One '/' in front, never two.
std::string_view AsPath(std::string_view text, Arena& arena) {
  while (text.size() > 1 && text[0] == '/' && text[1] == '/') text.remove_prefix(1);
  if (!text.empty() && text[0] == '/') return text;
  return arena.Concat("/", text);
}

absl::Status CheckLiteralPath(std::string_view path) {
  for (char c : path) {
    if (c == '?' || c == '#') return InvalidArgument(fmt::format("must not contain '{}'", c));
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
      return InvalidArgument("must not contain spaces or control characters: write %20");
    }
  }
  return absl::OkStatus();
}

struct TemplatePart {
  std::string literal;
  int capture = -1;
};

// "a{x}b" -> {"a", x}, {"b", -1}
absl::StatusOr<std::vector<TemplatePart>> ParseTemplate(std::string_view text,
                                                        std::span<const std::string> names) {
  std::vector<TemplatePart> parts;
  while (!text.empty()) {
    TemplatePart& part = parts.emplace_back();
    const size_t open = text.find_first_of("{}");
    part.literal = text.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = text.find('}', open);
    if (text[open] == '}' || close == std::string_view::npos) {
      return InvalidArgument("has a '{' or '}' without its other half");
    }
    std::string_view name = text.substr(open + 1, close - open - 1);
    if (!name.empty() && name.back() == '*') name.remove_suffix(1);
    const auto found = std::find(names.begin(), names.end(), name);
    if (name.empty() || found == names.end()) {
      const std::vector<std::string_view> known(names.begin(), names.end());
      const std::string_view meant = Nearest(name, known);
      return InvalidArgument(
          fmt::format("the route's path has no capture '{}'{}", name,
                      meant.empty() ? std::string() : fmt::format("; did you mean '{}'?", meant)));
    }
    part.capture = static_cast<int>(found - names.begin());
    text.remove_prefix(close + 1);
  }
  return parts;
}

std::string_view CaptureAt(const Match& match, int capture) {
  return static_cast<uint32_t>(capture) < match.capture_count
             ? match.captures[static_cast<size_t>(capture)]
             : std::string_view();
}

// host or host:port, as it may stand in an authority without user information.
bool IsAuthority(std::string_view text) {
  if (text.empty() || text.size() > 255) return false;
  std::string_view port;
  if (text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos || close == 1) return false;
    const std::string_view address = text.substr(1, close - 1);
    if (address.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) {
      return false;
    }
    if (close + 1 == text.size()) return true;
    if (text[close + 1] != ':') return false;
    port = text.substr(close + 2);
  } else {
    const size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const bool fine = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '.' || c == '_';
    });
    if (name.empty() || !fine) return false;
    if (colon == std::string_view::npos) return true;
    port = text.substr(colon + 1);
  }
  return !port.empty() && port.size() <= 5 &&
         port.find_first_not_of("0123456789") == std::string_view::npos;
}

bool IsHost(std::string_view text) {
  return IsAuthority(text) &&
         (text.front() == '[' ? text.back() == ']' : text.find(':') == std::string_view::npos);
}

uint32_t DefaultPort(std::string_view scheme) { return scheme == "https" ? 443 : 80; }

}  // namespace

absl::StatusOr<PathRewrite> PathRewrite::Prefix(std::string_view replacement) {
  if (!replacement.empty() && replacement.front() != '/') {
    return InvalidArgument("must start with '/'");
  }
  if (absl::Status fine = CheckLiteralPath(replacement); !fine.ok()) return fine;
  PathRewrite rewrite;
  rewrite.kind_ = Kind::kPrefix;
  while (!replacement.empty() && replacement.back() == '/') replacement.remove_suffix(1);
  rewrite.prefix_ = replacement;
  return rewrite;
}

absl::StatusOr<PathRewrite> PathRewrite::Regex(std::string_view pattern,
                                               std::string_view substitution) {
  absl::StatusOr<std::unique_ptr<const re2::RE2>> regex = CompileRegex(pattern);
  if (!regex.ok()) {
    return InvalidArgument(fmt::format("pattern: {}", MessageOf(regex.status())));
  }
  if (absl::Status fine = CheckLiteralPath(substitution); !fine.ok()) {
    return InvalidArgument(fmt::format("substitution: {}", MessageOf(fine)));
  }
  PathRewrite rewrite;
  rewrite.kind_ = Kind::kRegex;
  rewrite.pattern_ = *std::move(regex);
  const int groups = rewrite.pattern_->NumberOfCapturingGroups();
  Piece piece;
  for (size_t i = 0; i < substitution.size(); ++i) {
    if (substitution[i] != '\\') {
      piece.literal += substitution[i];
      continue;
    }
    const char c = ++i < substitution.size() ? substitution[i] : '\0';
    if (c == '\\') {
      piece.literal += c;
    } else if (c < '0' || c > '9') {
      return InvalidArgument("substitution: a '\\' is followed by a digit or by another one");
    } else if (c - '0' > groups) {
      return InvalidArgument(
          fmt::format("substitution: \\{} but the pattern has {} groups", c, groups));
    } else {
      piece.group = c - '0';
      rewrite.pieces_.push_back(std::move(piece));
      piece = {};
    }
  }
  if (!piece.literal.empty()) rewrite.pieces_.push_back(std::move(piece));
  return rewrite;
}

absl::StatusOr<PathRewrite> PathRewrite::Template(std::string_view text,
                                                  std::span<const std::string> capture_names) {
  if (text.empty() || text.front() != '/') return InvalidArgument("must start with '/'");
  if (absl::Status fine = CheckLiteralPath(text); !fine.ok()) return fine;
  auto parts = ParseTemplate(text, capture_names);
  if (!parts.ok()) return parts.status();
  PathRewrite rewrite;
  for (TemplatePart& part : *parts) {
    rewrite.pieces_.push_back({std::move(part.literal), part.capture});
  }
  return rewrite;
}

absl::StatusOr<PathRewrite> PathRewrite::Whole(std::string_view path) {
  if (path.empty() || path.front() != '/') return InvalidArgument("must start with '/'");
  if (absl::Status fine = CheckLiteralPath(path); !fine.ok()) return fine;
  PathRewrite rewrite;
  rewrite.pieces_.push_back({std::string(path), -1});
  return rewrite;
}

std::string_view PathRewrite::ApplyToPath(const RewriteInput& input, Arena& arena) const {
  switch (kind_) {
    case Kind::kPrefix: {
      const size_t matched = std::min<size_t>(input.match->matched_size, input.path.size());
      const std::string_view rest = input.path.substr(matched);
      return AsPath(prefix_.empty() ? rest : arena.Concat(prefix_, rest), arena);
    }
    case Kind::kRegex:
      return AsPath(ApplyRegex(input.path, arena), arena);
    case Kind::kPieces:
      break;
  }
  Joiner joiner(arena);
  for (const Piece& piece : pieces_) {
    joiner.Add(piece.literal);
    if (piece.group >= 0) joiner.Add(CaptureAt(*input.match, piece.group));
  }
  return AsPath(joiner.Text(), arena);
}

std::string_view PathRewrite::ApplyRegex(std::string_view path, Arena& arena) const {
  std::array<re2::StringPiece, kMaxGroups> groups;
  const int wanted = std::min(kMaxGroups, 1 + pattern_->NumberOfCapturingGroups());
  Joiner joiner(arena);
  size_t at = 0;
  size_t copied = 0;
  while (at <= path.size() && pattern_->Match({path.data(), path.size()}, at, path.size(),
                                              re2::RE2::UNANCHORED, groups.data(), wanted)) {
    const size_t begin = static_cast<size_t>(groups[0].data() - path.data());
    const size_t end = begin + groups[0].size();
    if (begin == end && begin == copied && begin > 0) {  // right behind a match: not another one
      ++at;
      continue;
    }
    joiner.Add(path.substr(copied, begin - copied));
    for (const Piece& piece : pieces_) {
      joiner.Add(piece.literal);
      if (piece.group < 0) continue;
      const re2::StringPiece& group = groups[static_cast<size_t>(piece.group)];
      joiner.Add({group.data(), group.size()});
    }
    copied = end;
    at = end > begin ? end : end + 1;  // an empty match must not be found again
  }
  joiner.Add(path.substr(copied));
  return joiner.Text();
}

std::string_view PathRewrite::Apply(const RewriteInput& input, Arena& arena) const {
  const std::string_view path = ApplyToPath(input, arena);
  if (input.query.empty()) return path;
  Joiner joiner(arena);
  joiner.Add(path);
  joiner.Add("?");
  joiner.Add(input.query);
  return joiner.Text();
}

std::vector<std::string> CaptureNamesOf(const PathMatch& path) {
  std::vector<std::string> errors;
  PathPattern pattern = ParsePathPattern(path, errors);
  if (!errors.empty()) return {};
  return std::move(pattern.capture_names);
}

absl::StatusOr<HostRewrite> HostRewrite::Literal(std::string_view host) {
  if (!IsAuthority(host)) {
    return InvalidArgument(fmt::format("'{}' is not a host or host:port", host));
  }
  HostRewrite rewrite;
  rewrite.pieces_.push_back({std::string(host), -1});
  return rewrite;
}

absl::StatusOr<HostRewrite> HostRewrite::FromHeader(std::string_view name) {
  if (!http::IsToken(name)) return InvalidArgument(fmt::format("'{}' is not a header name", name));
  HostRewrite rewrite;
  rewrite.header_ = name;
  return rewrite;
}

absl::StatusOr<HostRewrite> HostRewrite::Template(std::string_view text,
                                                  std::span<const std::string> capture_names) {
  if (text.empty()) return InvalidArgument("must not be empty");
  auto parts = ParseTemplate(text, capture_names);
  if (!parts.ok()) return parts.status();
  HostRewrite rewrite;
  for (TemplatePart& part : *parts) {
    rewrite.pieces_.push_back({std::move(part.literal), part.capture});
  }
  return rewrite;
}

std::optional<std::string_view> HostRewrite::Apply(const http::HeaderMap& headers,
                                                   const Match& match, Arena& arena) const {
  std::string_view host;
  if (!header_.empty()) {
    host = headers.Get(std::string_view(header_)).value_or(std::string_view());
  } else {
    Joiner joiner(arena);
    for (const Piece& piece : pieces_) {
      joiner.Add(piece.literal);
      if (piece.capture >= 0) joiner.Add(CaptureAt(match, piece.capture));
    }
    host = joiner.Text();
  }
  if (!IsAuthority(host)) return std::nullopt;
  return host;
}

absl::StatusOr<Redirect> Redirect::Build(Spec spec) {
  if (!spec.scheme.empty() && spec.scheme != "http" && spec.scheme != "https") {
    return InvalidArgument(fmt::format("scheme: '{}' is not http or https", spec.scheme));
  }
  if (!spec.host.empty() && !IsHost(spec.host)) {
    return InvalidArgument(fmt::format("host: '{}' is not a host{}", spec.host,
                                       IsAuthority(spec.host) ? ": the port is a field" : ""));
  }
  if (spec.port > 65535) return InvalidArgument(fmt::format("port: {} is not a port", spec.port));
  if (spec.status == 0) spec.status = 301;
  constexpr std::array<uint32_t, 5> kStatuses = {301, 302, 303, 307, 308};
  if (std::find(kStatuses.begin(), kStatuses.end(), spec.status) == kStatuses.end()) {
    return InvalidArgument(
        fmt::format("status: {} is not one of 301, 302, 303, 307, 308", spec.status));
  }
  return Redirect(std::move(spec));
}

std::string_view Redirect::Location(const Request& request, const RewriteInput& input,
                                    Arena& arena) const {
  Joiner joiner(arena);
  const std::string_view scheme = spec_.scheme.empty() ? request.scheme : spec_.scheme;
  const std::string_view host = spec_.host.empty() ? request.host : spec_.host;
  if (host.empty() && (scheme != request.scheme || spec_.port != 0)) return {};
  if (!host.empty()) {
    const bool same_place = scheme == request.scheme && spec_.host.empty();
    const uint32_t port = spec_.port != 0 ? spec_.port : same_place ? request.port : 0;
    joiner.Add(scheme);
    joiner.Add("://");
    joiner.Add(host);
    if (port != 0 && port != DefaultPort(scheme)) {
      joiner.Add(":");
      joiner.Add(arena.Copy(fmt::format_int(port).c_str()));
    }
  }
  joiner.Add(spec_.path ? spec_.path->ApplyToPath(input, arena) : AsPath(input.path, arena));
  if (!spec_.strip_query && !input.query.empty()) {
    joiner.Add("?");
    joiner.Add(input.query);
  }
  return joiner.Text();
}

}  // namespace gatehouse::route
