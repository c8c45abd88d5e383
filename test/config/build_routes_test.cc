#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class BuildRoutesTest : public testing::Test {
 protected:
  // The routes begin on line 2.
  static std::string Config(const std::string& routes, const std::string& table = "") {
    return "route_tables: [ { name: shop, domains: ['*'], " + table + " routes: [\n" + routes +
           R"(] } ]
clusters: [ { name: users }, { name: orders-v1 }, { name: orders-v2 } ]
listeners: [ { name: edge, address: "127.0.0.1:0", route_tables: [shop] } ]
rate_limits: [ { name: per-user, token_bucket: { rate: 10/s } } ]
)";
  }
  const Route& Build(const std::string& route) {
    snapshot_ = builder_.Build(Config(route));
    return *snapshot_->listeners.at(0)->routes.at(0);
  }
  std::vector<std::string> Errors(const std::string& routes) {
    return builder_.Errors(Config(routes));
  }
  std::vector<std::string_view> FiltersOf(const Route& route) {
    std::vector<std::string_view> names;
    for (size_t i = 0; i < route.chain->size(); ++i) names.push_back(route.chain->NameOf(i));
    return names;
  }

  ConfigBuilder builder_;
  std::shared_ptr<const Snapshot> snapshot_;
};

TEST_F(BuildRoutesTest, AGrpcTimeoutIsBelievedAsFarAsTheRoutesOwn) {
  EXPECT_EQ(Build("{ name: a, forward: users, timeout: 3s }").max_grpc_timeout, seconds(3));
  EXPECT_EQ(Build("{ name: a, forward: users, max_grpc_timeout: 1h }").max_grpc_timeout, hours(1));
  EXPECT_EQ(Build("{ name: a, forward: users, max_grpc_timeout: 0s }").max_grpc_timeout,
            kNoTimeout);
}

TEST_F(BuildRoutesTest, DefaultsAreThoseOfTheProtos) {
  const Route& route = Build("{ forward: users }");
  EXPECT_EQ(route.name, "shop[0]");
  EXPECT_EQ(route.table, "shop");
  EXPECT_EQ(route.action, Route::Action::kForward);
  ASSERT_THAT(route.targets, SizeIs(1));
  EXPECT_EQ(route.targets[0].cluster, snapshot_->clusters.at(0).get());
  EXPECT_EQ(route.timeout, seconds(15));
  EXPECT_EQ(route.max_grpc_timeout, seconds(15));
  EXPECT_EQ(route.idle_timeout, minutes(5));
  EXPECT_EQ(route.max_body_bytes, uint64_t{1} << 30);
  EXPECT_THAT(route.upgrades, IsEmpty());
  EXPECT_EQ(route.upgrade_idle_timeout, hours(1));
  EXPECT_TRUE(route.retry.on_connect_failure);
  EXPECT_FALSE(route.retry.on_5xx);
  EXPECT_THAT(FiltersOf(route), ElementsAre("request_id"));
}

TEST_F(BuildRoutesTest, OptionsArrive) {
  const Route& route = Build(R"({ name: users, forward: users, timeout: 0s, idle_timeout: 30s,
    max_body_bytes: 0, upgrade: { protocols: [WebSocket], idle_timeout: 2h },
    retry: { attempts: 3, on: [reset, 5xx, gateway-error, retriable-4xx, "503"], backoff: 10ms,
             per_try_timeout: 1s, max_body_bytes: 1MiB, non_idempotent: true } })");
  EXPECT_EQ(route.name, "users");
  EXPECT_EQ(route.timeout, kNoTimeout);
  EXPECT_EQ(route.max_grpc_timeout, kNoTimeout);
  EXPECT_EQ(route.idle_timeout, seconds(30));
  EXPECT_EQ(route.max_body_bytes, 0u);
  EXPECT_THAT(route.upgrades, ElementsAre("websocket"));
  EXPECT_EQ(route.upgrade_idle_timeout, hours(2));
  EXPECT_EQ(route.retry.attempts, 3u);
  EXPECT_FALSE(route.retry.on_connect_failure);
  EXPECT_TRUE(route.retry.on_reset);
  EXPECT_TRUE(route.retry.on_5xx);
  EXPECT_TRUE(route.retry.on_gateway_error);
  EXPECT_TRUE(route.retry.on_retriable_4xx);
  EXPECT_THAT(route.retry.on_statuses, ElementsAre(503));
  EXPECT_EQ(route.retry.backoff, milliseconds(10));
  EXPECT_EQ(route.retry.max_backoff, milliseconds(100));
  EXPECT_EQ(route.retry.per_try_timeout, seconds(1));
  EXPECT_EQ(route.retry.max_body_bytes, 1u << 20);
  EXPECT_TRUE(route.retry.non_idempotent);
}

