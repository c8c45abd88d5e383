// Who waits for what, and until when: removals, resources of the file, and what is said again.
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "source/xds/applier.h"
#include "test/xds/applier_fixture.h"

namespace gatehouse::xds {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Of a cluster that each of its routes leads to.
std::string Table(std::string_view name, std::string_view route, std::string_view cluster) {
  return fmt::format(
      "route_tables: [{{name: {}, domains: ['{}.example'], routes: [{{name: {}, match: "
      "{{path_prefix: /}}, forward: {}}}]}}]",
      name, name, route, cluster);
}

TEST_F(ApplierTest, EndpointsStayAsLongAsTheirCluster) {
  Start();
  Push(Type::kCluster, "clusters: [{name: users}]");
  Push(Type::kEndpoints, "endpoints: [{cluster: users, endpoints: ['127.0.0.1:3']}]");
  Push(Type::kRouteTable, kMain);
  Push(Type::kListener, kEdge);
  Settle();
  // All of it goes, what is at the bottom first.
  const uint64_t removal = Push(Type::kEndpoints, kNothing, {"users"});
  Settle();
  EXPECT_TRUE(Acked(removal));
  ASSERT_EQ(published->clusters.size(), 1U);
  EXPECT_EQ(published->clusters[0]->endpoints()->size(), 1U);
  Push(Type::kCluster, kNothing, {"users"});
  Settle();
  EXPECT_EQ(published->clusters.at(0)->endpoints()->size(), 1U);
  Push(Type::kListener, kNothing, {"edge"});
  Push(Type::kRouteTable, kNothing, {"main"});
  Settle();
  EXPECT_THAT(Clusters(), IsEmpty());
  EXPECT_THAT(applier->status().leaving, IsEmpty());
}

TEST_F(ApplierTest, EndpointsGoWhenTheirClusterHasOthers) {
  Start();
  Push(Type::kCluster, "clusters: [{name: users}]");
  Push(Type::kEndpoints, "endpoints: [{cluster: users, endpoints: ['127.0.0.1:3']}]");
  Settle();
  Push(Type::kEndpoints, kNothing, {"users"});
  Settle();
  const uint64_t cluster =
      Push(Type::kCluster, "clusters: [{name: users, endpoints: ['127.0.0.1:4']}]");
  Settle();
  EXPECT_TRUE(Acked(cluster));
  EXPECT_THAT(applier->status().leaving, IsEmpty());
  // An empty list is what says that there are none.
  Push(Type::kCluster, "clusters: [{name: orders}]");
  Push(Type::kEndpoints, "endpoints: [{cluster: orders, endpoints: ['127.0.0.1:3']}]");
  Settle();
  const uint64_t none = Push(Type::kEndpoints, "endpoints: [{cluster: orders}]");
  Settle();
  EXPECT_TRUE(Acked(none));
  EXPECT_THAT(published->clusters.at(0)->endpoints()->size(), 0U);
}

TEST_F(ApplierTest, WhatIsPushedTogetherWithARemovalThatStaysDoesNotWait) {
  Start();
  Push(Type::kCluster, kUsers);
  Push(Type::kRouteTable, Table("a", "ra", "users"));
  Push(Type::kRouteTable, Table("b", "rb", "users"));
  Push(Type::kListener,
       "listeners: [{name: edge, address: '127.0.0.1:8080', route_tables: [a, b]}]");
  Settle();
  EXPECT_EQ(TargetOf("rb"), "users");
  Push(Type::kCluster, kNothing, {"users"});
  const uint64_t routes = Push(Type::kRouteTable, Table("b", "new", "users"), {}, "2");
  Settle();
  EXPECT_TRUE(Acked(routes));
  EXPECT_EQ(TargetOf("new"), "users");
}

TEST_F(ApplierTest, WhatIsWrongOnlyBecauseOfARefusedOneIsNotRefused) {
  Start();
  Push(Type::kCluster, "clusters: [{name: users}]");
  Push(Type::kEndpoints, "endpoints: [{cluster: users, endpoints: ['127.0.0.1:3']}]");
  Settle();
  // With this cluster the endpoints would be in two places.
  const uint64_t cluster = Push(Type::kCluster, "clusters: [{name: users, endpoints: ['x']}]");
  const uint64_t endpoints =
      Push(Type::kEndpoints, "endpoints: [{cluster: users, endpoints: ['127.0.0.1:4']}]", {}, "2");
  Settle();
  EXPECT_EQ(RefusedOf(cluster).size(), 1U);
  EXPECT_FALSE(Acked(cluster));
  EXPECT_TRUE(Acked(endpoints));
  EXPECT_EQ(applier->HeldVersions(Type::kEndpoints).at("users"), "2");
}

TEST_F(ApplierTest, ARemovalIsTriedAgainWhenWhatWantedItIsRefused) {
  Start();
  PushGood();
  Push(Type::kCluster, "clusters: [{name: orders, endpoints: ['127.0.0.1:2']}]");
  Settle();
  // The new table would need the cluster that goes, but is wrong: the old one does not need it.
  Push(Type::kCluster, kNothing, {"orders"});
  Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: x}, forward: orders}]}]
)",
       {}, "2");
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("users"));
  EXPECT_THAT(applier->status().leaving, IsEmpty());
}

