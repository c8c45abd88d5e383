#include "source/base/random.h"

#include <array>
#include <cstdint>
#include <set>
#include <thread>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(RandomTest, SameSeedGivesTheSameSequence) {
  Random a(42);
  Random b(42);
  Random other(43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.Next();
    EXPECT_EQ(value, b.Next());
    differs = differs || value != other.Next();
  }
  EXPECT_TRUE(differs);
}

TEST(RandomTest, SeedZeroIsAsGoodAsAnyOther) {
  Random random(0);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Next());
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(RandomTest, BelowStaysBelowAndReachesEverything) {
  Random random(7);
  EXPECT_EQ(random.Below(0), 0u);
  EXPECT_EQ(random.Below(1), 0u);
  std::array<int, 10> counts{};
  constexpr int kDraws = 100'000;
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t value = random.Below(counts.size());
    ASSERT_LT(value, counts.size());
    counts[value]++;
  }
  // Chi-square with 9 degrees of freedom: 27.9 is exceeded once in a thousand seeds.
  double chi_square = 0;
  const double expected = kDraws / static_cast<double>(counts.size());
  for (const int count : counts) {
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 27.9);
}

TEST(RandomTest, BelowALargeBoundIsNotBiased) {
  // With a bound of 3/4 of the range a plain multiplication would favour a third of the values.
  Random random(11);
  const uint64_t bound = uint64_t{3} << 62;
  int low = 0;
  for (int i = 0; i < 30'000; ++i) low += random.Below(bound) < bound / 2 ? 1 : 0;
  EXPECT_NEAR(low, 15'000, 500);
}

TEST(RandomTest, UnitAndChance) {
  Random random(3);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double value = random.Unit();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    EXPECT_FALSE(random.Chance(0));
    EXPECT_TRUE(random.Chance(1));
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

TEST(RandomTest, ThreadsDiffer) {
  const uint64_t here = ThreadRandom().Next();
  uint64_t there = here;
  std::thread thread([&] { there = ThreadRandom().Next(); });
  thread.join();
  EXPECT_NE(here, there);
  EXPECT_NE(Random::FromKernel().Next(), Random::FromKernel().Next());
}

}  // namespace
}  // namespace gatehouse
