// Resources: what a config is made of, by type. What Build() turns into a Snapshot.
//
// Each resource is a message of api/gatehouse/v1 with where it was written. The messages are shared
// and const: those of a file are parts of one Bootstrap, those that a control plane pushes stand by
// themselves. A resource that is not replaced keeps its pointer, which is how Build() knows at once
// that it has not changed (equal messages are found too). Main thread; a plain value.
//
//   Resources resources = ResourcesOf(bootstrap, source);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "source/config/source_map.h"

namespace gatehouse::v1 {
class Bootstrap;
class Cluster;
class Endpoints;
class Listener;
class RateLimit;
class RouteTable;
class Secret;
}  // namespace gatehouse::v1

namespace gatehouse::config {

template <typename Message>
struct Resource {
  std::shared_ptr<const Message> message;
  // Of this resource: errors show paths below it.
  SourceMap source;
};

struct Resources {
  std::vector<Resource<v1::Listener>> listeners;
  std::vector<Resource<v1::RouteTable>> route_tables;
  std::vector<Resource<v1::Cluster>> clusters;
  std::vector<Resource<v1::Endpoints>> endpoints;
  std::vector<Resource<v1::RateLimit>> rate_limits;
  std::vector<Resource<v1::Secret>> secrets;
  // Where relative paths of files start, such as respond.file: the config file's folder. Empty:
  // only absolute paths will do.
  std::string folder;
};

// The resources that are inline in a bootstrap; they keep it alive.
[[nodiscard]] Resources ResourcesOf(const std::shared_ptr<const v1::Bootstrap>& bootstrap,
                                    const SourceMap& source);

}  // namespace gatehouse::config
