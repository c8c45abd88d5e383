// Files of resources (YAML or JSON of gatehouse.v1.ResourceList) to resources that know where they
// were written, and back to YAML.
//
// ${NAME} is not replaced from the environment here: it is the gateway's environment that counts,
// and a control plane must not spread its own. Plain functions; any thread.
//
//   config::ErrorList errors;
//   auto resources = ParseResourceFile({.name = "shop.yaml", .text = text}, errors);
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/config/config_error.h"
#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

struct ResourceFile {
  std::string name;  // for errors; .json, .yaml and .yml say what it is
  std::string text;
  // Of resources for which the file names no group of its own.
  std::string group = {};
  // A file in a folder of a group belongs to this group: another `group:` in it is an error.
  bool group_is_fixed = false;
  bool from_directory = false;
};

using Resources = std::vector<std::shared_ptr<const Resource>>;

// What could be read; all of it when nothing was added to `errors`.
[[nodiscard]] Resources ParseResourceFile(const ResourceFile& file, config::ErrorList& errors);
// Adds all to `all`; a name that is there already is an error that tells both places.
void AddResources(const Resources& resources, ResourceSet::All* all, config::ErrorList& errors);

// An error in a resource, at the file and line where it was written.
[[nodiscard]] config::ConfigError ErrorIn(const Resource& resource, std::string_view path,
                                          std::string message, std::string suggestion = {});
// "shop.yaml:12", or "the API" when it came without a file.
[[nodiscard]] std::string PlaceOf(const Resource& resource);
// Why `group` cannot be the name of one; empty: it can.
[[nodiscard]] std::string WrongGroup(std::string_view group);

// As a ResourceList that can be applied again, but for secrets: these are "[redacted]". All are of
// one group.
[[nodiscard]] std::string ToYaml(const std::vector<const Resource*>& resources);
// One resource by itself, secrets redacted.
[[nodiscard]] std::string ToYaml(const Resource& resource);
[[nodiscard]] std::string ToJson(const Resource& resource);
// Over all values that are never shown, in their order: two resources that look the same and differ
// here differ in a secret.
[[nodiscard]] std::string SecretsDigest(const Resource& resource);

}  // namespace gatehouse::control
