#include "source/server/say.h"

#include <poll.h>
#include <unistd.h>

#include <climits>

#include <fmt/format.h>

#include "source/base/printable.h"

namespace gatehouse::server {
namespace {

constexpr int kPatienceMs = 100;

}  // namespace

size_t WriteWithPatience(int fd, std::string_view text) {
  size_t out = 0;
  while (out < text.size()) {
    pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
    if (poll(&ready, 1, kPatienceMs) != 1) break;
    // A pipe that is ready takes this much without blocking.
    const std::string_view piece = text.substr(out, PIPE_BUF);
    const ssize_t written = write(fd, piece.data(), piece.size());
    if (written <= 0) break;
    out += static_cast<size_t>(written);
  }
  return out;
}

void Tell(std::string_view text) {
  // There is nobody to tell that it did not come through.
  static_cast<void>(WriteWithPatience(STDERR_FILENO, text));
}

void Say(std::string_view line) { Tell(fmt::format("gatehouse: {}\n", Printable(line))); }

}  // namespace gatehouse::server
