#include "source/route/split.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::route {
namespace {

WeightedSplit Split(const std::vector<uint32_t>& weights) {
  std::vector<std::string> names;
  std::vector<WeightedSplit::Target> targets;
  for (size_t i = 0; i < weights.size(); ++i) names.push_back(fmt::format("cluster-{}", i));
  for (size_t i = 0; i < weights.size(); ++i) targets.push_back({names[i], weights[i]});
  auto split = WeightedSplit::Build(targets);
  EXPECT_TRUE(split.ok()) << MessageOf(split.status());
  return *std::move(split);
}

// The largest distance between a target's count and its share, over all runs that start at a
// multiple of the period, and over all runs.
struct Deviation {
  double from_start = 0;
  double any_run = 0;
};

Deviation Measure(const std::vector<uint32_t>& weights) {
  const WeightedSplit split = Split(weights);
  uint64_t total = 0;
  for (uint32_t weight : weights) total += weight;
  const uint64_t length = 3 * split.period();
  Deviation deviation;
  std::vector<double> lowest(weights.size(), 0), highest(weights.size(), 0);
  std::vector<uint64_t> count(weights.size(), 0);
  for (uint64_t request = 0; request < length; ++request) {
    ++count[split.Pick(request)];
    for (size_t i = 0; i < weights.size(); ++i) {
      const double share =
          static_cast<double>(request + 1) * weights[i] / static_cast<double>(total);
      const double off = static_cast<double>(count[i]) - share;
      deviation.from_start = std::max(deviation.from_start, std::abs(off));
      // A run is the difference of two counts from the start: the extremes give the worst one.
      lowest[i] = std::min(lowest[i], off);
      highest[i] = std::max(highest[i], off);
      deviation.any_run = std::max({deviation.any_run, off - lowest[i], highest[i] - off});
    }
  }
  return deviation;
}

TEST(WeightedSplitTest, TwoTargetsAreWithinOneOverAnyRun) {
  for (uint32_t a = 1; a <= 60; ++a) {
    for (uint32_t b = 1; b <= 60; ++b) {
      const Deviation deviation = Measure({a, b});
      EXPECT_LE(deviation.any_run, 1 + 1e-9) << a << " " << b;
      EXPECT_LE(deviation.from_start, 0.5 + 1e-9) << a << " " << b;
    }
  }
  EXPECT_LE(Measure({9999, 1}).any_run, 1 + 1e-9);
  EXPECT_LE(Measure({95, 5}).any_run, 1 + 1e-9);
}

TEST(WeightedSplitTest, MoreTargetsAreWithinOneFromTheStartAndWithinTwoOverAnyRun) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> weights(3 + random() % 8);
    for (uint32_t& weight : weights) weight = 1 + random() % (round % 3 == 0 ? 5 : 100);
    const Deviation deviation = Measure(weights);
    const double k = static_cast<double>(weights.size());
    EXPECT_LE(deviation.from_start, 1 - 1 / (2 * k - 2) + 1e-9);
    EXPECT_LT(deviation.any_run, 2);
  }
}

TEST(WeightedSplitTest, ExactOverAPeriodFromAnyStart) {
  const std::vector<uint32_t> weights = {50, 0, 30, 20};
  const WeightedSplit split = Split(weights);
  EXPECT_EQ(split.period(), 10u);
  for (uint64_t start : {uint64_t{0}, uint64_t{7}, uint64_t{123456789}}) {
    std::map<size_t, int> counts;
    for (uint64_t i = 0; i < split.period(); ++i) ++counts[split.Pick(start + i)];
    EXPECT_EQ(counts, (std::map<size_t, int>{{0, 5}, {2, 3}, {3, 2}}));
  }
}

TEST(WeightedSplitTest, ZeroWeightGetsNothing) {
  const WeightedSplit split = Split({0, 7, 0});
  for (uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(split.Pick(i), 1u);
    EXPECT_EQ(split.PickByHash(i * 0x9e3779b97f4a7c15), 1u);
  }
}

