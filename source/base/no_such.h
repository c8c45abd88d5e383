// The sentence about a reference to something that is not there, in both directions: who checks a
// config writes it, and who applies one that arrives in parts reads it, because what is missing may
// be on its way.
//
// Pure functions, any thread.
//
//   NoSuch("cluster", "users")                  // there is no cluster "users"
//   ReadNoSuch(text)->what == "cluster"
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace gatehouse {

struct MissingName {
  std::string what;  // "route table"
  std::string name;
};

[[nodiscard]] std::string NoSuch(std::string_view what, std::string_view name);
// Nothing for other sentences.
[[nodiscard]] std::optional<MissingName> ReadNoSuch(std::string_view sentence);

}  // namespace gatehouse
