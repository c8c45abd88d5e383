// RoundRobin: the healthy endpoints in turn, by weight. Exact: of every W picks in a row (W is the
// sum of the weights over their greatest common divisor) each endpoint gets just its weight, and in
// between it is never far from its share. Starts at a random place, so that workers do not all go
// to the same endpoint first.
//
// Owner: a ClusterState. Thread: one loop. Equal weights cost an index; others a heap, O(log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "source/base/random.h"
#include "source/upstream/balancer.h"

namespace gatehouse::upstream {

class RoundRobin final : public Balancer {
 public:
  // `random` outlives the balancer.
  explicit RoundRobin(Random& random) : random_(random) {}

  void SetEndpoints(const EndpointSet& endpoints) override;
  [[nodiscard]] uint32_t Pick(const PickHint& hint) override {
    if (__builtin_expect(version_ != endpoints_->health_version(), 0)) Rebuild();
    if (__builtin_expect(usable_.empty(), 0)) return kNone;
    const uint32_t index = Next();
    if (__builtin_expect(hint.avoid == nullptr, 1)) return index;
    return PickOther(index, hint.avoid);
  }

 private:
  // Of an endpoint in this round. The one with the smallest (2 * picks + 1) / weight is next: the
  // rule of Webster and Sainte-Lague, which shares seats as evenly as whole numbers allow.
  struct Share {
    uint32_t index;
    uint32_t weight;
    uint32_t picks;
  };
  static bool After(const Share& a, const Share& b);

  void Rebuild();
  [[nodiscard]] uint32_t Next() {
    if (__builtin_expect(!shares_.empty(), 0)) return NextByWeight();
    if (++cursor_ >= usable_.size()) cursor_ = 0;
    return usable_[cursor_];
  }
  [[nodiscard]] uint32_t NextByWeight();
  [[nodiscard]] uint32_t PickOther(uint32_t index, const Endpoint* avoid);

  Random& random_;
  const EndpointSet* endpoints_ = nullptr;
  uint32_t version_ = 0;
  size_t cursor_ = 0;
  std::vector<uint32_t> usable_;  // indices of healthy endpoints with a weight
  std::vector<Share> shares_;     // a heap; empty when all weights are equal
  uint64_t round_ = 0;            // the sum of the shares' weights
  uint64_t picks_ = 0;            // of this round
};

}  // namespace gatehouse::upstream
