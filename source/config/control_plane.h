// What a bootstrap says about its control plane, checked and with defaults; and the cluster by
// which the gateway reaches it.
//
// Main thread; plain values.
//
//   ControlPlaneSettings settings = ReadControlPlane(bootstrap, source, errors);
//   BuildResult built = BuildControlPlane(bootstrap, source, resources, environment, previous);
//   const upstream::Cluster& cluster = *built.snapshot->clusters[0];
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "source/base/time.h"
#include "source/config/build.h"
#include "source/config/config_error.h"
#include "source/config/source_map.h"

namespace gatehouse::v1 {
class Bootstrap;
}

namespace gatehouse::config {

struct ControlPlaneSettings {
  std::vector<std::string> addresses;  // none: there is no control plane
  bool state_of_the_world = false;
  Duration fetch_timeout = std::chrono::seconds(15);  // kNoTimeout: for ever
  Duration warm_timeout = std::chrono::seconds(5);
  Duration max_backoff = std::chrono::seconds(10);
  size_t max_message_bytes = size_t{64} << 20;
  // By type: "Cluster". Types that are not here: everything.
  std::map<std::string, std::set<std::string>> only;

  [[nodiscard]] bool configured() const { return !addresses.empty(); }
  friend bool operator==(const ControlPlaneSettings&, const ControlPlaneSettings&) = default;
};

[[nodiscard]] ControlPlaneSettings ReadControlPlane(const v1::Bootstrap& bootstrap,
                                                    const SourceMap& source, ErrorList& errors);

// A snapshot of one cluster and nothing else, which takes over what is equal in `previous`. TLS
// takes the secrets of `resources`, the bootstrap's own. Only with a control plane.
[[nodiscard]] BuildResult BuildControlPlane(const v1::Bootstrap& bootstrap, const SourceMap& source,
                                            const Resources& resources,
                                            const BuildEnvironment& environment,
                                            const std::shared_ptr<const Snapshot>& previous);

// The cluster's name, in metrics and errors.
inline constexpr const char* kControlPlaneCluster = "control_plane";

}  // namespace gatehouse::config
