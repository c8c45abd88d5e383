#include "source/upstream/round_robin.h"

#include <algorithm>
#include <numeric>

namespace gatehouse::upstream {
namespace {

// The random start of a weighted round costs picks: not more than these.
constexpr uint64_t kMaxSkipped = 1024;
constexpr int kTriesByWeight = 3;

}  // namespace

void RoundRobin::SetEndpoints(const EndpointSet& endpoints) {
  endpoints_ = &endpoints;
  Rebuild();
}

bool RoundRobin::After(const Share& a, const Share& b) {
  __extension__ using Wide = unsigned __int128;
  const Wide left = (Wide{a.picks} * 2 + 1) * b.weight;
  const Wide right = (Wide{b.picks} * 2 + 1) * a.weight;
  return left != right ? left > right : a.index > b.index;
}

void RoundRobin::Rebuild() {
  version_ = endpoints_->health_version();
  usable_.clear();
  shares_.clear();
  uint32_t divisor = 0;
  bool equal = true;
  for (uint32_t i = 0; i < endpoints_->size(); ++i) {
    const EndpointSet::Entry& entry = (*endpoints_)[i];
    if (entry.weight == 0 || !entry.endpoint->healthy()) continue;
    if (!usable_.empty()) equal &= entry.weight == (*endpoints_)[usable_[0]].weight;
    usable_.push_back(i);
    divisor = std::gcd(divisor, entry.weight);
  }
  cursor_ = random_.Below(usable_.size());
  if (equal) return;
  round_ = picks_ = 0;
  for (const uint32_t index : usable_) {
    const uint32_t weight = (*endpoints_)[index].weight / divisor;
    shares_.push_back({index, weight, 0});
    round_ += weight;
  }
  std::make_heap(shares_.begin(), shares_.end(), After);
  for (uint64_t skip = random_.Below(std::min(round_, kMaxSkipped)); skip > 0; --skip) {
    static_cast<void>(NextByWeight());
  }
}

uint32_t RoundRobin::NextByWeight() {
  std::pop_heap(shares_.begin(), shares_.end(), After);
  Share& share = shares_.back();
  const uint32_t index = share.index;
  ++share.picks;
  if (++picks_ < round_) {
    std::push_heap(shares_.begin(), shares_.end(), After);
    return index;
  }
  // Everyone has had just its weight; the counts need not grow.
  picks_ = 0;
  for (Share& each : shares_) each.picks = 0;
  std::make_heap(shares_.begin(), shares_.end(), After);
  return index;
}

uint32_t RoundRobin::PickOther(uint32_t index, const Endpoint* avoid) {
  const auto avoided = [&](uint32_t i) { return (*endpoints_)[i].endpoint.get() == avoid; };
  for (int i = 0; i < kTriesByWeight && avoided(index); ++i) index = Next();
  if (!avoided(index) || usable_.size() == 1) return index;
  // It has nearly all of the weight.
  const size_t start = random_.Below(usable_.size());
  const uint32_t other = usable_[start];
  return avoided(other) ? usable_[(start + 1) % usable_.size()] : other;
}

}  // namespace gatehouse::upstream
