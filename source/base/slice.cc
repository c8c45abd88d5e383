#include "source/base/slice.h"

#include <cstdlib>

namespace gatehouse {

SlabPool::~SlabPool() {
  Trim(0);
  DCHECK(in_use_ == 0);
}

Slab* SlabPool::GetSlow(size_t data_bytes) {
  auto* slab = static_cast<Slab*>(std::malloc(sizeof(Slab) + data_bytes));
  CHECK(slab != nullptr);
  *slab = Slab{this, nullptr, 0, static_cast<uint32_t>(data_bytes), 0, 0};
  in_use_ += sizeof(Slab) + data_bytes;
  return slab;
}

void SlabPool::PutSlow(Slab* slab) {
  in_use_ -= sizeof(Slab) + slab->size;
  std::free(slab);
}

void SlabPool::Trim(size_t keep) {
  while (free_count_ > keep) {
    Slab* slab = free_;
    free_ = slab->next_free;
    --free_count_;
    std::free(slab);
  }
  if (low_free_ > free_count_) low_free_ = free_count_;
}

}  // namespace gatehouse
