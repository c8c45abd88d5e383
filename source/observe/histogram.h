// Histogram: latencies in microseconds in log-linear buckets, within 1% of the truth.
//
// 64 buckets per power of two: a bucket is at most 1/64 of its value wide, and the middle is
// reported, so a quantile is off by at most 0.79%; below 128 us it is exact. Values from 2^32 us on
// (71 minutes) count as the last bucket. Buckets are made 64 at a time, when the first value of
// their power of two arrives: a route whose latencies span 5 octaves costs 2.8 KiB.
//
// Owner: a CounterBlock. Thread: one worker records (the only writer); main reads at the same time
// through HistogramTotal, which holds the merged, plain numbers and lives on main.
//
//   histogram.Record(1834);                         // worker: one shift, two adds
//   HistogramTotal total; total.Add(histogram);     // main, once per worker
//   total.Quantile(0.99);                           // microseconds
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace gatehouse::observe {

// The shape that both sides share. Block 0 holds 0..63, block k > 0 the octave [2^(k+5), 2^(k+6)).
struct HistogramShape {
  static constexpr int kSubBits = 6;
  static constexpr uint32_t kBlockBuckets = 1u << kSubBits;
  static constexpr uint32_t kBlocks = 32 - kSubBits + 1;
  static constexpr uint64_t kMax = (uint64_t{1} << 32) - 1;

  // Index of the bucket that holds `value`; block = index / 64.
  [[nodiscard]] static uint32_t BucketOf(uint64_t value) {
    if (value > kMax) value = kMax;
    // The highest bit beyond the sub-bucket bits selects the block; 0 for values under 64.
    const int shift = std::bit_width(value | (kBlockBuckets - 1)) - kSubBits;
    const int down = shift > 0 ? shift - 1 : 0;
    const uint32_t sub = static_cast<uint32_t>(value >> down) & (kBlockBuckets - 1);
    return (static_cast<uint32_t>(shift) << kSubBits) + sub;
  }
  [[nodiscard]] static uint64_t LowerBound(uint32_t bucket) {
    const uint32_t block = bucket >> kSubBits;
    const uint64_t sub = bucket & (kBlockBuckets - 1);
    return block == 0 ? sub : (kBlockBuckets + sub) << (block - 1);
  }
  // The value reported for everything in the bucket: its middle.
  [[nodiscard]] static uint64_t Middle(uint32_t bucket) {
    const uint32_t block = bucket >> kSubBits;
    return LowerBound(bucket) + (block > 1 ? ((uint64_t{1} << (block - 1)) - 1) / 2 : 0);
  }
};

class Histogram {
 public:
  Histogram() = default;
  ~Histogram();
  Histogram(const Histogram&) = delete;
  Histogram& operator=(const Histogram&) = delete;

  void Record(uint64_t microseconds) {
    const uint32_t bucket = HistogramShape::BucketOf(microseconds);
    Block* block = blocks_[bucket >> HistogramShape::kSubBits].load(std::memory_order_relaxed);
    if (__builtin_expect(block == nullptr, 0)) {
      block = MakeBlock(bucket >> HistogramShape::kSubBits);
    }
    Increase((*block)[bucket & (HistogramShape::kBlockBuckets - 1)], 1);
    Increase(sum_, microseconds);
  }
  // Bytes held, for tests and documentation.
  [[nodiscard]] size_t memory() const;

 private:
  friend class HistogramTotal;
  using Block = std::array<std::atomic<uint64_t>, HistogramShape::kBlockBuckets>;

  // One writer: a plain load, add and store; no locked instruction.
  static void Increase(std::atomic<uint64_t>& slot, uint64_t by) {
    slot.store(slot.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  [[gnu::noinline]] Block* MakeBlock(uint32_t index);

  std::atomic<uint64_t> sum_{0};
  std::array<std::atomic<Block*>, HistogramShape::kBlocks> blocks_{};
};

// Merged numbers of several histograms. Main thread; 14 KiB, so make one and Clear() it.
class HistogramTotal {
 public:
  void Clear();
  void Add(const Histogram& histogram);

  [[nodiscard]] uint64_t count() const { return count_; }
  // Microseconds.
  [[nodiscard]] uint64_t sum() const { return sum_; }
  // The smallest value that `quantile` (0..1) of the values do not exceed; 0 when empty.
  [[nodiscard]] uint64_t Quantile(double quantile) const;
  // How many values are <= `microseconds`; the bucket that straddles it counts by its middle.
  [[nodiscard]] uint64_t CountUpTo(uint64_t microseconds) const;

 private:
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  // Blocks never touched stay zero and are skipped.
  std::array<uint64_t, HistogramShape::kBlocks> block_count_{};
  std::array<uint64_t, HistogramShape::kBlocks * HistogramShape::kBlockBuckets> buckets_{};
};

}  // namespace gatehouse::observe
