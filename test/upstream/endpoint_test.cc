#include "source/upstream/endpoint.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace gatehouse::upstream {
namespace {

ResolvedEndpoint Of(const std::string& text, uint32_t weight = 1) {
  const auto address = net::Address::Parse(text);
  EXPECT_TRUE(address.ok());
  return {*address, text, weight};
}

TEST(EndpointSetTest, KeepsOrderAndJoinsDoubles) {
  const auto set =
      EndpointSet::Make({Of("1.1.1.1:1", 2), Of("2.2.2.2:2"), Of("1.1.1.1:1", 3)}, nullptr);
  ASSERT_EQ(set->size(), 2u);
  EXPECT_EQ((*set)[0].weight, 5u);
  EXPECT_EQ((*set)[1].endpoint->text(), "2.2.2.2:2");
}

TEST(EndpointSetTest, SharesWhatThePredecessorHas) {
  const auto first = EndpointSet::Make({Of("1.1.1.1:1"), Of("2.2.2.2:2")}, nullptr);
  const auto second = EndpointSet::Make({Of("3.3.3.3:3"), Of("2.2.2.2:2")}, first.get());
  EXPECT_EQ((*second)[1].endpoint, (*first)[1].endpoint);
  EXPECT_FALSE(second->SameAs(*first));
  const auto third = EndpointSet::Make({Of("3.3.3.3:3"), Of("2.2.2.2:2")}, second.get());
  EXPECT_TRUE(third->SameAs(*second));
  const auto heavier = EndpointSet::Make({Of("3.3.3.3:3"), Of("2.2.2.2:2", 2)}, second.get());
  EXPECT_FALSE(heavier->SameAs(*second));
}

TEST(EndpointSetTest, HostsTellEndpointsApart) {
  ResolvedEndpoint a = Of("1.1.1.1:1");
  EXPECT_EQ((*EndpointSet::Make({a}, nullptr))[0].endpoint->host(), "1.1.1.1");
  a.host = "a.example";
  ResolvedEndpoint b = a;
  b.host = "b.example";
  const auto set = EndpointSet::Make({a, b, a}, nullptr);
  ASSERT_EQ(set->size(), 2u);
  EXPECT_EQ((*set)[0].endpoint->host(), "a.example");
  EXPECT_EQ((*set)[0].weight, 2u);
  const auto next = EndpointSet::Make({b}, set.get());
  EXPECT_EQ((*next)[0].endpoint, (*set)[1].endpoint);
}

TEST(EndpointSetTest, HealthVersionTellsOfChangesOnly) {
  const auto set = EndpointSet::Make({Of("1.1.1.1:1")}, nullptr);
  const uint32_t version = set->health_version();
  set->SetHealth(0, true);
  EXPECT_EQ(set->health_version(), version);
  set->SetHealth(0, false);
  EXPECT_NE(set->health_version(), version);
  EXPECT_FALSE((*set)[0].endpoint->healthy());
}

}  // namespace
}  // namespace gatehouse::upstream
