#include "source/route/route_table.h"

#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "fmt/format.h"
#include "test/route/allocation_count.h"
#include "test/route/fixture.h"
#include "test/route/random_tables.h"

namespace gatehouse::route {
namespace {

using testing::ElementsAre;

std::vector<std::string> CapturesOf(const RouteTable& table, const Match& match) {
  std::vector<std::string> captures;
  for (size_t i = 0; i < match.capture_count; ++i) {
    captures.push_back(fmt::format("{}={}", table.CaptureName(match.route, i), match.captures[i]));
  }
  return captures;
}

TEST(RouteTableTest, HostsInOrderOfPrecedence) {
  const auto table = BuildTable({
      {.name = "any", .domains = {"*"}, .routes = {{.name = "any"}}},
      {.name = "exact", .domains = {"API.shop.example"}, .routes = {{.name = "exact"}}},
      {.name = "suffix", .domains = {"*.shop.example"}, .routes = {{.name = "suffix"}}},
      {.name = "short suffix", .domains = {"*.example"}, .routes = {{.name = "short suffix"}}},
      {.name = "prefix", .domains = {"api.*"}, .routes = {{.name = "prefix"}}},
      {.name = "long prefix", .domains = {"api.shop.*"}, .routes = {{.name = "long prefix"}}},
  });
  const auto at = [&](const char* host) { return Route(*table, {"GET", host, "/"}); };
  EXPECT_EQ(at("api.shop.example"), "exact");
  EXPECT_EQ(at("www.shop.example"), "suffix");
  EXPECT_EQ(at("a.b.shop.example"), "suffix");
  EXPECT_EQ(at("shop.example"), "short suffix");
  EXPECT_EQ(at("api.other.example"), "short suffix");
  EXPECT_EQ(at("example"), "any");
  EXPECT_EQ(at("api.shop.test"), "long prefix");
  EXPECT_EQ(at("api.test"), "prefix");
  EXPECT_EQ(at("api"), "any");
  EXPECT_EQ(at("[::1]"), "any");
  EXPECT_EQ(at(""), "any");
}

TEST(RouteTableTest, NoTableForTheHost) {
  const auto table = BuildTable({{.name = "t", .domains = {"a.example"}, .routes = {{}}}});
  EXPECT_EQ(Route(*table, {"GET", "a.example", "/"}), "t[0]");
  EXPECT_EQ(Route(*table, {"GET", "b.example", "/"}), "404");
}

// The table of the best domain decides; others are not asked.
TEST(RouteTableTest, NoFallBackToAnotherHost) {
  const auto table = BuildTable({
      {.name = "any", .domains = {"*"}, .routes = {{.name = "any"}}},
      {.name = "a",
       .domains = {"a.example"},
       .routes = {{.name = "x", .path = PathMatch::Prefix("/x")}}},
  });
  EXPECT_EQ(Route(*table, {"GET", "a.example", "/y"}), "404");
}

TEST(RouteTableTest, PrefixesGoBySegments) {
  for (const char* text : {"/api", "/api/"}) {
    const auto table = BuildTable({Everywhere({{.name = "api", .path = PathMatch::Prefix(text)}})});
    EXPECT_EQ(Get(*table, "/api"), "api");
    EXPECT_EQ(Get(*table, "/api/"), "api");
    EXPECT_EQ(Get(*table, "/api/x/y"), "api");
    EXPECT_EQ(Get(*table, "/apix"), "404");
    EXPECT_EQ(Get(*table, "/ap"), "404");
    EXPECT_EQ(Get(*table, "/"), "404");
    EXPECT_EQ(table->Find(TestRequest("GET", "h", "/api/x").view()).matched_size, 4u);
  }
}

TEST(RouteTableTest, PathsInOrderOfPrecedence) {
  const auto table = BuildTable({Everywhere({
      {.name = "regex", .path = PathMatch::Regex("/[a-z]+/[0-9]+/cart")},
      {.name = "root", .path = PathMatch::Prefix("/shops")},
      {.name = "users", .path = PathMatch::Prefix("/users")},
      {.name = "rest", .path = PathMatch::Template("/users/{rest*}")},
      {.name = "one", .path = PathMatch::Template("/users/{id}")},
      {.name = "orders", .path = PathMatch::Template("/users/{id}/orders")},
      {.name = "me", .path = PathMatch::Exact("/users/me")},
      {.name = "me below", .path = PathMatch::Prefix("/users/me")},
      {.name = "any order", .path = PathMatch::Template("/users/{id}/orders/**")},
  })});
  EXPECT_EQ(Get(*table, "/users/me"), "me");
  EXPECT_EQ(Get(*table, "/users/me/"), "me below");
  EXPECT_EQ(Get(*table, "/users/me/orders"), "me below");  // a literal before a capture
  EXPECT_EQ(Get(*table, "/users/7"), "one");
  EXPECT_EQ(Get(*table, "/users/7/orders"), "orders");
  EXPECT_EQ(Get(*table, "/users/7/orders/1/2"), "any order");
  EXPECT_EQ(Get(*table, "/users/7/x"), "rest");  // a template before a prefix of that length
  EXPECT_EQ(Get(*table, "/users"), "rest");
  EXPECT_EQ(Get(*table, "/shops/7/cart"), "root");  // regexes come last
  EXPECT_EQ(Get(*table, "/carts/7/cart"), "regex");
}

// The example of docs/routing.md: with the first one gone, the next one is it.
TEST(RouteTableTest, PathsInTheOrderOfTheDocumentation) {
  const std::vector<PathMatch> order = {
      PathMatch::Exact("/users/me/orders"),
      PathMatch::Template("/users/me/{what}"),
      PathMatch::Prefix("/users/me"),
      PathMatch::Template("/users/{id}/orders"),
      PathMatch::Template("/users/{id}/**"),
      PathMatch::Prefix("/users"),
      PathMatch::Prefix("/"),
      PathMatch::Regex("/users/.*"),
  };
  for (size_t first = 0; first < order.size(); ++first) {
    std::vector<RouteSpec> routes;
    for (size_t i = order.size(); i-- > first;) {
      routes.push_back({.name = fmt::format("{}", i), .path = order[i]});
    }
    const auto table = BuildTable({Everywhere(routes)});
    EXPECT_EQ(Get(*table, "/users/me/orders"), fmt::format("{}", first));
  }
}

TEST(RouteTableTest, CapturesAreViewsOfThePath) {
  const auto table = BuildTable({Everywhere({
      {.name = "t", .path = PathMatch::Template("/a/{one}/b/*/{rest*}")},
      {.name = "r", .path = PathMatch::Regex("/r/(?P<number>[0-9]+)(/(?P<more>.*))?")},
  })});
  const std::string path = "/a/1/b/2/x/y";
  const Match match = table->Find({http::Method::kGet, "GET", "h", path, {}, nullptr});
  ASSERT_TRUE(match);
  EXPECT_THAT(CapturesOf(*table, match), ElementsAre("one=1", "=2", "rest=x/y"));
  EXPECT_EQ(match.captures[0].data(), path.data() + 3);
  EXPECT_EQ(table->Capture(match, "rest"), "x/y");
  EXPECT_EQ(table->Capture(match, "none"), std::nullopt);

  const auto captures = [&](std::string target) {
    TestRequest request("GET", "h", std::move(target));
    return CapturesOf(*table, table->Find(request.view()));
  };
  EXPECT_THAT(captures("/a/1/b/2"), ElementsAre("one=1", "=2", "rest="));
  EXPECT_THAT(captures("/a/1/b/2/"), ElementsAre("one=1", "=2", "rest="));
  EXPECT_THAT(captures("/r/12/x"), ElementsAre("number=12", "more=x"));
  EXPECT_THAT(captures("/r/12"), ElementsAre("number=12", "more="));
  EXPECT_EQ(Get(*table, "/a//b/2"), "404");  // a capture is not empty
}

TEST(RouteTableTest, GoesBackWhenASpecificWayEnds) {
  const auto table = BuildTable({Everywhere({
      {.name = "deep", .path = PathMatch::Template("/a/b/{x}/d/e")},
      {.name = "wide", .path = PathMatch::Template("/a/{x}/{y}/d/f")},
      {.name = "all", .path = PathMatch::Template("/{x}/**")},
  })});
  EXPECT_EQ(Get(*table, "/a/b/c/d/e"), "deep");
  EXPECT_EQ(Get(*table, "/a/b/c/d/f"), "wide");
  EXPECT_EQ(Get(*table, "/a/b/c/d/g"), "all");
}

TEST(RouteTableTest, MorePredicatesFirst) {
  const ValueMatch one{.name = "x-one"};
  const ValueMatch two{.name = "x-two"};
  const auto table = BuildTable({Everywhere({
      {.name = "plain", .path = PathMatch::Exact("/")},
      {.name = "cookie", .path = PathMatch::Exact("/"), .cookies = {one}},
      {.name = "query", .path = PathMatch::Exact("/"), .query = {one}},
      {.name = "header", .path = PathMatch::Exact("/"), .headers = {one}},
      {.name = "two headers", .path = PathMatch::Exact("/"), .headers = {one, two}},
      {.name = "method", .path = PathMatch::Exact("/"), .methods = {"GET"}, .headers = {two}},
  })});
  const auto find = [&](const char* target, std::vector<std::string> headers) {
    TestRequest request("GET", "h", target);
    for (const std::string& name : headers)
      request.Header(name, name == "Cookie" ? "x-one=1" : "1");
    return Route(*table, request);
  };
  EXPECT_EQ(find("/", {}), "plain");
  EXPECT_EQ(find("/", {"Cookie"}), "cookie");
  EXPECT_EQ(find("/?x-one", {"Cookie"}), "query");
  EXPECT_EQ(find("/?x-one", {"Cookie", "X-One"}), "header");
  EXPECT_EQ(find("/", {"X-One", "X-Two"}), "method");
}

TEST(RouteTableTest, PriorityComesBeforeAllElse) {
  const auto table = BuildTable({Everywhere({
      {.name = "exact", .path = PathMatch::Exact("/a/b")},
      {.name = "regex",
       .path = PathMatch::Regex("/a/.*"),
       .headers = {{.name = "x"}},
       .priority = 1},
      {.name = "last", .path = PathMatch::Exact("/a/c"), .priority = -1},
      {.name = "all"},
  })});
  EXPECT_EQ(Get(*table, "/a/b"), "exact");
  EXPECT_EQ(Get(*table, "/a/c"), "all");
  EXPECT_EQ(Route(*table, TestRequest("GET", "h", "/a/b").Header("X", "1")), "regex");
}

TEST(RouteTableTest, RegexesInListOrderBySharedText) {
  const auto table = BuildTable({Everywhere({
      {.name = "first", .path = PathMatch::Regex("/v[0-9]+/.*")},
      {.name = "second", .path = PathMatch::Regex("/v1/.*")},
      {.name = "first with header",
       .path = PathMatch::Regex("/v[0-9]+/.*"),
       .headers = {{.name = "x"}}},
  })});
  EXPECT_EQ(Get(*table, "/v1/a"), "first");
  EXPECT_EQ(Route(*table, TestRequest("GET", "h", "/v1/a").Header("x", "")), "first with header");
  EXPECT_EQ(Get(*table, "/v/a"), "404");
}

TEST(RouteTableTest, ManyRegexesAtOneNode) {
  std::vector<RouteSpec> routes;
  for (int i = 0; i < 100; ++i) {
    routes.push_back(
        {.name = fmt::format("r{}", i), .path = PathMatch::Regex(fmt::format("/.*/{}x*", i))});
  }
  const auto table = BuildTable({Everywhere(routes)});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Get(*table, fmt::format("/a/b/{}xx", i)), fmt::format("r{}", i));
  }
  EXPECT_EQ(Get(*table, "/a/b/100"), "404");
}

