// A table against models: random limits, one or several, random keys, takes, releases and times.
#include <algorithm>
#include <map>
#include <vector>

#include "gtest/gtest.h"

#include "source/base/random.h"
#include "source/filters/rate_limit/limit_table.h"
#include "test/filters/rate_limit/limit_models.h"

namespace gatehouse::filters {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kStart = 1'800'000'000'000'000;
constexpr size_t kKeys = 5;

LimitSpec RandomSpec(Random& random) {
  LimitSpec spec;
  spec.kind = static_cast<LimitKind>(random.Below(7));
  spec.amount = 1 + random.Below(12);
  spec.per = Duration(1 + static_cast<int64_t>(random.Below(2000)));
  spec.capacity = 1 + random.Below(12);
  spec.max_delay = Duration(static_cast<int64_t>(random.Below(1000)));
  return spec;
}

struct Running {
  size_t key;
  uint64_t cost;
};

class Compared {
 public:
  Compared(const std::vector<LimitSpec>& specs, uint64_t seed)
      : specs_(specs), random_(seed), table_(*LimitRules::Make(specs), kKeys * 10) {
    for (size_t k = 0; k < kKeys; ++k) {
      keys_.push_back(random_.Next());
      models_.emplace_back(specs.begin(), specs.end());
    }
  }

  void Step() {
    now_ += static_cast<int64_t>(random_.Below(4) == 0 ? random_.Below(3000) : random_.Below(200));
    if (!running_.empty() && random_.Below(3) == 0) return Release();
    const size_t k = random_.Below(kKeys);
    const uint64_t cost = random_.Below(4) == 0 ? random_.Below(5) : 1;
    std::vector<uint64_t> left;
    for (LimitModel& model : models_[k]) left.push_back(model.Remaining(now_));
    const bool fits = std::all_of(left.begin(), left.end(), [&](uint64_t l) { return l >= cost; });
    LimitTakes takes;
    // The model of a queue says what it takes at once, which may be more.
    if (HasQueue() && cost > 1) return;
    ASSERT_EQ(table_.Take(keys_[k], cost, now_, takes), fits);
    ASSERT_EQ(takes.count, specs_.size());
    for (size_t i = 0; i < specs_.size(); ++i) {
      ASSERT_EQ(takes.takes[i].allowed, left[i] >= cost);
      ASSERT_EQ(takes.takes[i].retry_after == 0us, takes.takes[i].allowed);
      if (fits) {
        ASSERT_TRUE(models_[k][i].Take(cost, now_));
      }
      // What is left of a queue is what can be taken one by one.
      if (specs_[i].kind == LimitKind::kLeakyQueue) continue;
      ASSERT_EQ(takes.takes[i].remaining, models_[k][i].Remaining(now_));
    }
    if (fits && cost > 0) running_.push_back({k, cost});
  }

 private:
  void Release() {
    const size_t at = random_.Below(running_.size());
    const Running over = running_[at];
    running_[at] = running_.back();
    running_.pop_back();
    table_.Release(keys_[over.key], over.cost, now_);
    for (LimitModel& model : models_[over.key]) model.Release(over.cost);
  }
  [[nodiscard]] bool HasQueue() const {
    return std::any_of(specs_.begin(), specs_.end(),
                       [](const LimitSpec& spec) { return spec.kind == LimitKind::kLeakyQueue; });
  }

  std::vector<LimitSpec> specs_;
  Random random_;
  LimitTable table_;
  std::vector<uint64_t> keys_;
  std::vector<std::vector<LimitModel>> models_;
  std::vector<Running> running_;
  int64_t now_ = kStart;
};

TEST(LimitTableModelTest, AllLimitsOrNoneAsTheModelsSay) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    std::vector<LimitSpec> specs(1 + random.Below(LimitRules::kMax));
    for (LimitSpec& spec : specs) spec = RandomSpec(random);
    Compared compared(specs, seed);
    for (int i = 0; i < 120; ++i) {
      ASSERT_NO_FATAL_FAILURE(compared.Step()) << "seed " << seed << ", step " << i;
    }
  }
}

// The same over changes that do not change anything of what is counted: another limit comes and
// goes, which is never reached.
TEST(LimitTableModelTest, ALimitThatComesAndGoesLeavesTheOthersAlone) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    LimitSpec spec = RandomSpec(random);
    if (spec.kind == LimitKind::kLeakyQueue) spec.kind = LimitKind::kTokenBucket;
    const LimitSpec other = {.kind = seed % 2 == 0 ? LimitKind::kSlidingLog : LimitKind::kCalendar,
                             .amount = 100'000,
                             .per = 1h};
    LimitTable table(*LimitRules::Make(std::vector{spec}), 10);
    LimitModel model(spec);
    int64_t now = kStart;
    LimitTakes takes;
    for (int i = 0; i < 200; ++i) {
      now += static_cast<int64_t>(random.Below(300));
      std::vector specs = {spec};
      if (random.Below(2) == 0) specs.insert(specs.begin() + (i & 1), other);
      if (random.Below(3) == 0) table.Change(*LimitRules::Make(specs), now);
      ASSERT_EQ(table.Take(7, 1, now, takes), model.Take(1, now)) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace gatehouse::filters
