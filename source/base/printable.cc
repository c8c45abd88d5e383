#include "source/base/printable.h"

#include <iterator>

#include <fmt/format.h>

#include "source/base/utf8.h"

namespace gatehouse {
namespace {

// `sequence` is one character, or one byte that is none. U+0080 to U+009F are control characters
// too: some terminals take them for an escape.
bool IsPrintable(std::string_view sequence, bool valid) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (!valid || byte(0) < 0x20 || byte(0) == 0x7F) return false;
  return !(sequence.size() == 2 && byte(0) == 0xC2 && byte(1) < 0xA0);
}

}  // namespace

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

}  // namespace gatehouse
