#include "source/xds/applier.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "test/xds/applier_fixture.h"

namespace gatehouse::xds {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ApplierTest, WhatIsPushedIsServedAndThenAcknowledged) {
  Start();
  const uint64_t clusters = Push(Type::kCluster, kUsers);
  const uint64_t routes = Push(Type::kRouteTable, kMain);
  const uint64_t listeners = Push(Type::kListener, kEdge);
  Turn();
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(publishes, 1) << "three messages of one turn are one build";
  EXPECT_THAT(answers, IsEmpty()) << "the workers do not run on it yet";
  Serve(sequence_);
  EXPECT_TRUE(Acked(clusters));
  EXPECT_TRUE(Acked(routes));
  EXPECT_TRUE(Acked(listeners));
}

TEST_F(ApplierTest, ABadResourceIsRefusedByNameAndTheOthersApply) {
  Start();
  const uint64_t id = Push(Type::kCluster, R"(
clusters:
- {name: good, endpoints: ['127.0.0.1:1']}
- {name: bad, endpoints: ['127.0.0.1:notaport']}
- {name: also, endpoints: ['127.0.0.1:2']}
)");
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("also", "good"));
  ASSERT_EQ(RefusedOf(id).size(), 1U);
  EXPECT_THAT(RefusedOf(id)[0], HasSubstr("bad: endpoints[0].address: "));
  EXPECT_FALSE(AnswerOf(id)->refusals[0].waiting);
  EXPECT_EQ(applier->status().refused.size(), 1U);
}

TEST_F(ApplierTest, ABadVersionKeepsItsPredecessorUntilAGoodOneComes) {
  Start();
  PushGood();
  const uint64_t bad = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: x}, forward: users}]}]
)",
                            {}, "2");
  Settle();
  EXPECT_EQ(RefusedOf(bad).size(), 1U);
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(applier->HeldVersions(Type::kRouteTable).at("main"), "1");
  EXPECT_EQ(applier->status().refused.size(), 1U);
  const uint64_t good = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: new, match: {path_prefix: /}, forward: users}]}]
)",
                             {}, "3");
  Settle();
  EXPECT_TRUE(Acked(good));
  EXPECT_EQ(TargetOf("new"), "users");
  EXPECT_THAT(applier->status().refused, IsEmpty());
}

TEST_F(ApplierTest, ARouteTableWaitsForItsClusterAndTheOldOneServesOn) {
  Start();
  PushGood();
  const uint64_t routes = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: orders}]}]
)",
                               {}, "2");
  Settle();
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(AnswerOf(routes), nullptr) << "its cluster may be on its way";
  EXPECT_EQ(applier->HeldVersions(Type::kRouteTable).at("main"), "2")
      << "it is not to be sent again";
  const uint64_t clusters =
      Push(Type::kCluster, "clusters: [{name: orders, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_EQ(TargetOf("all"), "orders");
  EXPECT_TRUE(Acked(routes));
  EXPECT_TRUE(Acked(clusters));
}

TEST_F(ApplierTest, ARateLimitWaitsForItsClusterAndSoDoItsRoutes) {
  Start();
  PushGood();
  const uint64_t limits = Push(Type::kRateLimit, R"(
rate_limits: [{name: shared, fixed_window: 10/s, store: {redis: {cluster: redis}}}]
)");
  const uint64_t routes = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: new, match: {path_prefix: /}, forward: users, filters: [{rate_limit: [shared]}]}]}]
)",
                               {}, "2");
  Settle();
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(AnswerOf(limits), nullptr) << "its cluster may be on its way";
  EXPECT_EQ(AnswerOf(routes), nullptr);
  Push(Type::kCluster, "clusters: [{name: redis, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_EQ(TargetOf("new"), "users");
  EXPECT_TRUE(Acked(limits));
  EXPECT_TRUE(Acked(routes));
  // It stays while the limit needs it.
  Push(Type::kCluster, kNothing, {"redis"});
  Settle();
  EXPECT_EQ(TargetOf("new"), "users");
  EXPECT_EQ(applier->status().leaving.size(), 1U);
}

