#include "source/observe/log_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

namespace gatehouse::observe {
namespace {

constexpr mode_t kFileMode = 0640;
constexpr size_t kMaxWrite = 1 << 20;

bool IsStream(const std::string& path) { return path == "stdout" || path == "stderr"; }

}  // namespace

int LogSink::Open(const std::string& path) {
  if (IsStream(path)) return OpenStream(path == "stdout" ? STDOUT_FILENO : STDERR_FILENO);
  // O_NONBLOCK: a named pipe without a reader fails rather than hangs; a regular file ignores it.
  const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const int fd = open(path.c_str(), flags, kFileMode);
  if (fd < 0) return errno;
  struct stat file;
  const bool regular = fstat(fd, &file) == 0 && S_ISREG(file.st_mode);
  Adopt(fd, regular ? Kind::kFile : Kind::kNonblocking);
  end_line_first_ = regular && file.st_size > 0 && EndsInHalfALine(path);
  return 0;
}

int LogSink::OpenStream(int stream) {
  struct stat file;
  if (fstat(stream, &file) != 0) return errno;
  if (S_ISFIFO(file.st_mode) || S_ISCHR(file.st_mode)) {
    // O_NONBLOCK on the stream itself would change it for every process that shares it.
    const std::string path = "/proc/self/fd/" + std::to_string(stream);
    const int own = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (own >= 0) {
      Adopt(own, Kind::kNonblocking);
      return 0;
    }
  }
  const int copy = fcntl(stream, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return errno;
  Adopt(copy, S_ISREG(file.st_mode)    ? Kind::kFile
              : S_ISSOCK(file.st_mode) ? Kind::kSocket
                                       : Kind::kGuarded);
  return 0;
}

void LogSink::Adopt(int fd, Kind kind) {
  Close();
  fd_ = fd;
  kind_ = kind;
}

void LogSink::Swap(LogSink& other) {
  std::swap(fd_, other.fd_);
  std::swap(kind_, other.kind_);
  std::swap(end_line_first_, other.end_line_first_);
}

void LogSink::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  end_line_first_ = false;
}

bool LogSink::EndsInHalfALine(const std::string& path) const {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return false;
  struct stat file;
  char last = '\n';
  const bool known =
      fstat(fd, &file) == 0 && file.st_size > 0 && pread(fd, &last, 1, file.st_size - 1) == 1;
  close(fd);
  return known && last != '\n';
}

bool LogSink::PathMoved(const std::string& path) const {
  if (IsStream(path)) return false;
  struct stat there;
  struct stat here;
  if (fd_ < 0 || fstat(fd_, &here) != 0 || stat(path.c_str(), &there) != 0) return true;
  return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

LogSink::Result LogSink::Write(std::string_view text) {
  Result total;
  if (end_line_first_) {
    const Result result = WriteOnce("\n");
    if (result.written == 0) return result;
    end_line_first_ = false;
  }
  while (total.written < text.size()) {
    const Result result = WriteOnce(text.substr(total.written));
    total.written += result.written;
    if (result.error == EINTR) continue;
    if (result.error != 0) {
      total.error = result.error;
      break;
    }
  }
  return total;
}

LogSink::Result LogSink::WriteOnce(std::string_view text) const {
  text = text.substr(0, kMaxWrite);
  ssize_t size = 0;
  if (kind_ == Kind::kSocket) {
    size = send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } else {
    if (kind_ == Kind::kGuarded) {
      pollfd wait{.fd = fd_, .events = POLLOUT, .revents = 0};
      if (poll(&wait, 1, 0) == 0) return {0, EAGAIN};
      text = text.substr(0, PIPE_BUF);
    }
    size = write(fd_, text.data(), text.size());
  }
  if (size > 0) return {static_cast<size_t>(size), 0};
  // Nothing written and no error: the device is full.
  if (size == 0) return {0, ENOSPC};
  return {0, errno == EWOULDBLOCK ? EAGAIN : errno};
}

}  // namespace gatehouse::observe
