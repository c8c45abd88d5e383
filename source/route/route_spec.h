// What a route table is built from: plain structs, the config's resources without their protobuf.
//
// Owner: whoever translates the config (main thread); RouteTableBuilder reads them during Build()
// only. The rules of precedence between routes are in docs/routing.md.
//
//   TableSpec table{.name = "shop", .where = "route_tables[0]", .domains = {"api.shop.example"}};
//   table.routes.push_back({.name = "users", .path = PathMatch::Prefix("/users"),
//                           .methods = {"GET", "PUT"}, .action = 7});
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gatehouse::route {

inline constexpr size_t kMaxPathSize = 4096;  // of a pattern
inline constexpr size_t kMaxSegments = 64;    // of a pattern
inline constexpr size_t kMaxCaptures = 8;
inline constexpr size_t kMaxPriorities = 16;       // different ones in one table
inline constexpr size_t kMaxDelegateDepth = 8;     // tables below a table with domains
inline constexpr size_t kMaxRoutes = 1 << 22;      // with each mounted copy counted
inline constexpr size_t kMaxExtensionMethods = 8;  // methods that http::Method does not know

// Paths are compared byte by byte with the request's normalised path, so write them that way.
struct PathMatch {
  enum class Kind {
    kAny,       // every path; in a delegate, every path under the mount
    kExact,     // the whole path
    kPrefix,    // whole segments: /api matches /api, /api/ and /api/x, never /apix; /api/ is /api
    kTemplate,  // /users/{id}/orders, /files/{rest*}, /files/**, /*/x
    kRegex,     // RE2, the whole path; named groups are captures
  };
  Kind kind = Kind::kAny;
  std::string text;

  static PathMatch Exact(std::string text) { return {Kind::kExact, std::move(text)}; }
  static PathMatch Prefix(std::string text) { return {Kind::kPrefix, std::move(text)}; }
  static PathMatch Template(std::string text) { return {Kind::kTemplate, std::move(text)}; }
  static PathMatch Regex(std::string text) { return {Kind::kRegex, std::move(text)}; }
};

// One header, query parameter or cookie. Where a name has several values, one that matches is
// enough. Query names and values are compared decoded (%xx, and + as a space).
struct ValueMatch {
  enum class Kind { kPresent, kExact, kPrefix, kSuffix, kContains, kRegex, kRange };
  std::string name;  // a header's in any case
  Kind kind = Kind::kPresent;
  std::string text;  // all but kPresent and kRange
  int64_t from = 0;  // kRange: from <= value <= to
  int64_t to = 0;
  bool invert = false;  // the answer is turned round: also true when there is no such value
};

struct RouteSpec {
  std::string name;  // for logs and explain; empty: "<table>[<index>]"
  PathMatch path;
  std::vector<std::string> methods;  // empty: all. GET does not imply HEAD.
  std::vector<ValueMatch> headers;   // all of them must match
  std::vector<ValueMatch> query;
  std::vector<ValueMatch> cookies;
  int32_t priority = 0;  // higher is tried before all lower ones, whatever their paths
  uint32_t action = 0;   // the caller's; handed back by Match
  // Not empty: the route is a mount. The named tables, which have no domains, are tried in this
  // order; the path must be a prefix (or any), theirs must lie under it.
  std::vector<std::string> delegates;
};

struct TableSpec {
  std::string name;
  std::string where;  // how errors call it: "route_tables[0]"; empty: "route_tables(<name>)"
  // "api.example", "*.example", "api.*" or "*", in any case. Empty: a delegate.
  std::vector<std::string> domains;
  std::vector<RouteSpec> routes;
};

}  // namespace gatehouse::route
