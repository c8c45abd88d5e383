// TableBuilder: one v1::RouteTable -> its Routes. Inside config/ only; main thread, on the stack of
// one build.
//
// A table may be served in several kinds of places: listeners with other limits, or mounts that
// hand down other filters. Who lays out the places (build_matchers.h) asks for a set of routes for
// each; those that are alike share one.
//
//   TableBuilder table(resource, scope, errors);
//   size_t set = table.Want(defaults, inherited);
//   std::shared_ptr<const BuiltTable> built = table.Build(&fresh);
//   built->sets[set].routes[3]
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "source/config/build_filters.h"
#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"

namespace gatehouse::config {

class TableBuilder {
 public:
  // Builds the filters of the table and of its mounts. All outlive this.
  TableBuilder(const Resource<v1::RouteTable>& resource, BuildScope& scope, ErrorList& errors);
  TableBuilder(const TableBuilder&) = delete;
  TableBuilder& operator=(const TableBuilder&) = delete;

  [[nodiscard]] const v1::RouteTable& message() const { return *resource_.message; }
  [[nodiscard]] const SourceMap& source() const { return resource_.source; }
  [[nodiscard]] ErrorList& errors() { return errors_; }

  // What tables inherit that are mounted by this route, when this table itself inherits
  // `inherited`.
  [[nodiscard]] FilterList HandDown(const FilterList& inherited, int route);
  // The index of a set.
  [[nodiscard]] size_t Want(const RouteDefaults& defaults, const FilterList& inherited,
                            FilterList::Outer outer = FilterList::Outer::kKnown);
  // Somebody has asked for a set.
  [[nodiscard]] bool wanted() const { return !wanted_.empty(); }
  // Routes that are not shared with the predecessor are added to `fresh`.
  [[nodiscard]] std::shared_ptr<const BuiltTable> Build(std::vector<std::shared_ptr<Route>>* fresh);

  // Names, domains and matches are those of the predecessor; actions need not be.
  [[nodiscard]] bool MatchUnchanged();
  [[nodiscard]] std::string RouteName(int index) const;

 private:
  // What built_->sets, at the same index, is made from.
  struct Wanted {
    FilterList inherited;
    FilterList::Outer outer;
  };
  // What is common to the routes of a set.
  struct Place {
    const RouteDefaults& defaults;
    const FilterList& list;
    const std::shared_ptr<const filters::FilterChain>& chain;  // of the list
    FilterList::Outer outer;
  };

  [[nodiscard]] bool IsSameMessage();
  void CheckRouteNames();
  void BuildOwnFilters();
  [[nodiscard]] bool IsWholePredecessor();
  [[nodiscard]] bool FileUnchanged(int index, const Route& old);
  void BuildSet(const Wanted& wanted, RouteSet& set, ErrorList& errors,
                std::vector<std::shared_ptr<Route>>* fresh);
  // The predecessor's index of the route, if it had one of that name.
  [[nodiscard]] std::optional<int> PreviousIndex(int index);
  [[nodiscard]] bool RouteUnchanged(int index);
  [[nodiscard]] const References& PreviousReferences(int previous_index) const;
  // The predecessor's, or null.
  [[nodiscard]] std::shared_ptr<const Route> Shared(int index, const RouteSet* previous_set);
  // Null for one that delegates.
  [[nodiscard]] std::shared_ptr<Route> BuildRoute(int index, const Place& place, const Field& root);
  void CollectReferences();

  const Resource<v1::RouteTable>& resource_;
  BuildScope& scope_;
  ErrorList& errors_;
  const TableRecord* previous_ = nullptr;  // of that name, or null
  bool message_same_ = false;
  bool filters_same_ = false;  // and what they refer to
  std::vector<Wanted> wanted_;
  std::shared_ptr<BuiltTable> built_;
  // By name; made when routes have moved.
  std::optional<std::unordered_map<std::string_view, int>> previous_names_;
  enum class Unchanged : int8_t { kNotAsked, kNo, kYes };
  std::vector<Unchanged> unchanged_;  // of each route
};

// Fields of a route besides its action and filters.
void ReadRouteOptions(const v1::Route& message, const RouteDefaults& defaults, const Field& field,
                      Route* route);

}  // namespace gatehouse::config
