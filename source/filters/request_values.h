// Single values out of a request's head: a cookie, a query parameter, the host without its port.
//
// Pure functions, request path. Results view the request, or the arena where they had to be
// decoded.
//
//   std::string_view user = QueryValue(head.path, "user", arena).value_or("");
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "source/base/arena.h"
#include "source/http/message.h"

namespace gatehouse::filters {

// Without the query; all of it for "*".
[[nodiscard]] std::string_view PathOnly(std::string_view path_and_query);
// After the '?', or empty.
[[nodiscard]] std::string_view QueryOnly(std::string_view path_and_query);
// The first parameter of that name, percent-decoded, '+' being a space. An escape that is none
// stays as it is.
[[nodiscard]] std::optional<std::string_view> QueryValue(std::string_view path_and_query,
                                                         std::string_view name, Arena& arena);
// The first cookie of that name, as it came.
[[nodiscard]] std::optional<std::string_view> CookieValue(const http::HeaderMap& headers,
                                                          std::string_view name);
// "shop.example" of "shop.example:8080"; an IPv6 address keeps its brackets.
[[nodiscard]] std::string_view HostOnly(std::string_view authority);

// "2024-03-15T09:05:00Z" (RFC 3339) of microseconds since 1970.
inline constexpr size_t kTimestampSize = 20;
void WriteTimestamp(int64_t wall_micros, char (&to)[kTimestampSize]);

}  // namespace gatehouse::filters
