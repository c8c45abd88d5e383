// What the descriptors and their options say about the text form. Shared by decoding, dump and
// schema.
//
// Pure functions of descriptors; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace gatehouse::config {

struct FieldTraits {
  bool size = false;
  bool ratio = false;
  bool secret = false;
  bool env = false;
  bool required = false;
};
[[nodiscard]] FieldTraits TraitsOf(const google::protobuf::FieldDescriptor& field);

enum class MessageForm : uint8_t {
  kFields,  // a map of its fields
  kDuration,
  kTimestamp,
  kWrapper,  // its one field's value
  kStruct,
  kValue,
  kListValue,
  kAny,
  kRate,
};
[[nodiscard]] MessageForm FormOf(const google::protobuf::Descriptor& message);

// The field that stands for the whole message, or nullptr.
[[nodiscard]] const google::protobuf::FieldDescriptor* ShorthandOf(
    const google::protobuf::Descriptor& message);

[[nodiscard]] bool IsRequired(const google::protobuf::OneofDescriptor& oneof);

// The value's name in text.
[[nodiscard]] std::string SpellingOf(const google::protobuf::EnumValueDescriptor& value);
// The value that is written `text`, in our spelling or with its full name; nullptr if there is
// none.
[[nodiscard]] const google::protobuf::EnumValueDescriptor* FindBySpelling(
    const google::protobuf::EnumDescriptor& type, std::string_view text);
[[nodiscard]] std::vector<std::string> SpellingsOf(const google::protobuf::EnumDescriptor& type);

inline constexpr std::string_view kRedacted = "[redacted]";
inline constexpr std::string_view kTypeUrlPrefix = "type.googleapis.com/";

}  // namespace gatehouse::config