TEST_F(ApplierTest, WhatWaitsTooLongIsRefusedAndAcceptedWhenItCan) {
  Start();
  const uint64_t routes = Push(Type::kRouteTable, kMain);
  Settle();
  EXPECT_EQ(AnswerOf(routes), nullptr);
  After(seconds(6));
  EXPECT_THAT(RefusedOf(routes),
              ElementsAre("main: routes[0].forward.cluster: there is no cluster \"users\""));
  EXPECT_TRUE(AnswerOf(routes)->refusals[0].waiting);
  EXPECT_EQ(applier->status().waiting.size(), 1U);
  Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_TRUE(Acked(routes)) << "the control plane is told that it is accepted after all";
  EXPECT_THAT(applier->status().waiting, IsEmpty());
}

TEST_F(ApplierTest, WhatIsRemovedStaysWhileSomethingRefersToIt) {
  Start();
  PushGood();
  const uint64_t removal = Push(Type::kCluster, kNothing, {"users"});
  Settle();
  EXPECT_TRUE(Acked(removal));
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(applier->status().leaving.size(), 1U);
  EXPECT_THAT(applier->HeldVersions(Type::kCluster), IsEmpty());
  // The route goes elsewhere: now it can leave.
  Push(Type::kCluster, "clusters: [{name: orders, endpoints: ['127.0.0.1:2']}]");
  Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: orders}]}]
)",
       {}, "2");
  Settle();
  EXPECT_EQ(TargetOf("all"), "orders");
  EXPECT_THAT(Clusters(), ElementsAre("orders"));
  EXPECT_THAT(applier->status().leaving, IsEmpty());
}

TEST_F(ApplierTest, WhatIsOnItsWayOutIsBackWhenItIsPushedAgain) {
  Start();
  PushGood();
  Push(Type::kCluster, kNothing, {"users"});
  Settle();
  Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_THAT(applier->status().leaving, IsEmpty());
  EXPECT_EQ(applier->HeldVersions(Type::kCluster).size(), 1U);
  Push(Type::kRouteTable, kNothing, {"main"});
  Push(Type::kListener, kNothing, {"edge"});
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("users"));
}

TEST_F(ApplierTest, RemovalOfEverythingInOneGoWorks) {
  Start();
  PushGood();
  Push(Type::kCluster, kNothing, {"users"});
  Push(Type::kRouteTable, kNothing, {"main"});
  Push(Type::kListener, kNothing, {"edge"});
  Settle();
  EXPECT_THAT(Clusters(), IsEmpty());
  EXPECT_THAT(published->listeners, IsEmpty());
  EXPECT_THAT(applier->status().leaving, IsEmpty());
}

TEST_F(ApplierTest, AClusterWaitsForItsEndpoints) {
  Start();
  PushGood();
  const uint64_t cluster = Push(Type::kCluster, "clusters: [{name: orders}]");
  const uint64_t routes = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: orders}]}]
)",
                               {}, "2");
  Settle();
  EXPECT_EQ(TargetOf("all"), "users") << "a cluster without endpoints would answer 503";
  EXPECT_EQ(AnswerOf(cluster), nullptr);
  const uint64_t endpoints =
      Push(Type::kEndpoints, "endpoints: [{cluster: orders, endpoints: ['127.0.0.1:3']}]");
  Settle();
  EXPECT_EQ(TargetOf("all"), "orders");
  for (const uint64_t id : {cluster, routes, endpoints}) EXPECT_TRUE(Acked(id)) << id;
}

TEST_F(ApplierTest, AClusterWhoseEndpointsDoNotComeIsUsedWithoutThem) {
  Start();
  const uint64_t cluster = Push(Type::kCluster, "clusters: [{name: orders}]");
  Settle();
  EXPECT_THAT(Clusters(), IsEmpty());
  After(seconds(6));
  EXPECT_THAT(Clusters(), ElementsAre("orders"));
  EXPECT_TRUE(Acked(cluster));
}

TEST_F(ApplierTest, EndpointsWaitForTheirCluster) {
  Start();
  const uint64_t endpoints =
      Push(Type::kEndpoints, "endpoints: [{cluster: orders, endpoints: ['127.0.0.1:3']}]");
  Settle();
  EXPECT_EQ(AnswerOf(endpoints), nullptr);
  Push(Type::kCluster, "clusters: [{name: orders}]");
  Settle();
  EXPECT_TRUE(Acked(endpoints));
  EXPECT_EQ(published->clusters.at(0)->endpoints()->size(), 1U);
}

