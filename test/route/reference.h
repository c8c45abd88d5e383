// A second, naive implementation of docs/routing.md: every route is compared with the request, the
// matching ones are sorted by the rules as they are written there. What the compiled table is
// tested against.
#pragma once

#include <string>
#include <vector>

#include "source/route/route_spec.h"

namespace gatehouse::route {

struct ReferenceRequest {
  std::string method;
  std::string host;
  std::string path;
  std::string query;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct ReferenceMatch {
  bool found = false;
  std::string name;
  uint32_t action = 0;
  uint32_t matched_size = 0;
  std::vector<std::string> captures;
  std::vector<std::string> allowed;  // sorted
};

[[nodiscard]] ReferenceMatch ReferenceFind(const std::vector<TableSpec>& tables,
                                           const ReferenceRequest& request);

// For failure messages: tables and request as text.
[[nodiscard]] std::string Print(const std::vector<TableSpec>& tables);
[[nodiscard]] std::string Print(const ReferenceRequest& request);
[[nodiscard]] std::string Print(const ReferenceMatch& match);

}  // namespace gatehouse::route
