#include "source/config/build.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/config/dump.h"
#include "test/fakes/config_builder.h"

namespace gatehouse::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// What a test changes, one after the other.
struct Parts {
  std::string users = "127.0.0.1:1";
  std::string timeout = "2s";
  std::string prefix = "/users";
  std::string limit = "10/s";
  std::string filters = "{ headers: {} }";
  std::string weights = "95";
  std::string more_routes;
  std::string more;
  std::string backlog = "7";

  [[nodiscard]] std::string Text() const {
    return fmt::format(R"(
listeners: [ {{ name: edge, address: "127.0.0.1:0", route_tables: [shop], backlog: {} }} ]
clusters:
- {{ name: users, endpoints: ["{}"] }}
- {{ name: orders-v1, endpoints: ["127.0.0.1:5"] }}
- {{ name: orders-v2, endpoints: ["127.0.0.1:6"] }}
rate_limits: [ {{ name: per-user, token_bucket: {{ rate: {} }} }} ]
route_tables:
- name: shop
  domains: ["*"]
  filters: [ {} ]
  routes:
{}
  - {{ name: users, match: {{ path_prefix: {} }}, forward: users, timeout: {} }}
  - {{ name: limited, match: {{ path: /limited }}, respond: {{}}, filters: [ {{ rate_limit: [per-user] }} ] }}
  - {{ name: orders, match: {{ path: /orders }}, split: {{ clusters: [
        {{ cluster: orders-v1, weight: {} }}, {{ cluster: orders-v2, weight: 5 }} ] }} }}
  - {{ name: page, match: {{ path: /page }}, respond: {{ file: page.html }} }}
{})",
                       backlog, users, limit, filters, more_routes, prefix, timeout, weights, more);
  }
};

class BuildTest : public testing::Test {
 protected:
  BuildTest() {
    builder_.files["/config/page.html"] = "one";
    before_ = builder_.Build(parts_.Text());
  }
  void Rebuild() {
    after_ = builder_.Build(parts_.Text());
    ASSERT_NE(after_, nullptr);
  }
  // The routes that are not those of before, by name.
  std::vector<std::string> NewRoutes() {
    std::vector<std::string> names;
    for (const auto& route : after_->listeners.at(0)->routes) {
      const auto& old = before_->listeners.at(0)->routes;
      if (std::find(old.begin(), old.end(), route) == old.end()) names.push_back(route->name);
    }
    return names;
  }
  [[nodiscard]] bool SameMatcher() const {
    return before_->listeners[0]->route_table == after_->listeners[0]->route_table;
  }

  Parts parts_;
  ConfigBuilder builder_;
  std::shared_ptr<const Snapshot> before_;
  std::shared_ptr<const Snapshot> after_;
};

TEST_F(BuildTest, NothingChangedIsTheSameSnapshot) {
  EXPECT_EQ(before_->version, 1u);
  Rebuild();
  EXPECT_EQ(after_, before_);
}

TEST_F(BuildTest, AChangedActionKeepsTheMatcher) {
  parts_.timeout = "3s";
  Rebuild();
  EXPECT_EQ(after_->version, 2u);
  EXPECT_THAT(NewRoutes(), ElementsAre("users"));
  EXPECT_TRUE(SameMatcher());
  EXPECT_NE(after_->listeners[0], before_->listeners[0]);
  EXPECT_EQ(after_->clusters, before_->clusters);
}

TEST_F(BuildTest, AChangedMatchKeepsOtherRoutes) {
  parts_.prefix = "/people";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("users"));
  EXPECT_FALSE(SameMatcher());
}

TEST_F(BuildTest, AnInsertedRouteKeepsNamedOnes) {
  parts_.more_routes = "  - { name: first, match: { path: /first }, forward: users }";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("first"));
  EXPECT_FALSE(SameMatcher());
}

TEST_F(BuildTest, AMovedClusterRebuildsItsRoutesAndKeepsTheMatcher) {
  parts_.users = "127.0.0.1:2";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("users"));
  EXPECT_TRUE(SameMatcher());
  EXPECT_EQ(after_->listeners[0]->routes[0]->targets[0].cluster, after_->clusters[0].get());
  EXPECT_EQ(after_->clusters[0]->key(), before_->clusters[0]->key());
}

TEST_F(BuildTest, AChangedLimitRebuildsItsRoutes) {
  parts_.limit = "20/s";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("limited"));
  EXPECT_TRUE(SameMatcher());
}

