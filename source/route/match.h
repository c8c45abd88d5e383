// What goes into a look-up and what comes out of it.
//
// Plain values, any thread; on the stack of whoever asks. For how to use them see route_table.h.
//
//   RequestView request{head.method, head.method_text, host, path, query, &head.headers};
//   if (Match match = table.Find(request)) Log(table.RouteName(match.route));
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/route/route_spec.h"

namespace gatehouse::route {

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
  static constexpr size_t kMaxCaptures = route::kMaxCaptures;

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
  [[nodiscard]] bool MethodNotAllowed() const { return route == kNoRoute && allowed_methods != 0; }
};

}  // namespace gatehouse::route
