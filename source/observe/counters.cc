#include "source/observe/counters.h"

namespace gatehouse::observe {

CounterBlock::~CounterBlock() {
  for (auto& entry : chunks_) delete entry.load(std::memory_order_relaxed);
  for (auto& entry : histogram_chunks_) {
    HistogramChunk* chunk = entry.load(std::memory_order_relaxed);
    if (chunk == nullptr) continue;
    for (auto& histogram : *chunk) delete histogram.load(std::memory_order_relaxed);
    delete chunk;
  }
}

Histogram* CounterBlock::MakeHistogram(uint32_t slot) {
  auto* histogram = new Histogram;
  HistogramSlot(slot).store(histogram, std::memory_order_release);
  return histogram;
}

void CounterBlock::Grow(uint32_t chunks, uint32_t histogram_chunks) {
  for (uint32_t i = 0; i < chunks; ++i) {
    if (chunks_[i].load(std::memory_order_relaxed) != nullptr) continue;
    chunks_[i].store(new Chunk{}, std::memory_order_release);
  }
  for (uint32_t i = 0; i < histogram_chunks; ++i) {
    if (histogram_chunks_[i].load(std::memory_order_relaxed) != nullptr) continue;
    histogram_chunks_[i].store(new HistogramChunk{}, std::memory_order_release);
  }
}

void CounterBlock::Clear(uint32_t slot, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) Slot(slot + i).store(0, std::memory_order_relaxed);
}

void CounterBlock::ClearHistograms(uint32_t slot, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    delete HistogramSlot(slot + i).exchange(nullptr, std::memory_order_acq_rel);
  }
}

}  // namespace gatehouse::observe
