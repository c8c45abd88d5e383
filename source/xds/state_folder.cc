#include "source/xds/state_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace gatehouse::xds {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;
// A file of ours is much smaller; what is larger was put there.
constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr std::string_view kLockName = "lock";

absl::Status Failed(std::string_view what, const std::string& path, int error) {
  const std::string text = fmt::format("cannot {} {}: {}", what, path, std::strerror(error));
  return error == ENOENT ? NotFound(text) : Unavailable(text);
}

// mkdir -p, for the owner alone.
absl::Status MakeFolders(const std::string& path) {
  std::filesystem::path at;
  for (const std::filesystem::path& name : std::filesystem::path(path)) {
    at /= name;
    if (mkdir(at.c_str(), 0700) == 0 || errno == EEXIST) continue;
    const int error = errno;
    struct stat there{};
    // A folder above it may be one where nothing can be made.
    if (stat(at.c_str(), &there) != 0) return Failed("make the folder", at.string(), error);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateFolder>> StateFolder::Open(const std::string& path,
                                                               Fault fault) {
  if (path.empty()) return InvalidArgument("the state folder has no name");
  int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    if (absl::Status made = MakeFolders(path); !made.ok()) return made;
    fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  if (fd < 0) return Unavailable(MessageOf(Failed("open the folder", path, errno)));
  return std::unique_ptr<StateFolder>(new StateFolder(path, fd, std::move(fault)));
}

StateFolder::StateFolder(std::string path, int fd, Fault fault)
    : path_(std::move(path)), fd_(fd), fault_(std::move(fault)) {
  struct stat status{};
  open_to_others_ = fstat(fd_, &status) == 0 && (status.st_mode & 0022) != 0;
}

StateFolder::~StateFolder() {
  Unlock();
  close(fd_);
}

int StateFolder::Ask(std::string_view call) const { return fault_ ? fault_(call) : 0; }

absl::StatusOr<bool> StateFolder::TryLock() {
  if (lock_ >= 0) return true;
  const std::string path = fmt::format("{}/{}", path_, kLockName);
  const int fd =
      openat(fd_, std::string(kLockName).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Unavailable(MessageOf(Failed("open", path, errno)));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(fd);
    if (error == EWOULDBLOCK || error == EINTR) return false;
    return Unavailable(MessageOf(Failed("lock", path, error)));
  }
  // For people and for LockedBy(); a disk that is full does not matter.
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) == 0) {
    [[maybe_unused]] const ssize_t written = pwrite(fd, pid.data(), pid.size(), 0);
  }
  lock_ = fd;
  return true;
}

void StateFolder::Unlock() {
  if (lock_ >= 0) close(lock_);
  lock_ = -1;
}

pid_t StateFolder::LockedBy() const {
  const absl::StatusOr<std::string> text = Read(std::string(kLockName));
  pid_t pid = 0;
  if (text.ok()) std::from_chars(text->data(), text->data() + text->size(), pid);
  return pid;
}

absl::StatusOr<std::string> StateFolder::Read(const std::string& name) const {
  const std::string path = fmt::format("{}/{}", path_, name);
  const int fd = openat(fd_, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return Failed("open", path, errno);
  struct stat status{};
  int error = 0;
  std::string bytes;
  if (fstat(fd, &status) != 0) {
    error = errno;
  } else if (!S_ISREG(status.st_mode)) {
    error = EISDIR;
  } else if (status.st_size > kMaxFileBytes) {
    error = EFBIG;
  } else {
    bytes.resize(static_cast<size_t>(status.st_size));
    size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t count = read(fd, bytes.data() + got, bytes.size() - got);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) error = errno;
      if (count <= 0) break;
      got += static_cast<size_t>(count);
    }
    bytes.resize(got);
  }
  close(fd);
  if (error != 0) return Unavailable(MessageOf(Failed("read", path, error)));
  return bytes;
}

absl::Status StateFolder::Write(int fd, std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    if (const int error = Ask("write"); error != 0) {
      errno = error;
      return Unavailable("");
    }
    const ssize_t count = pwrite(fd, bytes.data() + at, std::min(kChunkBytes, bytes.size() - at),
                                 static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (count == 0) errno = ENOSPC;
      return Unavailable("");
    }
    at += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status StateFolder::WriteWhole(const std::string& name, std::string_view bytes) {
  const std::string path = fmt::format("{}/{}", path_, name);
  int error = Ask("open");
  int fd = -1;
  if (error == 0) {
    fd = openat(fd_, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) error = errno;
  }
  if (error != 0) return Unavailable(MessageOf(Failed("make", path, error)));
  if (!Write(fd, bytes).ok()) error = errno;
  if (error == 0) error = Ask("fsync");
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlinkat(fd_, name.c_str(), 0);
  return Unavailable(MessageOf(Failed("write", path, error)));
}

absl::Status StateFolder::Rename(const std::string& from, const std::string& to) {
  int error = Ask("rename");
  if (error == 0 && renameat(fd_, from.c_str(), fd_, to.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return Failed("rename", fmt::format("{}/{} to {}", path_, from, to), error);
}

absl::Status StateFolder::Remove(const std::string& name) {
  int error = Ask("unlink");
  if (error == 0 && unlinkat(fd_, name.c_str(), 0) != 0) error = errno;
  if (error == 0 || error == ENOENT) return absl::OkStatus();
  return Failed("remove", fmt::format("{}/{}", path_, name), error);
}

absl::Status StateFolder::Sync() {
  int error = Ask("fsync folder");
  // Some file systems have nothing to do for a folder, and say so.
  if (error == 0 && fsync(fd_) != 0 && errno != EINVAL) error = errno;
  if (error == 0) return absl::OkStatus();
  return Unavailable(MessageOf(Failed("sync the folder", path_, error)));
}

absl::Status StateFolder::Overwrite(const std::string& name, std::string_view bytes, int* fd) {
  const std::string path = fmt::format("{}/{}", path_, name);
  int error = Ask("overwrite");
  if (error == 0 && *fd < 0) {
    *fd = openat(fd_, name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) error = errno;
  }
  if (error == 0 && !Write(*fd, bytes).ok()) error = errno;
  if (error == 0) return absl::OkStatus();
  return Unavailable(MessageOf(Failed("write", path, error)));
}

}  // namespace gatehouse::xds