TEST_F(ApplierTest, OrderOfArrivalDoesNotMatter) {
  // The worst one: what refers comes before what it refers to, a turn apart.
  Start();
  const uint64_t listeners = Push(Type::kListener, kEdge);
  Settle();
  const uint64_t routes = Push(Type::kRouteTable, kMain);
  Settle();
  EXPECT_THAT(published->listeners, IsEmpty());
  const uint64_t clusters = Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_EQ(TargetOf("all"), "users");
  for (const uint64_t id : {listeners, routes, clusters}) EXPECT_TRUE(Acked(id)) << id;
}

TEST_F(ApplierTest, WhatRefersToARefusedOneWaits) {
  Start();
  const uint64_t clusters = Push(Type::kCluster, "clusters: [{name: users, endpoints: ['x']}]");
  const uint64_t routes = Push(Type::kRouteTable, kMain);
  Settle();
  EXPECT_EQ(RefusedOf(clusters).size(), 1U);
  EXPECT_NE(RefusedOf(clusters)[0], "no answer");
  After(seconds(6));
  EXPECT_TRUE(AnswerOf(routes)->refusals.at(0).waiting);
  Push(Type::kCluster, kUsers, {}, "2");
  Settle();
  EXPECT_TRUE(Acked(routes));
}

TEST_F(ApplierTest, ACompleteMessageRemovesWhatIsNotInIt) {
  Start();
  Update update{.id = ++last_id, .type = Type::kCluster};
  update.upserts = Upserts(Type::kCluster,
                           "clusters: [{name: a, endpoints: ['127.0.0.1:1']}, {name: b, endpoints: "
                           "['127.0.0.1:2']}, {name: c, endpoints: ['127.0.0.1:3']}]");
  update.complete = true;
  applier->Apply(update);
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("a", "b", "c"));
  update.id = ++last_id;
  update.version = "v2";
  update.upserts.erase(update.upserts.begin());
  update.upserts.pop_back();
  // The client could not read it: it is in the message all the same.
  update.refused.push_back({.name = "c", .version = "", .errors = {{"", "is garbage", ""}}});
  applier->Apply(update);
  Settle();
  EXPECT_THAT(Clusters(), ElementsAre("b", "c"));
  EXPECT_EQ(applier->status().refused.size(), 1U);
}

TEST_F(ApplierTest, WhatSaysNothingNewBuildsNothing) {
  Start();
  PushGood();
  const int before = builds;
  const uint64_t same = Push(Type::kRouteTable, kMain, {}, "2");
  const uint64_t unknown = Push(Type::kCluster, kNothing, {"nobody"});
  Settle();
  EXPECT_EQ(builds, before);
  EXPECT_TRUE(Acked(same));
  EXPECT_TRUE(Acked(unknown));
  EXPECT_EQ(applier->HeldVersions(Type::kRouteTable).at("main"), "2");
}

TEST_F(ApplierTest, PushesAreFoldedWhileWorkersAreBusy) {
  Start();
  PushGood();
  busy = true;
  const int before = builds;
  for (int i = 0; i < 50; ++i) {
    Push(Type::kCluster,
         "clusters: [{name: users, endpoints: ['127.0.0.1:" + std::to_string(100 + i) + "']}]");
    Turn();
  }
  EXPECT_EQ(builds, before);
  busy = false;
  Serve(sequence_);
  Settle();
  EXPECT_EQ(builds, before + 1);
  EXPECT_EQ(answers.size(), 50U) << "each message is answered";
  for (const Answered& answer : answers) EXPECT_THAT(answer.refusals, IsEmpty());
}

TEST_F(ApplierTest, ANameOfTheFileCannotBePushed) {
  Start("clusters: [{name: users, endpoints: ['127.0.0.1:9']}]");
  const uint64_t id = Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_THAT(RefusedOf(id)[0], HasSubstr("is in this gateway's own file"));
  EXPECT_EQ(published->clusters.size(), 1U);
}

