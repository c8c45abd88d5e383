#include "source/server/explain.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/base/json.h"
#include "source/config/build.h"
#include "source/config/load.h"
#include "source/filters/builtin.h"
#include "source/server/explain_page.h"
#include "test/fakes/manual_clock.h"

namespace gatehouse::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr std::string_view kShop = R"(
listeners:
- name: edge
  address: "127.0.0.1:8080"
  route_tables: [shop, other]
  trusted_proxies: ["10.0.0.0/8"]
- { name: inner, address: "127.0.0.1:8081", route_tables: [other] }
route_tables:
- name: shop
  domains: ["api.shop.example", "*.eu.shop.example"]
  filters:
  - cors: { allow_origins: ["https://shop.example"] }
  - rate_limit: [per-user]
  routes:
  - name: admins
    match: { path_prefix: /users, headers: [ { name: x-role, exact: admin } ] }
    respond: { status: 204 }
  - name: users
    match: { path_template: "/users/{id}", methods: [GET, POST] }
    forward: { cluster: users, rewrite: { template: "/internal/{id}", host: users.internal } }
    timeout: 2s
    retry: { attempts: 2, on: [connect-failure, 5xx], per_try_timeout: 500ms }
  - name: orders
    match: { path_prefix: /orders }
    split:
      clusters:
      - { cluster: users, weight: 95 }
      - { cluster: names, weight: 5, set_request_headers: [ { name: x-canary, value: "1" } ] }
      sticky: { header: x-user }
    filters: [ { name: rate_limit, disabled: true } ]
  - { name: old, match: { path: /old }, redirect: { path: /new, status: 308 } }
  - name: team
    match: { path_prefix: /team }
    delegate: [team]
    filters: [ { name: per-team, rate_limit: [team] } ]
- name: other
  domains: ["*"]
  routes:
  - { name: ping, match: { path: /ping }, respond: { body: pong, content_type: text/plain } }
- name: team
  routes:
  - { name: a, match: { path_prefix: /team/a }, forward: users }
clusters:
- name: users
  endpoints: ["127.0.0.1:3001", { address: "127.0.0.1:3002", weight: 0 }]
- { name: names, endpoints: ["origin.example:80"] }
rate_limits:
- name: per-user
  token_bucket: { rate: 10/s, burst: 100 }
  key: [ { header: x-user }, { client_ip: { ipv4_prefix: 24 } } ]
- { name: team, token_bucket: { rate: 10/m }, dry_run: true }
)";

class ExplainTest : public testing::Test {
 protected:
  ExplainTest() {
    filters::RegisterBuiltinFilters(registry_);
    Use(kShop);
  }

  void Use(std::string_view text) {
    config::LoadedBootstrap loaded = config::LoadBootstrapText(text, "test.yaml");
    ASSERT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
    config::BuildResult built = config::Build(
        loaded.resources,
        {.filters = registry_, .metrics = metrics_, .cluster_slots = slots_, .states = states_},
        nullptr);
    ASSERT_NE(built.snapshot, nullptr) << built.errors.ToString();
    snapshot_ = built.snapshot;
  }
  ExplainScene Scene() { return {.snapshot = *snapshot_, .loop = loop_}; }
  Explained Ask(ExplainRequest request) {
    absl::StatusOr<Explained> explained = Explain(request, Scene());
    EXPECT_TRUE(explained.ok()) << explained.status();
    return explained.ok() ? *explained : Explained();
  }
  Explained Ask(const std::string& method, const std::string& url,
                std::vector<std::string> headers = {}) {
    return Ask({.method = method, .url = url, .headers = std::move(headers), .listener = "edge"});
  }
  std::string Wrong(ExplainRequest request) {
    const absl::StatusOr<Explained> explained = Explain(request, Scene());
    return explained.ok() ? "" : std::string(explained.status().message());
  }

  ManualClock clock_;
  net::Loop loop_{clock_};
  filters::Registry registry_;
  observe::MetricRegistry metrics_;
  upstream::ClusterSlots slots_;
  filters::StateStore states_;
  std::shared_ptr<const config::Snapshot> snapshot_;
};

TEST_F(ExplainTest, AForwardedRequestAsText) {
  EXPECT_EQ(ToText(Ask("GET", "http://API.shop.example:8080/a/../users/7?x=1#part",
                       {"x-user: alice", "x-role: guest"})),
            R"(request      GET http://API.shop.example:8080/a/../users/7?x=1#part
listener     edge on 127.0.0.1:8080
client       127.0.0.1
host         api.shop.example
path         /users/7?x=1  (came as /a/../users/7?x=1)
domain       api.shop.example  of table shop
tried        shop/users  matched
route        shop/users
match        {"path_template":"/users/{id}","methods":["GET","POST"]}
captures     id  7
filters      request_id  built in
             cors        table shop
             rate_limit  table shop  per-user: 10 per 1s, 100 at once, key header x-user=alice, nothing used
limits       timeout         2s
             idle_timeout    5m
             max_body_bytes  1GiB
             retry           2 more on connect-failure, 5xx, each within 500ms
action       forward
  which      sends  GET /internal/7?x=1
             host   users.internal
cluster      users
  limits     protocol HTTP/1.1, connect_timeout 5s, response_header_timeout none, )"
            R"(max_connections 10000 for each worker, max_pending 1024 for each worker
  endpoints  127.0.0.1:3001  weight 1  healthy
             127.0.0.1:3002  weight 0  healthy  is not chosen
)");
}

