#include "source/route/route_table_builder.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "fmt/format.h"
#include "test/route/fixture.h"

namespace gatehouse::route {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The error that a single route causes, without the part in front of "match".
std::string ErrorOf(RouteSpec route) {
  const std::vector<std::string> errors = ErrorsOf({Everywhere({std::move(route)})});
  if (errors.size() != 1) return fmt::format("{} errors", errors.size());
  const std::string where = "route_tables[0].routes[0].";
  EXPECT_EQ(errors[0].substr(0, where.size()), where);
  return errors[0].substr(where.size());
}
std::string PathErrorOf(PathMatch path) { return ErrorOf({.path = std::move(path)}); }

TEST(RouteTableBuilderTest, AllErrorsAtOnceEachWithItsField) {
  const std::vector<TableSpec> tables = {
      {.name = "shop",
       .where = "route_tables[0]",
       .domains = {"a:80", "b"},
       .routes = {{.path = PathMatch::Prefix("x")},
                  {.methods = {"G T"}, .headers = {{}}, .delegates = {"nobody"}}}},
      {.name = "cart", .domains = {"B"}, .routes = {{.path = PathMatch::Regex("/(")}}},
  };
  EXPECT_THAT(
      ErrorsOf(tables),
      ElementsAre(
          "route_tables[0].domains[0]: 'a:80': must not have a port: it is the listener's",
          "route_tables[0].routes[0].match.path_prefix: must start with '/'",
          "route_tables[0].routes[1].match.methods[0]: 'G T' is not a method",
          "route_tables[0].routes[1].match.headers[0].name: must not be empty",
          "route_tables[0].routes[1].delegate.route_tables[0]: there is no route table 'nobody'",
          "route_tables(cart).domains[0]: 'b' is a domain of both 'shop' (route_tables[0]) and "
          "'cart' (route_tables(cart)) on this listener",
          "route_tables(cart).routes[0].match.path_regex: is not a valid RE2 regex: missing ): "
          "/("));
}

TEST(RouteTableBuilderTest, Names) {
  EXPECT_THAT(ErrorsOf({{.name = "a", .where = "x"}, {.name = "a", .where = "y"}}),
              ElementsAre("y.name: 'a' is already the name of x"));
}

TEST(RouteTableBuilderTest, Domains) {
  const auto error = [](std::string domain) {
    const auto errors = ErrorsOf({{.name = "t", .where = "t", .domains = {std::move(domain)}}});
    return errors.empty() ? "" : errors[0];
  };
  for (const char* fine : {"*", "*.a", "a.*", "a.b", "A.B", "xn--bcher-kva.example", "[::1]",
                           "10.0.0.1", "my_host", "*.a.b.c"}) {
    EXPECT_EQ(error(fine), "") << fine;
  }
  for (const char* wrong : {"", "*.", ".*", "a*", "*a.b", "a.*.b", "*.*", "a..b", ".a", "a.", "a/b",
                            "a b", "b\xc3\xbc", "[::1", "[]:80", "[::1]:80", "a:1"}) {
    EXPECT_NE(error(wrong), "") << wrong;
  }
  EXPECT_EQ(error(std::string(254, 'a')), "t.domains[0]: is longer than 253 characters");
  EXPECT_THAT(ErrorsOf({{.name = "t", .where = "t", .domains = {"a", "A"}}}),
              ElementsAre("t.domains[1]: 'a' is there twice"));
}

TEST(RouteTableBuilderTest, Paths) {
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("")), "match.path: must start with '/'");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/a?b")),
            "match.path: must not contain '?': match the query with match.query");
  EXPECT_EQ(PathErrorOf(PathMatch::Prefix("/a#b")),
            "match.path_prefix: must not contain '#': a fragment never reaches a server");
  EXPECT_EQ(PathErrorOf(PathMatch::Prefix("/a b")),
            "match.path_prefix: must not contain spaces or control characters: write %20");
  EXPECT_EQ(PathErrorOf(PathMatch::Template("/a/../b")),
            "match.path_template: must not contain '.' or '..' segments: the request's path has "
            "them resolved");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/" + std::string(4096, 'a'))),
            "match.path: is longer than 4096 characters");
  // What no normalised path has would never match.
  const std::string normal =
      "match.path: would never match, since requests are matched in their normal form: write ";
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/caf%c3%a9")), normal + "/caf%C3%A9");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/caf\xc3\xa9")), normal + "/caf%C3%A9");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/%61%2Fb%7e")), normal + "/a%2Fb~");
  EXPECT_EQ(PathErrorOf(PathMatch::Prefix("/a%2")),
            "match.path_prefix: has a '%' without two hex digits; a plain one is %25");
  EXPECT_EQ(PathErrorOf(PathMatch::Template("/{a}/%zz")),
            "match.path_template: has a '%' without two hex digits; a plain one is %25");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/a\\b")),
            "match.path: must not contain '\\': a request with one is refused");
  EXPECT_EQ(PathErrorOf(PathMatch::Exact("/caf%C3%A9%2F%20b")), "0 errors");
  std::string deep;
  for (int i = 0; i < 65; ++i) deep += "/a";
  EXPECT_EQ(PathErrorOf(PathMatch::Prefix(deep)), "match.path_prefix: has more than 64 segments");
}

