#include "source/config/build_routes.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/config/build_actions.h"
#include "source/config/messages.h"

namespace gatehouse::config {
namespace {

constexpr std::string_view kCors = "cors";

// Adds those that are not there yet: sets of one table mostly have the same errors.
void AppendNew(const ErrorList& from, ErrorList& to) {
  std::set<std::string> known;
  for (const ConfigError& error : to.entries()) known.insert(error.ToString());
  for (const ConfigError& error : from.entries()) {
    if (known.insert(error.ToString()).second) to.Add(error);
  }
}

std::string FiltersPath(int route) { return fmt::format("routes[{}].filters", route); }

}  // namespace

TableBuilder::TableBuilder(const Resource<v1::RouteTable>& resource, BuildScope& scope,
                           ErrorList& errors)
    : resource_(resource),
      scope_(scope),
      errors_(errors),
      built_(std::make_shared<BuiltTable>()),
      unchanged_(static_cast<size_t>(resource.message->routes_size()), Unchanged::kNotAsked) {
  if (scope.record != nullptr) {
    const auto at = scope.record->tables_by_name.find(message().name());
    if (at != scope.record->tables_by_name.end()) previous_ = &at->second;
  }
  message_same_ = previous_ != nullptr && IsSameMessage();
  if (!message_same_) CheckRouteNames();
  BuildOwnFilters();
}

// Route by route: those that differ are needed one by one, and the others are compared once.
bool TableBuilder::IsSameMessage() {
  const v1::RouteTable& old = *previous_->message;
  if (&old == &message()) return true;
  DCHECK(v1::RouteTable::descriptor()->field_count() == 4);  // name, domains, filters, routes
  if (old.routes_size() != message().routes_size() ||
      !std::ranges::equal(old.domains(), message().domains()) ||
      !SameMessages(old.filters(), message().filters())) {
    return false;
  }
  for (int i = 0; i < old.routes_size(); ++i) {
    if (PreviousIndex(i) != i || !RouteUnchanged(i)) return false;
  }
  return true;
}

std::string TableBuilder::RouteName(int index) const {
  const std::string& name = message().routes(index).name();
  return name.empty() ? fmt::format("{}[{}]", message().name(), index) : name;
}

void TableBuilder::CheckRouteNames() {
  const Field root(source(), errors_);
  const Field routes = root.Below("routes");
  std::unordered_set<std::string_view> seen;
  seen.reserve(static_cast<size_t>(message().routes_size()));
  for (int i = 0; i < message().routes_size(); ++i) {
    const std::string& name = message().routes(i).name();
    if (name.empty()) continue;
    const Field route = routes.Item(static_cast<size_t>(i));
    if (!CheckName(name, route.Below("name"))) continue;
    if (!seen.insert(name).second) {
      route.Below("name").Error(fmt::format("\"{}\" is already the name of a route here", name));
    }
  }
  for (int i = 0; i < message().routes_size(); ++i) {
    if (!message().routes(i).name().empty() || !seen.contains(RouteName(i))) continue;
    const Field route = routes.Item(static_cast<size_t>(i));
    route.Error(
        fmt::format("would be called \"{}\", as another route is; give it a name", RouteName(i)));
  }
}

const References& TableBuilder::PreviousReferences(int previous_index) const {
  static const References kNone;
  const auto& all = previous_->built->route_references;
  const auto at = all.find(static_cast<uint32_t>(previous_index));
  return at == all.end() ? kNone : at->second;
}

void TableBuilder::BuildOwnFilters() {
  const Field root(source(), errors_);
  filters_same_ =
      previous_ != nullptr &&
      (message_same_ || SameMessages(previous_->message->filters(), message().filters())) &&
      !scope_.Changed(previous_->built->filter_references);
  if (filters_same_) {
    built_->filters = previous_->built->filters;
    built_->filter_references = previous_->built->filter_references;
  } else {
    BuiltFilters own = BuildFilters(message().filters(), "filters", scope_, root);
    built_->filters = std::move(own.filters);
    built_->filter_references = std::move(own.references);
  }
  for (int i = 0; i < message().routes_size(); ++i) {
    const v1::Route& route = message().routes(i);
    if (!route.has_delegate() || route.filters().empty()) continue;
    const auto index = static_cast<uint32_t>(i);
    if (RouteUnchanged(i)) {
      const int old = *PreviousIndex(i);
      if (!scope_.Changed(PreviousReferences(old))) {
        built_->mount_filters[index] =
            previous_->built->mount_filters.at(static_cast<uint32_t>(old));
        built_->route_references[index] = PreviousReferences(old);
        continue;
      }
    }
    BuiltFilters own = BuildFilters(route.filters(), FiltersPath(i), scope_, root);
    built_->mount_filters[index] = std::move(own.filters);
    built_->route_references[index] = std::move(own.references);
  }
}

FilterList TableBuilder::HandDown(const FilterList& inherited, int route) {
  // What is wrong with the lists is found again when the set is built.
  ErrorList ignored;
  const Field root(source(), ignored);
  FilterList list =
      FilterList::Over(inherited, message().filters(), built_->filters, "filters", root);
  const auto own = built_->mount_filters.find(static_cast<uint32_t>(route));
  if (own == built_->mount_filters.end()) return list;
  return FilterList::Over(list, message().routes(route).filters(), own->second, FiltersPath(route),
                          root);
}

size_t TableBuilder::Want(const RouteDefaults& defaults, const FilterList& inherited,
                          FilterList::Outer outer) {
  RouteSet set;
  set.defaults = defaults;
  set.inherited = inherited.Named();
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (built_->sets[i].IsFor(defaults, set.inherited)) return i;
  }
  wanted_.push_back({inherited, outer});
  built_->sets.push_back(std::move(set));
  return wanted_.size() - 1;
}

