#include "test/alloc/heap_watch.h"

#include <execinfo.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "source/base/check.h"

namespace gatehouse {
namespace {

constinit thread_local HeapCalls* watched = nullptr;
constinit thread_local size_t stacks_left = 0;

void PrintStack() {
  // Printing may use the heap itself.
  HeapCalls* const calls = std::exchange(watched, nullptr);
  void* frames[32];
  const int count = backtrace(frames, 32);
  static constexpr char kTitle[] = "-- heap call:\n";
  [[maybe_unused]] const ssize_t put = write(STDERR_FILENO, kTitle, sizeof(kTitle) - 1);
  backtrace_symbols_fd(frames, count, STDERR_FILENO);
  watched = calls;
}

[[maybe_unused]] void Count(size_t HeapCalls::* kind) {
  if (__builtin_expect(watched == nullptr, 1)) return;
  ++(watched->*kind);
  if (stacks_left > 0) {
    --stacks_left;
    PrintStack();
  }
}
[[maybe_unused]] void CountAllocation() { Count(&HeapCalls::allocations); }
[[maybe_unused]] void CountFree(const void* memory) {
  if (memory != nullptr) Count(&HeapCalls::frees);
}

}  // namespace

HeapWatch::HeapWatch(HeapCalls& calls, size_t stacks) {
  CHECK(watched == nullptr);
  // The first call loads a library.
  void* frame;
  if (stacks > 0) backtrace(&frame, 1);
  stacks_left = stacks;
  watched = &calls;
}

HeapWatch::~HeapWatch() { watched = nullptr; }

}  // namespace gatehouse

#ifndef GATEHOUSE_SANITIZER_HAS_HEAP

// glibc's own names of what is replaced below.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);

void* malloc(size_t size) {
  gatehouse::CountAllocation();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  gatehouse::CountAllocation();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  gatehouse::CountAllocation();
  gatehouse::CountFree(memory);
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) {
  gatehouse::CountAllocation();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  gatehouse::CountAllocation();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  gatehouse::CountAllocation();
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) {
  gatehouse::CountFree(memory);
  __libc_free(memory);
}
}

#endif
