// H2Callbacks: nghttp2's C callbacks, handed on to the H2Session. See h2_session.h.
#pragma once

#include <nghttp2/nghttp2.h>

namespace gatehouse::http {

struct H2Callbacks {
  // Static; made once.
  [[nodiscard]] static const nghttp2_session_callbacks* Table();
  static ssize_t ReadData(nghttp2_session* raw, int32_t id, uint8_t* buffer, size_t limit,
                          uint32_t* flags, nghttp2_data_source* source, void* self);
};

}  // namespace gatehouse::http
