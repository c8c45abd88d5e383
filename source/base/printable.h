// Text of others for a terminal or a line of a log: it cannot begin a line of its own, nor speak to
// the terminal. Any thread.
//
//   Printable("edge\nready")   // edge\\nready
#pragma once

#include <string>
#include <string_view>

namespace gatehouse {

// Control characters and bytes that are no UTF-8 as \n, \t or \x1b.
[[nodiscard]] std::string Printable(std::string_view text);

}  // namespace gatehouse