TEST(RouteTableTest, MethodsAndWhatWouldBeAllowed) {
  const auto table = BuildTable({Everywhere({
      {.name = "read", .path = PathMatch::Prefix("/a"), .methods = {"GET", "HEAD"}},
      {.name = "write", .path = PathMatch::Exact("/a"), .methods = {"PUT"}},
      {.name = "purge",
       .path = PathMatch::Exact("/a"),
       .methods = {"PURGE"},
       .headers = {{.name = "x-admin"}}},
  })});
  EXPECT_EQ(Route(*table, {"GET", "h", "/a"}), "read");
  EXPECT_EQ(Route(*table, {"PUT", "h", "/a"}), "write");
  EXPECT_EQ(Route(*table, {"PUT", "h", "/a/b"}), "405 GET, HEAD");
  EXPECT_EQ(Route(*table, {"DELETE", "h", "/a"}), "405 GET, HEAD, PUT");
  EXPECT_EQ(Route(*table, {"get", "h", "/a"}), "405 GET, HEAD, PUT");
  EXPECT_EQ(Route(*table, {"LOCK", "h", "/a"}), "405 GET, HEAD, PUT");
  // Only a route that would take the request with another method counts.
  EXPECT_EQ(Route(*table, TestRequest("LOCK", "h", "/a").Header("x-admin", "1")),
            "405 GET, HEAD, PUT, PURGE");
  EXPECT_EQ(Route(*table, TestRequest("PURGE", "h", "/a").Header("x-admin", "1")), "purge");
  EXPECT_EQ(Route(*table, {"PUT", "h", "/b"}), "404");
}

