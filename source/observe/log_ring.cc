#include "source/observe/log_ring.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::observe {
namespace {

// Maps `bytes` of new memory twice in a row. Null with errno set when the kernel refuses.
char* MapTwice(size_t bytes) {
  const int fd = memfd_create("gatehouse-log-ring", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  char* data = nullptr;
  if (ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
    // Reserves the addresses, which the two mappings then replace.
    void* both = mmap(nullptr, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (both != MAP_FAILED) {
      data = static_cast<char*>(both);
      for (char* at : {data, data + bytes}) {
        if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
          const int error = errno;
          munmap(both, 2 * bytes);
          errno = error;
          data = nullptr;
          break;
        }
      }
    }
  }
  const int error = errno;
  close(fd);
  errno = error;
  return data;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogRing>> LogRing::Create(size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t size = std::bit_ceil(std::max({bytes, 2 * LogFormat::kMaxLine, page}));
  char* data = MapTwice(size);
  if (data == nullptr) {
    return Unavailable(
        fmt::format("cannot map {} bytes for the access log: {}", size, std::strerror(errno)));
  }
  return std::unique_ptr<LogRing>(new LogRing(data, size));
}

LogRing::~LogRing() { munmap(data_, 2 * size_); }

}  // namespace gatehouse::observe
