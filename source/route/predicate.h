// Predicate: one compiled header, query or cookie matcher, and the walks over what it is asked of.
//
// Built on the main thread, const afterwards, any thread. Texts are held by CompiledRoutes. No
// allocation (but see regex.h).
//
//   for (const Predicate& predicate : of_the_route)
//     if (!Holds(predicate, request)) return false;
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "re2/re2.h"
#include "source/http/header_map.h"
#include "source/route/match.h"
#include "source/route/route_spec.h"

namespace gatehouse::route {

struct Predicate {
  enum class Source : uint8_t { kHeader, kQuery, kCookie };

  Source source = Source::kHeader;
  ValueMatch::Kind kind = ValueMatch::Kind::kPresent;
  bool invert = false;
  http::Name header_id{};  // kHeader: what the name is to HeaderMap
  std::string_view name;   // a header's in lower case
  std::string_view text;
  int64_t from = 0;
  int64_t to = 0;
  const re2::RE2* regex = nullptr;
};

// A query value that needs decoding and is longer than this satisfies no predicate about its text,
// inverted or not: what cannot be looked at must not pass.
inline constexpr size_t kMaxDecodedValue = 4096;

[[nodiscard]] bool Holds(const Predicate& predicate, const RequestView& request);

// The values of one header, for the index over routes that differ by it.
struct HeaderValues {
  static constexpr size_t kMax = 4;
  std::array<std::string_view, kMax> values;
  size_t count = 0;
  bool overflow = false;  // there are more
};
void CollectHeader(const http::HeaderMap& headers, http::Name id, std::string_view name,
                   HeaderValues& out);

// "header x-plan: exact 'gold'", for people.
[[nodiscard]] std::string Describe(const Predicate& predicate);

// Checks a matcher; appends messages without the field's name.
void CheckValueMatch(const ValueMatch& match, Predicate::Source source,
                     std::vector<std::string>& errors);

}  // namespace gatehouse::route
