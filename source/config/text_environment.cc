#include "source/config/text_environment.h"

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::config {
namespace {

bool BeginsName(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

std::optional<EnvironmentReference> ParseReference(std::string_view text) {
  size_t at = 2;
  if (at >= text.size() || !BeginsName(text[at])) return std::nullopt;
  while (at < text.size() && (BeginsName(text[at]) || (text[at] >= '0' && text[at] <= '9'))) ++at;
  EnvironmentReference reference;
  reference.name = text.substr(2, at - 2);
  if (text.substr(at).starts_with(":-")) {
    const size_t close = text.find('}', at);
    if (close == std::string_view::npos) return std::nullopt;
    reference.fallback = text.substr(at + 2, close - at - 2);
    at = close;
  }
  if (at >= text.size() || text[at] != '}') return std::nullopt;
  reference.size = at + 1;
  return reference;
}

absl::StatusOr<std::string> ExpandEnvironment(std::string_view text,
                                              const Environment& environment) {
  std::string out;
  while (true) {
    const size_t at = text.find("${");
    out.append(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    if (at > 0 && text[at - 1] == '$') {
      out.append("{");
      text.remove_prefix(at + 2);
      continue;
    }
    text.remove_prefix(at);
    const std::optional<EnvironmentReference> reference = ParseReference(text);
    if (!reference) {
      return InvalidArgument(
          "expected ${NAME} or ${NAME:-default}; for the text ${ itself write $${");
    }
    std::optional<std::string> found = environment(reference->name);
    if (reference->fallback && (!found || found->empty())) found = *reference->fallback;
    if (!found) {
      return InvalidArgument(
          fmt::format("the environment variable {} is not set; set it, or give a default with "
                      "${{{}:-default}}",
                      reference->name, reference->name));
    }
    out.append(*found);
    text.remove_prefix(reference->size);
  }
}

}  // namespace gatehouse::config
