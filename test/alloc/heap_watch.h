// HeapWatch: what one thread asks of the heap. Linking this in puts a counter in front of malloc
// and its kin, and so of operator new too, also where a shared library calls them.
//
// Thread: counts are of the thread that watches; others go by uncounted. One watch at a time.
// Sanitizers bring a malloc of their own: under them nothing is counted (kHeapIsWatched).
//
//   HeapCalls calls;
//   {
//     HeapWatch watch(calls);
//     loop.RunTurn(false);
//   }
//   EXPECT_EQ(calls.allocations, 0u);
#pragma once

#include <cstddef>

namespace gatehouse {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GATEHOUSE_SANITIZER_HAS_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GATEHOUSE_SANITIZER_HAS_HEAP 1
#endif
#endif

#ifdef GATEHOUSE_SANITIZER_HAS_HEAP
inline constexpr bool kHeapIsWatched = false;
#else
inline constexpr bool kHeapIsWatched = true;
#endif

struct HeapCalls {
  size_t allocations = 0;
  size_t frees = 0;
};

class HeapWatch {
 public:
  // Adds to `calls` while it lives. The stacks of the first `stacks` calls go to stderr; the
  // program needs -rdynamic for their names.
  explicit HeapWatch(HeapCalls& calls, size_t stacks = 0);
  ~HeapWatch();
  HeapWatch(const HeapWatch&) = delete;
  HeapWatch& operator=(const HeapWatch&) = delete;
};

}  // namespace gatehouse
