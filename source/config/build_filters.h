// Filter entries -> filters -> the chain of a route. Inside config/ only; main thread.
//
// A route runs the filters of its table, then its own; a mounted table inherits those of the route
// that mounts it, and that one's table. Entries are built once, lists are put together for each
// place, since names in an inner list replace or remove those of the outer ones.
//
//   BuiltFilters built = BuildFilters(table.filters(), "filters", scope, root);
//   FilterList list = FilterList::Over(inherited, table.filters(), built.filters, "filters", root);
//   route.chain = list.MakeChain(root);
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "api/gatehouse/v1/filter.pb.h"
#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"
#include "source/filters/build_context.h"
#include "source/filters/chain.h"

namespace gatehouse::config {

using FilterEntries = google::protobuf::RepeatedPtrField<v1::Filter>;

// What a Build noted, or else its status. `root`: the resource, to which the paths are relative.
void ReportFilterErrors(const filters::BuildContext& context, const absl::Status& status,
                        const Field& root);

struct BuiltFilters {
  EntryFilters filters;
  References references;
};
// `path`: of the list, from the resource on. Errors are reported at `root`.
[[nodiscard]] BuiltFilters BuildFilters(const FilterEntries& entries, std::string_view path,
                                        const BuildScope& scope, const Field& root);

// Filters in their order. Refers to the entries, which live as long as the build.
class FilterList {
 public:
  enum class Outer : uint8_t {
    kKnown,
    kUnknown,  // nobody has mounted the table yet: there may be something to disable or not
  };

  FilterList() = default;  // none
  [[nodiscard]] static FilterList Over(const FilterList& outer, const FilterEntries& entries,
                                       const EntryFilters& built, std::string_view path,
                                       const Field& root, Outer known = Outer::kKnown);

  // With request_id in front, if none of them is one: its headers are on every request.
  [[nodiscard]] std::shared_ptr<const filters::FilterChain> MakeChain(const Field& root) const;
  // One of them is of this kind, such as "cors".
  [[nodiscard]] bool Has(std::string_view kind) const;
  // Those without errors. The same filters under the same names are the same list.
  [[nodiscard]] std::vector<filters::NamedFilter> Named() const;

 private:
  struct Entry {
    std::string name;
    const v1::Filter* entry;
    std::optional<filters::AnyFilter> filter;  // nothing: it had errors
  };
  std::vector<Entry> entries_;
};

}  // namespace gatehouse::config