TEST_F(ApplierTest, TheFileMayReferToWhatIsPushed) {
  Start(R"(
listeners: [{name: edge, address: '127.0.0.1:8080', route_tables: [main]}]
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: users}]}]
)");
  EXPECT_THAT(published->listeners, IsEmpty());
  EXPECT_EQ(applier->status().waiting.size(), 2U);
  Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_THAT(applier->status().waiting, IsEmpty());
  // What the file refers to now stays, whatever is pushed.
  Push(Type::kCluster, kNothing, {"users"});
  Settle();
  EXPECT_EQ(TargetOf("all"), "users");
}

TEST_F(ApplierTest, AFileReadAgainIsTakenWholeOrNotAtAll) {
  Start("clusters: [{name: a, endpoints: ['127.0.0.1:9']}]");
  PushGood();
  config::BuildResult clash = applier->Rebuild(FileOf(kUsers));
  EXPECT_EQ(clash.snapshot, nullptr);
  EXPECT_THAT(clash.errors.ToString(),
              HasSubstr("the control plane has pushed a Cluster \"users\""));
  config::Resources good = FileOf("clusters: [{name: b, endpoints: ['127.0.0.1:9']}]");
  config::BuildResult built = applier->Rebuild(good);
  ASSERT_NE(built.snapshot, nullptr) << built.errors.ToString();
  published = built.snapshot;
  const uint64_t sequence = applier->NextSequence();
  applier->Reloaded(good, built.snapshot);
  Serve(sequence);
  EXPECT_THAT(Clusters(), ElementsAre("b", "users"));
  EXPECT_EQ(applier->current(), built.snapshot);
}

