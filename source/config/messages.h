// Questions about whole messages: whether two say the same (exact, and faster than protobuf's
// reflection), and whether one says what this version of the gateway does not know.
//
// Main thread.
//
//   if (const auto unknown = UnknownFieldOf(message)) {
//     errors.Add(source.Error(unknown->path, unknown->message));
//   }
#pragma once

#include <optional>
#include <string>

#include "google/protobuf/message.h"
#include "google/protobuf/message_lite.h"

namespace gatehouse::config {

[[nodiscard]] bool SameMessage(const google::protobuf::MessageLite& a,
                               const google::protobuf::MessageLite& b);

// The bytes of a message, the same for equal ones.
[[nodiscard]] std::string BytesOf(const google::protobuf::MessageLite& message);

// A field, or a number of an enum, that the message was given and its type does not have: what
// sent it is newer. Left alone, it would be ignored in silence.
struct UnknownField {
  std::string path;     // of the message that holds it: routes[3].match; empty: the top
  std::string message;  // "field 23 is not known to this version of the gateway"
};
// The first one, depth first. Looks into each google.protobuf.Any whose type is compiled in.
[[nodiscard]] std::optional<UnknownField> UnknownFieldOf(const google::protobuf::Message& message);

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
