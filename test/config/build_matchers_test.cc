#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class BuildMatchersTest : public testing::Test {
 protected:
  // The route's name and its filters.
  std::string Ask(std::string_view host, std::string_view path,
                  http::Method method = http::Method::kGet) {
    const Listener& listener = *builder_.current->listeners.at(0);
    const route::Match match = listener.route_table->Find(
        {.method = method, .method_text = "GET", .host = host, .path = path});
    if (!match) return match.MethodNotAllowed() ? "405" : "404";
    const Route& route = *listener.routes.at(match.action);
    std::string answer = route.table + "/" + route.name + ":";
    for (size_t i = 0; i < route.chain->size(); ++i) {
      answer += " ";
      answer += route.chain->NameOf(i);
    }
    return answer;
  }

  ConfigBuilder builder_;
};

constexpr std::string_view kListener =
    "listeners: [ { name: edge, address: '127.0.0.1:0', route_tables: [shop, blog] } ]\n";

TEST_F(BuildMatchersTest, FindsRoutesOfAllTables) {
  builder_.Build(std::string(kListener) + R"(
route_tables:
- name: shop
  domains: [shop.example]
  routes:
  - { name: root, match: { path: / }, respond: {} }
  - { name: post, match: { path_prefix: /users, methods: [POST] }, respond: {} }
- name: blog
  domains: ["*"]
  routes:
  - { name: all, respond: {} }
)");
  EXPECT_EQ(Ask("shop.example", "/"), "shop/root: request_id");
  EXPECT_EQ(Ask("shop.example", "/x"), "404");
  EXPECT_EQ(Ask("shop.example", "/users/1"), "405");
  EXPECT_EQ(Ask("other.example", "/x"), "blog/all: request_id");
}

TEST_F(BuildMatchersTest, MountedTablesInheritFilters) {
  builder_.Build(std::string(kListener) + R"(
route_tables:
- name: shop
  domains: [shop.example]
  filters: [ { headers: {} } ]
  routes:
  - { match: { path_prefix: /a }, delegate: [team] }
  - { match: { path_prefix: /b }, delegate: [team2], filters: [ { cors: { allow_origins: ["*"] } } ] }
- name: team
  routes:
  - { name: x, match: { path_prefix: /a/x }, respond: {} }
  - { name: y, match: { path_prefix: /a/y }, respond: {}, filters: [ { name: headers, disabled: true } ] }
- name: team2
  filters: [ { name: own, headers: {} } ]
  routes: [ { name: z, respond: {} } ]
- name: blog
  domains: ["*"]
  routes: [ { match: { path_prefix: /b }, delegate: [team2] } ]
)");
  EXPECT_EQ(Ask("shop.example", "/a/x"), "team/x: request_id headers");
  EXPECT_EQ(Ask("shop.example", "/a/y"), "team/y: request_id");
  EXPECT_EQ(Ask("shop.example", "/b/1"), "team2/z: request_id headers cors own");
  // The same table under other filters.
  EXPECT_EQ(Ask("blog.example", "/b/1"), "team2/z: request_id own");
}

TEST_F(BuildMatchersTest, MountsWithEqualFiltersShareTheirRoutes) {
  const auto snapshot = builder_.Build(std::string(kListener) + R"(
route_tables:
- name: shop
  domains: [shop.example]
  filters: [ { headers: {} } ]
  routes:
  - { match: { path_prefix: /a }, delegate: [team] }
  - { match: { path_prefix: /b }, delegate: [team] }
- { name: team, routes: [ { name: z, respond: {} } ] }
- { name: blog, domains: ["*"] }
)");
  EXPECT_THAT(snapshot->listeners[0]->routes, SizeIs(1));
  EXPECT_EQ(Ask("shop.example", "/a/1"), "team/z: request_id headers");
  EXPECT_EQ(Ask("shop.example", "/b/1"), "team/z: request_id headers");
}

TEST_F(BuildMatchersTest, DomainsOfOneListenerDoNotOverlap) {
  EXPECT_THAT(builder_.Errors(std::string(kListener) + R"(
route_tables:
- { name: shop, domains: ["a.example", "*"] }
- { name: blog, domains: ["A.example"] }
- { name: unserved, domains: ["*"] }
)"),
              ElementsAre("5: route_tables[1].domains[0]: 'a.example' is a domain of both 'shop' "
                          "(route_tables[0]) and 'blog' (route_tables[1]) on this listener"));
}

