#include "test/route/allocation_count.h"

#include <cstdlib>
#include <new>

namespace {
thread_local size_t count = 0;
}  // namespace

void* operator new(size_t size) {
  ++count;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept { std::free(memory); }

namespace gatehouse::route {

size_t AllocationCount() { return count; }

}  // namespace gatehouse::route
