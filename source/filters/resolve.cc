#include "source/filters/resolve.h"

#include <algorithm>
#include <set>

#include "api/gatehouse/v1/filter.pb.h"
#include "fmt/format.h"
#include "source/base/nearest.h"

namespace gatehouse::filters {

namespace {

// "acme.ApiKey" of "type.googleapis.com/acme.ApiKey".
std::string_view TypeOf(const google::protobuf::Any& any) {
  const std::string_view url = any.type_url();
  const size_t slash = url.rfind('/');
  return slash == std::string_view::npos ? url : url.substr(slash + 1);
}

std::string_view NearestOf(const std::vector<ResolvedFilter>& filters, std::string_view name) {
  std::vector<std::string_view> names;
  for (const ResolvedFilter& filter : filters) names.push_back(filter.name);
  return Nearest(name, names);
}

}  // namespace

std::string_view KindOf(const gatehouse::v1::Filter& filter) {
  const auto kind = filter.kind_case();
  if (kind == gatehouse::v1::Filter::KIND_NOT_SET) return {};
  if (kind == gatehouse::v1::Filter::kExtension) return TypeOf(filter.extension());
  return filter.GetDescriptor()->FindFieldByNumber(kind)->name();
}

std::string_view NameOf(const gatehouse::v1::Filter& filter) {
  return filter.name().empty() ? KindOf(filter) : std::string_view(filter.name());
}

std::vector<ResolvedFilter> ResolveFilters(
    const std::vector<ResolvedFilter>& outer,
    const google::protobuf::RepeatedPtrField<gatehouse::v1::Filter>& inner,
    std::string_view inner_path, std::vector<ResolveError>& errors) {
  std::vector<ResolvedFilter> resolved = outer;
  std::set<std::string_view> seen;
  for (int i = 0; i < inner.size(); ++i) {
    const gatehouse::v1::Filter& entry = inner[i];
    const std::string path = fmt::format("{}[{}]", inner_path, i);
    const std::string_view name = NameOf(entry);
    if (name.empty()) {
      errors.push_back({path, "a filter needs a kind, such as cors", ""});
      continue;
    }
    if (!seen.insert(name).second) {
      errors.push_back(
          {path, fmt::format("a second filter \"{}\" in one list; give it another name", name),
           ""});
      continue;
    }
    const auto at = std::ranges::find(resolved, name, &ResolvedFilter::name);
    if (entry.disabled()) {
      if (at != resolved.end()) {
        resolved.erase(at);
      } else {
        errors.push_back({path, fmt::format("there is no filter \"{}\" to disable", name),
                          std::string(NearestOf(resolved, name))});
      }
      continue;
    }
    if (KindOf(entry).empty()) {
      errors.push_back({path, "a filter needs a kind, such as cors, or disabled: true", ""});
      continue;
    }
    ResolvedFilter filter = {std::string(name), path, &entry};
    if (at != resolved.end()) {
      *at = std::move(filter);
    } else {
      resolved.push_back(std::move(filter));
    }
  }
  return resolved;
}

}  // namespace gatehouse::filters