TEST(RouteTableTest, Delegates) {
  const auto table = BuildTable({
      Everywhere({
          {.name = "team",
           .path = PathMatch::Prefix("/team"),
           .methods = {"GET", "PUT"},
           .delegates = {"users", "carts"}},
          {.name = "own", .path = PathMatch::Exact("/team/users/own")},
          {.name = "all", .path = PathMatch::Prefix("/"), .methods = {"GET"}},
      }),
      {.name = "users",
       .routes = {{.name = "user", .path = PathMatch::Template("/team/users/{id}")},
                  {.name = "put", .path = PathMatch::Exact("/team/put"), .methods = {"PUT"}},
                  {.name = "post", .path = PathMatch::Exact("/team/post"), .methods = {"POST"}}}},
      {.name = "carts",
       .routes =
           {{.name = "nested", .path = PathMatch::Prefix("/team/carts"), .delegates = {"deep"}}}},
      {.name = "deep",
       .routes = {{.name = "deep", .methods = {"GET"}, .headers = {{.name = "x"}}},
                  {.name = "deeper", .path = PathMatch::Prefix("/team/carts/1")}}},
  });
  EXPECT_EQ(Get(*table, "/team/users/7"), "user");
  EXPECT_EQ(Get(*table, "/team/users/own"), "own");  // the parent's nearer route
  EXPECT_EQ(Get(*table, "/team/carts/1/2"), "deeper");
  EXPECT_EQ(Get(*table, "/team/carts/2"), "all");  // falls through
  EXPECT_EQ(Route(*table, TestRequest("GET", "h", "/team/carts/2").Header("x", "")), "deep");
  EXPECT_EQ(Get(*table, "/team/nothing"), "all");
  EXPECT_EQ(Route(*table, {"PUT", "h", "/team/put"}), "put");
  EXPECT_EQ(Route(*table, {"DELETE", "h", "/team/put"}), "405 GET, PUT");
  // The mount does not let POST through, so it is not on offer.
  EXPECT_EQ(Route(*table, {"PUT", "h", "/team/post"}), "405 GET");

  const Match deep = table->Find(TestRequest("GET", "h", "/team/carts/1").view());
  ASSERT_TRUE(deep);
  EXPECT_EQ(deep.matched_size, std::string("/team/carts/1").size());
  EXPECT_EQ(table->TableName(deep.route), "deep");
  EXPECT_EQ(table->RouteIndex(deep.route), 1u);
  const uint32_t nested = table->MountOf(deep.route);
  EXPECT_EQ(table->RouteName(nested), "nested");
  EXPECT_EQ(table->RouteName(table->MountOf(nested)), "team");
  EXPECT_EQ(table->MountOf(table->MountOf(nested)), kNoRoute);
}

