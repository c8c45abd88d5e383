// RouteTable: host, then path, then predicates -> one route. The routes of one listener.
//
// Built by RouteTableBuilder on the main thread, const afterwards and shared by all workers. Find()
// does no I/O and takes no lock; it allocates nothing, except that RE2 grows its own automaton (once
// per regex route, guarded by RE2) and its matching of named groups may use scratch memory. The
// cost of Find() depends on the request's path, not on the number of routes. Precedence is
// specified in docs/routing.md.
//
//   route::Match match = table.Find({method, method_text, host, path, query, &headers});
//   if (match) return actions[match.action];
//   if (match.MethodNotAllowed()) reply 405 with Allow: table.Allow(match.allowed_methods, arena);
//   else reply 404 no_route
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "source/base/arena.h"
#include "source/http/header_map.h"
#include "source/http/message.h"

namespace gatehouse::route {

struct CompiledRoutes;
struct Explanation;

inline constexpr uint32_t kNoRoute = 0xffffffff;

// What is looked up. The views must live through Find(), and as long as the Match's captures.
struct RequestView {
  http::Method method;
  std::string_view method_text;
  std::string_view host;   // lower-case, no port, no trailing dot
  std::string_view path;   // normalised, no query; not starting with '/' finds nothing
  std::string_view query;  // without '?', not decoded
  const http::HeaderMap* headers = nullptr;  // null: none
};

struct Match {
  static constexpr size_t kMaxCaptures = 8;

  uint32_t route = kNoRoute;  // 0 .. route_count() - 1: one per route and place it is mounted at
  uint32_t action = 0;        // RouteSpec::action
  // What the path's exact or prefix match took: all of it, or "/api" of "/api/x". What prefix
  // rewrites replace. Templates and regexes: all of it.
  uint32_t matched_size = 0;
  // No route, but there would be one with these methods.
  uint32_t allowed_methods = 0;
  uint32_t capture_count = 0;
  std::array<std::string_view, kMaxCaptures> captures;  // into RequestView::path

  explicit operator bool() const { return route != kNoRoute; }
  [[nodiscard]] bool MethodNotAllowed() const {
    return route == kNoRoute && allowed_methods != 0;
  }
};

class RouteTable {
 public:
  explicit RouteTable(std::unique_ptr<const CompiledRoutes> routes);  // by RouteTableBuilder
  ~RouteTable();
  RouteTable(const RouteTable&) = delete;
  RouteTable& operator=(const RouteTable&) = delete;

  [[nodiscard]] Match Find(const RequestView& request) const;
  // The same answer, and why the candidates before it were passed over. Allocates; not for the
  // request path.
  [[nodiscard]] Match Explain(const RequestView& request, Explanation& explanation) const;

  // "GET, PUT" of a Match's allowed_methods, in the arena.
  [[nodiscard]] std::string_view Allow(uint32_t allowed_methods, Arena& arena) const;
  // The capture called `name` in the match's route.
  [[nodiscard]] std::optional<std::string_view> Capture(const Match& match,
                                                        std::string_view name) const;

  // Of one route. A table mounted in two places has two routes for each of its own.
  [[nodiscard]] size_t route_count() const;
  [[nodiscard]] std::string_view RouteName(uint32_t route) const;
  [[nodiscard]] std::string_view TableName(uint32_t route) const;
  [[nodiscard]] uint32_t RouteIndex(uint32_t route) const;  // its place in TableSpec::routes
  [[nodiscard]] uint32_t Action(uint32_t route) const;
  // The delegating route through which this one is reached, or kNoRoute.
  [[nodiscard]] uint32_t MountOf(uint32_t route) const;
  [[nodiscard]] size_t CaptureCount(uint32_t route) const;
  [[nodiscard]] std::string_view CaptureName(uint32_t route, size_t index) const;

  // Without what RE2 holds.
  [[nodiscard]] size_t MemoryBytes() const;

 private:
  std::unique_ptr<const CompiledRoutes> routes_;
};

}  // namespace gatehouse::route