TEST(RouteTableBuilderTest, Templates) {
  const auto error = [](const char* text) { return PathErrorOf(PathMatch::Template(text)); };
  EXPECT_EQ(error("/a/x{id}"),
            "match.path_template: has the segment 'x{id}': a capture fills its segment and is "
            "{name}, {name*}, * or **");
  for (const char* wrong : {"/{}", "/{a-b}", "/{1a}", "/{a", "/a}", "/***", "/a*", "/{*}",
                            "/{a}{b}", "/{rest*}/a", "/**/a"}) {
    EXPECT_NE(error(wrong), "0 errors") << wrong;
  }
  EXPECT_EQ(error("/{a}/{a}"), "match.path_template: has the capture 'a' twice");
  EXPECT_EQ(error("/*/*/*/*/*/*/*/*/*"), "match.path_template: has more than 8 captures");
  EXPECT_EQ(error("/*/*/*/*/*/*/*/**"), "0 errors");
  EXPECT_EQ(error("/{a}/{b_2}/{rest*}"), "0 errors");
}

TEST(RouteTableBuilderTest, Regexes) {
  for (const char* never : {"users/.*", "", "[a-z]+/x", "(a|b)/x", "a?b/"}) {
    EXPECT_EQ(PathErrorOf(PathMatch::Regex(never)),
              "match.path_regex: never matches: every path starts with '/'")
        << never;
  }
  for (const char* some : {".*", "(?i)/A", "(/a|b)/x", "/?", "[^a]+", "(?:/v[0-9])?/x", "(a|/)*",
                           "a*/x", "\\x2fa", "/"}) {
    EXPECT_EQ(PathErrorOf(PathMatch::Regex(some)), "0 errors") << some;
  }
  EXPECT_EQ(PathErrorOf(PathMatch::Regex("/(?P<a>x)(?P<b>y)(z)")), "0 errors");
  std::string many = "/";
  for (int i = 0; i < 20; ++i) many += "(x)";
  EXPECT_EQ(PathErrorOf(PathMatch::Regex(many)), "0 errors");
  EXPECT_EQ(PathErrorOf(PathMatch::Regex(many + "(?P<late>x)")),
            "match.path_regex: has the named group 'late' after 16 other groups");
}

TEST(RouteTableBuilderTest, Methods) {
  EXPECT_EQ(ErrorOf({.methods = {"get"}}),
            "match.methods[0]: methods are case-sensitive: write GET for 'get'");
  RouteSpec many;
  for (int i = 0; i < 9; ++i) many.methods.push_back(fmt::format("X{}", i));
  EXPECT_EQ(ErrorOf(many),
            "match.methods[8]: 'X8' is one more than the 8 extension methods that a listener may "
            "use");
}

TEST(RouteTableBuilderTest, Matchers) {
  using Kind = ValueMatch::Kind;
  EXPECT_EQ(ErrorOf({.headers = {{.name = "a b"}}}),
            "match.headers[0].name: 'a b' is not a header name");
  EXPECT_EQ(ErrorOf({.headers = {{.name = ":path"}}}),
            "match.headers[0].name: is a pseudo-header: match.methods, match.path and domains "
            "stand for it");
  EXPECT_EQ(ErrorOf({.query = {{.name = "any thing"}}}), "0 errors");
  EXPECT_EQ(ErrorOf({.cookies = {{.name = "a;b"}}}),
            "match.cookies[0].name: 'a;b' is not a cookie name");
  EXPECT_EQ(ErrorOf({.query = {{.name = "a"}, {.name = "b", .kind = Kind::kPrefix}}}),
            "match.query[1].prefix: must not be empty: use present");
  EXPECT_EQ(ErrorOf({.headers = {{.name = "a", .kind = Kind::kRange, .from = 2, .to = 1}}}),
            "match.headers[0].range: from is greater than to");
  EXPECT_EQ(ErrorOf({.headers = {{.name = "a", .kind = Kind::kRegex, .text = "["}}}),
            "match.headers[0].regex: is not a valid RE2 regex: missing ]: [");
}

TEST(RouteTableBuilderTest, Priorities) {
  std::vector<RouteSpec> routes;
  for (int i = 0; i < 17; ++i) routes.push_back({.priority = i});
  EXPECT_THAT(ErrorsOf({Everywhere(routes)}),
              ElementsAre("route_tables[0].routes: have 17 different priorities; each costs every "
                          "request a look-up, so there may be 16"));
}

