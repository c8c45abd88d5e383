// FolderStore: revisions in a folder of this machine, for one control plane.
//
//   FOLDER/lock                 held while the process runs
//   FOLDER/blobs/<sha256>       contents, each once
//   FOLDER/revisions/<number>   a note, what its resources are called and which blobs they are, and
//                               a checksum; the highest number is the current one
//
// A commit writes its new blobs and its revision beside, syncs them, renames the blobs and, last,
// the revision. Killed at any moment, or with a full disk, the revision before is still whole and
// current; what a killed commit left is removed when the folder is opened next. When the newest
// revision was damaged by something else, or cannot be read, the newest whole one before it is used
// and Trouble() says so. Nothing is removed then: it may be mended, or only a permission be wrong.
//
// Owner: main(). Any thread.
//
//   absl::StatusOr<std::unique_ptr<FolderStore>> store = FolderStore::Open("/var/lib/gatehouse");
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"

#include "source/control_plane/store.h"

namespace gatehouse::control {

class FolderStore final : public Store {
 public:
  static constexpr size_t kKeptRevisions = 100;

  // UNAVAILABLE when the folder cannot be made or read, or another process has it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FolderStore>> Open(const std::string& folder);
  ~FolderStore() override;

  [[nodiscard]] std::shared_ptr<const ResourceSet> Current() const override;
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Commit(
      uint64_t base, ResourceSet::All all, RevisionNote note) override;
  [[nodiscard]] absl::StatusOr<std::vector<RevisionNote>> History(size_t count) override;
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Load(uint64_t revision) override;
  void Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) override;
  // There are no others.
  void PublishStatus(const Fleet& /*fleet*/) override {}
  [[nodiscard]] std::string Trouble() const override;

 private:
  struct Kept {
    RevisionNote note;
    std::vector<std::string> blobs;
  };

  explicit FolderStore(std::string folder) : folder_(std::move(folder)) {}
  [[nodiscard]] absl::Status MakeFolders();
  [[nodiscard]] absl::Status Lock();
  [[nodiscard]] absl::Status BeginAnewIfGone();
  [[nodiscard]] absl::Status ReadAll();
  [[nodiscard]] absl::Status ReadRevision(uint64_t number);
  [[nodiscard]] absl::Status UseNewestWhole(uint64_t wanted);
  [[nodiscard]] absl::StatusOr<ResourceSet::All> ReadResources(uint64_t number,
                                                               const ResourceSet::All& known) const;
  [[nodiscard]] absl::StatusOr<std::string> ReadBlob(const std::string& digest) const;
  [[nodiscard]] absl::Status WriteBlobs(const std::map<std::string, std::string>& blobs);
  [[nodiscard]] std::string BlobPath(std::string_view digest) const;
  [[nodiscard]] std::string RevisionPath(uint64_t number) const;
  // The blobs that no other revision has.
  std::vector<std::string> LeaveOut(uint64_t number);
  void Remove(uint64_t number);
  void RemoveStrays();
  void Run();

  const std::string folder_;
  int lock_ = -1;

  mutable std::mutex mutex_;  // held while a commit writes
  std::map<uint64_t, Kept> kept_;
  std::unordered_map<std::string, size_t> references_;  // to blobs, from kept_
  std::unordered_set<std::string> whole_;               // of these, those that were read or written
  uint64_t highest_ = 0;                                // of all numbers that were ever there
  std::string trouble_;
  std::string damage_;  // found when the folder was opened

  // What Current() reads must not wait for a disk.
  mutable std::mutex current_mutex_;
  std::shared_ptr<const ResourceSet> current_;
  std::condition_variable changed_;
  std::function<void(std::shared_ptr<const ResourceSet>)> watcher_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace gatehouse::control
