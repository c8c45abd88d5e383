// RouteTable: host, then path, then predicates -> one route. The routes of one listener.
//
// Built by RouteTableBuilder on the main thread, const afterwards and shared by all workers. Find()
// does no I/O and takes no lock; it allocates nothing, except that RE2 grows its own automaton
// (once per regex route, guarded by RE2) and its matching of named groups may use scratch memory.
// The cost of Find() depends on the request's path, not on the number of routes. Precedence is
// specified in docs/routing.md.
//
//   route::Match match = table.Find({method, method_text, host, path, query, &headers});
//   if (match) return actions[match.action];
//   if (match.MethodNotAllowed()) reply 405 with Allow: table.Allow(match.allowed_methods, arena);
//   else reply 404 no_route
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "source/base/arena.h"
#include "source/route/match.h"

namespace gatehouse::route {

struct CompiledRoutes;
struct Explanation;

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
