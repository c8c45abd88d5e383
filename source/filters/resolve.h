// Which filters a route runs: the outer list (its table's), then its own. Pure functions.
//
// An inner entry whose name the outer list has replaces it in its place, or removes it with
// `disabled`; a new name goes to the end. More than two levels: fold.
//
//   std::vector<ResolveError> errors;
//   auto outer = ResolveFilters({}, table.filters(), "route_tables[0].filters", errors);
//   auto all = ResolveFilters(outer, route.filters(), "route_tables[0].routes[3].filters", errors);
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/repeated_field.h>

namespace gatehouse::v1 {
class Filter;
}

namespace gatehouse::filters {

struct ResolvedFilter {
  std::string name;
  std::string path;  // of the entry, such as route_tables[0].filters[2]
  const gatehouse::v1::Filter* filter = nullptr;  // in the list that it came from
};

struct ResolveError {
  std::string path;
  std::string message;
  std::string suggestion;  // a name that was probably meant, or empty
};

// The field of gatehouse.v1.Filter that is set ("cors"); the type of the config for `extension`;
// empty when there is none.
[[nodiscard]] std::string_view KindOf(const gatehouse::v1::Filter& filter);
// Its `name`, or else its kind.
[[nodiscard]] std::string_view NameOf(const gatehouse::v1::Filter& filter);

// Entries with errors are left out; what remains can be resolved further.
[[nodiscard]] std::vector<ResolvedFilter> ResolveFilters(
    const std::vector<ResolvedFilter>& outer,
    const google::protobuf::RepeatedPtrField<gatehouse::v1::Filter>& inner,
    std::string_view inner_path, std::vector<ResolveError>& errors);

}  // namespace gatehouse::filters