TEST_F(BuildTest, ChangedTableFiltersRebuildAllRoutes) {
  parts_.filters = "{ headers: { request: { remove: [x] } } }";
  Rebuild();
  EXPECT_THAT(NewRoutes(), SizeIs(4));
  EXPECT_TRUE(SameMatcher());
}

TEST_F(BuildTest, AChangedFileRebuildsItsRoute) {
  builder_.files["/config/page.html"] = "two";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("page"));
  EXPECT_EQ(after_->listeners[0]->routes[3]->respond->body, "two");
}

TEST_F(BuildTest, AFileThatIsGoneIsAnError) {
  builder_.files.clear();
  EXPECT_THAT(builder_.Errors(parts_.Text()),
              ElementsAre(HasSubstr("respond.file: cannot be read")));
  EXPECT_EQ(builder_.current, before_);
}

TEST_F(BuildTest, ARemovedClusterIsMissedByUnchangedRoutes) {
  std::string text = parts_.Text();
  const std::string line = "- { name: users, endpoints: [\"127.0.0.1:1\"] }\n";
  ASSERT_NE(text.find(line), std::string::npos);
  text.erase(text.find(line), line.size());
  EXPECT_THAT(builder_.Errors(text),
              ElementsAre(HasSubstr("routes[0].forward.cluster: there is no cluster \"users\"")));
}

TEST_F(BuildTest, AChangedListenerKeepsItsRoutes) {
  parts_.backlog = "8";
  Rebuild();
  EXPECT_THAT(NewRoutes(), SizeIs(0));
  EXPECT_TRUE(SameMatcher());
  EXPECT_EQ(after_->listeners[0]->backlog, 8);
}

TEST_F(BuildTest, WhatNothingRefersToIsANewSnapshotThatSharesAll) {
  parts_.more = "secrets: [ { name: s, inline: x } ]\n";
  Rebuild();
  EXPECT_NE(after_, before_);
  EXPECT_EQ(after_->listeners, before_->listeners);
  EXPECT_EQ(after_->clusters, before_->clusters);
}

TEST_F(BuildTest, SplitsKeepTheirCursor) {
  EXPECT_EQ(before_->split_cursors, 1u);
  EXPECT_EQ(before_->listeners[0]->routes[2]->split_cursor, 0u);
  parts_.more_routes =
      "  - { name: a, match: { path: /a }, split: { clusters: [ { cluster: users } ] } }";
  Rebuild();
  EXPECT_EQ(after_->split_cursors, 2u);
  EXPECT_EQ(after_->listeners[0]->routes[0]->split_cursor, 1u);
  EXPECT_EQ(after_->listeners[0]->routes[3]->split_cursor, 0u);
  // Another weight is still that split; one that is gone leaves its number to others.
  parts_.weights = "50";
  parts_.more_routes =
      "  - { name: b, match: { path: /b }, split: { clusters: [ { cluster: users } ] } }";
  Rebuild();
  EXPECT_EQ(after_->split_cursors, 2u);
  EXPECT_EQ(after_->listeners[0]->routes[0]->split_cursor, 1u);
  EXPECT_EQ(after_->listeners[0]->routes[3]->split_cursor, 0u);
}

TEST_F(BuildTest, RejectionsAreByResource) {
  const BuildResult result = builder_.Try(R"(
clusters: [ { name: a, connect_timeout: 0s }, { name: b } ]
listeners: [ { name: l, address: x } ]
route_tables: [ { name: t, routes: [ { forward: c }, {} ] } ]
)");
  EXPECT_EQ(result.snapshot, nullptr);
  EXPECT_EQ(result.errors.error_count(), 4u);
  ASSERT_THAT(result.rejections, SizeIs(3));
  EXPECT_EQ(result.rejections[0].type, "Listener");
  EXPECT_EQ(result.rejections[1].type, "RouteTable");
  EXPECT_EQ(result.rejections[1].name, "t");
  EXPECT_EQ(result.rejections[1].errors.error_count(), 2u);
  EXPECT_EQ(result.rejections[2].type, "Cluster");
  EXPECT_EQ(result.rejections[2].name, "a");
}

