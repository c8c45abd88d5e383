// RouteTableBuilder: TableSpecs -> RouteTable, with every error, not only the first.
//
// Used on the main thread, once per listener: add the tables that the listener names and all the
// delegates that they may mount. The specs must live until Build() returns. Errors begin with the
// field: "route_tables[0].routes[3].match.path_prefix: must start with '/'".
//
//   RouteTableBuilder builder;
//   for (const TableSpec& table : tables) builder.Add(table);
//   RouteTableBuilder::Result built = builder.Build();
//   if (!built.errors.empty()) reject(built.errors);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "source/route/route_spec.h"
#include "source/route/route_table.h"

namespace gatehouse::route {

class RouteTableBuilder {
 public:
  struct Result {
    std::unique_ptr<const RouteTable> table;  // null if there are errors
    std::vector<absl::Status> errors;
    std::vector<std::string> warnings;  // routes that no request can reach
  };

  void Add(const TableSpec& table) { tables_.push_back(&table); }
  [[nodiscard]] Result Build() const;

 private:
  std::vector<const TableSpec*> tables_;
};

}  // namespace gatehouse::route
