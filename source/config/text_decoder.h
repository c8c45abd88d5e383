// The walk of source/config/text.h over a tree: one Decoder decodes one tree. Not for use
// elsewhere.
//
// Every method adds its errors to the context's list with the path that the decoder is at, and goes
// on where it can, so that one run finds all errors. Lives on the stack of DecodeInto.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"

#include "source/base/document.h"
#include "source/config/text.h"
#include "source/config/text_traits.h"

namespace gatehouse::config {

class Decoder {
 public:
  explicit Decoder(DecodeContext& context) : context_(context) {}

  // Whatever form the message has.
  void DecodeMessage(const Node& node, google::protobuf::Message* message);

 private:
  using Descriptor = google::protobuf::Descriptor;
  using FieldDescriptor = google::protobuf::FieldDescriptor;
  using Message = google::protobuf::Message;

  struct MessageTraits {
    MessageForm form = MessageForm::kFields;
    const FieldDescriptor* shorthand = nullptr;
    std::vector<FieldTraits> fields;  // by FieldDescriptor::index()
    bool any_required = false;
  };

  // Takes back what is appended to the path during its life.
  class PathScope {
   public:
    explicit PathScope(std::string& path) : path_(path), size_(path.size()) {}
    ~PathScope() { path_.resize(size_); }
    PathScope(const PathScope&) = delete;
    PathScope& operator=(const PathScope&) = delete;

   private:
    std::string& path_;
    size_t size_;
  };

  // text_decoder.cc: maps to messages.
  const MessageTraits& TraitsFor(const Descriptor& descriptor);
  const FieldTraits& TraitsFor(const FieldDescriptor& field);
  void DecodeFields(const Node& node, Message* message, bool skip_type);
  void DecodeShorthand(const Node& node, Message* message, const MessageTraits& traits);
  void DecodeField(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeList(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeMap(const Node& node, Message* message, const FieldDescriptor& field);
  bool CheckOneof(const NodeMember& member, const FieldDescriptor& field,
                  std::vector<const FieldDescriptor*>* chosen);
  void CheckRequired(const Node& node, const Message& message, const std::vector<bool>& seen);
  void ReportUnknownField(const NodeMember& member, const Descriptor& descriptor);

  // text_values.cc: one scalar, set or (repeated field) added.
  void DecodeValue(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeBool(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeSigned(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeUnsigned(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeFloating(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeEnum(const Node& node, Message* message, const FieldDescriptor& field);
  void DecodeString(const Node& node, Message* message, const FieldDescriptor& field);
  bool IsNumberText(const Node& node, const FieldDescriptor& field);
  bool Substitute(const Node& node, std::string* value);
  void WarnOfSubstitution(const Node& node);
  void DecodeMapKey(const Node& node, Message* entry, const FieldDescriptor& field);

  // text_well_known.cc: messages that are not written as a map of their fields.
  void DecodeDuration(const Node& node, Message* message);
  void DecodeTimestamp(const Node& node, Message* message);
  void DecodeRate(const Node& node, Message* message);
  void DecodeAny(const Node& node, Message* message);
  void DecodeFree(const Node& node, Message* message, MessageForm form);
  bool ToStruct(const Node& node, google::protobuf::Struct* out);
  bool ToList(const Node& node, google::protobuf::ListValue* out);
  bool ToValue(const Node& node, google::protobuf::Value* out);

  void Error(const Node& node, std::string message, std::string suggestion = {});
  void Warn(const Node& node, std::string message);
  void Report(const Node& node, std::string message, std::string suggestion,
              ConfigError::Severity severity);
  // "expected X, found Y"
  void Mismatch(const Node& node, std::string_view expected);
  // What stands there, shortened; a secret is not quoted.
  [[nodiscard]] std::string Describe(const Node& node) const;

  DecodeContext& context_;
  std::string path_;
  int secret_depth_ = 0;                  // more than 0 below a field with (gatehouse.v1.secret)
  const FieldTraits* wrapped_ = nullptr;  // of the field whose wrapper is being decoded
  std::unordered_map<const Descriptor*, std::unique_ptr<MessageTraits>> traits_;
};

}  // namespace gatehouse::config
