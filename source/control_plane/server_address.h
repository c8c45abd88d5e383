// "127.0.0.1:18001", "[::1]:18001", "unix:/run/gatehouse.sock": where the REST API listens.
//
// A plain value; any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace gatehouse::control {

struct ServerAddress {
  std::string host;  // without brackets; of a unix socket: empty
  int port = 0;
  std::string path;  // of a unix socket

  [[nodiscard]] bool is_unix() const { return !path.empty(); }
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] std::string ToString() const;
};
[[nodiscard]] absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text);
// An address in numbers.
[[nodiscard]] bool IsNumeric(const std::string& host);

}  // namespace gatehouse::control