TEST_F(ApplierTest, ARemovalIsTriedAgainWhenWhatWantedItIsTakenBack) {
  Start();
  PushGood();
  Push(Type::kCluster, "clusters: [{name: orders, endpoints: ['127.0.0.1:2']}]");
  Settle();
  Push(Type::kCluster, kNothing, {"orders"});
  Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: orders}, {name: two, match: {path_prefix: /2}, forward: nobody}]}]
)",
       {}, "2");
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("orders", "users"));
  Push(Type::kRouteTable, kMain, {}, "3");  // as it was
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("users"));
  EXPECT_THAT(applier->status().leaving, IsEmpty());
}

TEST_F(ApplierTest, AFilesListenerThatDoesNotFitHoldsNobodyUp) {
  Start("listeners: [{name: a, address: '127.0.0.1:8080', route_tables: [main, inner]}]");
  Push(Type::kCluster, kUsers);
  Push(Type::kRouteTable, kMain);
  Settle();
  // Now it has all that it refers to, but a table without domains is none for a listener.
  constexpr std::string_view kInner =
      "route_tables: [{name: inner, routes: [{name: in, match: {path_prefix: /}, forward: "
      "users}]}]";
  const uint64_t inner = Push(Type::kRouteTable, kInner);
  Settle();
  EXPECT_TRUE(Acked(inner));
  const uint64_t more = Push(Type::kCluster, "clusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_TRUE(Acked(more));
  EXPECT_THAT(said, IsEmpty());
  ASSERT_EQ(applier->status().waiting.size(), 1U);
  EXPECT_EQ(applier->status().waiting[0].second.name, "a");
  EXPECT_THAT(applier->status().waiting[0].second.errors.at(0).message,
              HasSubstr("\"inner\" has no domains"));
  Push(Type::kRouteTable, Table("inner", "in", "users"), {}, "2");
  Settle();
  EXPECT_EQ(TargetOf("in"), "users");
  EXPECT_THAT(applier->status().waiting, IsEmpty());
}

TEST_F(ApplierTest, AFilesListenerWhosePortIsTakenHoldsNobodyUp) {
  Start("listeners: [{name: a, address: '127.0.0.1:9999', route_tables: [main]}]");
  taken_ports = {"127.0.0.1:9999"};
  Push(Type::kCluster, kUsers);
  const uint64_t routes = Push(Type::kRouteTable, kMain);
  Settle();
  EXPECT_TRUE(Acked(routes));
  ASSERT_EQ(applier->status().waiting.size(), 1U);
  EXPECT_THAT(applier->status().waiting[0].second.errors.at(0).message,
              HasSubstr("address already in use"));
  taken_ports.clear();
  Push(Type::kCluster, "clusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_EQ(published->listeners.size(), 1U);
}

TEST_F(ApplierTest, AMistakeInWhatWaitsInTheFileIsToldWhenItIsReadAgain) {
  constexpr std::string_view kBefore =
      "listeners: [{name: a, address: '127.0.0.1:9999', route_tables: [main]}]";
  Start(kBefore);
  const config::BuildResult wrong =
      applier->Rebuild(FileOf("listeners: [{name: a, address: 'nowhere', route_tables: [main]}]"));
  EXPECT_EQ(wrong.snapshot, nullptr);
  EXPECT_THAT(wrong.errors.ToString(), HasSubstr("address"));
  // It still waits, and what is right in the file is read.
  const config::Resources good =
      FileOf(std::string(kBefore) + "\nclusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  config::BuildResult built = applier->Rebuild(good);
  ASSERT_NE(built.snapshot, nullptr) << built.errors.ToString();
  published = built.snapshot;
  const uint64_t sequence = applier->NextSequence();
  applier->Reloaded(good, built.snapshot);
  Serve(sequence);
  EXPECT_THAT(Clusters(), ElementsAre("b"));
  EXPECT_EQ(applier->status().waiting.size(), 1U);
  // With a table of its own it has nothing to wait for.
  const config::Resources whole = FileOf(std::string(kBefore) + "\n" + Table("main", "r", "b") +
                                         "\nclusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  built = applier->Rebuild(whole);
  ASSERT_NE(built.snapshot, nullptr) << built.errors.ToString();
  EXPECT_EQ(built.snapshot->listeners.size(), 1U);
  applier->Reloaded(whole, built.snapshot);
  EXPECT_THAT(applier->status().waiting, IsEmpty());
}

TEST_F(ApplierTest, WorkersThatTakeTheirTimeAreNoReasonToRefuse) {
  Start();
  const uint64_t first = Push(Type::kCluster, kUsers);
  Turn();
  busy = true;
  const uint64_t second = Push(Type::kRouteTable, kMain);
  clock.Advance(seconds(6));
  Turn();
  EXPECT_EQ(AnswerOf(first), nullptr) << "nobody runs on it yet";
  EXPECT_EQ(AnswerOf(second), nullptr) << "nobody has tried it yet";
  busy = false;
  Settle();
  EXPECT_TRUE(Acked(first));
  EXPECT_TRUE(Acked(second));
  EXPECT_EQ(answers.size(), 2U) << "each once";
}

TEST_F(ApplierTest, WhatWasRefusedAndIsNotThereAnyMoreIsForgotten) {
  Start();
  Update update{.id = ++last_id, .type = Type::kCluster};
  update.upserts = Upserts(Type::kCluster, "clusters: [{name: bad, endpoints: ['x']}]");
  update.complete = true;
  update.refused.push_back({.name = "", .version = "", .errors = {{"", "is garbage", ""}}});
  applier->Apply(update);
  Settle();
  EXPECT_EQ(applier->status().refused.size(), 2U);
  update = {.id = ++last_id, .type = Type::kCluster};
  update.complete = true;
  applier->Apply(update);
  Settle();
  EXPECT_THAT(applier->status().refused, IsEmpty());
}

TEST_F(ApplierTest, RefusedNamesWithoutEndDoNotFillTheMemory) {
  Start();
  Update update{.id = ++last_id, .type = Type::kCluster};
  for (size_t i = 0; i < 2 * Applier::kMaxRefused; ++i) {
    update.upserts.push_back({fmt::format("c{}", i), "1", "\xff\xff\xff", nullptr});
  }
  applier->Apply(std::move(update));
  Settle();
  EXPECT_EQ(RefusedOf(last_id).size(), 2 * Applier::kMaxRefused);
  EXPECT_EQ(applier->status().refused.size(), Applier::kMaxRefused);
}

TEST_F(ApplierTest, WantedNamesThatAreAbsentAreNotWaitedFor) {
  Start();
  for (const Type type : kAllTypes) {
    if (type != Type::kCluster) applier->OnAbsent(type, {});
  }
  Settle();
  EXPECT_FALSE(applier->complete());
  applier->OnAbsent(Type::kCluster, {"users"});
  Settle();
  EXPECT_TRUE(applier->complete());
}

// Else a control plane that speaks state of the world would think that nothing is missing.
TEST_F(ApplierTest, TheVersionOfWhatWasSavedIsNotToldWhenSomethingIsLeftOut) {
  SavedConfig saved;
  for (const Upsert& upsert : Upserts(Type::kCluster, R"(
clusters: [{name: bad, endpoints: ['x']}, {name: users, endpoints: ['127.0.0.1:1']}]
)")) {
    saved.resources.push_back({Type::kCluster, upsert.name, upsert.version,
                               std::make_shared<const std::string>(upsert.bytes)});
  }
  saved.versions = {{Type::kCluster, "v7"}, {Type::kRouteTable, "v8"}};
  Start(kNothing, saved);
  EXPECT_EQ(applier->HeldVersion(Type::kCluster), "");
  EXPECT_EQ(applier->HeldVersion(Type::kRouteTable), "v8");
}

// Nothing is wrong with any of them but that the listener cannot have them: each is looked for.
TEST_F(ApplierTest, ASearchForWhatDoesNotFitEnds) {
  Start();
  PushGood();
  std::string text = "route_tables:\n";
  for (int i = 0; i < 200; ++i) {
    text += fmt::format(
        "- {{name: t{0}, domains: ['{0}.example'], routes: [{{match: {{path_prefix: /}}, respond: "
        "{{status: 200}}}}]}}\n",
        i);
  }
  Push(Type::kRouteTable, text);
  Settle();
  // A listener that is held needs the domains: none of the tables may go.
  std::string names;
  std::vector<std::string> removed;
  for (int i = 0; i < 200; ++i) {
    names += fmt::format("{}t{}", i == 0 ? "" : ", ", i);
    removed.push_back(fmt::format("t{}", i));
  }
  Push(Type::kListener,
       fmt::format("listeners: [{{name: b, address: '127.0.0.1:1', route_tables: [{}]}}]", names));
  Settle();
  const int before = builds;
  std::string without = text;
  for (size_t at = 0; (at = without.find("domains: ['", at)) != std::string::npos;) {
    without.erase(at, without.find("], ", at) + 3 - at);
  }
  Push(Type::kRouteTable, without, {}, "2");
  Settle();
  EXPECT_LT(builds - before, 200);
  EXPECT_EQ(published->listeners.size(), 2U);
}

}  // namespace
}  // namespace gatehouse::xds