// As a control plane pushes them: one by one, without a file.
TEST_F(BuildTest, ResourcesWithoutAFile) {
  Resources resources;
  auto cluster = std::make_shared<v1::Cluster>();
  cluster->set_name("a");
  auto table = std::make_shared<v1::RouteTable>();
  table->set_name("t");
  table->add_domains("*");
  table->add_routes()->mutable_forward()->set_cluster("a");
  auto listener = std::make_shared<v1::Listener>();
  listener->set_name("l");
  listener->set_address("127.0.0.1:0");
  listener->add_route_tables("t");
  resources.clusters.push_back({cluster, {}});
  resources.route_tables.push_back({table, {}});
  resources.listeners.push_back({listener, {}});
  builder_.current = nullptr;
  const BuildResult first = builder_.Try(resources);
  ASSERT_NE(first.snapshot, nullptr) << first.errors.ToString();
  builder_.current = first.snapshot;
  EXPECT_EQ(builder_.Try(resources).snapshot, first.snapshot);

  auto bad = std::make_shared<v1::RouteTable>(*table);
  bad->mutable_routes(0)->mutable_match()->set_path("x");
  bad->add_routes()->mutable_respond()->set_file("x");
  bad->add_routes()->mutable_forward()->set_cluster("b");
  resources.route_tables[0].message = bad;
  const BuildResult second = builder_.Try(resources);
  ASSERT_THAT(second.rejections, SizeIs(1));
  EXPECT_EQ(second.rejections[0].errors.ToString(),
            "routes[1].respond.file: must be an absolute path: this config is not in a file\n"
            "routes[2].forward.cluster: there is no cluster \"b\"\n"
            "routes[0].match.path: must start with '/'\n");
}

TEST_F(BuildTest, SecretsComeFromAllSources) {
  builder_.variables = {{"TOKEN", "t0p"}, {"EMPTY", ""}};
  builder_.files["/config/key"] = "k3y\n";
  const auto snapshot = builder_.Build(R"(
secrets:
- { name: a, inline: "${TOKEN}-x" }
- { name: b, environment: TOKEN }
- { name: c, file: key }
)");
  EXPECT_NE(snapshot, nullptr);
  EXPECT_THAT(builder_.Errors(R"(
secrets:
- { name: a, inline: "${EMPTY}" }
- { name: b, environment: NONE }
- { name: c, environment: EMPTY }
- { name: d, file: nowhere }
- { name: e }
)"),
              ElementsAre("3: secrets[0].inline: is empty",
                          "4: secrets[1].environment: the environment variable \"NONE\" is not set",
                          "5: secrets[2].environment: is empty",
                          "6: secrets[3].file: cannot be read: there is no such file",
                          "7: secrets[4]: needs inline, file or environment"));
}

TEST_F(BuildTest, AChangedSecretIsANewSnapshot) {
  builder_.variables = {{"TOKEN", "one"}};
  const std::string text = "secrets: [ { name: a, environment: TOKEN } ]";
  const auto first = builder_.Build(text);
  EXPECT_EQ(builder_.Build(text), first);
  builder_.variables["TOKEN"] = "two";
  EXPECT_NE(builder_.Build(text), first);
}

TEST_F(BuildTest, TheDumpCanBeLoadedAndHidesSecrets) {
  parts_.more = "secrets: [ { name: s, inline: pass-word } ]\n";
  Rebuild();
  Settings settings;
  settings.node_id = "edge-1";
  const std::string yaml = DumpYaml(*after_, settings);
  EXPECT_THAT(yaml, Not(HasSubstr("pass-word")));
  EXPECT_THAT(yaml, HasSubstr("[redacted]"));
  EXPECT_THAT(DumpJson(*after_, settings), HasSubstr("\"edge-1\""));
  const LoadedBootstrap loaded = LoadBootstrapText(yaml, "dump.yaml");
  EXPECT_TRUE(loaded.errors.ok()) << loaded.errors.ToString();
  EXPECT_EQ(loaded.settings, settings);
  // Only the secret is another one.
  const auto again = builder_.Build(yaml);
  EXPECT_EQ(again->listeners, after_->listeners);
  EXPECT_EQ(again->clusters, after_->clusters);
}

TEST_F(BuildTest, RouteSeriesGoOn) {
  const uint32_t slot = before_->listeners[0]->routes[0]->metrics->active.slot;
  EXPECT_NE(slot, 0u);
  parts_.timeout = "4s";
  Rebuild();
  EXPECT_THAT(NewRoutes(), ElementsAre("users"));
  EXPECT_EQ(after_->listeners[0]->routes[0]->metrics->active.slot, slot);
}

}  // namespace
}  // namespace gatehouse::config
