// RE2 behind the route table: compiling with our options, and the first of many regexes that match
// a path.
//
// Built on the main thread, const afterwards. RE2 is safe to share between threads; it builds its
// automaton as texts come and guards that with its own lock.
//
//   auto regex = CompileRegex("/v[0-9]+/users");
//   RegexList list = RegexList::Build({{"/v[0-9]+/users", "/v", regex->get()}, ...});
//   for (size_t i = list.Next(path, 0); i != RegexList::kEnd; i = list.Next(path, i + 1)) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "re2/re2.h"
#include "re2/set.h"

namespace gatehouse::route {

// The highest number of a named group: matching with groups needs room on the stack.
inline constexpr int kMaxRegexGroups = 16;

[[nodiscard]] absl::StatusOr<std::unique_ptr<const re2::RE2>> CompileRegex(std::string_view text);

// Whether all of the text matches.
[[nodiscard]] bool FullMatch(const re2::RE2& regex, std::string_view text);

// Regexes in the order in which they are tried. A long list has a tree of RE2::Sets over it, so
// that finding the first match takes a number of passes over the path that grows with the
// logarithm of the length.
class RegexList {
 public:
  static constexpr size_t kEnd = ~size_t{0};
  struct Entry {
    std::string_view literal;  // what matches start with
    const re2::RE2* regex;     // outlives the list
    uint32_t id;               // the caller's, ascending
  };

  [[nodiscard]] static RegexList Build(std::vector<Entry> entries);

  // The first position at `from` or after whose regex matches the whole path.
  [[nodiscard]] size_t Next(std::string_view path, size_t from) const;
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }

 private:
  static constexpr size_t kLeaf = 8;
  [[nodiscard]] size_t NextBelow(size_t node, size_t begin, size_t end, std::string_view path,
                                 size_t from) const;

  std::vector<Entry> entries_;
  // A heap-shaped binary tree over the leaves; null: unknown, so look below. Empty for short lists.
  std::vector<std::unique_ptr<re2::RE2::Set>> sets_;
  size_t width_ = 0;  // entries under the root, a power of two
};

}  // namespace gatehouse::route