TEST_F(ApplierTest, AnAddressThatAnotherListenerHasIsItsOwnFault) {
  Start();
  PushGood();
  // By name it comes first, so that the error is that of the one that was there before.
  const uint64_t id = Push(
      Type::kListener, "listeners: [{name: a, address: '127.0.0.1:8080', route_tables: [main]}]");
  const uint64_t other = Push(Type::kCluster, "clusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_EQ(published->listeners.size(), 1U);
  EXPECT_EQ(published->listeners[0]->name, "edge");
  EXPECT_THAT(Clusters(), ElementsAre("b", "users")) << "the innocent apply";
  EXPECT_TRUE(Acked(other));
  After(seconds(6));
  EXPECT_THAT(RefusedOf(id)[0], HasSubstr("with it Listener \"edge\" would be wrong"));
  // It takes the place when that is free.
  Push(Type::kListener, kNothing, {"edge"});
  Settle();
  ASSERT_EQ(published->listeners.size(), 1U);
  EXPECT_EQ(published->listeners[0]->name, "a");
  EXPECT_TRUE(Acked(id));
}

TEST_F(ApplierTest, AListenerWhosePortIsTakenIsRefusedAndTheOthersApply) {
  Start();
  PushGood();
  taken_ports = {"127.0.0.1:9999"};
  const uint64_t listeners = Push(
      Type::kListener, "listeners: [{name: two, address: '127.0.0.1:9999', route_tables: [main]}]");
  const uint64_t clusters =
      Push(Type::kCluster, "clusters: [{name: b, endpoints: ['127.0.0.1:2']}]");
  Settle();
  EXPECT_THAT(RefusedOf(listeners), ElementsAre("two: address: address already in use"));
  EXPECT_TRUE(Acked(clusters));
  EXPECT_THAT(Clusters(), ElementsAre("b", "users"));
}

TEST_F(ApplierTest, ManyListenersWhosePortsAreTakenAreRefusedInOneGo) {
  Start();
  PushGood();
  const int before = builds;
  std::string text = "listeners:\n";
  for (int port = 9000; port < 9050; ++port) {
    taken_ports.insert(fmt::format("127.0.0.1:{}", port));
    text += fmt::format("- {{name: l{0}, address: '127.0.0.1:{0}', route_tables: [main]}}\n", port);
  }
  const uint64_t listeners = Push(Type::kListener, text);
  Settle();
  EXPECT_THAT(RefusedOf(listeners), SizeIs(50));
  EXPECT_LE(builds - before, 2);
}

TEST_F(ApplierTest, AFirstConfigIsSavedWhenItIsWhole) {
  Start();
  for (const Type type : kAllTypes) {
    EXPECT_THAT(saves, IsEmpty());
    Push(type, type == Type::kCluster ? kUsers : kNothing);
    Settle();
  }
  EXPECT_EQ(saves.size(), 1U);
}

TEST_F(ApplierTest, WhatHasBeenToldAndIsNotServedYetIsPartOfTheWhole) {
  Start();
  for (const Type type : kAllTypes) {
    if (type != Type::kListener && type != Type::kRouteTable && type != Type::kCluster) {
      Push(type, kNothing);
    }
  }
  Push(Type::kCluster, kUsers);
  Push(Type::kRouteTable, kMain);
  Turn();
  // The last type comes while the workers take over what came before.
  Push(Type::kListener, kEdge);
  Serve(sequence_);
  for (const SavedConfig& saved : saves) EXPECT_EQ(saved.resources.size(), 3U);
  Settle();
  ASSERT_EQ(saves.size(), 1U);
  EXPECT_EQ(saves[0].resources.size(), 3U);
}

TEST_F(ApplierTest, WhatIsAcceptedIsSavedOnceItIsServed) {
  Start();
  for (const Type type : kAllTypes) applier->OnAbsent(type, {});
  Push(Type::kCluster, kUsers);
  Turn();
  EXPECT_THAT(saves, IsEmpty());
  Serve(sequence_);
  ASSERT_EQ(saves.size(), 1U);
  ASSERT_EQ(saves[0].resources.size(), 1U);
  EXPECT_EQ(saves[0].resources[0].name, "users");
  EXPECT_EQ(saves[0].resources[0].version, "1");
  EXPECT_EQ(saves[0].source, "control plane test");
}

TEST_F(ApplierTest, WhatWasSavedIsServedAtTheStart) {
  Start();
  for (const Type type : kAllTypes) applier->OnAbsent(type, {});
  PushGood();
  const SavedConfig saved = saves.back();
  applier.reset();
  published.reset();
  Start(kNothing, saved);
  EXPECT_EQ(TargetOf("all"), "users");
  EXPECT_EQ(applier->HeldVersions(Type::kCluster).at("users"), "1");
  EXPECT_TRUE(applier->complete());
}

TEST_F(ApplierTest, ASavedListenerWhosePortIsTakenIsLeftOut) {
  Start();
  for (const Type type : kAllTypes) applier->OnAbsent(type, {});
  PushGood();
  Push(Type::kListener, "listeners: [{name: two, address: '127.0.0.1:9', route_tables: [main]}]");
  Settle();
  const SavedConfig saved = saves.back();
  applier.reset();
  published.reset();
  Start(kNothing, saved);
  EXPECT_EQ(applier->StartWithout({{"another", "address already in use"}}), nullptr);
  const Applier::SnapshotPtr rest = applier->StartWithout({{"two", "address already in use"}});
  ASSERT_NE(rest, nullptr);
  ASSERT_EQ(rest->listeners.size(), 1U);
  EXPECT_EQ(rest->listeners[0]->name, "edge");
  EXPECT_EQ(applier->current(), rest);
  EXPECT_EQ(said.back(), "saved Listener \"two\" is left out: address already in use");
  EXPECT_FALSE(applier->HeldVersions(Type::kListener).contains("two")) << "it is to be sent again";
  EXPECT_EQ(applier->status().refused.size(), 1U);
}

TEST_F(ApplierTest, WhatIsNoLongerAcceptedOfTheSavedIsLeftOut) {
  SavedConfig saved;
  for (const Type type : {Type::kCluster, Type::kRouteTable}) {
    for (const Upsert& upsert : Upserts(type, R"(
clusters: [{name: bad, endpoints: ['x']}, {name: users, endpoints: ['127.0.0.1:1']}]
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, forward: users}]}]
)")) {
      saved.resources.push_back(
          {type, upsert.name, upsert.version, std::make_shared<const std::string>(upsert.bytes)});
    }
  }
  Start(kNothing, saved);
  EXPECT_THAT(Clusters(), ElementsAre("users"));
  ASSERT_EQ(said.size(), 1U);
  EXPECT_THAT(said[0], HasSubstr("saved Cluster \"bad\" is left out"));
}

TEST_F(ApplierTest, WhatCrashedTheGatewayIsNotTriedAgain) {
  Start();
  suspect = "users";
  const uint64_t id = Push(Type::kCluster, kUsers);
  Settle();
  EXPECT_THAT(tried, IsEmpty());
  EXPECT_THAT(RefusedOf(id)[0], HasSubstr("is in quarantine"));
  suspect = "";
  Push(Type::kCluster, kUsers, {}, "2");
  Settle();
  EXPECT_THAT(tried, ElementsAre("users"));
}