TEST_F(BuildMatchersTest, CirclesAreErrors) {
  EXPECT_THAT(
      builder_.Errors(std::string(kListener) + R"(
route_tables:
- { name: shop, domains: ["*"], routes: [ { delegate: [a] } ] }
- { name: a, filters: [ { headers: {} } ], routes: [ { delegate: [b] } ] }
- { name: b, filters: [ { name: x, headers: {} } ], routes: [ { delegate: [a] } ] }
- { name: blog, domains: ["blog.example"] }
)"),
      ElementsAre("6: route_tables[2].routes[0].delegate.route_tables: tables delegate in a "
                  "circle: a -> b -> a"));
}

TEST_F(BuildMatchersTest, AllTablesAreChecked) {
  EXPECT_THAT(
      builder_.Errors(R"(
route_tables:
- name: served
  domains: ["*"]
  routes: [ { match: { path: x, methods: ["G T"] }, respond: {} } ]
- name: unserved
  domains: ["*"]
  routes: [ { match: { path_prefix: x, headers: [ { name: "a b" } ] }, respond: {} } ]
- name: unmounted
  filters: [ { name: of-the-mount, disabled: true } ]
  routes: [ { match: { path_template: "/{x" }, respond: {} } ]
listeners:
- { name: a, address: "127.0.0.1:0", route_tables: [served] }
- { name: b, address: "127.0.0.1:0", route_tables: [served] }
)"),
      ElementsAre("5: route_tables[0].routes[0].match.path: must start with '/'",
                  "5: route_tables[0].routes[0].match.methods[0]: 'G T' is not a method",
                  "8: route_tables[1].routes[0].match.path_prefix: must start with '/'",
                  "8: route_tables[1].routes[0].match.headers[0].name: 'a b' is not a header name",
                  HasSubstr("11: route_tables[2].routes[0].match.path_template: ")));
}

TEST_F(BuildMatchersTest, MountsMustFit) {
  EXPECT_THAT(builder_.Errors(std::string(kListener) + R"(
route_tables:
- { name: shop, domains: ["*"], routes: [ { match: { path_prefix: /a }, delegate: [team, blog] } ] }
- { name: team, routes: [ { match: { path: /b }, respond: {} } ] }
- { name: blog, domains: ["blog.example"] }
)"),
              ElementsAre(HasSubstr("4: route_tables[0].routes[0].delegate.route_tables[1]: 'blog' "
                                    "has domains"),
                          HasSubstr("5: route_tables[1].routes[0].match.path: '/b' does not lie "
                                    "under '/a'")));
}

TEST_F(BuildMatchersTest, UnreachableRoutesAreWarnings) {
  const BuildResult result = builder_.Try(std::string(kListener) + R"(
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: a, match: { path: /x }, respond: {} }
  - { name: b, match: { path: /x }, respond: {} }
- { name: blog, domains: ["blog.example"] }
)");
  EXPECT_NE(result.snapshot, nullptr);
  ASSERT_THAT(result.errors.entries(), SizeIs(1));
  EXPECT_THAT(
      result.errors.entries()[0].ToString(),
      HasSubstr("test.yaml:8: warning: route_tables[0].routes[1]: no request can reach it"));
}

TEST_F(BuildMatchersTest, MatchesByAllMeans) {
  builder_.Build(R"(
listeners: [ { name: edge, address: '127.0.0.1:0', route_tables: [shop] } ]
route_tables:
- name: shop
  domains: ["*"]
  routes:
  - { name: template, match: { path_template: "/users/{id}" }, respond: {} }
  - { name: regex, match: { path_regex: "/r[0-9]+" }, respond: {} }
  - { name: absent, match: { path: /p, query: [ { name: q, present: false } ] }, respond: {} }
)");
  EXPECT_EQ(Ask("h", "/users/7"), "shop/template: request_id");
  EXPECT_EQ(Ask("h", "/r12"), "shop/regex: request_id");
  EXPECT_EQ(Ask("h", "/p"), "shop/absent: request_id");
}

}  // namespace
}  // namespace gatehouse::config
