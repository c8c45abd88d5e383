// ResourceSet: all resources of one revision, for all groups of gateways; immutable.
//
// Made by the sources (directory, store), read by the xDS server, the REST API and the validator.
// Any thread: everything here is const and shared by pointers; a revision in which one resource is
// different shares all others with the one before.
//
//   std::shared_ptr<const ResourceSet> set = store.Current();
//   std::shared_ptr<const GroupSet> edge = set->OfGroup("edge");
//   for (const auto& [name, resource] : edge->of(ResourceType::kCluster)) ...
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::control {

// In the order in which one refers to the other.
enum class ResourceType : uint8_t {
  kSecret,
  kRateLimit,
  kCluster,
  kEndpoints,
  kRouteTable,
  kListener,
};
inline constexpr size_t kResourceTypes = 6;
// "RouteTable"; "type.googleapis.com/gatehouse.v1.RouteTable"; "route_tables", as in a file.
[[nodiscard]] std::string_view TypeName(ResourceType type);
[[nodiscard]] std::string_view TypeUrl(ResourceType type);
[[nodiscard]] std::string_view FieldName(ResourceType type);
// Of any of the three.
[[nodiscard]] std::optional<ResourceType> TypeOf(std::string_view name);

// Where a resource was written, so that an error that comes much later still names the line.
struct Origin {
  std::string file;  // as its author knows it: "shop.yaml", "edge/users.yaml"
  int line = 0;      // of the resource
  // In the control plane's own directory, which alone changes it. Else it was applied.
  bool from_directory = false;
  // Paths below the resource with their lines, sorted by path as strings are.
  std::vector<std::pair<std::string, int>> lines;

  // The line of `path` or of its nearest ancestor that was written.
  [[nodiscard]] int LineOf(std::string_view path) const;
  bool operator==(const Origin&) const = default;
};

struct Resource {
  ResourceType type = ResourceType::kSecret;
  std::string group;                     // empty: of all groups
  std::string name;                      // of Endpoints: the cluster's
  std::string message;                   // binary, serialised deterministically
  std::string version;                   // the first 16 hex digits of SHA-256 over `message`
  std::shared_ptr<const Origin> origin;  // never null
};

using ResourcesByName = std::map<std::string, std::shared_ptr<const Resource>, std::less<>>;

// What the gateways of one group get: the resources of all groups, in which the group's own of the
// same type and name take the place of others.
class GroupSet {
 public:
  using Types = std::array<std::shared_ptr<const ResourcesByName>, kResourceTypes>;
  GroupSet(uint64_t revision, Types types) : revision_(revision), types_(std::move(types)) {}

  [[nodiscard]] uint64_t revision() const { return revision_; }
  [[nodiscard]] const ResourcesByName& of(ResourceType type) const {
    return *types_[static_cast<size_t>(type)];
  }
  // Two sets that share it are equal in this type.
  [[nodiscard]] const std::shared_ptr<const ResourcesByName>& shared(ResourceType type) const {
    return types_[static_cast<size_t>(type)];
  }

 private:
  uint64_t revision_;
  Types types_;
};

class ResourceSet {
 public:
  // By group ("" is that of all groups), type and name. Each is there once.
  struct Key {
    std::string group;
    ResourceType type;
    std::string name;
    auto operator<=>(const Key&) const = default;
  };
  using All = std::map<Key, std::shared_ptr<const Resource>>;

  // `previous` may be null; types of groups that did not change are shared with it.
  ResourceSet(uint64_t revision, All all, const std::shared_ptr<const ResourceSet>& previous);

  [[nodiscard]] uint64_t revision() const { return revision_; }
  [[nodiscard]] const All& all() const { return all_; }
  // Groups that have resources of their own.
  [[nodiscard]] std::set<std::string> groups() const;
  // Of any group; those without resources of their own share one. Never null.
  [[nodiscard]] std::shared_ptr<const GroupSet> OfGroup(std::string_view group) const;

 private:
  uint64_t revision_;
  All all_;
  std::map<std::string, std::shared_ptr<const GroupSet>, std::less<>> groups_;
};

}  // namespace gatehouse::control
