// Compiler: CheckedTables -> CompiledRoutes. Cannot fail: what can be wrong was found by the
// checks.
//
// Main thread, while a table is built; inside route/ only.
//
//   CheckedTables checked = CheckTables(specs, errors);
//   if (errors.empty()) routes = CompileRoutes(checked, warnings);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "source/route/compiled.h"
#include "source/route/table_checks.h"

namespace gatehouse::route {

[[nodiscard]] std::unique_ptr<const CompiledRoutes> CompileRoutes(
    const CheckedTables& checked, std::vector<std::string>& warnings);

}  // namespace gatehouse::route