TEST(WeightedSplitTest, HugeWeightsOfTwo) {
  const WeightedSplit split = Split({1'999'999'999, 1});
  std::map<size_t, int> counts;
  for (uint64_t i = 0; i < 1000; ++i) ++counts[split.Pick(999'999'500 + i)];
  EXPECT_EQ(counts[1], 1);
}

TEST(WeightedSplitTest, Errors) {
  const auto error = [](std::vector<WeightedSplit::Target> targets) {
    return MessageOf(WeightedSplit::Build(targets).status());
  };
  EXPECT_EQ(error({}), "clusters: must not be empty");
  EXPECT_EQ(error({{"a", 0}, {"b", 0}}), "clusters: all weights are 0");
  EXPECT_EQ(error({{"a", 1}, {"a", 2}}), "clusters[1]: 'a' is there twice");
  EXPECT_EQ(error({{"a", 100'000}, {"b", 1}, {"c", 1}}),
            "clusters: the weights' sum over their common divisor is 100002, more than 100000");
  EXPECT_EQ(error({{"a", 100'000}, {"b", 100'000}, {"c", 100'000}}), "");
  EXPECT_EQ(error({{"a", 4'000'000'001}, {"b", 1}}),
            "clusters: the weights' sum over their common divisor is 4000000002, more than "
            "2147483648");
  EXPECT_EQ(error(std::vector<WeightedSplit::Target>(257, {"a", 1})), "clusters: more than 256");
}

constexpr int kUsers = 40000;

std::vector<std::string> Assign(const std::vector<WeightedSplit::Target>& targets) {
  auto split = WeightedSplit::Build(targets);
  EXPECT_TRUE(split.ok());
  std::vector<std::string> chosen;
  for (int user = 0; user < kUsers; ++user) {
    chosen.emplace_back(
        targets[split->PickByHash(HashStickyValue(fmt::format("user-{}", user)))].name);
  }
  return chosen;
}

TEST(WeightedSplitTest, StickySharesAreProportional) {
  const auto chosen = Assign({{"a", 70}, {"b", 25}, {"c", 5}, {"d", 0}});
  std::map<std::string, int> counts;
  for (const std::string& name : chosen) ++counts[name];
  EXPECT_NEAR(counts["a"], kUsers * 0.70, kUsers * 0.01);
  EXPECT_NEAR(counts["b"], kUsers * 0.25, kUsers * 0.01);
  EXPECT_NEAR(counts["c"], kUsers * 0.05, kUsers * 0.01);
  EXPECT_EQ(counts["d"], 0);
}

TEST(WeightedSplitTest, StickyMovesOnlyToOrFromTheTargetThatChanged) {
  const auto before = Assign({{"a", 90}, {"b", 5}, {"c", 5}});
  const auto grown = Assign({{"a", 90}, {"b", 10}, {"c", 5}});
  const auto without = Assign({{"a", 90}, {"b", 5}});
  const auto reordered = Assign({{"c", 5}, {"b", 5}, {"a", 90}});
  for (size_t i = 0; i < before.size(); ++i) {
    if (grown[i] != before[i]) {
      EXPECT_EQ(grown[i], "b");
    }
    if (without[i] != before[i]) {
      EXPECT_EQ(before[i], "c");
    }
  }
  EXPECT_EQ(before, reordered);
}

// Equal on every gateway of a fleet and after an upgrade.
TEST(WeightedSplitTest, StickyHashNeverChanges) {
  EXPECT_EQ(HashStickyValue(""), HashStickyValue(std::string()));
  EXPECT_EQ(HashStickyValue("user-1"), 17968639819469162896u);
  EXPECT_EQ(HashStickyValue("a rather long value, longer than sixteen"), 493186067941233699u);
}

}  // namespace
}  // namespace gatehouse::route
