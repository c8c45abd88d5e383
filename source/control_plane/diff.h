// What is different between two sets of resources, for people: unified diffs of YAML.
//
// Secrets are not shown, but that one has changed is said. Plain functions; any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

struct ResourceChange {
  std::shared_ptr<const Resource> before;  // null: added
  std::shared_ptr<const Resource> after;   // null: removed
  [[nodiscard]] const Resource& any() const { return after != nullptr ? *after : *before; }
};

// Of the contents; a resource that has only moved in its file is not different.
[[nodiscard]] std::vector<ResourceChange> Changes(const ResourceSet& before,
                                                  const ResourceSet& after);

// Hunks with three lines around, as diff -u writes them; empty when the texts are equal.
[[nodiscard]] std::string UnifiedDiff(std::string_view before, std::string_view after);

[[nodiscard]] std::string ToText(const std::vector<ResourceChange>& changes);

}  // namespace gatehouse::control