TEST_F(ExplainTest, ASplitGoesByWhatSticks) {
  const Explained by_header = Ask("GET", "http://x.eu.shop.example/orders", {"X-User: alice"});
  EXPECT_EQ(by_header.domain, "*.eu.shop.example");
  EXPECT_EQ(by_header.action, "split");
  EXPECT_THAT(by_header.filters_off, ElementsAre("rate_limit, disabled by route"));
  ASSERT_EQ(by_header.targets.size(), 2u);
  const config::Listener& edge = *snapshot_->FindListener("edge");
  for (const auto& route : edge.routes) {
    if (route->name != "orders") continue;
    const size_t index = route->split->PickByHash(route::HashStickyValue("alice"));
    EXPECT_TRUE(by_header.targets[index].chosen);
    EXPECT_FALSE(by_header.targets[1 - index].chosen);
  }
  EXPECT_EQ(by_header.targets[0].share, "95 of 100");
  EXPECT_THAT(by_header.targets[1].adds, ElementsAre(Pair("x-canary", "1")));
  EXPECT_EQ(by_header.targets[1].endpoints_note,
            "names are looked up where they are served: origin.example:80");

  const Explained by_turns = Ask("GET", "http://api.shop.example/orders");
  EXPECT_THAT(by_turns.effects[0].second, HasSubstr("which the request lacks: by turns"));
  EXPECT_FALSE(by_turns.targets[0].chosen || by_turns.targets[1].chosen);
}

TEST_F(ExplainTest, WhereFiltersComeFrom) {
  Explained explained = Ask({.url = "http://api.shop.example/team/a/x",
                             .headers = {"X-Forwarded-For: 203.0.113.9"},
                             .listener = "edge",
                             .client = "10.1.2.3"});
  EXPECT_EQ(explained.client, "203.0.113.9  (told by the trusted proxy 10.1.2.3)");
  EXPECT_THAT(explained.mounts, ElementsAre("shop/team"));
  ASSERT_EQ(explained.filters.size(), 4u);
  EXPECT_EQ(explained.filters[2].from, "table shop");
  EXPECT_THAT(explained.filters[2].note, HasSubstr("key client_ip 203.0.113.0/24"));
  EXPECT_EQ(explained.filters[3].name, "per-team");
  EXPECT_EQ(explained.filters[3].kind, "rate_limit");
  EXPECT_EQ(explained.filters[3].from, "mount shop/team");
  EXPECT_EQ(explained.filters[3].note,
            "team: 10 per 60s, 1 at once, key everybody, nothing used, dry run");
  ASSERT_EQ(explained.candidates.size(), 2u);
  EXPECT_EQ(explained.candidates[0].outcome, "mounted");
}

TEST_F(ExplainTest, RedirectsAndReplies) {
  EXPECT_THAT(
      Ask("GET", "http://api.shop.example:8080/old?q=1").effects,
      ElementsAre(Pair("status", "308"), Pair("location", "http://api.shop.example:8080/new?q=1")));
  EXPECT_THAT(Ask({.url = "http://a/ping", .listener = "inner"}).effects,
              ElementsAre(Pair("status", "200"), Pair("content-type", "text/plain"),
                          Pair("body", "4 bytes")));
}

TEST_F(ExplainTest, APreflightAsksForAnotherMethod) {
  const Explained explained =
      Ask("OPTIONS", "http://api.shop.example/users/7",
          {"Origin: https://shop.example", "Access-Control-Request-Method: POST"});
  EXPECT_EQ(explained.route, "users");
  EXPECT_EQ(explained.preflight, "of POST, whose route answers it");
}

TEST_F(ExplainTest, NoRoute) {
  const Explained other_method = Ask("DELETE", "http://api.shop.example/users/7");
  ASSERT_TRUE(other_method.answer);
  EXPECT_EQ(other_method.answer->status, 405);
  EXPECT_EQ(other_method.answer->allow, "GET, POST");
  EXPECT_EQ(other_method.candidates[0].detail, "method DELETE is not one of GET, POST");
  EXPECT_EQ(other_method.candidates[1].detail, "header x-role: exact 'admin'");

  const Explained other_path = Ask("GET", "http://api.shop.example/user/7");
  EXPECT_EQ(other_path.answer->code, "no_route");
  EXPECT_EQ(other_path.answer->why, "no route of table shop matches");
  EXPECT_EQ(other_path.tables[0].nearest, "/users");

  const Explained other_host = Ask("GET", "http://api.shop.exampel/users/7");
  EXPECT_EQ(other_host.domain, "*");
  EXPECT_EQ(other_host.tables[0].nearest, "api.shop.example");
  EXPECT_THAT(other_host.tables[0].why, HasSubstr("as api.shop.example it would take route "
                                                  "shop/users"));
  EXPECT_EQ(other_host.tables[1].why, "has the host, by its domain *, and no route with this path");
}

