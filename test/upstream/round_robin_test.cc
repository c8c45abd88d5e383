#include "source/upstream/round_robin.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse::upstream {
namespace {

std::shared_ptr<const EndpointSet> SetOf(const std::vector<uint32_t>& weights) {
  std::vector<ResolvedEndpoint> endpoints;
  for (size_t i = 0; i < weights.size(); ++i) {
    net::IpAddress ip;
    EXPECT_TRUE(net::IpAddress::Parse("10.0.0.1", &ip));
    const net::Address address(ip, static_cast<uint16_t>(i + 1));
    endpoints.push_back({address, address.ToString(), weights[i]});
  }
  return EndpointSet::Make(endpoints, nullptr);
}

std::vector<int> Count(RoundRobin& balancer, size_t size, int picks) {
  std::vector<int> counts(size);
  for (int i = 0; i < picks; ++i) {
    const uint32_t index = balancer.Pick({});
    EXPECT_LT(index, size);
    if (index < size) ++counts[index];
  }
  return counts;
}

TEST(RoundRobinTest, EqualWeightsTakeTurns) {
  Random random(1);
  RoundRobin balancer(random);
  const auto set = SetOf({5, 5, 5});
  balancer.SetEndpoints(*set);
  uint32_t last = balancer.Pick({});
  for (int i = 0; i < 10; ++i) {
    const uint32_t next = balancer.Pick({});
    EXPECT_EQ(next, (last + 1) % 3);
    last = next;
  }
}

TEST(RoundRobinTest, StartsAnywhere) {
  Random random(2);
  std::set<uint32_t> equal;
  std::set<uint32_t> weighted;
  const auto equal_set = SetOf({1, 1, 1, 1});
  const auto weighted_set = SetOf({1, 2, 3, 4});
  for (int i = 0; i < 100; ++i) {
    RoundRobin balancer(random);
    balancer.SetEndpoints(*equal_set);
    equal.insert(balancer.Pick({}));
    balancer.SetEndpoints(*weighted_set);
    weighted.insert(balancer.Pick({}));
  }
  EXPECT_EQ(equal.size(), 4u);
  EXPECT_EQ(weighted.size(), 4u);
}

TEST(RoundRobinTest, EveryRunOfARoundIsExact) {
  Random random(3);
  const std::vector<uint32_t> weights = {10, 2, 6, 0, 2};  // round of 5 + 1 + 3 + 1
  const auto set = SetOf(weights);
  RoundRobin balancer(random);
  balancer.SetEndpoints(*set);
  std::vector<uint32_t> picks;
  for (int i = 0; i < 200; ++i) picks.push_back(balancer.Pick({}));
  for (size_t start = 0; start + 10 <= picks.size(); ++start) {
    std::vector<uint32_t> counts(weights.size());
    for (size_t i = start; i < start + 10; ++i) ++counts[picks[i]];
    EXPECT_EQ(counts, (std::vector<uint32_t>{5, 1, 3, 0, 1})) << start;
  }
}

TEST(RoundRobinTest, NeverFarFromItsShare) {
  Random random(4);
  for (int round = 0; round < 50; ++round) {
    std::vector<uint32_t> weights(2 + random.Below(8));
    for (uint32_t& weight : weights) weight = 1 + static_cast<uint32_t>(random.Below(100));
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const auto set = SetOf(weights);
    RoundRobin balancer(random);
    balancer.SetEndpoints(*set);
    std::vector<int> counts(weights.size());
    // From any start: at most one off at either end of the run.
    for (int picks = 1; picks <= 500; ++picks) {
      ++counts[balancer.Pick({})];
      for (size_t i = 0; i < weights.size(); ++i) {
        EXPECT_LT(std::abs(counts[i] - picks * weights[i] / total), 2.0);
      }
    }
  }
}

TEST(RoundRobinTest, HugeWeightsDoNotOverflow) {
  Random random(5);
  const auto set = SetOf({UINT32_MAX, UINT32_MAX - 1, 1});
  RoundRobin balancer(random);
  balancer.SetEndpoints(*set);
  const std::vector<int> counts = Count(balancer, 3, 1000);
  EXPECT_NEAR(counts[0], 500, 2);
  EXPECT_NEAR(counts[1], 500, 2);
  EXPECT_LE(counts[2], 1);
}

TEST(RoundRobinTest, NothingUsable) {
  Random random(6);
  RoundRobin balancer(random);
  const auto empty = SetOf({});
  balancer.SetEndpoints(*empty);
  EXPECT_EQ(balancer.Pick({}), Balancer::kNone);
  const auto zero = SetOf({0, 0});
  balancer.SetEndpoints(*zero);
  EXPECT_EQ(balancer.Pick({}), Balancer::kNone);
  const auto sick = SetOf({1});
  sick->SetHealth(0, false);
  balancer.SetEndpoints(*sick);
  EXPECT_EQ(balancer.Pick({}), Balancer::kNone);
  sick->SetHealth(0, true);
  EXPECT_EQ(balancer.Pick({}), 0u);
}

TEST(RoundRobinTest, ShareOfAnUnhealthyEndpointIsSpreadEvenly) {
  Random random(7);
  const auto set = SetOf({1, 1, 1, 1});
  RoundRobin balancer(random);
  balancer.SetEndpoints(*set);
  set->SetHealth(1, false);
  EXPECT_EQ(Count(balancer, 4, 300), (std::vector<int>{100, 0, 100, 100}));
}

TEST(RoundRobinTest, AvoidsAnEndpointWhenThereIsAnother) {
  Random random(8);
  for (const std::vector<uint32_t>& weights :
       {std::vector<uint32_t>{1, 1}, std::vector<uint32_t>{1000, 1}}) {
    const auto set = SetOf(weights);
    RoundRobin balancer(random);
    balancer.SetEndpoints(*set);
    const Endpoint* avoid = (*set)[0].endpoint.get();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(balancer.Pick({.avoid = avoid}), 1u);
  }
  const auto alone = SetOf({1});
  RoundRobin balancer(random);
  balancer.SetEndpoints(*alone);
  EXPECT_EQ(balancer.Pick({.avoid = (*alone)[0].endpoint.get()}), 0u);
}

}  // namespace
}  // namespace gatehouse::upstream
