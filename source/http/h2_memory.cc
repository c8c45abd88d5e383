#include "source/http/h2_memory.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "source/base/check.h"

namespace gatehouse::http {
namespace {

// In front of each block; keeps the block aligned.
struct alignas(std::max_align_t) Header {
  uint32_t size_class;
  uint32_t size;  // usable; of blocks that belong to no class
};

struct Free {
  Free* next;
};

constexpr unsigned kSmallest = 5;  // 32 bytes
constexpr unsigned kLargest = 12;  // 4096 bytes; more is for malloc, which gives it back
constexpr size_t kClasses = kLargest - kSmallest + 1;
constexpr uint32_t kNoClass = UINT32_MAX;
// Bytes that wait in one class.
constexpr size_t kMaxFreeBytes = size_t{512} * 1024;

constexpr size_t BytesOf(uint32_t size_class) { return size_t{1} << (size_class + kSmallest); }

struct Freelists {
  std::array<Free*, kClasses> first{};
  std::array<size_t, kClasses> bytes{};

  ~Freelists() {
    for (Free*& list : first) {
      while (list != nullptr) {
        Free* next = list->next;
        std::free(reinterpret_cast<Header*>(list) - 1);
        list = next;
      }
    }
  }
};

thread_local Freelists freelists;

uint32_t ClassOf(size_t size) {
  if (size > BytesOf(kClasses - 1)) return kNoClass;
  const auto bits = static_cast<unsigned>(std::bit_width(size <= 1 ? size_t{1} : size - 1));
  return bits <= kSmallest ? 0 : bits - kSmallest;
}

void* TakeBlock(size_t size) {
  const uint32_t size_class = ClassOf(size);
  if (size_class != kNoClass) {
    if (Free* block = freelists.first[size_class]; __builtin_expect(block != nullptr, 1)) {
      freelists.first[size_class] = block->next;
      freelists.bytes[size_class] -= BytesOf(size_class);
      return block;
    }
  }
  const size_t usable = size_class == kNoClass ? size : BytesOf(size_class);
  auto* header = static_cast<Header*>(std::malloc(sizeof(Header) + usable));
  CHECK(header != nullptr);
  header->size_class = size_class;
  header->size = static_cast<uint32_t>(usable);
  return header + 1;
}

void GiveBlock(void* block) {
  if (block == nullptr) return;
  Header* header = static_cast<Header*>(block) - 1;
  const uint32_t size_class = header->size_class;
  if (size_class == kNoClass || freelists.bytes[size_class] >= kMaxFreeBytes) {
    std::free(header);
    return;
  }
  auto* free = static_cast<Free*>(block);
  free->next = freelists.first[size_class];
  freelists.first[size_class] = free;
  freelists.bytes[size_class] += BytesOf(size_class);
}

void* Resize(void* block, size_t size) {
  if (block == nullptr) return TakeBlock(size);
  const Header* header = static_cast<Header*>(block) - 1;
  if (size <= header->size) return block;
  void* larger = TakeBlock(size);
  std::memcpy(larger, block, header->size);
  GiveBlock(block);
  return larger;
}

nghttp2_mem memory = {
    nullptr,
    [](size_t size, void*) { return TakeBlock(size); },
    [](void* block, void*) { GiveBlock(block); },
    [](size_t count, size_t size, void*) -> void* {
      void* block = TakeBlock(count * size);
      std::memset(block, 0, count * size);
      return block;
    },
    [](void* block, size_t size, void*) { return Resize(block, size); },
};

}  // namespace

nghttp2_mem* H2Memory::OfThisThread() { return &memory; }
void* H2Memory::Take(size_t size) { return TakeBlock(size); }
void H2Memory::Give(void* block) { GiveBlock(block); }

}  // namespace gatehouse::http
