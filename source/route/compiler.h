// Compiler: CheckedTables -> CompiledRoutes. Cannot fail but by size, which is an error too.
//
// Main thread, while a table is built; inside route/ only.
//
//   auto routes = CompileRoutes(checked, errors, warnings);   // null if there are errors
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "source/route/compiled.h"
#include "source/route/table_checks.h"

namespace gatehouse::route {

[[nodiscard]] std::unique_ptr<const CompiledRoutes> CompileRoutes(
    const CheckedTables& checked, std::vector<absl::Status>& errors,
    std::vector<std::string>& warnings);

}  // namespace gatehouse::route
