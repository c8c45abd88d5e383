// What is wrong with a config, in words that its author can act on.
//
// Main thread; plain values. Everything that reads a config (text, build) adds to one ErrorList, so
// that the author sees all errors at once.
//
//   gateway.yaml:23: route_tables[0].routes[3].match.path_prefix: must start with '/'
//   gateway.yaml:31: clusters[0]: unknown field "tiemout", did you mean "timeout"?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace gatehouse::config {

struct ConfigError {
  enum class Severity : uint8_t { kError, kWarning };

  std::string file;  // empty when the config did not come from a file
  int line = 0;      // from 1; 0 is "not known"
  int column = 0;
  std::string path;  // such as route_tables[0].routes[3].match.path_prefix; empty: the whole file
  std::string message;
  std::string suggestion;  // a name that was probably meant, or empty
  Severity severity = Severity::kError;

  // One line. The column is shown only where there is no path: it tells where broken syntax is.
  [[nodiscard]] std::string ToString() const;
};

class ErrorList {
 public:
  // More than this many are counted but not kept.
  static constexpr size_t kMaxKept = 1000;

  void Add(ConfigError error);
  void Append(const ErrorList& other);

  // No errors; there may be warnings.
  [[nodiscard]] bool ok() const { return error_count_ == 0; }
  [[nodiscard]] size_t error_count() const { return error_count_; }
  [[nodiscard]] const std::vector<ConfigError>& entries() const { return entries_; }
  // By file and line; entries without a line keep their order, first.
  void Sort();
  // One entry a line, sorted, warnings marked as such; ends with how many were not kept.
  [[nodiscard]] std::string ToString() const;
  // OK, or INVALID_ARGUMENT with ToString() of the errors.
  [[nodiscard]] absl::Status ToStatus() const;

 private:
  std::vector<ConfigError> entries_;
  size_t error_count_ = 0;
  size_t dropped_ = 0;
};

}  // namespace gatehouse::config
