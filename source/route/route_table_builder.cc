#include "source/route/route_table_builder.h"

#include "source/route/compiler.h"
#include "source/route/table_checks.h"

namespace gatehouse::route {

RouteTableBuilder::Result RouteTableBuilder::Build() const {
  Result result;
  const CheckedTables checked = CheckTables(tables_, result.errors);
  if (!result.errors.empty()) return result;
  result.table = std::make_unique<const RouteTable>(CompileRoutes(checked, result.warnings));
  return result;
}

}  // namespace gatehouse::route
