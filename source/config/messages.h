// Whether two messages say the same. Exact, and faster than protobuf's reflection.
//
// Main thread.
#pragma once

#include <string>

#include "google/protobuf/message_lite.h"

namespace gatehouse::config {

[[nodiscard]] bool SameMessage(const google::protobuf::MessageLite& a,
                               const google::protobuf::MessageLite& b);

// The bytes of a message, the same for equal ones.
[[nodiscard]] std::string BytesOf(const google::protobuf::MessageLite& message);

// Lists of them.
template <typename List>
[[nodiscard]] bool SameMessages(const List& a, const List& b) {
  if (a.size() != b.size()) return false;
  for (int i = 0; i < a.size(); ++i) {
    if (!SameMessage(a[i], b[i])) return false;
  }
  return true;
}

}  // namespace gatehouse::config
