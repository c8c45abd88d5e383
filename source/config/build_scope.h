// BuildScope: what one build has to offer to those who build single resources, and what changed
// since the build before. Inside config/ only.
//
// On the stack of Build(); main thread. It is filled in the order of the references: secrets,
// clusters and rate limits first, then tables, then listeners.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "source/config/build.h"
#include "source/config/build_record.h"
#include "source/config/file_read.h"
#include "source/filters/build_context.h"

namespace gatehouse::config {

// Names of one kind of resource.
using NameSet = std::set<std::string, std::less<>>;

struct BuildScope {
  BuildScope(const BuildEnvironment& given_environment, const Resources& given_resources,
             const Snapshot* given_previous)
      : environment(given_environment),
        resources(given_resources),
        previous(given_previous),
        record(given_previous == nullptr ? nullptr : given_previous->record.get()) {
    offers.states = &environment.states;
    offers.metrics = &environment.metrics;
    offers.workers = environment.workers;
  }

  const BuildEnvironment& environment;
  const Resources& resources;
  const Snapshot* previous;   // or null
  const BuildRecord* record;  // its record, or null

  // Everything that was named, so that a reference to a broken resource is no second error: that
  // has an empty stand-in here.
  filters::BuildResources offers;
  NameSet route_tables;
  // Where secrets come from, as it was written: "/etc/site.pem", "$SITE_KEY".
  std::map<std::string, std::string, std::less<>> secret_places;
  // With errors of their own, or of another machine: nobody judges their text.
  NameSet broken_secrets;

  // Not the same object (or text) as in `previous`.
  NameSet changed_clusters;
  NameSet changed_rate_limits;
  NameSet changed_secrets;

  [[nodiscard]] bool Changed(const References& references) const {
    const auto any = [](const std::vector<std::string>& names, const NameSet& changed) {
      return !changed.empty() && std::any_of(names.begin(), names.end(), [&](const auto& name) {
        return changed.contains(name);
      });
    };
    return any(references.clusters, changed_clusters) ||
           any(references.rate_limits, changed_rate_limits) ||
           any(references.secrets, changed_secrets);
  }

  // Read once per build. `path` as it was written, `purpose` a literal.
  [[nodiscard]] const absl::StatusOr<std::string>& ReadFile(const std::string& path,
                                                            size_t max_bytes,
                                                            std::string_view purpose);
  // All that were asked for, also those that are not there.
  [[nodiscard]] std::vector<FileRead> TakeFilesRead() { return std::move(files_read_); }

 private:
  std::vector<FileRead> files_read_;
  std::map<std::string, absl::StatusOr<std::string>> files_;
};

template <typename Map>
[[nodiscard]] std::vector<std::string_view> NamesOf(const Map& map) {
  std::vector<std::string_view> names;
  names.reserve(map.size());
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}
[[nodiscard]] inline std::vector<std::string_view> NamesOf(const NameSet& names) {
  return {names.begin(), names.end()};
}

}  // namespace gatehouse::config
