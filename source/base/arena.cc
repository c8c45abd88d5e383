#include "source/base/arena.h"

#include <cstdlib>

#include "source/base/check.h"

namespace gatehouse {

void* Arena::AllocateSlow(size_t size, size_t align) {
  constexpr size_t kBlock = 16384;
  const size_t header = (sizeof(Block) + align - 1) & ~(align - 1);
  const size_t want = header + size > kBlock ? header + size : kBlock;
  auto* block = static_cast<Block*>(std::malloc(want));
  CHECK(block != nullptr);
  block->next = blocks_;
  blocks_ = block;
  overflow_bytes_ += want;
  char* data = reinterpret_cast<char*>(block) + header;
  // An outsized piece gets a block of its own; the current one keeps its room.
  if (want > kBlock) return data;
  cursor_ = data + size;
  end_ = reinterpret_cast<char*>(block) + want;
  return data;
}

void Arena::FreeBlocks() {
  while (blocks_ != nullptr) {
    Block* next = blocks_->next;
    std::free(blocks_);
    blocks_ = next;
  }
}

}  // namespace gatehouse