TEST_F(ExplainTest, WhatIsRefused) {
  const auto answer = [&](const std::string& method, const std::string& url,
                          std::vector<std::string> headers = {}) {
    const Explained explained = Ask(method, url, std::move(headers));
    EXPECT_TRUE(explained.route.empty());
    return explained.answer ? fmt::format("{} {}", explained.answer->status, explained.answer->why)
                            : "";
  };
  EXPECT_EQ(answer("TRACE", "http://a/"), "405 no gateway serves this method");
  EXPECT_EQ(answer("CONNECT", "http://a:80/"), "405 no gateway serves this method");
  EXPECT_THAT(answer("GET", "http://a/%2f"), HasSubstr("400 the path has"));
  EXPECT_THAT(answer("GET", "http://a/../.."), HasSubstr("400 the path has"));
  EXPECT_THAT(answer("GET", "http://a!/"), HasSubstr("400 "));
  EXPECT_THAT(answer("GET", "http://a/", {"Connection: authorization"}),
              HasSubstr("400 Connection names"));
  EXPECT_THAT(answer("GET", "http://a/", {"Content-Length: x"}), HasSubstr("400 "));
  EXPECT_THAT(answer("GET", "http://a/" + std::string(9000, 'a')), HasSubstr("414 "));
  EXPECT_EQ(answer("OPTIONS", "*", {"Host: a"}), "204 the gateway itself is asked");
  EXPECT_THAT(answer("GET", "http://a/ HTTP/1.1 x"), HasSubstr("400 "));
}

TEST_F(ExplainTest, WhichListener) {
  EXPECT_EQ(Ask({.url = "http://a:8081/ping"}).listener, "inner");
  EXPECT_EQ(Ask({.url = "http://a:8080/ping"}).listener, "edge");
  EXPECT_EQ(Ask({.url = "http://a/ping", .listener = "inner"}).listener, "inner");
  EXPECT_EQ(Wrong({.url = "http://a/ping"}), "which listener? Name one of edge, inner");
  EXPECT_EQ(Wrong({.url = "http://a/ping", .listener = "egde"}),
            "there is no listener \"egde\"; there are: edge, inner");
  Use("clusters: []");
  EXPECT_EQ(Explain({.url = "http://a/"}, Scene()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ExplainTest, WhatCannotBeAsked) {
  EXPECT_THAT(Wrong({.method = "G T", .url = "http://a:8080/"}), HasSubstr("is no method"));
  EXPECT_THAT(Wrong({.url = "ftp://a/"}), HasSubstr("is no URL"));
  EXPECT_THAT(Wrong({.url = "a/b"}), HasSubstr("is no URL"));
  EXPECT_THAT(Wrong({.url = "http:///b"}), HasSubstr("names no host"));
  EXPECT_THAT(Wrong({.url = "/b"}), HasSubstr("which host?"));
  EXPECT_THAT(Wrong({.url = "http://me:pw@a/"}), HasSubstr("holds a user"));
  EXPECT_THAT(Wrong({.url = "http://a:8080/\r\nx: y"}), HasSubstr("line break"));
  EXPECT_THAT(Wrong({.url = "http://a:8080/", .headers = {"x"}}), HasSubstr("is no header"));
  EXPECT_THAT(Wrong({.url = "http://a:8080/", .headers = {"x: 1\ny: 2"}}), HasSubstr("line break"));
  EXPECT_THAT(Wrong({.url = "http://a:8080/", .client = "me"}), HasSubstr("no address"));
}

TEST_F(ExplainTest, ThePageReadsWhatTheToolAsks) {
  const ExplainRequest request{.method = "GET",
                               .url = "http://api.shop.example/orders?a=b&c=%20+",
                               .headers = {"x-user: alice & bob + 1", "x-b:"},
                               .listener = "edge",
                               .client = "::1"};
  const AdminReply reply = ExplainPage(ExplainQuery(request, /*json=*/true), Scene());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.content_type, "application/json");
  EXPECT_EQ(reply.body, ToJson(Ask(request)));
  EXPECT_TRUE(ParseJson(reply.body).ok());
  EXPECT_EQ(ExplainPage(ExplainQuery(request, /*json=*/false), Scene()).body, ToText(Ask(request)));

  EXPECT_EQ(ExplainPage("", Scene()).status, 400);
  EXPECT_EQ(ExplainPage("url=http://a/&listener=edge&format=xml", Scene()).status, 400);
  EXPECT_THAT(ExplainPage("uri=http://a/", Scene()).body, HasSubstr("no parameter \"uri\""));
  EXPECT_EQ(ExplainPage("url=http://a/&listener=edge", Scene()).status, 200);
  Use("clusters: []");
  EXPECT_EQ(ExplainPage("url=http://a/", Scene()).status, 503);
}

}  // namespace
}  // namespace gatehouse::server
