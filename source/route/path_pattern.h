// PathPattern: a PathMatch, checked and taken apart.
//
// Made on the main thread while a table is built; its views are into the PathMatch, which must
// outlive it.
//
//   std::vector<std::string> errors;
//   PathPattern pattern = ParsePathPattern(spec.path, errors);   // "must start with '/'"
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "source/route/route_spec.h"

namespace gatehouse::route {

struct PathPattern {
  // A template without captures is kExact, kAny is a prefix of no segments.
  enum class Kind { kExact, kPrefix, kTemplate, kRegex };
  struct Segment {
    std::string_view text;  // of a literal
    bool capture = false;
  };
  Kind kind = Kind::kPrefix;
  bool any = false;  // was kAny
  // kExact: the path. kPrefix: without a '/' at its end, so "" is every path. kRegex: the regex.
  std::string_view text;
  std::vector<Segment> segments;           // kPrefix, kTemplate, without the tail
  bool tail = false;                       // kTemplate: ends in {name*} or **
  std::vector<std::string> capture_names;  // in the order of the path; "" for * and **
  std::string_view literal;                // kRegex: what every match starts with
};

// Appends what is wrong with the text to `errors`, each without the field's name.
[[nodiscard]] PathPattern ParsePathPattern(const PathMatch& path, std::vector<std::string>& errors);

// The literal text that every full match of an RE2 regex starts with; "" if in doubt.
[[nodiscard]] std::string_view LiteralPrefixOfRegex(std::string_view regex);

// Whether all paths that the pattern matches are the prefix or lie below it. For a regex: whether
// its literal part shows so.
[[nodiscard]] bool LiesUnder(const PathPattern& pattern, std::string_view prefix);

}  // namespace gatehouse::route
