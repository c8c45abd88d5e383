#include "source/config/messages.h"

#include <string>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace gatehouse::config {
namespace {

void Serialize(const google::protobuf::MessageLite& message, std::string* out) {
  out->clear();
  google::protobuf::io::StringOutputStream stream(out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);  // maps in one order
  message.SerializeWithCachedSizes(&coded);
}

}  // namespace

bool SameMessage(const google::protobuf::MessageLite& a, const google::protobuf::MessageLite& b) {
  if (&a == &b) return true;
  if (a.ByteSizeLong() != b.ByteSizeLong()) return false;
  // Kept, since a reload compares each route of a large config.
  thread_local std::string bytes_a;
  thread_local std::string bytes_b;
  Serialize(a, &bytes_a);
  Serialize(b, &bytes_b);
  return bytes_a == bytes_b;
}

std::string BytesOf(const google::protobuf::MessageLite& message) {
  std::string bytes;
  static_cast<void>(message.ByteSizeLong());  // sizes are cached for what follows
  Serialize(message, &bytes);
  return bytes;
}

}  // namespace gatehouse::config
