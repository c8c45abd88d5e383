// MatcherBuilder: the tables that one listener serves, with all that they mount -> its RouteTable
// and the routes behind it. Inside config/ only; main thread, on the stack of one build.
//
// A table is one part of the matcher, wherever it is mounted, unless it inherits other filters in
// another place: then it is a part of its own there, with routes of its own.
//
//   MatcherBuilder matcher(tables, defaults);
//   for (TableBuilder* table : served) matcher.Serve(*table);
//   ... all tables are built ...
//   listener.route_table = matcher.Build(previous);
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/config/build_record.h"
#include "source/config/build_routes.h"
#include "source/route/route_table.h"
#include "source/route/route_table_builder.h"

namespace gatehouse::config {

// All tables of the config, and what became of them.
struct TableInBuild {
  std::unique_ptr<TableBuilder> builder;
  std::shared_ptr<const BuiltTable> built;
};
using TablesInBuild = ByName<TableInBuild>;

class MatcherBuilder {
 public:
  static constexpr size_t kMaxParts = 10'000;

  // `tables` outlives this; no table is added to it meanwhile.
  MatcherBuilder(TablesInBuild& tables, const RouteDefaults& defaults)
      : tables_(tables), defaults_(defaults) {}

  // Lays out the table and what it mounts. What is wrong is reported at the table that says so.
  void Serve(TableInBuild& table, FilterList::Outer outer = FilterList::Outer::kKnown);
  [[nodiscard]] const std::vector<MatcherPart>& parts() const { return parts_; }
  // The same parts as these, unchanged.
  [[nodiscard]] bool SameAs(const std::vector<MatcherPart>& previous) {
    return parts_ == previous && Unchanged();
  }
  // Nothing in the parts changed that matching depends on.
  [[nodiscard]] bool Unchanged() const;

  // Null with errors, which are reported at the tables.
  [[nodiscard]] std::shared_ptr<const route::RouteTable> Build();
  // By action. After the tables were built.
  [[nodiscard]] std::vector<std::shared_ptr<const Route>> Routes() const;

 private:
  struct Place {
    TableInBuild* table;
    size_t set;
    std::vector<std::pair<int, uint32_t>> mounts;  // route, part
  };

  uint32_t Lay(TableInBuild& table, const FilterList& inherited, FilterList::Outer outer);
  void LayMounts(uint32_t part, const FilterList& inherited);
  [[nodiscard]] bool IsCircle(const TableInBuild& next, int route);
  [[nodiscard]] route::TableSpec SpecOf(uint32_t part, uint32_t* action) const;
  void Report(std::string_view text, ConfigError::Severity severity);

  TablesInBuild& tables_;
  RouteDefaults defaults_;
  std::vector<Place> places_;  // of each part
  std::vector<MatcherPart> parts_;
  std::map<std::pair<const TableInBuild*, size_t>, uint32_t> known_;
  std::map<std::string_view, size_t> times_;  // that a table is there
  std::vector<const TableInBuild*> way_;      // from the served table to the one that is laid out
};

}  // namespace gatehouse::config
