// Editor: the one who changes the resources, whoever asks: the directory, the REST API. A change is
// checked, then committed, or nothing happens at all.
//
// Owner: main(). Any thread: changes wait for each other. Another control plane over the same store
// may be faster; the change is then made again on what that one left, and checked again.
//
//   absl::StatusOr<Change> made = editor.Apply(resources, {.author = "api"});
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "source/config/config_error.h"
#include "source/control_plane/resource_file.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/store.h"
#include "source/control_plane/validator.h"

namespace gatehouse::control {

// What was done, or would be done.
struct Change {
  // Before and after; the same when nothing was to be changed.
  std::shared_ptr<const ResourceSet> before;
  std::shared_ptr<const ResourceSet> after;
  // Errors: it was refused, and `after` is what was asked for. Else there may be warnings.
  config::ErrorList problems;
  [[nodiscard]] bool refused() const { return !problems.ok(); }
};

struct ChangeOptions {
  std::string author;
  std::string comment;
  // Only if this is the newest revision; else ABORTED.
  std::optional<uint64_t> base;
  // Checks, and commits nothing.
  bool dry_run = false;
  // With dry_run: does not check either.
  bool unchecked = false;
  // Everything of the groups that are written that is not written is removed.
  bool prune = false;
  // A change that leaves nothing at all is not refused.
  bool allow_empty = false;
};

class Editor {
 public:
  // `validator` may be null: then nothing is checked.
  Editor(Store& store, Validator* validator) : store_(store), validator_(validator) {}
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  // Those that are not written stay. ALREADY_EXISTS: one belongs to the directory.
  [[nodiscard]] absl::StatusOr<Change> Apply(const Resources& resources,
                                             const ChangeOptions& options);
  // NOT_FOUND, or ALREADY_EXISTS: it belongs to the directory.
  [[nodiscard]] absl::StatusOr<Change> Remove(const ResourceSet::Key& key,
                                              const ChangeOptions& options);
  // A new revision that equals an old one.
  [[nodiscard]] absl::StatusOr<Change> RollBack(uint64_t revision, const ChangeOptions& options);
  // All that the directory has now, in place of what it had. `content` is a digest of it: after a
  // rollback it is not used before it has changed.
  [[nodiscard]] absl::StatusOr<Change> UseDirectory(const Resources& resources,
                                                    const std::string& content,
                                                    const ChangeOptions& options);
  // Empty: the directory is used. Else the digest of the content that a rollback has overruled.
  [[nodiscard]] std::string OverruledDirectory() const;
  // So that a rollback overrules what the directory has now.
  void SetDirectoryContent(const std::string& content);

 private:
  // `note` has what `current` says of the directory.
  using Edit = std::function<absl::StatusOr<ResourceSet::All>(const ResourceSet& current,
                                                              RevisionNote& note)>;

  [[nodiscard]] absl::StatusOr<Change> Make(const Edit& edit, const ChangeOptions& options);
  [[nodiscard]] absl::StatusOr<Change> MakeOnce(const Edit& edit, const ChangeOptions& options);

  Store& store_;
  Validator* const validator_;
  std::mutex changing_;
  mutable std::mutex mutex_;
  std::string directory_content_;
};

}  // namespace gatehouse::control