// Each mount has routes of its own, so that they can be given their own filters.
TEST(RouteTableTest, OneDelegateMountedTwice) {
  const auto table = BuildTable({
      {.name = "a", .domains = {"a"}, .routes = {{.name = "ma", .delegates = {"d"}}}},
      {.name = "b", .domains = {"b"}, .routes = {{.name = "mb", .delegates = {"d"}}}},
      {.name = "d", .routes = {{.name = "x", .action = 9}}},
  });
  const Match a = table->Find(TestRequest("GET", "a", "/").view());
  const Match b = table->Find(TestRequest("GET", "b", "/").view());
  ASSERT_TRUE(a && b);
  EXPECT_NE(a.route, b.route);
  EXPECT_EQ(a.action, b.action);
  EXPECT_EQ(table->RouteName(table->MountOf(a.route)), "ma");
  EXPECT_EQ(table->RouteName(table->MountOf(b.route)), "mb");
  EXPECT_EQ(table->route_count(), 4u);
}

TEST(RouteTableTest, PathsThatAreNone) {
  const auto table = BuildTable({Everywhere({{.name = "all"}})});
  EXPECT_EQ(Get(*table, ""), "404");
  EXPECT_EQ(Route(*table, {"OPTIONS", "h", "*"}), "404");
  EXPECT_EQ(Route(*table, {"CONNECT", "h", "h:443"}), "404");
  EXPECT_EQ(Get(*table, "/" + std::string(70000, 'x')), "all");
  std::string slashes(5000, '/');
  EXPECT_EQ(Get(*table, slashes), "all");
}

