// The JSON Schema (draft 2020-12) of a text config: completion and checks in editors.
//
// Generated from the same descriptors and options that source/config/text.h decodes by. Main
// thread.
//
//   std::puts(JsonSchema(*v1::Bootstrap::descriptor(), {}).c_str());
#pragma once

#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace gatehouse::config {

struct SchemaOptions {
  std::string id;     // "$id"
  std::string title;  // default: the message's name
  // From `protoc --include_source_info --descriptor_set_out`, in any order: the comments of the
  // proto files become descriptions. Compiled-in descriptors have none.
  const google::protobuf::FileDescriptorSet* comments = nullptr;
  int indent = 2;
};

[[nodiscard]] std::string JsonSchema(const google::protobuf::Descriptor& root,
                                     const SchemaOptions& options);

}  // namespace gatehouse::config
