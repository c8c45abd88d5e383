#include "source/control_plane/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "source/base/status.h"

namespace gatehouse::control {
namespace {

constexpr mode_t kOwnerOnly = 0600;  // there are secrets in it
constexpr mode_t kOwnerOnlyFolder = 0700;
constexpr size_t kChunk = size_t{256} << 10;

absl::Status Failed(std::string_view what, const std::string& path, int error) {
  const std::string_view hint =
      error == ENOSPC || error == EDQUOT ? "; make room and try again" : "";
  return Unavailable(fmt::format("cannot {} {}: {}{}", what, path, std::strerror(error), hint));
}

absl::Status WriteAndSync(int fd, const std::string& path, std::string_view content, bool sync) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path, errno);
    content.remove_prefix(static_cast<size_t>(written));
  }
  if (sync && fsync(fd) != 0) return Failed("sync", path, errno);
  return absl::OkStatus();
}

absl::StatusOr<int> OpenToRead(const std::string& path, int flags) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0 && errno == ENOENT) return NotFound(fmt::format("there is no {}", path));
  if (fd < 0) return Failed("open", path, errno);
  return fd;
}

absl::StatusOr<std::string> ReadAll(int fd, const std::string& path, size_t max_bytes) {
  std::string content;
  while (content.size() <= max_bytes) {
    const size_t size = content.size();
    content.resize(size + kChunk);
    const ssize_t got = read(fd, content.data() + size, kChunk);
    const int error = errno;
    content.resize(size + static_cast<size_t>(got > 0 ? got : 0));
    if (got < 0 && error != EINTR) return Failed("read", path, error);
    if (got == 0) return content;
  }
  return Unavailable(fmt::format("{} is larger than {} MiB", path, max_bytes >> 20));
}

}  // namespace

absl::Status WriteBeside(const std::string& path, std::string_view content, bool sync) {
  const size_t slash = path.rfind('/') + 1;
  const std::string beside =
      fmt::format("{}{}{}", path.substr(0, slash), kTemporaryPrefix, path.substr(slash));
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kOwnerOnly);
  if (fd < 0) return Failed("create", beside, errno);
  absl::Status status = WriteAndSync(fd, beside, content, sync);
  // Some file systems tell of a full disk only here.
  if (close(fd) != 0 && status.ok()) status = Failed("write", beside, errno);
  if (status.ok() && rename(beside.c_str(), path.c_str()) != 0) {
    status = Failed("rename", beside, errno);
  }
  if (!status.ok()) unlink(beside.c_str());
  return status;
}

absl::Status WriteDurably(const std::string& path, std::string_view content) {
  if (absl::Status status = WriteBeside(path, content, /*sync=*/true); !status.ok()) return status;
  return SyncFolder(path.substr(0, path.rfind('/')));
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open", path, errno);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : Failed("sync", path, error);
}

absl::Status SyncAll(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open", path, errno);
  const int result = syncfs(fd);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : Failed("sync", path, error);
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), kOwnerOnlyFolder) == 0 || errno == EEXIST) return absl::OkStatus();
  return Failed("make the folder", path, errno);
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t max_bytes) {
  const absl::StatusOr<int> fd = OpenToRead(path, 0);
  if (!fd.ok()) return fd.status();
  absl::StatusOr<std::string> content = ReadAll(*fd, path, max_bytes);
  close(*fd);
  return content;
}

absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes) {
  const absl::StatusOr<int> fd = OpenToRead(path, O_NONBLOCK);
  if (!fd.ok()) return fd.status();
  struct stat status{};
  absl::StatusOr<std::string> content;
  if (fstat(*fd, &status) != 0) {
    content = Failed("read", path, errno);
  } else if (S_ISDIR(status.st_mode)) {
    content = Failed("read", path, EISDIR);
  } else if (!S_ISREG(status.st_mode)) {
    content = Unavailable(fmt::format("cannot read {}: it is not a regular file", path));
  } else {
    content = ReadAll(*fd, path, max_bytes);
  }
  close(*fd);
  return content;
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr && errno == ENOENT) return NotFound(fmt::format("there is no {}", path));
  if (folder == nullptr) return Failed("read", path, errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(folder);
  return names;
}

}  // namespace gatehouse::control
