#include "source/config/build_matchers.h"

#include <algorithm>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/config/build_actions.h"

namespace gatehouse::config {
namespace {

// How the route builder's errors call a table: what is in front of the path within the resource.
std::string WhereOf(const TableBuilder& table) {
  std::string path = table.source().FullPath("");
  if (path.empty()) path = fmt::format("RouteTable(\"{}\")", table.message().name());
  return path;
}

route::ValueMatch ValueMatchOf(const v1::ValueMatch& match) {
  using Kind = route::ValueMatch::Kind;
  route::ValueMatch value{.name = match.name(), .invert = match.invert()};
  const auto set = [&value](Kind kind, const std::string& text) {
    value.kind = kind;
    value.text = text;
  };
  switch (match.by_case()) {
    case v1::ValueMatch::kExact:
      set(Kind::kExact, match.exact());
      break;
    case v1::ValueMatch::kPrefix:
      set(Kind::kPrefix, match.prefix());
      break;
    case v1::ValueMatch::kSuffix:
      set(Kind::kSuffix, match.suffix());
      break;
    case v1::ValueMatch::kContains:
      set(Kind::kContains, match.contains());
      break;
    case v1::ValueMatch::kRegex:
      set(Kind::kRegex, match.regex());
      break;
    case v1::ValueMatch::kRange:
      value.kind = Kind::kRange;
      value.from = match.range().from();
      value.to = match.range().to();
      break;
    case v1::ValueMatch::kPresent:
      // "present: false" is "absent".
      if (!match.present()) value.invert = !value.invert;
      break;
    case v1::ValueMatch::BY_NOT_SET:
      break;
  }
  return value;
}

template <typename List>
std::vector<route::ValueMatch> ValueMatchesOf(const List& list) {
  std::vector<route::ValueMatch> matches;
  matches.reserve(static_cast<size_t>(list.size()));
  for (const v1::ValueMatch& match : list) matches.push_back(ValueMatchOf(match));
  return matches;
}

route::RouteSpec RouteSpecOf(const v1::Route& message) {
  const v1::Match& match = message.match();
  return {.name = message.name(),
          .path = PathMatchOf(match),
          .methods = {match.methods().begin(), match.methods().end()},
          .headers = ValueMatchesOf(match.headers()),
          .query = ValueMatchesOf(match.query()),
          .cookies = ValueMatchesOf(match.cookies()),
          .priority = message.priority()};
}

// A table on two listeners has its errors twice.
bool IsKnown(const ErrorList& list, const ConfigError& error) {
  if (list.entries().size() >= ErrorList::kMaxKept) return false;  // it is only counted
  return std::ranges::any_of(list.entries(), [&](const ConfigError& other) {
    return other.path == error.path && other.message == error.message;
  });
}

}  // namespace

void MatcherBuilder::Serve(TableInBuild& table, FilterList::Outer outer) {
  static_cast<void>(Lay(table, FilterList(), outer));
}

uint32_t MatcherBuilder::Lay(TableInBuild& table, const FilterList& inherited,
                             FilterList::Outer outer) {
  const v1::RouteTable& message = table.builder->message();
  const size_t set = table.builder->Want(defaults_, inherited, outer);
  const auto part = static_cast<uint32_t>(parts_.size());
  const auto [known, is_new] = known_.try_emplace({&table, set}, part);
  if (!is_new) return known->second;
  const size_t times = ++times_[message.name()];
  places_.push_back({&table, set, {}});
  parts_.push_back(
      {.table = message.name(),
       .name = times == 1 ? message.name() : fmt::format("{} ({})", message.name(), times)});
  way_.push_back(&table);
  LayMounts(part, inherited);
  way_.pop_back();
  return part;
}

void MatcherBuilder::LayMounts(uint32_t part, const FilterList& inherited) {
  // Deeper ones are an error of the mount that is too deep, which the route builder finds.
  if (way_.size() > route::kMaxDelegateDepth + 1) return;
  TableBuilder& table = *places_[part].table->builder;
  for (int i = 0; i < table.message().routes_size(); ++i) {
    const v1::Route& route = table.message().routes(i);
    if (!route.has_delegate()) continue;
    const FilterList handed_down = table.HandDown(inherited, i);
    for (const std::string& name : route.delegate().route_tables()) {
      const auto at = tables_.find(name);
      // An unknown name is reported once, with the table.
      if (at == tables_.end() || IsCircle(at->second, i)) continue;
      if (parts_.size() >= kMaxParts) {
        const Field root(table.source(), table.errors());
        return root.Error(fmt::format(
            "tables that this one mounts are mounted in more than {} different ways", kMaxParts));
      }
      const uint32_t mounted = Lay(at->second, handed_down, FilterList::Outer::kKnown);
      places_[part].mounts.emplace_back(i, mounted);
      parts_[part].mounts.push_back(mounted);
    }
  }
}

bool MatcherBuilder::IsCircle(const TableInBuild& next, int route) {
  const auto start = std::ranges::find(way_, &next);
  if (start == way_.end()) return false;
  std::string circle;
  for (auto at = start; at != way_.end(); ++at) {
    circle += (*at)->builder->message().name() + " -> ";
  }
  TableBuilder& table = *way_.back()->builder;
  const Field root(table.source(), table.errors());
  const Field routes = root.Below("routes");
  const Field field = routes.Item(static_cast<size_t>(route));
  field.Below("delegate.route_tables")
      .Error(
          fmt::format("tables delegate in a circle: {}{}", circle, next.builder->message().name()));
  return true;
}

bool MatcherBuilder::Unchanged() const {
  return std::ranges::all_of(
      places_, [](const Place& place) { return place.table->builder->MatchUnchanged(); });
}

route::TableSpec MatcherBuilder::SpecOf(uint32_t part, uint32_t* action) const {
  const Place& place = places_[part];
  const v1::RouteTable& message = place.table->builder->message();
  route::TableSpec spec{.name = parts_[part].name,
                        .where = WhereOf(*place.table->builder),
                        .domains = {message.domains().begin(), message.domains().end()}};
  spec.routes.reserve(static_cast<size_t>(message.routes_size()));
  auto mount = place.mounts.begin();
  for (int i = 0; i < message.routes_size(); ++i) {
    route::RouteSpec& route = spec.routes.emplace_back(RouteSpecOf(message.routes(i)));
    if (!message.routes(i).has_delegate()) route.action = (*action)++;
    for (; mount != place.mounts.end() && mount->first == i; ++mount) {
      route.delegates.push_back(parts_[mount->second].name);
    }
  }
  return spec;
}

std::shared_ptr<const route::RouteTable> MatcherBuilder::Build() {
  std::vector<route::TableSpec> specs;
  specs.reserve(parts_.size());
  uint32_t action = 0;
  for (uint32_t i = 0; i < parts_.size(); ++i) specs.push_back(SpecOf(i, &action));
  route::RouteTableBuilder builder;
  for (const route::TableSpec& spec : specs) builder.Add(spec);
  route::RouteTableBuilder::Result result = builder.Build();
  for (const absl::Status& error : result.errors) {
    Report(MessageOf(error), ConfigError::Severity::kError);
  }
  // A table with errors is not all there: its mounts may be missing.
  const bool whole = std::ranges::all_of(
      places_, [](const Place& place) { return place.table->builder->errors().ok(); });
  for (const std::string& warning : result.warnings) {
    if (whole) Report(warning, ConfigError::Severity::kWarning);
  }
  return std::move(result.table);
}

// Takes "route_tables[0].routes[3].match.path: must start with '/'" to the table that is called so.
void MatcherBuilder::Report(std::string_view text, ConfigError::Severity severity) {
  for (const Place& place : places_) {
    TableBuilder& table = *place.table->builder;
    const std::string where = WhereOf(table);
    if (!text.starts_with(where) || text.substr(where.size(), 1) != ".") continue;
    const std::string_view rest = text.substr(where.size() + 1);
    // A warning has the route's name behind the path: "routes[3] ('users'): ..."
    const size_t path_end = std::min(rest.find_first_of(": "), rest.size());
    const size_t colon = std::min(rest.find(": "), rest.size());
    ConfigError error = table.source().Error(
        rest.substr(0, path_end), std::string(rest.substr(std::min(colon + 2, rest.size()))));
    error.severity = severity;
    if (!IsKnown(table.errors(), error)) table.errors().Add(std::move(error));
    return;
  }
  TableBuilder& first = *places_.front().table->builder;
  const Field root(first.source(), first.errors());
  root.Error(std::string(text));
}

std::vector<std::shared_ptr<const Route>> MatcherBuilder::Routes() const {
  std::vector<std::shared_ptr<const Route>> routes;
  for (const Place& place : places_) {
    for (const std::shared_ptr<const Route>& route : place.table->built->sets[place.set].routes) {
      if (route != nullptr) routes.push_back(route);
    }
  }
  return routes;
}

}  // namespace gatehouse::config
