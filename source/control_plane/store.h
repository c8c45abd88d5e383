// Store: the revisions of the resources, and who keeps them: a folder of this machine
// (folder_store.h) or etcd (etcd_store.h), which several control planes share.
//
// A revision is never changed. A change is a new one, made only from the newest: who comes second
// is told so and tries again. Contents are kept once however many revisions have them.
//
// Owner: main(). Any thread. Virtual because there are two engines, one chosen at start
// (docs/decisions/0011-control-plane.md).
//
//   auto made = store->Commit(base_revision, all, {.author = "api", .comment = "canary to 10%"});
//   store->Watch([&](std::shared_ptr<const ResourceSet> set) { server.Publish(set); });
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

struct RevisionNote {
  uint64_t revision = 0;
  WallTime made;
  std::string author;  // "directory", "api", "api (CN=ci)"
  std::string comment;
  uint64_t restores = 0;  // a rollback: the revision that it equals
  // What the directory held when this revision was made against it by a rollback: until that
  // changes, the directory is not used again. Empty: no rollback.
  std::string overruled_directory;
};

class Store {
 public:
  virtual ~Store() = default;

  // The newest revision; revision 0, empty, when there is none yet. Never null. No I/O.
  [[nodiscard]] virtual std::shared_ptr<const ResourceSet> Current() const = 0;
  // ABORTED when `base` is not the newest any more; UNAVAILABLE when the store cannot be reached or
  // written. The result is current when this returns. Blocks.
  [[nodiscard]] virtual absl::StatusOr<std::shared_ptr<const ResourceSet>> Commit(
      uint64_t base, ResourceSet::All all, RevisionNote note) = 0;
  // Newest first, at most `count`. Blocks.
  [[nodiscard]] virtual absl::StatusOr<std::vector<RevisionNote>> History(size_t count) = 0;
  // NOT_FOUND for one that is not kept any more. Blocks.
  [[nodiscard]] virtual absl::StatusOr<std::shared_ptr<const ResourceSet>> Load(
      uint64_t revision) = 0;
  // From now on, once for the current revision and then for each newer one (some may be left out),
  // on a thread of the store, one call at a time.
  virtual void Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) = 0;

  // Gateways of this control plane, for the others; lost some seconds after its last word.
  virtual void PublishStatus(const Fleet& fleet) = 0;
  // Empty: all is well. Else why the newest revision may not be the newest: "etcd ...: no leader".
  [[nodiscard]] virtual std::string Trouble() const = 0;
};

}  // namespace gatehouse::control
