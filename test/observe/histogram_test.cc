#include "source/observe/histogram.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"

namespace gatehouse::observe {
namespace {

constexpr uint64_t kHour = 3'600'000'000;

TEST(HistogramShapeTest, BucketsAreContiguousAndNarrow) {
  const uint32_t last = HistogramShape::BucketOf(HistogramShape::kMax);
  EXPECT_EQ(last, HistogramShape::kBlocks * HistogramShape::kBlockBuckets - 1);
  for (uint32_t bucket = 0; bucket <= last; ++bucket) {
    const uint64_t low = HistogramShape::LowerBound(bucket);
    const uint64_t next =
        bucket == last ? HistogramShape::kMax + 1 : HistogramShape::LowerBound(bucket + 1);
    ASSERT_LT(low, next);
    ASSERT_EQ(HistogramShape::BucketOf(low), bucket);
    ASSERT_EQ(HistogramShape::BucketOf(next - 1), bucket);
    const uint64_t middle = HistogramShape::Middle(bucket);
    ASSERT_GE(middle, low);
    ASSERT_LT(middle, next);
    const double error = static_cast<double>(std::max(middle - low, next - 1 - middle));
    ASSERT_LE(error, 0.0079 * static_cast<double>(std::max<uint64_t>(low, 1))) << low;
  }
  EXPECT_EQ(HistogramShape::BucketOf(HistogramShape::kMax + 1), last);
  EXPECT_EQ(HistogramShape::BucketOf(UINT64_MAX), last);
}

// Values of several shapes against the truth by sorting.
class HistogramErrorTest : public testing::TestWithParam<int> {
 protected:
  uint64_t Draw(Random& random) const {
    const double unit = random.Unit();
    double value = 0;
    switch (GetParam()) {
      case 0:  // every magnitude as likely
        value = std::exp(unit * std::log(static_cast<double>(kHour)));
        break;
      case 1:  // exponential around 2 ms
        value = -2000 * std::log(1 - unit);
        break;
      case 2:  // two modes
        value = random.Chance(0.9) ? 300 + unit * 200 : 1e6 + unit * 5e6;
        break;
      default:  // nearly constant
        value = 12'345 + unit * 3;
    }
    return static_cast<uint64_t>(std::clamp(value, 1.0, static_cast<double>(kHour)));
  }
};

TEST_P(HistogramErrorTest, QuantilesAreWithinOnePercent) {
  Random random(static_cast<uint64_t>(GetParam()) + 1);
  for (const size_t count : {1u, 2u, 10u, 1000u, 50'000u}) {
    std::vector<uint64_t> values;
    // Three workers, merged.
    std::vector<std::unique_ptr<Histogram>> parts;
    for (int i = 0; i < 3; ++i) parts.push_back(std::make_unique<Histogram>());
    uint64_t sum = 0;
    for (size_t i = 0; i < count; ++i) {
      values.push_back(Draw(random));
      sum += values.back();
      parts[i % parts.size()]->Record(values.back());
    }
    HistogramTotal total;
    for (const auto& part : parts) total.Add(*part);
    std::sort(values.begin(), values.end());
    EXPECT_EQ(total.count(), count);
    EXPECT_EQ(total.sum(), sum);
    for (const double quantile : {0.0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const double rank = std::ceil(quantile * static_cast<double>(count));
      const uint64_t truth = values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
      EXPECT_NEAR(static_cast<double>(total.Quantile(quantile)), static_cast<double>(truth),
                  0.01 * static_cast<double>(truth))
          << "q" << quantile << " of " << count;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, HistogramErrorTest, testing::Range(0, 4));

TEST(HistogramTest, EmptyIsZero) {
  const HistogramTotal total;
  EXPECT_EQ(total.Quantile(0.5), 0u);
  EXPECT_EQ(total.CountUpTo(kHour), 0u);
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram histogram;
  for (uint64_t value = 0; value < 128; ++value) histogram.Record(value);
  HistogramTotal total;
  total.Add(histogram);
  EXPECT_EQ(total.Quantile(0.5), 63u);
  EXPECT_EQ(total.Quantile(1), 127u);
  EXPECT_EQ(total.CountUpTo(99), 100u);
}

TEST(HistogramTest, CountUpToGrowsToCount) {
  Histogram histogram;
  Random random(5);
  for (int i = 0; i < 10'000; ++i) histogram.Record(random.Below(2'000'000));
  HistogramTotal total;
  total.Add(histogram);
  uint64_t before = 0;
  for (uint64_t bound = 1; bound < kHour; bound *= 3) {
    const uint64_t now = total.CountUpTo(bound);
    EXPECT_GE(now, before);
    before = now;
  }
  EXPECT_EQ(total.CountUpTo(kHour), 10'000u);
  EXPECT_NEAR(static_cast<double>(total.CountUpTo(1'000'000)), 5000, 200);
}

TEST(HistogramTest, ClearMakesItEmptyAgain) {
  Histogram histogram;
  histogram.Record(5);
  histogram.Record(5'000'000);
  HistogramTotal total;
  total.Add(histogram);
  total.Clear();
  EXPECT_EQ(total.count(), 0u);
  EXPECT_EQ(total.sum(), 0u);
  total.Add(histogram);
  EXPECT_EQ(total.count(), 2u);
  EXPECT_EQ(total.Quantile(0), 5u);
}

TEST(HistogramTest, MemoryFollowsTheSpreadOfValues) {
  Histogram histogram;
  EXPECT_LT(histogram.memory(), 300u);
  for (uint64_t value = 1000; value < 2000; ++value) histogram.Record(value);
  // 1000..2000 lies in two octaves.
  EXPECT_LT(histogram.memory(), 300u + 2 * 512u);
}

TEST(HistogramTest, ReadWhileItIsWritten) {
  Histogram histogram;
  std::atomic<bool> done{false};
  constexpr uint64_t kValues = 200'000;
  std::thread writer([&] {
    Random random(9);
    for (uint64_t i = 0; i < kValues; ++i) histogram.Record(random.Below(kHour) >> (i % 30));
    done.store(true);
  });
  uint64_t before = 0;
  HistogramTotal total;
  while (!done.load()) {
    total.Clear();
    total.Add(histogram);
    EXPECT_GE(total.count(), before);
    before = total.count();
  }
  writer.join();
  total.Clear();
  total.Add(histogram);
  EXPECT_EQ(total.count(), kValues);
}

}  // namespace
}  // namespace gatehouse::observe