TEST(RouteTableTest, ManyRoutesThatDifferByAHeader) {
  std::vector<RouteSpec> routes;
  for (int i = 0; i < 200; ++i) {
    RouteSpec route{.name = fmt::format("t{}", i), .path = PathMatch::Prefix("/api")};
    route.headers.push_back(
        {.name = "X-Tenant", .kind = ValueMatch::Kind::kExact, .text = fmt::format("{}", i)});
    routes.push_back(route);
  }
  routes.push_back(
      {.name = "prefixed",
       .path = PathMatch::Prefix("/api"),
       .headers = {{.name = "x-tenant", .kind = ValueMatch::Kind::kPrefix, .text = "1"}}});
  routes.push_back({.name = "rest", .path = PathMatch::Prefix("/api")});
  const auto table = BuildTable({Everywhere(routes)});
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(
        Route(*table, TestRequest("GET", "h", "/api").Header("x-tenant", fmt::format("{}", i))),
        fmt::format("t{}", i));
  }
  EXPECT_EQ(Route(*table, TestRequest("GET", "h", "/api").Header("X-TENANT", "1000")), "prefixed");
  EXPECT_EQ(Get(*table, "/api"), "rest");
  // The first of several values that match, in the order of the routes.
  TestRequest several("GET", "h", "/api");
  several.Header("x-tenant", "50").Header("x-tenant", "7").Header("x-tenant", "none");
  EXPECT_EQ(Route(*table, several), "t7");
  several.Header("x-tenant", "9").Header("x-tenant", "3");  // more than the index looks at
  EXPECT_EQ(Route(*table, several), "t3");
}

TEST(RouteTableTest, ExplainSaysWhyNearerRoutesWerePassedOver) {
  const auto table = BuildTable({
      Everywhere({
          {.name = "put", .path = PathMatch::Exact("/a/b"), .methods = {"PUT", "POST"}},
          {.name = "gold",
           .path = PathMatch::Exact("/a/b"),
           .headers = {{.name = "X-Plan", .kind = ValueMatch::Kind::kExact, .text = "gold"}}},
          {.name = "beta",
           .path = PathMatch::Template("/a/{x}"),
           .query = {{.name = "beta", .invert = true}}},
          {.name = "mount", .path = PathMatch::Prefix("/a"), .delegates = {"d"}},
          {.name = "digits", .path = PathMatch::Regex("/a/[0-9]+")},
          {.name = "letters", .path = PathMatch::Regex("/a/[a-z]+")},
      }),
      {.name = "d", .routes = {{.name = "sid", .cookies = {{.name = "sid"}}}}},
  });
  Explanation why;
  TestRequest request("GET", "shop.example", "/a/b?beta=1");
  request.Header("X-Plan", "silver");
  const Match match = table->Explain(request.view(), why);
  EXPECT_EQ(table->RouteName(match.route), "letters");
  EXPECT_EQ(why.domain, "*");
  EXPECT_EQ(why.table_name, "main");
  std::vector<std::string> steps;
  for (const Explanation::Step& step : why.steps) {
    steps.push_back(
        fmt::format("{}: {}: {}", step.route_name, OutcomeName(step.outcome), step.detail));
  }
  EXPECT_THAT(steps, ElementsAre("put: method: method GET is not one of POST, PUT",
                                 "gold: header: header x-plan: exact 'gold'",
                                 "beta: query: query beta: not present",
                                 "mount: mounted: ", "sid: cookie: cookie sid: present",
                                 "mount: returned: ", "digits: regex: path regex '/a/[0-9]+'",
                                 "letters: matched: "));
}

