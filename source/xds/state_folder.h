// StateFolder: a folder of this process's own, for files that hold secrets: what is written is
// there as a whole or not at all, and only one process writes.
//
// Owner: StateStore. Thread: any, one at a time per file. Errors are the system's, in words.
//
//   auto folder = StateFolder::Open("/var/lib/gatehouse");
//   folder->WriteWhole("config.new", bytes); folder->Rename("config.new", "config");
//   folder->Sync();
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "source/base/status.h"

namespace gatehouse::xds {

class StateFolder {
 public:
  // For tests: asked before each call of the system that changes something, by its name ("write").
  // What it returns other than 0 is the error of that call, which is not made.
  using Fault = std::function<int(std::string_view call)>;

  // Made with those above it, for the owner alone, when it is not there.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StateFolder>> Open(const std::string& path,
                                                                         Fault fault = nullptr);
  ~StateFolder();
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  // Others than the owner may change what is in it.
  [[nodiscard]] bool open_to_others() const { return open_to_others_; }

  // The lock of the folder, which ends with the process at the latest. False: somebody has it.
  [[nodiscard]] absl::StatusOr<bool> TryLock();
  void Unlock();
  // Who has the lock, as far as one knows; 0: unknown.
  [[nodiscard]] pid_t LockedBy() const;

  // NotFound when it is not there.
  [[nodiscard]] absl::StatusOr<std::string> Read(const std::string& name) const;
  // Written anew, and on the disk when it returns. After a failure it is not there.
  [[nodiscard]] absl::Status WriteWhole(const std::string& name, std::string_view bytes);
  // NotFound when `from` is not there.
  [[nodiscard]] absl::Status Rename(const std::string& from, const std::string& to);
  // It is fine when it is not there.
  [[nodiscard]] absl::Status Remove(const std::string& name);
  // Renames and removals are on the disk.
  [[nodiscard]] absl::Status Sync();
  // In place, over the first bytes of the file, which is made and stays open (`*fd`, -1 at first).
  // Survives the process, maybe not the machine.
  [[nodiscard]] absl::Status Overwrite(const std::string& name, std::string_view bytes, int* fd);

 private:
  StateFolder(std::string path, int fd, Fault fault);
  [[nodiscard]] int Ask(std::string_view call) const;
  [[nodiscard]] absl::Status Write(int fd, std::string_view bytes);

  std::string path_;
  int fd_;
  int lock_ = -1;
  bool open_to_others_ = false;
  Fault fault_;
};

}  // namespace gatehouse::xds
