#include "source/control_plane/resource_set.h"

#include <memory>
#include <set>
#include <string>

#include "gtest/gtest.h"

#include "test/control_plane/resources_for_test.h"

namespace gatehouse::control {
namespace {

TEST(ResourceTypeTest, HasThreeNames) {
  EXPECT_EQ(TypeName(Type::kRouteTable), "RouteTable");
  EXPECT_EQ(TypeUrl(Type::kRouteTable), "type.googleapis.com/gatehouse.v1.RouteTable");
  EXPECT_EQ(FieldName(Type::kRouteTable), "route_tables");
  for (size_t i = 0; i < kResourceTypes; ++i) {
    const auto type = static_cast<Type>(i);
    EXPECT_EQ(TypeOf(TypeName(type)), type);
    EXPECT_EQ(TypeOf(TypeUrl(type)), type);
    EXPECT_EQ(TypeOf(FieldName(type)), type);
  }
  EXPECT_EQ(TypeOf("type.googleapis.com/envoy.config.cluster.v3.Cluster"), std::nullopt);
  EXPECT_EQ(TypeOf(""), std::nullopt);
}

TEST(OriginTest, LineOfAPathOrItsNearestAncestor) {
  Origin origin{.file = "shop.yaml", .line = 3};
  origin.lines = {
      {"filters", 5}, {"filters[0]", 6}, {"labels", 20},          {"labels[\"a.b[0]\"]", 21},
      {"routes", 8},  {"routes[0]", 9},  {"routes[0].match", 10}, {"routes[10]", 19}};
  EXPECT_EQ(origin.LineOf(""), 3);
  EXPECT_EQ(origin.LineOf("name"), 3);
  EXPECT_EQ(origin.LineOf("routes"), 8);
  EXPECT_EQ(origin.LineOf("routes[0].match"), 10);
  EXPECT_EQ(origin.LineOf("routes[0].match.path_prefix"), 10);
  EXPECT_EQ(origin.LineOf("routes[0].timeout"), 9);
  EXPECT_EQ(origin.LineOf("routes[10].timeout"), 19);
  EXPECT_EQ(origin.LineOf("routes[1].timeout"), 8);
  EXPECT_EQ(origin.LineOf("labels[\"a.b[0]\"].x"), 21);
  EXPECT_EQ(origin.LineOf("labels[\"b\"]"), 20);
  EXPECT_EQ(origin.LineOf("labels[\"c.d\"].e"), 20);
}

TEST(ResourceSetTest, AGroupHasItsOwnInPlaceOfThoseOfAll) {
  const auto set = SetOf(7, {{Type::kCluster, "users", "all"},
                             {Type::kCluster, "orders", "all"},
                             {Type::kCluster, "users", "edge", "edge"},
                             {Type::kListener, "admin", "v1", "inner"}});
  EXPECT_EQ(set->revision(), 7U);
  EXPECT_EQ(set->groups(), (std::set<std::string>{"edge", "inner"}));

  const auto edge = set->OfGroup("edge");
  EXPECT_EQ(edge->revision(), 7U);
  EXPECT_EQ(edge->of(Type::kCluster).find("users")->second->version, "edge");
  EXPECT_EQ(edge->of(Type::kCluster).find("orders")->second->version, "all");
  EXPECT_TRUE(edge->of(Type::kListener).empty());

  const auto inner = set->OfGroup("inner");
  EXPECT_EQ(inner->of(Type::kCluster).find("users")->second->version, "all");
  EXPECT_EQ(inner->of(Type::kListener).size(), 1U);
}

TEST(ResourceSetTest, GroupsWithoutTheirOwnShareOne) {
  const auto set =
      SetOf(1, {{Type::kCluster, "users", "all"}, {Type::kListener, "x", "v", "edge"}});
  EXPECT_EQ(set->OfGroup("nobody"), set->OfGroup(""));
  EXPECT_EQ(set->OfGroup("nobody"), set->OfGroup("somebody"));
  // Of a type of which the group has none of its own, it shares that of all.
  EXPECT_EQ(set->OfGroup("edge")->shared(Type::kCluster), set->OfGroup("")->shared(Type::kCluster));
}

TEST(ResourceSetTest, WhatDidNotChangeIsShared) {
  const auto before = SetOf(1, {{Type::kCluster, "a", "1"},
                                {Type::kCluster, "b", "1"},
                                {Type::kRouteTable, "r", "1"},
                                {Type::kCluster, "a", "e", "edge"}});
  // All objects are new, as after reading files.
  const auto after = SetOf(2,
                           {{Type::kCluster, "a", "1"},
                            {Type::kCluster, "b", "2"},
                            {Type::kRouteTable, "r", "1"},
                            {Type::kCluster, "a", "e", "edge"}},
                           before);
  EXPECT_EQ(after->OfGroup("")->shared(Type::kRouteTable),
            before->OfGroup("")->shared(Type::kRouteTable));
  EXPECT_NE(after->OfGroup("")->shared(Type::kCluster),
            before->OfGroup("")->shared(Type::kCluster));
  EXPECT_EQ(after->OfGroup("")->of(Type::kCluster).find("a")->second,
            before->OfGroup("")->of(Type::kCluster).find("a")->second);
  EXPECT_EQ(after->OfGroup("edge")->of(Type::kCluster).find("a")->second,
            before->OfGroup("edge")->of(Type::kCluster).find("a")->second);
  EXPECT_EQ(after->OfGroup("edge")->revision(), 2U);
}

TEST(ResourceSetTest, WhatMovedInItsFileIsAnotherObject) {
  const auto before = SetOf(1, {{Type::kCluster, "a", "1"}});
  const auto after =
      SetOf(2, {{Type::kCluster, "a", "1", "", {.file = "shop.yaml", .line = 11}}}, before);
  EXPECT_EQ(after->OfGroup("")->of(Type::kCluster).find("a")->second->origin->line, 11);
}

TEST(ResourceSetTest, AGroupThatLosesItsOwnSharesAgain) {
  const auto before = SetOf(1, {{Type::kCluster, "a", "1"}, {Type::kCluster, "a", "e", "edge"}});
  const auto after = SetOf(2, {{Type::kCluster, "a", "1"}}, before);
  EXPECT_EQ(after->OfGroup("edge"), after->OfGroup(""));
  EXPECT_TRUE(after->groups().empty());
}

TEST(ResourceSetTest, EmptySet) {
  const ResourceSet set(0, {}, nullptr);
  for (size_t i = 0; i < kResourceTypes; ++i) {
    EXPECT_TRUE(set.OfGroup("edge")->of(static_cast<Type>(i)).empty());
  }
}

}  // namespace
}  // namespace gatehouse::control