TEST_F(BuildRoutesTest, RetryHasDefaults) {
  const Route& route = Build("{ forward: users, retry: {} }");
  EXPECT_EQ(route.retry.attempts, 1u);
  EXPECT_TRUE(route.retry.on_connect_failure);
  EXPECT_EQ(route.retry.backoff, milliseconds(25));
  EXPECT_EQ(route.retry.max_backoff, milliseconds(250));
  EXPECT_EQ(route.retry.max_body_bytes, 64u * 1024);
}

TEST_F(BuildRoutesTest, ForwardRewrites) {
  const Route& prefix = Build(
      "{ match: { path_prefix: /api }, forward: { cluster: users, rewrite_prefix: /v1, "
      "rewrite_host: users.internal } }");
  EXPECT_TRUE(prefix.path_rewrite.has_value());
  EXPECT_TRUE(prefix.host_rewrite.has_value());
  const Route& other = Build(
      "{ match: { path_template: '/u/{id}' }, forward: { cluster: users, rewrite: { "
      "template: '/v2/{id}', host_from_endpoint: true } } }");
  EXPECT_TRUE(other.path_rewrite.has_value());
  EXPECT_TRUE(other.host_from_endpoint);
  const Route& tenant = Build(
      "{ match: { path_template: '/t/{tenant}' }, forward: { cluster: users, "
      "rewrite_host: '{tenant}.internal' } }");
  EXPECT_TRUE(tenant.host_rewrite.has_value());
}

TEST_F(BuildRoutesTest, Splits) {
  const Route& route =
      Build(R"({ split: { sticky: { cookie: { name: version, ttl: 1h } }, clusters: [
      { cluster: orders-v1, weight: 95 },
      { cluster: orders-v2, weight: 5, set_request_headers: [ { name: X-Version, value: "2" } ] } ] } })");
  EXPECT_EQ(route.action, Route::Action::kSplit);
  ASSERT_THAT(route.targets, SizeIs(2));
  EXPECT_EQ(route.targets[1].cluster->name(), "orders-v2");
  EXPECT_EQ(route.targets[1].set_request_headers.at(0).name, "X-Version");
  EXPECT_EQ(route.targets[1].set_request_headers.at(0).value, "2");
  EXPECT_EQ(route.split->period(), 20u);
  EXPECT_EQ(route.sticky.by, StickyPolicy::By::kCookie);
  EXPECT_EQ(route.sticky.name, "version");
  EXPECT_EQ(route.sticky.cookie_ttl, hours(1));
  EXPECT_EQ(snapshot_->split_cursors, 1u);
}

TEST_F(BuildRoutesTest, Redirects) {
  const Route& route = Build("{ redirect: { scheme: https, status: 308 } }");
  EXPECT_EQ(route.action, Route::Action::kRedirect);
  EXPECT_EQ(route.redirect->status(), 308u);
}

TEST_F(BuildRoutesTest, Responds) {
  const Route& inline_body = Build(
      "{ respond: { status: 404, body: hi, content_type: text/css, headers: [ { name: X-A, value: "
      "b "
      "} ] } }");
  EXPECT_EQ(inline_body.respond->status, 404);
  EXPECT_EQ(inline_body.respond->body, "hi");
  EXPECT_EQ(inline_body.respond->content_type, "text/css");
  EXPECT_EQ(inline_body.respond->headers.at(0).name, "X-A");
  builder_.files["/config/page.html"] = "<html>";
  EXPECT_EQ(Build("{ respond: { file: page.html } }").respond->body, "<html>");
  builder_.files["/abs.html"] = "<body>";
  const Route& file = Build("{ respond: { file: /abs.html } }");
  EXPECT_EQ(file.respond->body, "<body>");
  EXPECT_EQ(file.respond->status, 200);
  EXPECT_EQ(file.respond->content_type, "text/plain; charset=utf-8");
  EXPECT_TRUE(Build("{ respond: { template: 'x $(client_ip)' } }").respond->body_template);
  const Route& literal = Build("{ respond: { template: 'costs $$5' } }");
  EXPECT_FALSE(literal.respond->body_template);
  EXPECT_EQ(literal.respond->body, "costs $5");
}