std::optional<int> TableBuilder::PreviousIndex(int index) {
  if (previous_ == nullptr) return std::nullopt;
  const auto& old = previous_->message->routes();
  const std::string& name = message().routes(index).name();
  if (index < old.size() && old[index].name() == name) return index;
  if (name.empty()) return std::nullopt;
  if (!previous_names_) {
    previous_names_.emplace();
    for (int i = 0; i < old.size(); ++i) {
      if (!old[i].name().empty()) previous_names_->emplace(old[i].name(), i);
    }
  }
  const auto at = previous_names_->find(name);
  if (at == previous_names_->end()) return std::nullopt;
  return at->second;
}

bool TableBuilder::RouteUnchanged(int index) {
  if (message_same_) return true;
  Unchanged& known = unchanged_[static_cast<size_t>(index)];
  if (known == Unchanged::kNotAsked) {
    const std::optional<int> old = PreviousIndex(index);
    const bool same = old && SameMessage(previous_->message->routes(*old), message().routes(index));
    known = same ? Unchanged::kYes : Unchanged::kNo;
  }
  return known == Unchanged::kYes;
}

bool TableBuilder::MatchUnchanged() {
  if (previous_ == nullptr) return false;
  if (message_same_) return true;
  const v1::RouteTable& old = *previous_->message;
  if (!std::ranges::equal(old.domains(), message().domains())) return false;
  if (old.routes_size() != message().routes_size()) return false;
  for (int i = 0; i < old.routes_size(); ++i) {
    const v1::Route& a = old.routes(i);
    const v1::Route& b = message().routes(i);
    if (a.name() != b.name() || a.priority() != b.priority()) return false;
    if (RouteUnchanged(i)) continue;
    if (a.has_delegate() != b.has_delegate() || !SameMessage(a.match(), b.match())) return false;
    if (!SameMessage(a.delegate(), b.delegate())) return false;
  }
  return true;
}

bool TableBuilder::FileUnchanged(int index, const Route& old) {
  const absl::StatusOr<std::string>& content =
      scope_.ReadFile(message().routes(index).respond().file(), kMaxRespondFile, kRespondFile);
  return content.ok() && old.respond.has_value() && *content == old.respond->body;
}

bool TableBuilder::IsWholePredecessor() {
  if (!message_same_) return false;
  const BuiltTable& old = *previous_->built;
  if (scope_.Changed(old.references) || old.sets.size() != built_->sets.size()) return false;
  for (size_t i = 0; i < old.sets.size(); ++i) {
    if (!old.sets[i].IsFor(built_->sets[i].defaults, built_->sets[i].inherited)) return false;
  }
  return std::ranges::all_of(old.file_routes, [&](uint32_t index) {
    return FileUnchanged(static_cast<int>(index), *old.sets.front().routes[index]);
  });
}

