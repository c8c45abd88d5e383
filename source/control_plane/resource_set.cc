#include "source/control_plane/resource_set.h"

#include <algorithm>
#include <utility>

namespace gatehouse::control {

namespace {

struct Names {
  std::string_view name;
  std::string_view url;
  std::string_view field;
};
constexpr std::array<Names, kResourceTypes> kNames = {{
    {"Secret", "type.googleapis.com/gatehouse.v1.Secret", "secrets"},
    {"RateLimit", "type.googleapis.com/gatehouse.v1.RateLimit", "rate_limits"},
    {"Cluster", "type.googleapis.com/gatehouse.v1.Cluster", "clusters"},
    {"Endpoints", "type.googleapis.com/gatehouse.v1.Endpoints", "endpoints"},
    {"RouteTable", "type.googleapis.com/gatehouse.v1.RouteTable", "route_tables"},
    {"Listener", "type.googleapis.com/gatehouse.v1.Listener", "listeners"},
}};

const Names& NamesOf(ResourceType type) { return kNames[static_cast<size_t>(type)]; }

// What `path` is a part of: "routes[3].match" of "routes[3].match.path", "routes" of "routes[3]",
// nothing of "routes". A key in brackets may have any characters in it.
std::string_view Parent(std::string_view path) {
  if (path.ends_with("\"]")) {
    const size_t open = path.rfind("[\"");
    return open == std::string_view::npos ? std::string_view() : path.substr(0, open);
  }
  const size_t cut = path.find_last_of(".[");
  return cut == std::string_view::npos ? std::string_view() : path.substr(0, cut);
}

bool SameResource(const Resource& one, const Resource& other) {
  return one.version == other.version && one.message == other.message &&
         (one.origin == other.origin || *one.origin == *other.origin);
}

using Types = GroupSet::Types;

// `types` with those maps of `previous` that have the very same resources.
void Share(Types& types, const GroupSet& previous) {
  for (size_t i = 0; i < kResourceTypes; ++i) {
    const auto& before = previous.shared(static_cast<ResourceType>(i));
    if (types[i] != before && *types[i] == *before) types[i] = before;
  }
}

}  // namespace

std::string_view TypeName(ResourceType type) { return NamesOf(type).name; }
std::string_view TypeUrl(ResourceType type) { return NamesOf(type).url; }
std::string_view FieldName(ResourceType type) { return NamesOf(type).field; }

std::optional<ResourceType> TypeOf(std::string_view name) {
  for (size_t i = 0; i < kResourceTypes; ++i) {
    const Names& names = kNames[i];
    if (name == names.name || name == names.url || name == names.field) {
      return static_cast<ResourceType>(i);
    }
  }
  return std::nullopt;
}

int Origin::LineOf(std::string_view path) const {
  for (; !path.empty(); path = Parent(path)) {
    const auto found =
        std::lower_bound(lines.begin(), lines.end(), path,
                         [](const auto& entry, std::string_view key) { return entry.first < key; });
    if (found != lines.end() && found->first == path) return found->second;
  }
  return line;
}

ResourceSet::ResourceSet(uint64_t revision, All all,
                         const std::shared_ptr<const ResourceSet>& previous)
    : revision_(revision), all_(std::move(all)) {
  if (previous != nullptr) {
    for (auto& [key, resource] : all_) {
      const auto before = previous->all_.find(key);
      if (before != previous->all_.end() && SameResource(*resource, *before->second)) {
        resource = before->second;
      }
    }
  }

  // all_ is in order of groups, so those of all groups come first.
  std::array<ResourcesByName, kResourceTypes> common;
  auto next = all_.begin();
  for (; next != all_.end() && next->first.group.empty(); ++next) {
    auto& resources = common[static_cast<size_t>(next->first.type)];
    resources.emplace_hint(resources.end(), next->first.name, next->second);
  }
  Types common_types;
  for (size_t i = 0; i < kResourceTypes; ++i) {
    common_types[i] = std::make_shared<const ResourcesByName>(std::move(common[i]));
  }
  if (previous != nullptr) Share(common_types, *previous->OfGroup(""));
  groups_[""] = std::make_shared<const GroupSet>(revision_, common_types);

  while (next != all_.end()) {
    const std::string& group = next->first.group;
    std::array<std::shared_ptr<ResourcesByName>, kResourceTypes> own;
    for (; next != all_.end() && next->first.group == group; ++next) {
      const auto type = static_cast<size_t>(next->first.type);
      if (own[type] == nullptr) own[type] = std::make_shared<ResourcesByName>(*common_types[type]);
      (*own[type])[next->first.name] = next->second;
    }
    Types types = common_types;
    for (size_t i = 0; i < kResourceTypes; ++i) {
      if (own[i] != nullptr) types[i] = std::move(own[i]);
    }
    if (previous != nullptr) Share(types, *previous->OfGroup(group));
    groups_[group] = std::make_shared<const GroupSet>(revision_, types);
  }
}

std::set<std::string> ResourceSet::groups() const {
  std::set<std::string> groups;
  for (const auto& [name, set] : groups_) {
    if (!name.empty()) groups.insert(name);
  }
  return groups;
}

std::shared_ptr<const GroupSet> ResourceSet::OfGroup(std::string_view group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? groups_.find("")->second : found->second;
}

}  // namespace gatehouse::control
