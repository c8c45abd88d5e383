// Comma-separated lists in field values (RFC 9110, section 5.6.1).
//
// Pure; views point into the value. Empty elements are skipped. Quoted strings are not understood:
// use this for lists of tokens (Connection, Transfer-Encoding, TE, X-Forwarded-For).
//
//   ForEachElement(value, [&](std::string_view element) { ... });
#pragma once

#include <cstddef>
#include <string_view>

#include "source/http/header_map.h"
#include "source/http/names.h"

namespace gatehouse::http {

template <typename Visit>
void ForEachElement(std::string_view list, Visit&& visit) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view element = TrimSpace(list.substr(0, comma));
    if (!element.empty()) visit(element);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// True when an element is that token, whatever its case.
[[nodiscard]] inline bool ListHas(std::string_view list, std::string_view token) {
  if (list.size() < token.size()) return false;
  bool found = false;
  ForEachElement(list, [&found, token](std::string_view element) {
    found = found || EqualsIgnoreCase(element, token);
  });
  return found;
}

}  // namespace gatehouse::http
