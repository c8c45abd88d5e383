#include "source/route/split.h"

#include <cmath>
#include <numeric>
#include <unordered_set>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/route/text_table.h"

// Two targets. The first has had round(n * share / period) of the first n requests. Such a sequence
// is balanced: two runs of the same length differ by at most one.
//
// Three and more. Balanced sequences exist for very few weights (Fraenkel's conjecture), so this is
// the best bound for counts from the start: Tijdeman's solution of the chairman assignment problem.
// With k targets, each count after n requests differs from its share by at most 1 - 1/(2k - 2):
// among the targets that are owed at least 1/(2k - 2), take the one whose bound would be broken
// first. A run is the difference of two counts from the start, so it is within twice that.

namespace gatehouse::route {
namespace {

// A splitmix finaliser: every bit of the result depends on every bit of the argument.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

uint64_t HashStickyValue(std::string_view value) { return Mix(HashText(value)); }

absl::StatusOr<WeightedSplit> WeightedSplit::Build(std::span<const Target> targets) {
  if (targets.empty()) return InvalidArgument("clusters: must not be empty");
  if (targets.size() > kMaxTargets) {
    return InvalidArgument(fmt::format("clusters: more than {}", kMaxTargets));
  }
  WeightedSplit split;
  std::unordered_set<std::string_view, TextHash> names;
  uint64_t total = 0;
  uint64_t divisor = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Target& target = targets[i];
    if (!names.insert(target.name).second) {
      return InvalidArgument(fmt::format("clusters[{}]: '{}' is there twice", i, target.name));
    }
    if (target.weight == 0) continue;
    total += target.weight;
    divisor = std::gcd(divisor, uint64_t{target.weight});
    split.entries_.push_back({HashStickyValue(target.name), 1.0 / target.weight,
                              static_cast<uint32_t>(i), target.weight});
  }
  if (total == 0) return InvalidArgument("clusters: all weights are 0");
  for (Entry& entry : split.entries_) entry.share /= divisor;
  split.period_ = total / divisor;
  const size_t count = split.entries_.size();
  const uint64_t most = count <= 2 ? kMaxPeriodOfTwo : kMaxPeriod;
  if (split.period_ > most) {
    return InvalidArgument(
        fmt::format("clusters: the weights' sum over their common divisor is {}, more than {}",
                    split.period_, most));
  }
  if (count > 2) split.Schedule();
  return split;
}

void WeightedSplit::Schedule() {
  const uint64_t count = entries_.size();
  const uint64_t parts = 2 * count - 2;  // bounds are in units of 1 / parts
  std::vector<uint64_t> had(count, 0);
  // The request at which a target that gets nothing more would break its bound.
  std::vector<uint64_t> deadline(count);
  const auto set_deadline = [&](size_t i) {
    const uint64_t owed = period_ * ((had[i] + 1) * parts - 1);
    const uint64_t rate = entries_[i].share * parts;
    deadline[i] = (owed + rate - 1) / rate;
  };
  for (size_t i = 0; i < count; ++i) set_deadline(i);
  schedule_.reserve(period_);
  for (uint64_t request = 1; request <= period_; ++request) {
    size_t next = count;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t due = entries_[i].share * request;
      const uint64_t given = had[i] * period_;
      const bool owed = due > given && (due - given) * parts >= period_;
      if (owed && (next == count || deadline[i] < deadline[next])) next = i;
    }
    CHECK(next < count);
    schedule_.push_back(static_cast<uint8_t>(next));
    ++had[next];
    set_deadline(next);
  }
}

size_t WeightedSplit::Pick(uint64_t cursor) const {
  if (entries_.size() == 1) return entries_[0].index;
  const uint64_t request = cursor % period_;
  if (!schedule_.empty()) return entries_[schedule_[request]].index;
  const uint64_t twice = 2 * period_;
  const uint64_t step = 2 * entries_[0].share;
  const bool first = (request * step + period_) % twice + step >= twice;
  return entries_[first ? 0 : 1].index;
}

// Weighted rendezvous hashing: each target draws an exponential waiting time with its weight as
// rate, out of the hash and its name; the shortest wins. A draw depends on that target alone.
size_t WeightedSplit::PickByHash(uint64_t hash) const {
  if (entries_.size() == 1) return entries_[0].index;
  const Entry* best = nullptr;
  double shortest = 0;
  for (const Entry& entry : entries_) {
    const uint64_t bits = Mix(hash ^ entry.seed) >> 11;
    const double uniform = (static_cast<double>(bits) + 0.5) * 0x1p-53;  // within (0, 1)
    const double wait = -std::log(uniform) * entry.inverse_weight;
    const bool tie = best != nullptr && wait == shortest && entry.seed < best->seed;
    if (best == nullptr || wait < shortest || tie) {
      best = &entry;
      shortest = wait;
    }
  }
  return best->index;
}

}  // namespace gatehouse::route
