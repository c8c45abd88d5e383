// Resource sets in few words, for tests of the control plane.
//
//   auto set = SetOf(3, {{Type::kCluster, "users", "v1"}, {Type::kCluster, "users", "v2",
//   "edge"}});
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

using Type = ResourceType;

struct Written {
  Type type;
  std::string name;
  std::string version;
  std::string group = {};
  Origin origin = {.file = "shop.yaml", .line = 10};
};

inline std::shared_ptr<const Resource> ResourceOf(const Written& written) {
  // Any bytes will do: a control plane does not look into them when it pushes.
  return std::make_shared<const Resource>(
      Resource{.type = written.type,
               .group = written.group,
               .name = written.name,
               .message = written.name + "=" + written.version,
               .version = written.version,
               .origin = std::make_shared<const Origin>(written.origin)});
}

inline ResourceSet::All AllOf(const std::vector<Written>& resources) {
  ResourceSet::All all;
  for (const Written& written : resources) {
    all[{written.group, written.type, written.name}] = ResourceOf(written);
  }
  return all;
}

inline std::shared_ptr<const ResourceSet> SetOf(
    uint64_t revision, const std::vector<Written>& resources,
    const std::shared_ptr<const ResourceSet>& previous = nullptr) {
  return std::make_shared<const ResourceSet>(revision, AllOf(resources), previous);
}

}  // namespace gatehouse::control
