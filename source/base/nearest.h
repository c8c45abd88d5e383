// The known name that somebody who wrote an unknown one most likely meant.
//
// Typing errors (a letter too many, too few, wrong, two swapped), another spelling (pathPrefix,
// path-prefix) and a part of a longer name (prefix for path_prefix). Control path only.
//
//   Nearest("tiemout", {"retry", "timeout"})  ->  "timeout"
#pragma once

#include <span>
#include <string_view>

namespace gatehouse {

// Empty when nothing is near enough to be worth saying. The result is one of `known`.
[[nodiscard]] std::string_view Nearest(std::string_view word,
                                       std::span<const std::string_view> known);

}  // namespace gatehouse
