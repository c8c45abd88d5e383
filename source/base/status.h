// absl::Status for the control path, made from std::string_view.
//
// Debian's absl has its own string_view type, so its factory functions do not take ours; these do.
// The data path never makes a Status: see http/error.h.
//
//   if (port == 0) return InvalidArgument(fmt::format("{}: port must not be 0", where));
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gatehouse {

[[nodiscard]] inline absl::Status MakeStatus(absl::StatusCode code, std::string_view message) {
  return absl::Status(code, absl::string_view(message.data(), message.size()));
}
// The input is wrong: the author of the config can mend it.
[[nodiscard]] inline absl::Status InvalidArgument(std::string_view message) {
  return MakeStatus(absl::StatusCode::kInvalidArgument, message);
}
// Something named does not exist.
[[nodiscard]] inline absl::Status NotFound(std::string_view message) {
  return MakeStatus(absl::StatusCode::kNotFound, message);
}
// The environment failed: a file, a socket, a limit.
[[nodiscard]] inline absl::Status Unavailable(std::string_view message) {
  return MakeStatus(absl::StatusCode::kUnavailable, message);
}
[[nodiscard]] inline std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace gatehouse
