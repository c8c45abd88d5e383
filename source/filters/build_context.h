// BuildContext: what a filter's Build may ask for, and where it says what is wrong.
//
// Owner: the builder of the config; one BuildContext per filter entry over one BuildResources per
// build. Thread: main. Pointers that it hands out are part of the config that is being built, so a
// filter may keep them.
//
//   absl::StatusOr<const upstream::Cluster*> cluster = context.Cluster("authority",
//   config.authority()); if (!cluster.ok()) return cluster.status(); if (config.ttl() == 0) return
//   context.Error("ttl", "must not be 0");
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gatehouse::v1 {
class RateLimit;
}
namespace gatehouse::observe {
class MetricRegistry;
}
namespace gatehouse::upstream {
class Cluster;
}

namespace gatehouse::filters {

// Objects that outlive a config: what a limit has counted must not start over because another part
// of the config changed. Keeps nothing alive itself; an object lives as long as some config uses
// it. Owner: who builds configs again and again. Thread: main.
class StateStore {
 public:
  // `served`: by configs of a gateway that runs; not those that are only looked at.
  explicit StateStore(bool served = true) : served_(served) {}
  [[nodiscard]] bool served() const { return served_; }
  // The object of that type, name and fingerprint which some config still uses, or else make().
  // The fingerprint holds whatever must be equal for the state to go on, such as a serialized
  // resource.
  template <typename T, typename Make>
  [[nodiscard]] std::shared_ptr<T> Get(std::string_view name, std::string_view fingerprint,
                                       Make&& make) {
    std::weak_ptr<void>& entry = Entry(&kTypeTag<T>, name, fingerprint);
    if (std::shared_ptr<void> known = entry.lock()) return std::static_pointer_cast<T>(known);
    std::shared_ptr<T> made = make();
    entry = made;
    return made;
  }
  // Entries, those included whose objects are gone and not yet forgotten.
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  template <typename T>
  static constexpr char kTypeTag = 0;

  struct Key {
    const void* type;
    std::string name;
    std::string fingerprint;
    friend bool operator==(const Key&, const Key&) = default;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  std::weak_ptr<void>& Entry(const void* type, std::string_view name, std::string_view fingerprint);

  static constexpr size_t kMinSweep = 64;

  bool served_;
  std::map<Key, std::weak_ptr<void>> entries_;
  size_t sweep_at_ = kMinSweep;  // entries at which dead ones are looked for
};

// What one build has to offer, by name.
struct BuildResources {
  template <typename T>
  using ByName = std::map<std::string, T, std::less<>>;

  ByName<const upstream::Cluster*> clusters;
  ByName<const gatehouse::v1::RateLimit*> rate_limits;
  ByName<std::string> secrets;  // their text
  StateStore* states = nullptr;
  observe::MetricRegistry* metrics = nullptr;
  size_t workers = 1;
};

// What is wrong with a filter's config.
struct FieldError {
  std::string path;  // of the field, from the root of the config
  std::string message;
  std::string suggestion;  // a name that was probably meant, or empty
};

class BuildContext {
 public:
  // `path`: of the filter's own config, such as route_tables[0].filters[2].cors.
  BuildContext(const BuildResources& resources, std::string path)
      : resources_(resources), path_(std::move(path)) {}
  BuildContext(const BuildContext&) = delete;
  BuildContext& operator=(const BuildContext&) = delete;

  // `field` (relative to the filter's config) is what names it; it is in the error when there is no
  // such thing. What was asked for is in the references.
  [[nodiscard]] absl::StatusOr<const upstream::Cluster*> Cluster(std::string_view field,
                                                                 std::string_view name);
  [[nodiscard]] absl::StatusOr<const gatehouse::v1::RateLimit*> RateLimit(std::string_view field,
                                                                          std::string_view name);
  [[nodiscard]] absl::StatusOr<std::string_view> Secret(std::string_view field,
                                                        std::string_view name);
  [[nodiscard]] StateStore& states() { return *resources_.states; }
  // Where a filter acquires its own counters.
  [[nodiscard]] observe::MetricRegistry& metrics() { return *resources_.metrics; }
  [[nodiscard]] size_t workers() const { return resources_.workers; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Notes an error at a field ("": the filter as a whole) and gives the status to return. A Build
  // that can find several errors notes them all and returns the last.
  absl::Status Error(std::string_view field, std::string_view message,
                     std::string_view suggestion = {});
  // When Build failed and this is empty, its status is the error.
  [[nodiscard]] const std::vector<FieldError>& errors() const { return errors_; }
  // Names of what the filter uses. It is built anew when one of them has changed.
  [[nodiscard]] const std::vector<std::string>& cluster_references() const {
    return cluster_references_;
  }
  [[nodiscard]] const std::vector<std::string>& rate_limit_references() const {
    return rate_limit_references_;
  }
  [[nodiscard]] const std::vector<std::string>& secret_references() const {
    return secret_references_;
  }

 private:
  const BuildResources& resources_;
  std::string path_;
  std::vector<FieldError> errors_;
  std::vector<std::string> cluster_references_;
  std::vector<std::string> rate_limit_references_;
  std::vector<std::string> secret_references_;
};

}  // namespace gatehouse::filters
