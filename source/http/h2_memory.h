// H2Memory: where the HTTP/2 sessions of a thread get their memory from: freelists by size, so that
// a stream costs no malloc once the thread is warm. nghttp2 asks here for everything.
//
// Thread: each has its own; what was taken on a thread is given back on it. Lives as long as the
// thread.
//
//   nghttp2_session_server_new3(&session, callbacks, this, option, H2Memory::OfThisThread());
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include <nghttp2/nghttp2.h>

namespace gatehouse::http {

class H2Memory {
 public:
  [[nodiscard]] static nghttp2_mem* OfThisThread();

  // The same for our own objects.
  [[nodiscard]] static void* Take(size_t size);
  static void Give(void* block);

  template <typename T, typename... Args>
  [[nodiscard]] static T* New(Args&&... args) {
    return new (Take(sizeof(T))) T(std::forward<Args>(args)...);
  }
  template <typename T>
  static void Delete(T* object) {
    object->~T();
    Give(object);
  }
};

}  // namespace gatehouse::http
