#include "source/server/say.h"

#include <poll.h>
#include <unistd.h>

#include <climits>
#include <iterator>

#include <fmt/format.h>

#include "source/base/utf8.h"

namespace gatehouse::server {
namespace {

constexpr int kPatienceMs = 100;

// `sequence` is one character, or one byte that is none. U+0080 to U+009F are control characters
// too: some terminals take them for an escape.
bool IsPrintable(std::string_view sequence, bool valid) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (!valid || byte(0) < 0x20 || byte(0) == 0x7F) return false;
  return !(sequence.size() == 2 && byte(0) == 0xC2 && byte(1) < 0xA0);
}

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

std::string Printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t valid = Utf8SequenceLength(text);
    const std::string_view sequence = text.substr(0, valid == 0 ? 1 : valid);
    text.remove_prefix(sequence.size());
    if (IsPrintable(sequence, valid != 0)) {
      result += sequence;
    } else if (sequence == "\n") {
      result += "\\n";
    } else if (sequence == "\t") {
      result += "\\t";
    } else {
      for (const char c : sequence) {
        fmt::format_to(std::back_inserter(result), "\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
  }
  return result;
}

}  // namespace gatehouse::server
