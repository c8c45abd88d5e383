#include "source/config/build_filters.h"

#include <algorithm>
#include <utility>

#include "api/gatehouse/filters/v1/request_id.pb.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/filters/request_id/request_id.h"
#include "source/filters/resolve.h"

namespace gatehouse::config {
namespace {

constexpr std::string_view kRequestId = "request_id";

// "cors": the field of the entry that holds the filter's config.
std::string_view ConfigField(const v1::Filter& entry) {
  return entry.kind_case() == v1::Filter::kExtension ? std::string_view("extension")
                                                     : filters::KindOf(entry);
}

filters::NamedFilter DefaultRequestId() {
  const filters::BuildResources none;
  filters::BuildContext context(none, "");
  auto built =
      filters::RequestId::Build(gatehouse::filters::v1::RequestId::default_instance(), context);
  CHECK(built.ok());
  return {std::string(kRequestId), filters::MakeAnyFilter(*std::move(built))};
}

}  // namespace

void ReportFilterErrors(const filters::BuildContext& context, const absl::Status& status,
                        const Field& root) {
  for (const filters::FieldError& error : context.errors()) {
    root.Below(error.path).Error(error.message, error.suggestion);
  }
  if (context.errors().empty()) root.Below(context.path()).Error(status);
}

BuiltFilters BuildFilters(const FilterEntries& entries, std::string_view path,
                          const BuildScope& scope, const Field& root) {
  BuiltFilters all;
  all.filters.resize(static_cast<size_t>(entries.size()));
  for (int i = 0; i < entries.size(); ++i) {
    const v1::Filter& entry = entries[i];
    // Without a kind it is ResolveFilters' to report.
    if (entry.disabled() || entry.kind_case() == v1::Filter::KIND_NOT_SET) continue;
    filters::BuildContext context(scope.offers,
                                  fmt::format("{}[{}].{}", path, i, ConfigField(entry)));
    absl::StatusOr<filters::AnyFilter> built = scope.environment.filters.Build(entry, context);
    if (!built.ok()) {
      ReportFilterErrors(context, built.status(), root);
      continue;
    }
    all.filters[static_cast<size_t>(i)] = *std::move(built);
    all.references.Add({context.cluster_references(), context.rate_limit_references(),
                        context.secret_references()});
  }
  return all;
}

FilterList FilterList::Over(const FilterList& outer, const FilterEntries& entries,
                            const EntryFilters& built, std::string_view path, const Field& root,
                            Outer known) {
  std::vector<filters::ResolvedFilter> outer_entries;
  outer_entries.reserve(outer.entries_.size());
  for (const Entry& entry : outer.entries_) outer_entries.push_back({entry.name, "", entry.entry});
  std::vector<filters::ResolveError> errors;
  std::vector<filters::ResolvedFilter> all =
      filters::ResolveFilters(outer_entries, entries, path, errors);
  for (const filters::ResolveError& error : errors) {
    if (known == Outer::kUnknown && error.message.ends_with(" to disable")) continue;
    root.Below(error.path).Error(error.message, error.suggestion);
  }
  FilterList list;
  for (filters::ResolvedFilter& resolved : all) {
    Entry& added =
        list.entries_.emplace_back(Entry{std::move(resolved.name), resolved.filter, std::nullopt});
    const auto from_outer = std::ranges::find(outer.entries_, added.entry, &Entry::entry);
    if (from_outer != outer.entries_.end()) {
      added.filter = from_outer->filter;
      continue;
    }
    for (int i = 0; i < entries.size(); ++i) {
      if (&entries[i] == added.entry) added.filter = built[static_cast<size_t>(i)];
    }
  }
  return list;
}

std::vector<filters::NamedFilter> FilterList::Named() const {
  std::vector<filters::NamedFilter> named;
  named.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    if (entry.filter) named.push_back({entry.name, *entry.filter});
  }
  return named;
}

bool FilterList::Has(std::string_view kind) const {
  return std::ranges::any_of(
      entries_, [kind](const Entry& entry) { return filters::KindOf(*entry.entry) == kind; });
}

std::shared_ptr<const filters::FilterChain> FilterList::MakeChain(const Field& root) const {
  std::vector<filters::NamedFilter> named = Named();
  if (!Has(kRequestId)) named.insert(named.begin(), DefaultRequestId());
  absl::StatusOr<filters::FilterChain> chain = filters::FilterChain::Build(std::move(named));
  if (chain.ok()) return std::make_shared<const filters::FilterChain>(*std::move(chain));
  root.Below("filters").Error(chain.status());
  return filters::FilterChain::None();
}

}  // namespace gatehouse::config
