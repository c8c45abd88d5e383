// ${NAME} and ${NAME:-default} in a text, replaced from the environment: what the inline text of a
// secret may hold. In a file the decoder does it; in a pushed secret the gateway does, since the
// environment is that of its own machine.
//
//   absl::StatusOr<std::string> text = ExpandEnvironment("Bearer ${TOKEN}", ProcessEnvironment());
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/config/text.h"

namespace gatehouse::config {

struct EnvironmentReference {
  std::string name;
  std::optional<std::string_view> fallback;
  size_t size = 0;  // of the text that it takes up
};
// At the front of `text`, which begins with "${".
[[nodiscard]] std::optional<EnvironmentReference> ParseReference(std::string_view text);

// $${ becomes the text ${. Errors name variables and never show values.
[[nodiscard]] absl::StatusOr<std::string> ExpandEnvironment(std::string_view text,
                                                            const Environment& environment);

}  // namespace gatehouse::config
