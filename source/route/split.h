// WeightedSplit: which of several targets a request goes to, by weight.
//
// Const after Build, shared by all workers; the cursor is the caller's (one counter per worker and
// split, any start value). Pick() hands requests out evenly: for two targets the count of each over
// any run of requests is within one of its exact share. For three and more no sequence can do that
// for all weights; here it is within one over any run that starts at a multiple of the period, and
// within less than two over any other (see split.cc). Over a whole period it is exact.
//
//   auto split = WeightedSplit::Build({{"orders-v1", 95}, {"orders-v2", 5}});
//   size_t target = sticky ? split->PickByHash(HashStickyValue(user)) : split->Pick(cursor++);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace gatehouse::route {

// A well-mixed hash of a header's or cookie's value; the same in every process and release.
[[nodiscard]] uint64_t HashStickyValue(std::string_view value);

class WeightedSplit {
 public:
  static constexpr size_t kMaxTargets = 256;
  static constexpr uint64_t kMaxPeriod = 100'000;  // of three targets and more
  static constexpr uint64_t kMaxPeriodOfTwo = uint64_t{1} << 31;

  struct Target {
    std::string_view name;  // its identity for PickByHash; must differ between targets
    uint32_t weight = 1;    // 0 gets nothing
  };

  // Errors: no targets, all weights zero, a name twice, weights too fine to be exact.
  [[nodiscard]] static absl::StatusOr<WeightedSplit> Build(std::span<const Target> targets);

  // The index of the target for the cursor's request.
  [[nodiscard]] size_t Pick(uint64_t cursor) const;
  // Equal hashes pick the same target; shares are proportional to the weights. A change of one
  // target's weight, or its addition or removal, moves only keys from or to that target. The
  // order of targets does not matter.
  [[nodiscard]] size_t PickByHash(uint64_t hash) const;
  // Requests after which Pick() repeats.
  [[nodiscard]] uint64_t period() const { return period_; }

 private:
  struct Entry {
    uint64_t seed;
    double inverse_weight;
    uint32_t index;  // the caller's
    uint64_t share;  // weight over the common divisor
  };
  WeightedSplit() = default;
  void Schedule();

  std::vector<Entry> entries_;     // those with a weight
  std::vector<uint8_t> schedule_;  // three and more: the entry for each request of a period
  uint64_t period_ = 1;
};

}  // namespace gatehouse::route
