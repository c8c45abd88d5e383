// Checks on TableSpecs: everything that can be wrong is found here, so that compiling cannot fail.
//
// Main thread, while a table is built. Views into the specs, which must outlive it. Inside route/
// only.
//
//   CheckedTables checked = CheckTables(specs, errors);
//   if (errors.empty()) Compile(checked, ...);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "source/route/path_pattern.h"
#include "source/route/route_spec.h"

namespace gatehouse::route {

struct CheckedTable {
  const TableSpec* spec = nullptr;
  std::string where;
  std::vector<std::string> domains;              // in lower case
  std::vector<PathPattern> patterns;             // of each route
  std::vector<std::vector<uint32_t>> delegates;  // of each route: tables
};

struct CheckedTables {
  std::vector<CheckedTable> tables;
  std::vector<std::string_view> extension_methods;
};

[[nodiscard]] CheckedTables CheckTables(const std::vector<const TableSpec*>& specs,
                                        std::vector<absl::Status>& errors);

// The name of a route in logs: its own or "<table>[<index>]".
[[nodiscard]] std::string RouteNameOf(const TableSpec& table, size_t index);

}  // namespace gatehouse::route
