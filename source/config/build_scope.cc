#include "source/config/build_scope.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/config/text_scalars.h"

namespace gatehouse::config {
namespace {

constexpr size_t kReadChunk = size_t{64} << 10;

std::string Reason(int error) {
  switch (error) {
    case ENOENT:
      return "there is no such file";
    case EACCES:
      return "no permission to read it";
    default:
      return std::strerror(error);
  }
}

// Reads what is left of the file.
int ReadRest(int fd, size_t max_bytes, std::string* out) {
  while (out->size() <= max_bytes) {
    const size_t size = out->size();
    out->resize(size + kReadChunk);
    const ssize_t got = read(fd, out->data() + size, kReadChunk);
    const int error = errno;
    out->resize(size + static_cast<size_t>(got > 0 ? got : 0));
    if (got == 0) break;
    if (got < 0 && error != EINTR) return error;
  }
  return 0;
}

absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: a pipe must not hang the main thread before it is refused.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Unavailable(fmt::format("cannot be read: {}", Reason(errno)));
  std::string content;
  struct stat status{};
  int error = fstat(fd, &status) == 0 ? 0 : errno;
  const bool regular = error == 0 && S_ISREG(status.st_mode);
  if (regular) {
    content.reserve(std::min(static_cast<size_t>(status.st_size), max_bytes) + 1);
    error = ReadRest(fd, max_bytes, &content);
  }
  close(fd);
  if (error != 0) return Unavailable(fmt::format("cannot be read: {}", Reason(error)));
  if (!regular) return InvalidArgument("is not a regular file");
  if (content.size() > max_bytes) {
    return InvalidArgument(fmt::format("is larger than {}", FormatSize(max_bytes)));
  }
  return content;
}

}  // namespace

FileReader DiskFileReader() { return ReadRegularFile; }

const absl::StatusOr<std::string>& BuildScope::ReadFile(const std::string& path, size_t max_bytes,
                                                        std::string_view purpose) {
  const auto at = files_.find(path);
  if (at != files_.end()) return at->second;
  absl::StatusOr<std::string> content;
  const auto read = [&](std::string full_path) {
    if (environment.another_machine) {
      content = "-";
      return;
    }
    content = environment.read_file(full_path, max_bytes);
    files_read_.push_back(
        {std::move(full_path), purpose, content.ok() ? ContentHash(*content) : 0});
  };
  if (path.empty() || path.find('\0') != std::string::npos) {
    content = InvalidArgument("is not a path");
  } else if (path.front() == '/' || environment.another_machine) {
    read(path);
  } else if (resources.folder.empty()) {
    content = InvalidArgument("must be an absolute path: this config is not in a file");
  } else {
    read(fmt::format("{}/{}", resources.folder, path));
  }
  return files_.emplace(path, std::move(content)).first->second;
}

}  // namespace gatehouse::config
