// YAML 1.2 with the core schema: the one door to the YAML library, whose exceptions end here.
//
// Only true/false are booleans and only null, ~ and nothing are null: `on`, `yes` and `no` are
// text. A number with a leading zero (0755) is text too, because YAML versions disagree on it. One
// document in a text; map keys are scalars, each once; anchors, aliases and merge keys ("<<") work,
// within DocumentLimits::max_alias_nodes. Any thread; results own their memory.
//
//   ParsedDocument parsed = ParseYaml("port: 8080\n", {});
#pragma once

#include <string>
#include <string_view>

#include "source/base/document.h"

namespace gatehouse {

[[nodiscard]] ParsedDocument ParseYaml(std::string_view text, const DocumentLimits& limits = {});

// Block style; strings are quoted where they would otherwise read as something else.
[[nodiscard]] std::string WriteYaml(const Node& root);

}  // namespace gatehouse