TEST_F(BuildRoutesTest, ErrorsOfActions) {
  EXPECT_THAT(
      Errors(R"yaml(
{ name: none },
{ forward: usres },
{ match: { path_regex: "/a(" }, forward: { cluster: users, rewrite_prefix: /x } },
{ match: { path_template: "/u/{id}" }, forward: { cluster: users, rewrite: { template: "/{ix}" } } },
{ forward: { cluster: users, rewrite: { prefix: /a, host: h }, rewrite_prefix: /b, rewrite_host: i } },
{ forward: { cluster: users, rewrite: { regex: { pattern: "(", substitution: x } } } },
{ forward: { cluster: users, rewrite_host: "a b" } },
{ split: { clusters: [ { cluster: users }, { cluster: users } ] } },
{ split: { clusters: [ { cluster: users, weight: 0 } ], sticky: {} } },
{ split: { clusters: [ { cluster: users, set_request_headers: [ { name: Host, value: x } ] } ],
           sticky: { header: "a b" } } },
{ redirect: {} },
{ redirect: { scheme: gopher } },
{ redirect: { status: 300, path: /x } },
{ respond: { status: 99 } },
{ respond: { status: 204, body: x } },
{ respond: { file: nowhere } },
{ respond: { template: "$(clientip)" } },
{ delegate: [shop2] },
)yaml"),
      ElementsAre(
          "3: route_tables[0].routes[0]: has no action: it needs forward, split, redirect, respond "
          "or delegate",
          "4: route_tables[0].routes[1].forward.cluster: there is no cluster \"usres\", did you "
          "mean "
          "\"users\"?",
          StartsWith("5: route_tables[0].routes[2].forward.rewrite_prefix: replaces what match."),
          StartsWith("5: route_tables[0].routes[2].match.path_regex: "),
          StartsWith(
              "6: route_tables[0].routes[3].forward.rewrite.template: the route's path has no "
              "capture 'ix'"),
          "7: route_tables[0].routes[4].forward.rewrite_prefix: the path is rewritten by `rewrite` "
          "already",
          "7: route_tables[0].routes[4].forward.rewrite_host: the host is rewritten by `rewrite` "
          "already",
          StartsWith("8: route_tables[0].routes[5].forward.rewrite.regex.pattern: "),
          "9: route_tables[0].routes[6].forward.rewrite_host: 'a b' is not a host or host:port",
          "10: route_tables[0].routes[7].split.clusters[1].cluster: \"users\" is there twice; add "
          "the "
          "weights up",
          StartsWith("11: route_tables[0].routes[8].split.clusters: "),
          "11: route_tables[0].routes[8].split.sticky: needs header, cookie or client_ip",
          "12: route_tables[0].routes[9].split.clusters[0].set_request_headers[0].name: \"Host\" "
          "is "
          "for the gateway to write",
          "13: route_tables[0].routes[9].split.sticky.header: \"a b\" is not a header name",
          StartsWith("14: route_tables[0].routes[10].redirect: leads to where"),
          "15: route_tables[0].routes[11].redirect.scheme: 'gopher' is not http or https",
          StartsWith("16: route_tables[0].routes[12].redirect.status: 300 is not one of"),
          "17: route_tables[0].routes[13].respond.status: 99 is not in the range of 200 to 599",
          "18: route_tables[0].routes[14].respond.status: a response with status 204 has no body",
          "19: route_tables[0].routes[15].respond.file: cannot be read: there is no such file",
          StartsWith("20: route_tables[0].routes[16].respond.template: "),
          "21: route_tables[0].routes[17].delegate.route_tables[0]: there is no route table "
          "\"shop2\", did you mean \"shop\"?"));
}