std::shared_ptr<const BuiltTable> TableBuilder::Build(std::vector<std::shared_ptr<Route>>* fresh) {
  if (IsWholePredecessor()) return previous_->built;
  for (int i = 0; i < message().routes_size(); ++i) {
    const v1::Route& route = message().routes(i);
    const auto index = static_cast<uint32_t>(i);
    if (route.respond().content_case() == v1::Respond::kFile) built_->file_routes.push_back(index);
    if (route.has_split()) built_->split_routes.push_back(index);
  }
  for (size_t i = 0; i < wanted_.size(); ++i) {
    ErrorList found;
    BuildSet(wanted_[i], built_->sets[i], found, fresh);
    AppendNew(found, errors_);
  }
  CollectReferences();
  return built_;
}

void TableBuilder::BuildSet(const Wanted& wanted, RouteSet& set, ErrorList& errors,
                            std::vector<std::shared_ptr<Route>>* fresh) {
  const Field root(source(), errors);
  const FilterList list = FilterList::Over(wanted.inherited, message().filters(), built_->filters,
                                           "filters", root, wanted.outer);
  const std::shared_ptr<const filters::FilterChain> chain = list.MakeChain(root);
  const RouteSet* previous_set = nullptr;
  if (filters_same_) {
    for (const RouteSet& old : previous_->built->sets) {
      if (old.IsFor(set.defaults, set.inherited)) previous_set = &old;
    }
  }
  set.routes.reserve(static_cast<size_t>(message().routes_size()));
  for (int i = 0; i < message().routes_size(); ++i) {
    std::shared_ptr<const Route> route = Shared(i, previous_set);
    if (route == nullptr) {
      std::shared_ptr<Route> made = BuildRoute(i, {set.defaults, list, chain, wanted.outer}, root);
      if (made != nullptr) fresh->push_back(made);
      route = std::move(made);
    }
    set.routes.push_back(std::move(route));
  }
}

std::shared_ptr<const Route> TableBuilder::Shared(int index, const RouteSet* previous_set) {
  if (previous_set == nullptr || !RouteUnchanged(index)) return nullptr;
  const int old_index = *PreviousIndex(index);
  const std::shared_ptr<const Route>& old = previous_set->routes[static_cast<size_t>(old_index)];
  const v1::Route& route = message().routes(index);
  if (old == nullptr || scope_.Changed(PreviousReferences(old_index))) return nullptr;
  for (const Target& target : old->targets) {
    if (scope_.changed_clusters.contains(target.cluster->name())) return nullptr;
  }
  if (route.respond().content_case() == v1::Respond::kFile && !FileUnchanged(index, *old)) {
    return nullptr;
  }
  if (!PreviousReferences(old_index).empty()) {
    built_->route_references[static_cast<uint32_t>(index)] = PreviousReferences(old_index);
  }
  return old;
}

std::shared_ptr<Route> TableBuilder::BuildRoute(int index, const Place& place, const Field& root) {
  const v1::Route& message_of_route = message().routes(index);
  const Field routes = root.Below("routes");
  const Field field = routes.Item(static_cast<size_t>(index));
  auto route = std::make_shared<Route>();
  route->name = RouteName(index);
  route->table = message().name();
  ReadRouteOptions(message_of_route, place.defaults, field, route.get());
  BuildAction(message_of_route, scope_, field, route.get());
  const FilterEntries& entries = message_of_route.filters();
  if (entries.empty()) {
    route->chain = place.chain;
    route->has_cors = place.list.Has(kCors);
  } else {
    const auto key = static_cast<uint32_t>(index);
    const auto mount = built_->mount_filters.find(key);
    BuiltFilters own;
    if (mount == built_->mount_filters.end()) {
      own = BuildFilters(entries, FiltersPath(index), scope_, root);
      if (!own.references.empty()) built_->route_references[key] = own.references;
    } else {
      own.filters = mount->second;
    }
    const FilterList list =
        FilterList::Over(place.list, entries, own.filters, FiltersPath(index), root, place.outer);
    route->chain = list.MakeChain(field);
    route->has_cors = list.Has(kCors);
  }
  return message_of_route.has_delegate() ? nullptr : route;
}

void TableBuilder::CollectReferences() {
  References& all = built_->references;
  all = built_->filter_references;
  for (const auto& [index, references] : built_->route_references) all.Add(references);
  std::unordered_set<const upstream::Cluster*> targets;
  for (const std::shared_ptr<const Route>& route : built_->sets.front().routes) {
    if (route == nullptr) continue;
    for (const Target& target : route->targets) {
      if (target.cluster != nullptr) targets.insert(target.cluster);
    }
  }
  for (const upstream::Cluster* cluster : targets) all.clusters.push_back(cluster->name());
  all.Unite();
}

}  // namespace gatehouse::config
