#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "source/config/text.h"

namespace gatehouse::config {
namespace {

constexpr size_t kChunk = size_t{256} << 10;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

std::string Reason(int error) {
  switch (error) {
    case ENOENT:
      return "there is no such file";
    case EACCES:
      return "no permission to read it";
    case EISDIR:
      return "this is a directory, not a file";
    default:
      return std::strerror(error);
  }
}

// Empty and the file's bytes, or why not. Pipes are read to their end.
std::string ReadAll(const std::string& path, size_t max_bytes, std::string* out) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return fmt::format("cannot be read: {}", Reason(errno));
  struct stat status{};
  if (fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    out->reserve(std::min(static_cast<size_t>(status.st_size), max_bytes) + 1);
  }
  while (out->size() <= max_bytes) {
    const size_t size = out->size();
    out->resize(size + kChunk);
    const ssize_t got = read(file.get(), out->data() + size, kChunk);
    const int error = errno;
    out->resize(size + static_cast<size_t>(got > 0 ? got : 0));
    if (got < 0 && error == EINTR) continue;
    if (got < 0) return fmt::format("cannot be read: {}", Reason(error));
    if (got == 0) return {};
  }
  return fmt::format("larger than {} bytes", max_bytes);
}

TextFormat FormatOf(std::string_view path) {
  if (path.ends_with(".json")) return TextFormat::kJson;
  if (path.ends_with(".yaml") || path.ends_with(".yml")) return TextFormat::kYaml;
  return TextFormat::kDetect;
}

}  // namespace

bool LoadFile(const std::string& path, google::protobuf::Message* message, DecodeContext& context,
              SourceMap* source) {
  const std::string given = context.file;
  if (context.file.empty()) context.file = path;
  std::string text;
  std::string wrong = ReadAll(path, context.limits.max_bytes, &text);
  bool ok = wrong.empty();
  if (ok) {
    ok = LoadText(text, FormatOf(path), message, context, source);
  } else {
    if (source != nullptr) *source = SourceMap(context.file, nullptr);
    ConfigError error;
    error.file = context.file;
    error.message = std::move(wrong);
    if (context.errors != nullptr) context.errors->Add(std::move(error));
  }
  context.file = given;
  return ok;
}

}  // namespace gatehouse::config