TEST(RouteTableBuilderTest, Delegates) {
  const RouteSpec mount{.name = "m", .path = PathMatch::Prefix("/a/"), .delegates = {"d"}};
  EXPECT_THAT(ErrorsOf({Everywhere({mount}), {.name = "dd"}}),
              ElementsAre("route_tables[0].routes[0].delegate.route_tables[0]: there is no route "
                          "table 'd'; did you mean 'dd'?"));
  EXPECT_THAT(ErrorsOf({Everywhere({mount}), {.name = "d", .domains = {"x"}}}),
              ElementsAre("route_tables[0].routes[0].delegate.route_tables[0]: 'd' has domains, so "
                          "it cannot be mounted: a delegate has none"));
  EXPECT_THAT(ErrorsOf({Everywhere({{.path = PathMatch::Exact("/a"), .delegates = {"d"}}}),
                        {.name = "d", .routes = {{.path = PathMatch::Prefix("/a")}}}}),
              ElementsAre("route_tables[0].routes[0].match.path: a route that delegates matches a "
                          "path_prefix"));
  EXPECT_THAT(
      ErrorsOf({Everywhere({mount}),
                {.name = "d",
                 .where = "D",
                 .routes = {{.path = PathMatch::Exact("/a")},
                            {.path = PathMatch::Exact("/ab")},
                            {.path = PathMatch::Template("/a/{x}")},
                            {.path = PathMatch::Template("/{x}/a")},
                            {.path = PathMatch::Prefix("/")},
                            {.path = PathMatch::Regex("/a/.*")},
                            {.path = PathMatch::Regex("/a.*")},
                            {}}}}),
      ElementsAre(
          "D.routes[1].match.path: '/ab' does not lie under '/a', where route 'm' of table "
          "'main' mounts this table",
          "D.routes[3].match.path_template: '/{x}/a' does not lie under '/a', where route "
          "'m' of table 'main' mounts this table",
          "D.routes[4].match.path_prefix: '/' does not lie under '/a', where route 'm' of "
          "table 'main' mounts this table",
          "D.routes[6].match.path_regex: '/a.*' does not lie under '/a', where route 'm' of "
          "table 'main' mounts this table: the regex must begin with that text and a '/'"));
}

TEST(RouteTableBuilderTest, DelegatesInACircle) {
  EXPECT_THAT(ErrorsOf({Everywhere({{.delegates = {"a"}}}),
                        {.name = "a", .where = "A", .routes = {{}, {.delegates = {"b"}}}},
                        {.name = "b", .where = "B", .routes = {{.delegates = {"a"}}}}}),
              ElementsAre("B.routes[0].delegate.route_tables: tables delegate in a circle: a -> b "
                          "-> a"));
}

TEST(RouteTableBuilderTest, DelegatesTooDeep) {
  std::vector<TableSpec> tables = {Everywhere({{.delegates = {"d0"}}})};
  for (int i = 0; i < 8; ++i) {
    tables.push_back({.name = fmt::format("d{}", i), .where = fmt::format("D{}", i)});
    if (i < 7) tables.back().routes.push_back({.delegates = {fmt::format("d{}", i + 1)}});
  }
  EXPECT_THAT(ErrorsOf(tables), IsEmpty());
  tables.back().routes.push_back({.delegates = {"d8"}});
  tables.push_back({.name = "d8"});
  EXPECT_THAT(ErrorsOf(tables),
              ElementsAre("D7.routes[0].delegate.route_tables: 'd8' is more than 8 tables deep"));
}

// Each level doubles the copies; the builder gives up in time.
TEST(RouteTableBuilderTest, TooManyMountedCopies) {
  std::vector<TableSpec> tables = {Everywhere({{.delegates = {"d0"}}})};
  for (int i = 0; i < 8; ++i) {
    TableSpec table{.name = fmt::format("d{}", i)};
    for (int n = 0; n < 30; ++n) {
      RouteSpec route{.headers = {{.name = fmt::format("x{}", n)}}};
      if (i < 7) route.delegates = {fmt::format("d{}", i + 1)};
      table.routes.push_back(route);
    }
    tables.push_back(table);
  }
  EXPECT_THAT(
      ErrorsOf(tables),
      ElementsAre("route_tables: more than 4194304 routes, with every mounted copy counted"));
}

TEST(RouteTableBuilderTest, WarnsOfRoutesThatNothingReaches) {
  EXPECT_THAT(
      WarningsOf({Everywhere({
          {.name = "all", .path = PathMatch::Prefix("/api")},
          {.name = "again", .path = PathMatch::Prefix("/api/")},
          {.name = "get", .path = PathMatch::Exact("/x"), .methods = {"GET", "PUT"}},
          {.name = "get again", .path = PathMatch::Exact("/x"), .methods = {"GET"}},
          {.name = "fine", .path = PathMatch::Exact("/x"), .methods = {"GET", "POST"}},
          {.name = "regex", .path = PathMatch::Regex("/api/v[0-9]+/.*")},
          {.name = "fine too", .path = PathMatch::Regex("/ap[a-z]/.*")},
          {.name = "high", .path = PathMatch::Regex("/api/.*"), .priority = 1},
      })}),
      testing::UnorderedElementsAre(
          "route_tables[0].routes[1] ('again'): no request can reach it behind routes[0] ('all'): "
          "it has the same path and takes all that this one does",
          "route_tables[0].routes[3] ('get again'): no request can reach it behind routes[2] "
          "('get'): it has the same path and takes all that this one does",
          "route_tables[0].routes[5] ('regex'): no request can reach it behind routes[0] ('all'): "
          "a prefix comes before every regex: give the regex a priority"));
}

}  // namespace
}  // namespace gatehouse::route
