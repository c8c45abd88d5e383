// Build: resources -> Snapshot, or every error in them.
//
// Pure but for what the environment offers: the same resources and predecessor give the same
// result, and a build that fails leaves nothing behind (no log is opened, no series made). Main
// thread. What has not changed is shared with `previous`, so that a worker keeps its pools and a
// limit its counts:
//
//   Cluster       when nothing of it changed; its slot and pools when only addresses did
//   Route         when it, its table's filters and all that they refer to are equal
//   RouteTable    (the matcher of a listener) when no name, domain or match in it changed
//   AccessLog     when its config is equal
//   TLS context   when its config and the secrets that it names are equal
//   Listener      when it and all of the above are the same
//   Snapshot      when nothing changed at all: the result is `previous` itself
//
//   BuildResult built = Build(resources, environment, current);
//   if (built.snapshot == nullptr) return Reject(built.errors);
//   if (built.snapshot != current) Publish(built.snapshot);
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "source/config/config_error.h"
#include "source/config/file_read.h"
#include "source/config/resources.h"
#include "source/config/snapshot.h"
#include "source/config/text.h"
#include "source/config/ticket_key_store.h"
#include "source/filters/build_context.h"
#include "source/filters/registry.h"
#include "source/observe/log_writer.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"

namespace gatehouse::config {

// The content of a regular file of at most `max_bytes`, or why not.
using FileReader =
    std::function<absl::StatusOr<std::string>(const std::string& path, size_t max_bytes)>;
[[nodiscard]] FileReader DiskFileReader();

// Objects of the main thread that outlive all configs.
struct BuildEnvironment {
  const filters::Registry& filters;
  observe::MetricRegistry& metrics;
  upstream::ClusterSlots& cluster_slots;
  filters::StateStore& states;
  // Null: no access log is opened, listeners have none. For validating.
  observe::LogWriter* log_writer = nullptr;
  size_t workers = 1;
  Environment variables = ProcessEnvironment();  // for Secret.environment
  FileReader read_file = DiskFileReader();       // for Secret.file and Respond.file
  // For checking what another machine will serve: its files and variables count as there, and what
  // depends on their content (is this a certificate?) is not judged. No files are read, ${NAME} in
  // Secret.inline is known for what it is, and the snapshot is good for nothing but as the
  // predecessor of the next such build.
  bool another_machine = false;
  // Null: tickets do not outlive the config. For validating.
  TicketKeyStore* ticket_keys = nullptr;
};

// One resource, with what was found in it alone.
struct Rejection {
  std::string_view type;  // "Cluster"
  std::string name;
  ErrorList errors;
};

struct BuildResult {
  std::shared_ptr<const Snapshot> snapshot;  // null when there are errors
  ErrorList errors;                          // of all resources
  std::vector<Rejection> rejections;         // the same errors by resource
  std::vector<Rejection> warnings;           // of resources without errors, which are used
  std::vector<FileRead> files;               // also of a build that failed; each once
};

// `previous`: the snapshot that this one will replace, or null.
[[nodiscard]] BuildResult Build(const Resources& resources, const BuildEnvironment& environment,
                                const std::shared_ptr<const Snapshot>& previous);

}  // namespace gatehouse::config
