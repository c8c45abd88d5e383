// How values are put into etcd: compressed where that helps.
//
// Plain functions; any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace gatehouse::control {

// A byte that says how, and the bytes.
[[nodiscard]] std::string Pack(std::string_view plain);
[[nodiscard]] absl::StatusOr<std::string> Unpack(std::string_view packed);

}  // namespace gatehouse::control
