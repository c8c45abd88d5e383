// BuildRecord: what a build leaves behind for the next one, so that it can tell what has changed
// and share the rest. Inside config/ only.
//
// Owner: the Snapshot; const. Main thread: workers never look at it. It keeps the messages that the
// snapshot was built from (which the dump shows), and no source positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/crypto.h"
#include "source/base/time.h"
#include "source/config/snapshot.h"
#include "source/filters/chain.h"

namespace gatehouse::config {

template <typename T>
using ByName = std::map<std::string, T, std::less<>>;

// Names of resources that something refers to.
struct References {
  std::vector<std::string> clusters;
  std::vector<std::string> rate_limits;
  std::vector<std::string> secrets;

  [[nodiscard]] bool empty() const {
    return clusters.empty() && rate_limits.empty() && secrets.empty();
  }
  void Add(const References& other);
  // Each name once.
  void Unite();
};

// What a route has from the listener that serves it. The routes of a table are compiled once for
// each different one among its listeners.
struct RouteDefaults {
  uint64_t max_body_bytes = uint64_t{1} << 30;
  Duration idle_timeout = std::chrono::minutes(5);

  friend bool operator==(const RouteDefaults&, const RouteDefaults&) = default;
};

// The filters of a list of entries, by index; nothing for one that is disabled.
using EntryFilters = std::vector<std::optional<filters::AnyFilter>>;

// The routes of a table as they are served in one kind of place.
struct RouteSet {
  RouteDefaults defaults;
  std::vector<filters::NamedFilter> inherited;       // from where the table is mounted
  std::vector<std::shared_ptr<const Route>> routes;  // by index; null for one that delegates

  [[nodiscard]] bool IsFor(const RouteDefaults& other_defaults,
                           const std::vector<filters::NamedFilter>& other_inherited) const;
};

// A table, compiled but for its matcher, which is the listener's.
struct BuiltTable {
  EntryFilters filters;
  References filter_references;
  // Of delegating routes with filters of their own, by index.
  std::map<uint32_t, EntryFilters> mount_filters;
  // Of routes with filters of their own, by index.
  std::map<uint32_t, References> route_references;
  // Of the table as a whole.
  References references;
  std::vector<uint32_t> file_routes;  // respond with a file
  std::vector<uint32_t> split_routes;
  std::vector<RouteSet> sets;
};

struct TableRecord {
  std::shared_ptr<const v1::RouteTable> message;
  std::shared_ptr<const BuiltTable> built;
};

// A table in a listener's matcher.
struct MatcherPart {
  std::string table;
  std::string name;              // the table's, or another one when it is there more than once
  std::vector<uint32_t> mounts;  // the parts that its delegating routes mount, one after the other

  friend bool operator==(const MatcherPart&, const MatcherPart&) = default;
};

struct ListenerRecord {
  std::shared_ptr<const v1::Listener> message;
  std::vector<MatcherPart> parts;
  std::string tls_digest;  // of what Listener::tls is made of
};

template <typename Message>
using Messages = std::vector<std::shared_ptr<const Message>>;

struct BuildRecord {
  // In the order of the config.
  Messages<v1::Listener> listeners;
  Messages<v1::RouteTable> route_tables;
  Messages<v1::Cluster> clusters;
  Messages<v1::Endpoints> endpoints;
  Messages<v1::RateLimit> rate_limits;
  Messages<v1::Secret> secrets;

  // By the index of the cluster; null for one without a resource of its endpoints.
  Messages<v1::Endpoints> endpoints_of_clusters;

  ByName<TableRecord> tables_by_name;
  ByName<ListenerRecord> listeners_by_name;
  ByName<std::shared_ptr<const v1::RateLimit>> rate_limits_by_name;
  // Not their texts: these are gone when the build is done.
  ByName<Sha256Digest> secret_digests;
  ByName<std::string> cluster_tls_digests;
  // Which cursor a split has, by table and route.
  std::map<std::pair<std::string, std::string>, uint32_t> split_cursors;
};

}  // namespace gatehouse::config