TEST(RouteTableTest, LooksUpWithoutAllocating) {
  std::vector<RouteSpec> routes;
  for (int i = 0; i < 300; ++i) {
    routes.push_back(
        {.path = PathMatch::Template(fmt::format("/t{}/{{a}}/b/{{c}}/**", i % 100)),
         .methods = {"GET"},
         .headers = {{.name = "x-n",
                      .kind = ValueMatch::Kind::kExact,
                      .text = fmt::format("{}", i / 100)}},
         .query = {{.name = "q x", .kind = ValueMatch::Kind::kContains, .text = "a b"}},
         .cookies = {{.name = "sid"}}});
    routes.push_back({.path = PathMatch::Exact(fmt::format("/e{}", i))});
    routes.push_back({.path = PathMatch::Regex(fmt::format("/r[a-z]/{}.*", i))});
  }
  const auto table = BuildTable({Everywhere(routes)});
  TestRequest hit("GET", "h", "/t7/1/b/2/x/y?z=1&q+x=%61+b");
  hit.Header("Cookie", "a=1; sid=2").Header("X-N", "2");
  const TestRequest miss("GET", "h", "/t7/1/c"), exact("GET", "h", "/e7"), other("PUT", "h", "/t7");
  const TestRequest regex("GET", "h", "/rx/299z"), no_regex("GET", "h", "/rx/y");
  const auto all = [&] {
    EXPECT_TRUE(table->Find(hit.view()));
    EXPECT_FALSE(table->Find(miss.view()));
    EXPECT_TRUE(table->Find(exact.view()));
    EXPECT_FALSE(table->Find(other.view()));
    EXPECT_TRUE(table->Find(regex.view()));
    EXPECT_FALSE(table->Find(no_regex.view()));
  };
  all();  // RE2 builds its automatons
  const size_t before = AllocationCount();
  all();
  EXPECT_EQ(AllocationCount(), before);
}

TEST(RouteTableTest, SharedByThreads) {
  const auto table = BuildTable({Everywhere({
      {.name = "regex", .path = PathMatch::Regex("/r/(?P<x>[a-z]+)")},
      {.name = "template", .path = PathMatch::Template("/t/{x}")},
  })});
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; ++n) {
        EXPECT_EQ(Get(*table, "/r/abc"), "regex");
        EXPECT_EQ(Get(*table, "/t/abc"), "template");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RouteTableTest, MemoryPerRoute) {
  TableSpec spec = Everywhere({});
  for (int i = 0; i < 10000; ++i) {
    const std::string path = fmt::format("/team-{}/v1/resource-{}", i / 100, i);
    spec.routes.push_back(
        {.name = fmt::format("route-{}", i),
         .path = i % 2 == 0 ? PathMatch::Exact(path) : PathMatch::Template(path + "/{id}/orders"),
         .methods = {"GET"}});
  }
  const auto table = BuildTable({spec});
  EXPECT_LT(table->MemoryBytes() / table->route_count(), 300u);
}

// The naive matcher of reference.h must agree on random tables. A failure prints its seed.
TEST(RouteTableTest, AgreesWithTheReference) {
  size_t built = 0;
  for (uint32_t seed = 0; seed < 600; ++seed) {
    std::mt19937 random(seed);
    std::vector<uint8_t> bytes(1600);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const std::string difference = CompareMatchers(bytes, &built);
    ASSERT_EQ(difference, "") << "seed " << seed;
  }
  EXPECT_GT(built, 500u);
}

}  // namespace
}  // namespace gatehouse::route