TEST_F(BuildRoutesTest, ErrorsOfOptions) {
  EXPECT_THAT(
      Errors(R"(
{ name: a, forward: users, retry: { on: [connect-failur, "600", "5x"], attempts: 101, backoff: 1s,
                                    max_backoff: 10ms, max_body_bytes: 1GiB } },
{ name: a, forward: users, upgrade: [h2c, "a b", websocket, WebSocket] },
{ name: b, forward: users, upgrade: {}, timeout: 100000h },
{ name: c, delegate: [shop3], timeout: 1s },
{ name: "shop[5]", forward: users }, { forward: users },
)"),
      testing::UnorderedElementsAre(
          HasSubstr("3: route_tables[0].routes[0].retry.on[0]: \"connect-failur\" is no reason to "
                    "retry: connect-failure, reset, 5xx, gateway-error, retriable-4xx or a status "
                    "such as 503, did you mean \"connect-failure\"?"),
          "3: route_tables[0].routes[0].retry.on[1]: \"600\" is not a status from 400 to 599",
          HasSubstr("3: route_tables[0].routes[0].retry.on[2]: \"5x\" is no reason"),
          "3: route_tables[0].routes[0].retry.attempts: 101 is not in the range of 0 to 100",
          "4: route_tables[0].routes[0].retry.max_backoff: is less than backoff",
          "4: route_tables[0].routes[0].retry.max_body_bytes: 1GiB is not in the range of 1B to "
          "64MiB",
          "5: route_tables[0].routes[1].name: \"a\" is already the name of a route here",
          "5: route_tables[0].routes[1].upgrade.protocols[0]: \"h2c\" cannot be passed through",
          "5: route_tables[0].routes[1].upgrade.protocols[1]: \"a b\" is not a protocol such as "
          "websocket",
          "5: route_tables[0].routes[1].upgrade.protocols[3]: \"WebSocket\" is there twice",
          "6: route_tables[0].routes[2].upgrade.protocols: must name a protocol such as websocket",
          "6: route_tables[0].routes[2].timeout: is longer than 8760h",
          HasSubstr(
              "7: route_tables[0].routes[3].delegate.route_tables[0]: there is no route table"),
          "7: route_tables[0].routes[3].timeout: has no effect here: write it at the routes of the "
          "mounted tables",
          "8: route_tables[0].routes[5]: would be called \"shop[5]\", as another route is; give it "
          "a "
          "name"));
}

TEST_F(BuildRoutesTest, FiltersOfTheTableComeFirst) {
  snapshot_ =
      builder_.Build(Config(R"(
{ respond: {} },
{ respond: {}, filters: [ { rate_limit: [per-user] }, { name: cors, disabled: true } ] },
{ respond: {}, filters: [ { request_id: {} }, { name: more, headers: {} } ] },
)",
                            "filters: [ { cors: {allow_origins: ['*']} }, { headers: {} } ],"));
  const auto& routes = snapshot_->listeners.at(0)->routes;
  EXPECT_THAT(FiltersOf(*routes.at(0)), ElementsAre("request_id", "cors", "headers"));
  EXPECT_THAT(FiltersOf(*routes.at(1)), ElementsAre("request_id", "headers", "rate_limit"));
  EXPECT_THAT(FiltersOf(*routes.at(2)), ElementsAre("cors", "headers", "request_id", "more"));
}

TEST_F(BuildRoutesTest, ErrorsOfFilters) {
  const auto errors = builder_.Errors(Config(R"(
{ respond: {}, filters: [ { rate_limit: [per-usr] }, { name: cors, disabled: true } ] },
{ respond: {}, filters: [ { headers: { request: { set: { "a b": x } } } } ] },
)",
                                             "filters: [ { name: x } ],"));
  EXPECT_THAT(
      errors,
      ElementsAre(HasSubstr("1: route_tables[0].filters[0]: a filter needs a kind"),
                  "3: route_tables[0].routes[0].filters[0].rate_limit.policies[0]: there is "
                  "no rate limit \"per-usr\", did you mean \"per-user\"?",
                  HasSubstr("3: route_tables[0].routes[0].filters[1]: there is no filter "
                            "\"cors\" to disable"),
                  StartsWith("4: route_tables[0].routes[1].filters[0].headers.request.")));
}

TEST_F(BuildRoutesTest, ReferencesToBrokenResourcesAreNoErrors) {
  EXPECT_THAT(
      builder_.Errors(R"(
clusters: [ { name: bad, endpoints: [nonsense] } ]
rate_limits: [ { name: limit } ]
secrets: [ { name: key, environment: NOT_SET } ]
route_tables:
- { name: t, routes: [ { forward: bad, filters: [ { rate_limit: { policies: [limit], cost: 900 } } ] } ] }
)"),
      ElementsAre(HasSubstr("2: clusters[0].endpoints[0].address: "),
                  HasSubstr("3: rate_limits[0]: needs an algorithm"),
                  "4: secrets[0].environment: the environment variable \"NOT_SET\" is not set"));
}

}  // namespace
}  // namespace gatehouse::config
