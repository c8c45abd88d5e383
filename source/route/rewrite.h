// Rewriting of paths and hosts, and the composing of redirect locations: pure functions on data
// that is compiled once.
//
// Built on the main thread, const afterwards, shared by workers. Results are in the caller's Arena
// (or are views of the arguments, so they live as long as both). A rewritten path always starts
// with exactly one '/': "//x" would be another host to whoever reads it as a reference
// (RFC 3986, section 4.2). Nothing is allocated elsewhere, but RE2 may use scratch memory for
// groups.
//
//   auto rewrite = PathRewrite::Template("/v2/users/{id}", capture_names);
//   std::string_view target = rewrite->Apply({path, query, &match}, arena);   // "/v2/users/7?a=b"
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "source/base/arena.h"
#include "source/http/header_map.h"
#include "source/route/match.h"
#include "source/route/route_spec.h"

namespace re2 {
class RE2;
}

namespace gatehouse::route {

struct RewriteInput {
  std::string_view path;   // normalised, no query
  std::string_view query;  // without '?'
  const Match* match;      // of that path
};

class PathRewrite {
 public:
  // Replaces what the route's prefix (or exact path) matched: "/api" -> "/v2". "" and "/" remove
  // it.
  [[nodiscard]] static absl::StatusOr<PathRewrite> Prefix(std::string_view replacement);
  // Replaces every match of an RE2 pattern; \1 to \9 are its groups, \0 the match, \\ is one "\".
  [[nodiscard]] static absl::StatusOr<PathRewrite> Regex(std::string_view pattern,
                                                         std::string_view substitution);
  // A new path with the route's captures: "/v2/{id}/{rest*}" ({rest} is the same).
  [[nodiscard]] static absl::StatusOr<PathRewrite> Template(
      std::string_view text, std::span<const std::string> capture_names);
  // A literal path.
  [[nodiscard]] static absl::StatusOr<PathRewrite> Whole(std::string_view path);

  // The new path, without the query.
  [[nodiscard]] std::string_view ApplyToPath(const RewriteInput& input, Arena& arena) const;
  // The new path and the query as it came: a request target in origin form.
  [[nodiscard]] std::string_view Apply(const RewriteInput& input, Arena& arena) const;

 private:
  struct Piece {
    std::string literal;  // comes first
    int group = -1;       // then a capture or group; -1: none
  };
  enum class Kind { kPrefix, kRegex, kPieces };

  PathRewrite() = default;
  std::string_view ApplyRegex(std::string_view path, Arena& arena) const;

  Kind kind_ = Kind::kPieces;
  std::string prefix_;  // without the '/' at its end
  std::shared_ptr<const re2::RE2> pattern_;
  std::vector<Piece> pieces_;
};

// The names of the captures of a template or of a regex's named groups, in capture order: what
// PathRewrite::Template needs before the table is built. Empty for others and for bad ones.
[[nodiscard]] std::vector<std::string> CaptureNamesOf(const PathMatch& path);

class HostRewrite {
 public:
  [[nodiscard]] static absl::StatusOr<HostRewrite> Literal(std::string_view host);
  [[nodiscard]] static absl::StatusOr<HostRewrite> FromHeader(std::string_view name);
  // "{tenant}.internal.example" with the route's captures.
  [[nodiscard]] static absl::StatusOr<HostRewrite> Template(
      std::string_view text, std::span<const std::string> capture_names);

  // Nothing if the header is missing or what came out is not a host (with optional port): the
  // caller then answers 400.
  [[nodiscard]] std::optional<std::string_view> Apply(const http::HeaderMap& headers,
                                                      const Match& match, Arena& arena) const;

 private:
  struct Piece {
    std::string literal;
    int capture = -1;
  };
  HostRewrite() = default;

  std::string header_;  // not empty: from there
  std::vector<Piece> pieces_;
};

// A redirect's Location, always an absolute URL when the request had a host.
class Redirect {
 public:
  struct Spec {
    std::string scheme;  // empty: the request's
    std::string host;    // empty: the request's
    uint32_t port = 0;   // 0: the request's if neither scheme nor host changed, else the default
    std::optional<PathRewrite> path;
    bool strip_query = false;
    uint32_t status = 0;  // 301, 302, 303, 307, 308; 0: 301
  };
  struct Request {
    std::string_view scheme;  // "http" or "https"
    std::string_view host;    // without port
    uint32_t port = 0;        // 0: the scheme's
  };
  [[nodiscard]] static absl::StatusOr<Redirect> Build(Spec spec);

  [[nodiscard]] uint32_t status() const { return spec_.status; }
  // Empty when there is no way to say it: to another scheme or port of a host that an HTTP/1.0
  // client did not name.
  [[nodiscard]] std::string_view Location(const Request& request, const RewriteInput& input,
                                          Arena& arena) const;

 private:
  explicit Redirect(Spec spec) : spec_(std::move(spec)) {}
  Spec spec_;
};

}  // namespace gatehouse::route
