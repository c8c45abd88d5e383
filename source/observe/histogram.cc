#include "source/observe/histogram.h"

#include <algorithm>
#include <cmath>

namespace gatehouse::observe {

Histogram::~Histogram() {
  for (auto& block : blocks_) delete block.load(std::memory_order_relaxed);
}

Histogram::Block* Histogram::MakeBlock(uint32_t index) {
  auto* block = new Block{};
  // The reader must see zeros behind the pointer.
  blocks_[index].store(block, std::memory_order_release);
  return block;
}

size_t Histogram::memory() const {
  size_t bytes = sizeof(*this);
  for (const auto& block : blocks_) {
    if (block.load(std::memory_order_relaxed) != nullptr) bytes += sizeof(Block);
  }
  return bytes;
}

void HistogramTotal::Clear() {
  for (size_t i = 0; i < block_count_.size(); ++i) {
    if (block_count_[i] == 0) continue;
    std::fill_n(buckets_.begin() + static_cast<ptrdiff_t>(i * HistogramShape::kBlockBuckets),
                HistogramShape::kBlockBuckets, 0);
    block_count_[i] = 0;
  }
  count_ = 0;
  sum_ = 0;
}

void HistogramTotal::Add(const Histogram& histogram) {
  for (size_t i = 0; i < block_count_.size(); ++i) {
    const Histogram::Block* block = histogram.blocks_[i].load(std::memory_order_acquire);
    if (block == nullptr) continue;
    uint64_t* to = &buckets_[i * HistogramShape::kBlockBuckets];
    uint64_t added = 0;
    for (const auto& slot : *block) {
      const uint64_t count = slot.load(std::memory_order_relaxed);
      *to++ += count;
      added += count;
    }
    block_count_[i] += added;
    count_ += added;
  }
  sum_ += histogram.sum_.load(std::memory_order_relaxed);
}

uint64_t HistogramTotal::Quantile(double quantile) const {
  if (count_ == 0) return 0;
  const double exact = std::ceil(std::clamp(quantile, 0.0, 1.0) * static_cast<double>(count_));
  uint64_t left = std::clamp<uint64_t>(static_cast<uint64_t>(exact), 1, count_);
  for (uint32_t block = 0; block < HistogramShape::kBlocks; ++block) {
    if (left > block_count_[block]) {
      left -= block_count_[block];
      continue;
    }
    for (uint32_t i = 0; i < HistogramShape::kBlockBuckets; ++i) {
      const uint32_t bucket = block * HistogramShape::kBlockBuckets + i;
      if (left <= buckets_[bucket]) return HistogramShape::Middle(bucket);
      left -= buckets_[bucket];
    }
  }
  return HistogramShape::kMax;
}

uint64_t HistogramTotal::CountUpTo(uint64_t microseconds) const {
  const uint32_t last = HistogramShape::BucketOf(microseconds);
  uint64_t count = 0;
  for (uint32_t block = 0; block < last / HistogramShape::kBlockBuckets; ++block) {
    count += block_count_[block];
  }
  const uint32_t first = last / HistogramShape::kBlockBuckets * HistogramShape::kBlockBuckets;
  for (uint32_t bucket = first; bucket < last; ++bucket) count += buckets_[bucket];
  if (HistogramShape::Middle(last) <= microseconds) count += buckets_[last];
  return count;
}

}  // namespace gatehouse::observe
