// Assertions for our own broken invariants. Peers and the environment give values, never a CHECK:
// a CHECK that fires is a bug in Gatehouse and stops the process before it can do harm.
//
//   CHECK(slot < capacity_);          always on
//   DCHECK(list.empty());             hot paths: on in debug and sanitizer builds, free otherwise
#pragma once

#include <cstdio>
#include <cstdlib>

namespace gatehouse {

[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "gatehouse: internal error: CHECK(%s) failed at %s:%d\n", condition, file,
               line);
  std::abort();
}

}  // namespace gatehouse

#define CHECK(condition)                             \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::gatehouse::CheckFailed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif
