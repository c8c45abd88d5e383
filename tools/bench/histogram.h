// Latencies in nanoseconds in log-linear cells: 64 per power of two, so within 1.6% of the truth.
#pragma once

#include <stdint.h>

enum { kCellBits = 6, kCells = 64 << kCellBits };

struct histogram {
  uint64_t cells[kCells];
  uint64_t total, max;
};

static inline unsigned histogram_cell(uint64_t value) {
  if (value < (1u << kCellBits)) return (unsigned)value;
  unsigned shift = 63 - (unsigned)__builtin_clzll(value) - kCellBits;
  return (unsigned)(((uint64_t)(shift + 1) << kCellBits) + (value >> shift) - (1u << kCellBits));
}

static inline void histogram_add(struct histogram* h, uint64_t value) {
  ++h->cells[histogram_cell(value)];
  ++h->total;
  if (value > h->max) h->max = value;
}

// Upper bound of the cell in which the given part (0..1) of the values is reached.
static inline double histogram_at(const struct histogram* h, double part) {
  uint64_t wanted = (uint64_t)(part * (double)h->total), seen = 0;
  for (unsigned i = 0; i < kCells; ++i) {
    seen += h->cells[i];
    if (seen <= wanted) continue;
    if (i < (1u << kCellBits)) return i;
    unsigned shift = (i >> kCellBits) - 1;
    return (double)(((uint64_t)(i & ((1u << kCellBits) - 1)) + (1u << kCellBits) + 1) << shift);
  }
  return (double)h->max;
}
