// Files that are there whole or not at all, whenever the process is killed or the machine stops.
//
// Plain functions; any thread. Errors say which file and why.
//
//   absl::Status written = WriteDurably("/state/current", "12\n");
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gatehouse::control {

// Names that begin so are of writes under way, or of writes that were killed.
inline constexpr std::string_view kTemporaryPrefix = ".new-";

// Written beside, synced, and renamed; then the folder is synced.
[[nodiscard]] absl::Status WriteDurably(const std::string& path, std::string_view content);
// The same without the two syncs: for many files, to be followed by SyncFolder or SyncAll.
[[nodiscard]] absl::Status WriteBeside(const std::string& path, std::string_view content,
                                       bool sync);
[[nodiscard]] absl::Status SyncFolder(const std::string& path);
// All that was written to the file system of `path`.
[[nodiscard]] absl::Status SyncAll(const std::string& path);

[[nodiscard]] absl::Status MakeFolder(const std::string& path);
// NOT_FOUND when there is none.
[[nodiscard]] absl::StatusOr<std::string> ReadWhole(const std::string& path,
                                                    size_t max_bytes = SIZE_MAX);
// The same of a regular file alone: a pipe or a device that somebody put there is an error at once,
// instead of a wait for what never comes.
[[nodiscard]] absl::StatusOr<std::string> ReadRegularFile(const std::string& path,
                                                          size_t max_bytes);
// Names in a folder, without "." and "..".
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

}  // namespace gatehouse::control
