// CounterBlock: one worker's counters, gauges and histograms. An id is a slot in every block.
//
// Owner: the MetricRegistry (main), which outlives the workers. Thread: exactly one thread writes a
// block (main has one of its own); main reads all of them while they are written. Values are
// relaxed atomics written by load, add, store: no locked instruction, no shared cache line. Ids
// come from the registry and travel in the immutable Snapshot: whoever holds one may use its ids.
// A default id is a slot that nobody reads, so an unset id is harmless.
//
//   loop.counters().Add(route.metrics->RequestsFor(200));
//   loop.counters().Gauge(cluster.metrics->active, +1);
//   loop.counters().Record(route.metrics->latency, microseconds);
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "source/base/check.h"
#include "source/observe/histogram.h"

namespace gatehouse::observe {

struct CounterId {
  uint32_t slot = 0;
};
struct GaugeId {
  uint32_t slot = 0;
};
struct HistogramId {
  uint32_t slot = 0;
};

class CounterBlock {
 public:
  static constexpr uint32_t kChunkSlots = 4096;
  static constexpr uint32_t kMaxChunks = 2048;
  static constexpr uint32_t kMaxSlots = kChunkSlots * kMaxChunks;
  static constexpr uint32_t kHistogramChunkSlots = 512;

  ~CounterBlock();
  CounterBlock(const CounterBlock&) = delete;
  CounterBlock& operator=(const CounterBlock&) = delete;

  // The owning thread only.
  void Add(CounterId id, uint64_t by = 1) { Increase(Slot(id.slot), by); }
  void Gauge(GaugeId id, int64_t delta) { Increase(Slot(id.slot), static_cast<uint64_t>(delta)); }
  // For what is measured rather than counted; a scrape still sums over the blocks, so one writes.
  void Set(GaugeId id, int64_t value) {
    Slot(id.slot).store(static_cast<uint64_t>(value), std::memory_order_relaxed);
  }
  // For a total that someone else keeps (a log's dropped lines). It must never shrink.
  void Set(CounterId id, uint64_t value) { Slot(id.slot).store(value, std::memory_order_relaxed); }
  void Record(HistogramId id, uint64_t microseconds) {
    Histogram* histogram = HistogramSlot(id.slot).load(std::memory_order_relaxed);
    if (__builtin_expect(histogram == nullptr, 0)) histogram = MakeHistogram(id.slot);
    histogram->Record(microseconds);
  }

  // Main thread (or the owner, in tests): a value as it stands now.
  [[nodiscard]] uint64_t Value(CounterId id) const {
    return Slot(id.slot).load(std::memory_order_relaxed);
  }
  [[nodiscard]] int64_t Value(GaugeId id) const {
    return static_cast<int64_t>(Slot(id.slot).load(std::memory_order_relaxed));
  }
  // Null until the first Record.
  [[nodiscard]] const Histogram* Find(HistogramId id) const {
    return HistogramSlot(id.slot).load(std::memory_order_acquire);
  }

 private:
  friend class MetricRegistry;
  using Chunk = std::array<std::atomic<uint64_t>, kChunkSlots>;
  using HistogramChunk = std::array<std::atomic<Histogram*>, kHistogramChunkSlots>;

  CounterBlock() = default;

  static void Increase(std::atomic<uint64_t>& slot, uint64_t by) {
    slot.store(slot.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  // Chunks are there before an id in them leaves main; the hand-over of the id orders the two.
  [[nodiscard]] std::atomic<uint64_t>& Slot(uint32_t slot) const {
    Chunk* chunk = chunks_[slot / kChunkSlots].load(std::memory_order_relaxed);
    DCHECK(chunk != nullptr);
    return (*chunk)[slot % kChunkSlots];
  }
  [[nodiscard]] std::atomic<Histogram*>& HistogramSlot(uint32_t slot) const {
    HistogramChunk* chunk =
        histogram_chunks_[slot / kHistogramChunkSlots].load(std::memory_order_relaxed);
    DCHECK(chunk != nullptr);
    return (*chunk)[slot % kHistogramChunkSlots];
  }
  [[gnu::noinline]] Histogram* MakeHistogram(uint32_t slot);

  // Main thread, through the registry.
  void Grow(uint32_t chunks, uint32_t histogram_chunks);
  void Clear(uint32_t slot, uint32_t count);
  void ClearHistograms(uint32_t slot, uint32_t count);

  std::array<std::atomic<Chunk*>, kMaxChunks> chunks_{};
  std::array<std::atomic<HistogramChunk*>, kMaxChunks> histogram_chunks_{};
};

}  // namespace gatehouse::observe
