#include "source/base/no_such.h"

namespace gatehouse {
namespace {

constexpr std::string_view kStart = "there is no ";

}  // namespace

std::string NoSuch(std::string_view what, std::string_view name) {
  std::string text(kStart);
  text.append(what).append(" \"").append(name).append("\"");
  return text;
}

std::optional<MissingName> ReadNoSuch(std::string_view sentence) {
  if (!sentence.starts_with(kStart) || !sentence.ends_with('"')) return std::nullopt;
  sentence.remove_prefix(kStart.size());
  sentence.remove_suffix(1);
  const size_t quote = sentence.find(" \"");
  if (quote == std::string_view::npos || quote == 0) return std::nullopt;
  return MissingName{std::string(sentence.substr(0, quote)),
                     std::string(sentence.substr(quote + 2))};
}

}  // namespace gatehouse
