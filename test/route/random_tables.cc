#include "test/route/random_tables.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"
#include "source/base/arena.h"
#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/route/explain.h"
#include "source/route/route_table.h"
#include "source/route/route_table_builder.h"

namespace gatehouse::route {
namespace {

using Options = std::span<const std::string_view>;

constexpr std::array<std::string_view, 6> kSegments = {"a", "b", "ab", "c", "long-segment", ""};
constexpr std::array<std::string_view, 8> kParts = {"a", "b", "ab", "c", "{x}", "*", "a", "b"};
constexpr std::array<std::string_view, 12> kRegexes = {
    "/a/.*",       "/a/(b|c)", "/[ab]+/c",   "/a(/.*)?",         "/(?P<first>[^/]*)(/.*)?",
    "/ab/c*",      "/.*",      "/a/b|/c/.*", "/a/(?P<n>a+|b)/?", "/ab?/.*",
    "/a/b/[a-c]+", "(?i)/A/.*"};
constexpr std::array<std::string_view, 5> kMethods = {"GET", "POST", "PUT", "PURGE", "LOCK"};
constexpr std::array<std::string_view, 10> kDomains = {"*",     "a.b", "*.b", "*.a.b", "a.*",
                                                       "a.b.*", "A.C", "*.c", "b.*",   "a"};
constexpr std::array<std::string_view, 9> kHosts = {"a.b",   "x.b",   "x.a.b", "a.c",  "a",
                                                    "a.b.c", "b.x.y", "z",     "[::1]"};
constexpr std::array<std::string_view, 4> kHeaders = {"X-One", "x-two", "Accept", "Cookie"};
constexpr std::array<std::string_view, 8> kValues = {"1", "2", "12", "a", "-3", "a b", "", "b2"};
constexpr std::array<std::string_view, 3> kNames = {"q", "r", "q r"};
constexpr std::array<std::string_view, 3> kCookies = {"c", "d", "sid"};

std::string RandomPath(Choices& choices, Options parts, uint32_t most) {
  std::string path;
  const uint32_t count = choices.Below(most + 1);
  for (uint32_t i = 0; i < count; ++i) path.append("/").append(choices.Of(parts));
  return path.empty() ? "/" : path;
}

PathMatch RandomPathMatch(Choices& choices) {
  switch (choices.Below(8)) {
    case 0:
      return {};
    case 1:
    case 2:
      return PathMatch::Exact(RandomPath(choices, kSegments, 4));
    case 3:
    case 4:
      return PathMatch::Prefix(RandomPath(choices, kSegments, 3));
    case 5:
      return PathMatch::Regex(std::string(choices.Of(kRegexes)));
    default:
      break;
  }
  std::string text = RandomPath(choices, kParts, 4);
  for (size_t at = 0, n = 0; (at = text.find("{x}", at)) != std::string::npos; ++at) {
    text.insert(at + 2, std::to_string(n++));
  }
  if (text == "/") text.clear();
  if (choices.OneIn(3)) text += choices.OneIn(2) ? "/**" : "/{rest*}";
  return PathMatch::Template(text.empty() ? "/" : text);
}

std::vector<ValueMatch> RandomValueMatches(Choices& choices, Options names) {
  std::vector<ValueMatch> matches;
  while (choices.OneIn(4) && matches.size() < 3) {
    ValueMatch match;
    match.name = choices.Of(names);
    match.kind = static_cast<ValueMatch::Kind>(choices.Below(7));
    match.text = choices.Of(kValues);
    if (match.text.empty() && match.kind != ValueMatch::Kind::kExact) match.text = "1";
    match.from = static_cast<int64_t>(choices.Below(5)) - 3;
    match.to = match.from + choices.Below(6);
    match.invert = choices.OneIn(4);
    matches.push_back(match);
  }
  return matches;
}

RouteSpec RandomRoute(Choices& choices, uint32_t action) {
  RouteSpec route;
  route.action = action;
  route.path = RandomPathMatch(choices);
  while (choices.OneIn(3) && route.methods.size() < 3) {
    route.methods.emplace_back(choices.Of(kMethods));
  }
  route.headers = RandomValueMatches(choices, Options(kHeaders).first(3));
  route.query = RandomValueMatches(choices, kNames);
  route.cookies = RandomValueMatches(choices, kCookies);
  if (choices.OneIn(10)) route.priority = static_cast<int32_t>(choices.Below(3)) - 1;
  return route;
}

// Many routes that differ by one header: long enough for an index.
void AddSiblings(Choices& choices, TableSpec& table) {
  const PathMatch path = RandomPathMatch(choices);
  const uint32_t count = 6 + choices.Below(10);
  for (uint32_t i = 0; i < count; ++i) {
    RouteSpec route = RandomRoute(choices, 1000 + i);
    route.path = path;
    if (!choices.OneIn(4)) {
      route.headers.push_back({.name = "X-One",
                               .kind = ValueMatch::Kind::kExact,
                               .text = std::string(choices.Of(kValues))});
    }
    table.routes.push_back(route);
  }
}

// Table i of `count`; those from `delegates` on have no domains and mount only later ones.
struct Shape {
  uint32_t count;
  uint32_t delegates;
  std::vector<std::string> prefixes;  // where each delegate is mounted, "" or longer and longer
};

void AddMount(Choices& choices, const Shape& shape, uint32_t self, RouteSpec& route) {
  const uint32_t first = std::max(shape.delegates, self + 1);
  if (first >= shape.count) return;
  const uint32_t target = first + choices.Below(shape.count - first);
  const std::string& prefix = shape.prefixes[target];
  const bool same = prefix == (self >= shape.delegates ? shape.prefixes[self] : "");
  route.path = same && choices.OneIn(2) ? PathMatch{} : PathMatch::Prefix(prefix + "/");
  route.delegates.push_back(fmt::format("t{}", target));
  // Now and then a mistake, which the builder must find.
  if (choices.OneIn(60)) route.delegates[0] = fmt::format("t{}", choices.Below(shape.count));
  if (choices.OneIn(4) && target + 1 < shape.count && shape.prefixes[target + 1] == prefix) {
    route.delegates.push_back(fmt::format("t{}", target + 1));
  }
}

void AddRoutes(Choices& choices, const Shape& shape, uint32_t self, TableSpec& table) {
  const uint32_t count = choices.Below(14);
  for (uint32_t i = 0; i < count; ++i) {
    RouteSpec route = RandomRoute(choices, i);
    if (choices.OneIn(6)) AddMount(choices, shape, self, route);
    table.routes.push_back(route);
  }
  if (choices.OneIn(6)) AddSiblings(choices, table);
  // A long list of regexes, for the tree over them.
  if (choices.OneIn(12)) {
    for (uint32_t i = 0; i < 20; ++i) {
      RouteSpec route = RandomRoute(choices, 2000 + i);
      route.path = PathMatch::Regex(fmt::format("/{}.{{{}}}", i % 3 == 0 ? "[a]" : "a?", i / 2));
      table.routes.push_back(route);
    }
  }
}

void PutUnder(const std::string& prefix, TableSpec& table) {
  for (RouteSpec& route : table.routes) {
    PathMatch& path = route.path;
    if (path.kind == PathMatch::Kind::kAny || !route.delegates.empty()) continue;
    if (path.kind == PathMatch::Kind::kRegex &&
        path.text.find_first_of("|i") != std::string::npos) {
      path.text = "/.*";
    }
    path.text = prefix + path.text;
  }
}

bool SameAnswer(const RouteTable& table, const Match& match, const ReferenceMatch& expected) {
  if (static_cast<bool>(match) != expected.found) return false;
  if (!match) {
    Arena arena;
    std::string allow(table.Allow(match.allowed_methods, arena));
    std::vector<std::string> allowed;
    while (!allow.empty()) {
      allowed.push_back(allow.substr(0, allow.find(", ")));
      allow.erase(0, allowed.back().size() + 2);
    }
    std::sort(allowed.begin(), allowed.end());
    return allowed == expected.allowed;
  }
  const std::vector<std::string> captures(match.captures.begin(),
                                          match.captures.begin() + match.capture_count);
  return table.RouteName(match.route) == expected.name && match.action == expected.action &&
         match.matched_size == expected.matched_size && captures == expected.captures &&
         table.CaptureCount(match.route) == match.capture_count;
}

std::string Describe(const RouteTable& table, const Match& match) {
  Arena arena;
  if (!match) return fmt::format("nothing, allow [{}]", table.Allow(match.allowed_methods, arena));
  return fmt::format("'{}' action {} matched {} captures {}", table.RouteName(match.route),
                     match.action, match.matched_size, match.capture_count);
}

}  // namespace

std::vector<TableSpec> RandomTables(Choices& choices) {
  Shape shape{1 + choices.Below(5), 0, {}};
  shape.delegates = 1 + choices.Below(shape.count);
  std::vector<TableSpec> tables(shape.count);
  std::vector<std::string_view> taken;
  for (uint32_t i = 0; i < shape.count; ++i) {
    static constexpr std::array<std::string_view, 3> kDeeper = {"", "/a", "/b"};
    std::string prefix = i > shape.delegates ? shape.prefixes.back() : "";
    if (i >= shape.delegates) prefix += choices.Of(kDeeper);
    shape.prefixes.push_back(prefix);
    tables[i].name = fmt::format("t{}", i);
    for (uint32_t d = i < shape.delegates ? 1 + choices.Below(4) : 0; d > 0; --d) {
      const std::string_view domain = choices.Of(kDomains);
      const bool known = std::find(taken.begin(), taken.end(), domain) != taken.end();
      if (known && !choices.OneIn(100)) continue;
      taken.push_back(domain);
      tables[i].domains.emplace_back(domain);
    }
  }
  for (uint32_t i = 0; i < shape.count; ++i) {
    AddRoutes(choices, shape, i, tables[i]);
    if (i >= shape.delegates) PutUnder(shape.prefixes[i], tables[i]);
  }
  return tables;
}

ReferenceRequest RandomRequest(Choices& choices) {
  ReferenceRequest request;
  request.method = choices.Of(kMethods);
  request.host = choices.Of(kHosts);
  request.path = RandomPath(choices, kSegments, 5);
  while (choices.OneIn(2) && request.query.size() < 60) {
    static constexpr std::array<std::string_view, 8> kPairs = {
        "q=1", "r=a", "q+r=2", "q%20r=b2", "%71=12", "q", "q=a+b", "r=%2D3&&=&%"};
    if (!request.query.empty()) request.query += '&';
    request.query += choices.Of(kPairs);
  }
  while (choices.OneIn(2) && request.headers.size() < 8) {
    const std::string name(choices.Of(kHeaders));
    std::string value(choices.Of(kValues));
    if (name == "Cookie") {
      value = fmt::format("{}={}; {}={}", choices.Of(kCookies), value, choices.Of(kCookies),
                          choices.Of(kValues));
    }
    request.headers.emplace_back(name, value);
  }
  return request;
}

std::string CompareMatchers(std::span<const uint8_t> bytes, size_t* built) {
  Choices choices(bytes);
  const std::vector<TableSpec> tables = RandomTables(choices);
  RouteTableBuilder builder;
  for (const TableSpec& table : tables) builder.Add(table);
  const RouteTableBuilder::Result result = builder.Build();
  if (result.table == nullptr) return {};
  if (built != nullptr) ++*built;
  for (int i = 0; i < 20; ++i) {
    ReferenceRequest request = RandomRequest(choices);
    Arena arena;
    http::HeaderMap headers(arena);
    for (auto& [name, value] : request.headers) {
      value = http::TrimSpace(value);
      (void)headers.Add(name, value);
    }
    const RequestView view{http::FindMethod(request.method),
                           request.method,
                           request.host,
                           request.path,
                           request.query,
                           &headers};
    const ReferenceMatch expected = ReferenceFind(tables, request);
    const Match match = result.table->Find(view);
    Explanation explanation;
    const Match explained = result.table->Explain(view, explanation);
    for (const auto& [how, got] : {std::pair{"Find", &match}, std::pair{"Explain", &explained}}) {
      if (SameAnswer(*result.table, *got, expected)) continue;
      return fmt::format("{}request {}\nexpected {}\n{} says {}\n", Print(tables), Print(request),
                         Print(expected), how, Describe(*result.table, *got));
    }
  }
  return {};
}

}  // namespace gatehouse::route
