// JSON by RFC 8259, strictly: the one door to the JSON library. (The request path does not come
// here.)
//
// No comments, no trailing commas, no NaN, valid UTF-8 only, no duplicate keys. Numbers keep their
// lexeme. Parsing does not recurse. Any thread; results own their memory.
//
//   ParsedDocument parsed = ParseJson(R"({"port": 8080})", {});
//   std::string text = WriteJson(parsed.document->root());
#pragma once

#include <string>
#include <string_view>

#include "source/base/document.h"

namespace gatehouse {

[[nodiscard]] ParsedDocument ParseJson(std::string_view text, const DocumentLimits& limits = {});

// `indent` 0: one line without spaces. A string that is not UTF-8 gets U+FFFD in place of bad
// bytes.
[[nodiscard]] std::string WriteJson(const Node& root, int indent = 0);

// Appends `text` as a JSON string with its quotes.
void AppendJsonString(std::string* out, std::string_view text);
[[nodiscard]] std::string QuoteJson(std::string_view text);

}  // namespace gatehouse