TEST_F(ApplierTest, ASecretMayNameVariablesOfThisMachine) {
  Start();
  for (const Type type : kAllTypes) applier->OnAbsent(type, {});
  setenv("APPLIER_TEST_TOKEN", "swordfish", /*overwrite=*/1);
  const auto push = [&](std::string_view text) {
    v1::Secret secret;
    secret.set_name("s");
    secret.set_inline_(std::string(text));
    Update update{.id = ++last_id, .type = Type::kSecret};
    update.upserts.push_back({"s", "1", secret.SerializeAsString(), nullptr});
    applier->Apply(std::move(update));
    Settle();
    return last_id;
  };
  EXPECT_TRUE(Acked(push("${APPLIER_TEST_TOKEN}")));
  EXPECT_EQ(saves.back().resources.at(0).bytes->find("swordfish"), std::string::npos);
  EXPECT_THAT(RefusedOf(push("${APPLIER_TEST_NO_SUCH}"))[0], HasSubstr("s: inline: "));
}

TEST_F(ApplierTest, GarbageIsRefused) {
  Start();
  Update update{.id = ++last_id, .type = Type::kCluster};
  update.upserts.push_back({"users", "1", "\xff\xff\xff", nullptr});
  applier->Apply(std::move(update));
  Settle();
  EXPECT_THAT(RefusedOf(last_id), ElementsAre("users: : cannot be read as a message of its type"));
}

TEST_F(ApplierTest, ANewerVersionTakesThePlaceOfOneThatWaits) {
  Start();
  const uint64_t first = Push(Type::kRouteTable, kMain);
  Settle();
  const uint64_t second = Push(Type::kRouteTable, R"(
route_tables: [{name: main, domains: ['*'], routes: [{name: all, match: {path_prefix: /}, respond: {status: 200}}]}]
)",
                               {}, "2");
  Settle();
  EXPECT_TRUE(Acked(first));
  EXPECT_TRUE(Acked(second));
}

TEST_F(ApplierTest, ItIsCompleteWhenEveryTypeHasBeenToldOf) {
  Start();
  for (const Type type : kAllTypes) {
    EXPECT_FALSE(applier->complete());
    if (type == Type::kSecret) {
      applier->OnAbsent(type, {});
    } else {
      Push(type, kNothing);
    }
    Settle();
  }
  EXPECT_TRUE(applier->complete());
}

// Whatever comes in whatever order, every message is answered, and what is served is right.
TEST_F(ApplierTest, AnyOrderOfTheSameMessagesEndsTheSame) {
  struct Message {
    Type type;
    std::string yaml;
  };
  const std::vector<Message> messages = {
      {Type::kSecret, "secrets: [{name: s, inline: x}]"},
      {Type::kRateLimit, "rate_limits: [{name: l, token_bucket: {rate: 1/s}}]"},
      {Type::kCluster, "clusters: [{name: users}]"},
      {Type::kEndpoints, "endpoints: [{cluster: users, endpoints: ['127.0.0.1:3']}]"},
      {Type::kRouteTable,
       "route_tables: [{name: main, domains: ['*'], filters: [{rate_limit: [l]}], routes: [{name: "
       "all, match: {path_prefix: /}, forward: users}]}]"},
      {Type::kListener, std::string(kEdge)},
  };
  std::vector<size_t> order = {0, 1, 2, 3, 4, 5};
  int tries = 0;
  do {
    // Every seventh: all of them take a while.
    if (++tries % 7 != 0) continue;
    answers.clear();
    sequence_ = 0;
    Start();
    for (const size_t i : order) {
      Push(messages[i].type, messages[i].yaml);
      Turn();
      Settle();
    }
    EXPECT_EQ(TargetOf("all"), "users");
    EXPECT_EQ(answers.size(), messages.size());
    for (const Answered& answer : answers) EXPECT_THAT(answer.refusals, IsEmpty());
    applier.reset();
    published.reset();
    builder.current.reset();
  } while (std::next_permutation(order.begin(), order.end()));
}

}  // namespace
}  // namespace gatehouse::xds
