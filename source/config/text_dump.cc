#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/time_util.h"

#include "fmt/format.h"
#include "source/base/json.h"
#include "source/base/yaml.h"
#include "source/config/text.h"
#include "source/config/text_scalars.h"
#include "source/config/text_traits.h"

namespace gatehouse::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A message from the wire has at most 100 levels, but an Any in it begins anew.
constexpr int kMaxDepth = 100;

class Dumper {
 public:
  void DumpMessage(const Message& message, const FieldTraits& traits) {
    if (++depth_ > kMaxDepth) {
      String("[nested too deep]");
    } else {
      DumpForm(message, traits);
    }
    --depth_;
  }

  ParsedDocument Finish() { return builder_.Finish(); }

 private:
  static DocumentLimits Limits() {
    DocumentLimits limits;
    limits.max_depth = 10 * kMaxDepth;  // ours above comes first
    return limits;
  }

  void String(std::string_view text) { Scalar(NodeKind::kString, text); }
  void Scalar(NodeKind kind, std::string_view text) {
    static_cast<void>(builder_.Scalar(kind, text));
  }
  void BeginMap() { static_cast<void>(builder_.Begin(NodeKind::kMap)); }
  void BeginList() { static_cast<void>(builder_.Begin(NodeKind::kSequence)); }
  void End() { static_cast<void>(builder_.End()); }

  void DumpForm(const Message& message, const FieldTraits& traits) {
    const auto& descriptor = *message.GetDescriptor();
    switch (FormOf(descriptor)) {
      case MessageForm::kFields:
        return DumpFields(message);
      case MessageForm::kDuration:
        return String(FormatDuration(DurationOf(message)));
      case MessageForm::kTimestamp:
        return DumpTimestamp(message);
      case MessageForm::kWrapper:
        return DumpValue(message, *descriptor.field(0), -1, traits);
      case MessageForm::kRate:
        return DumpRate(message);
      case MessageForm::kAny:
        return DumpAny(message);
      case MessageForm::kStruct:
        return DumpCopy<google::protobuf::Struct>(message, &Dumper::DumpStruct);
      case MessageForm::kValue:
        return DumpCopy<google::protobuf::Value>(message, &Dumper::DumpFree);
      case MessageForm::kListValue:
        return DumpCopy<google::protobuf::ListValue>(message, &Dumper::DumpList);
    }
  }

  // The shorthand where it says all; never for a message, which is a map too.
  void DumpFields(const Message& message) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    const FieldDescriptor* shorthand = ShorthandOf(*message.GetDescriptor());
    if (fields.size() == 1 && fields[0] == shorthand &&
        (shorthand->is_repeated() || shorthand->message_type() == nullptr)) {
      return DumpField(message, *shorthand);
    }
    BeginMap();
    DumpMembers(message, fields);
    End();
  }

  void DumpMembers(const Message& message, const std::vector<const FieldDescriptor*>& fields) {
    for (const FieldDescriptor* field : fields) {
      if (field->is_extension()) continue;
      String(field->name());
      DumpField(message, *field);
    }
  }

  void DumpField(const Message& message, const FieldDescriptor& field) {
    const FieldTraits traits = TraitsOf(field);
    if (traits.secret) {
      String(kRedacted);
    } else if (field.is_map()) {
      DumpMap(message, field);
    } else if (field.is_repeated()) {
      BeginList();
      const int count = message.GetReflection()->FieldSize(message, &field);
      for (int i = 0; i < count; ++i) DumpValue(message, field, i, traits);
      End();
    } else {
      DumpValue(message, field, -1, traits);
    }
  }

  // Sorted: two dumps of the same config are the same text.
  void DumpMap(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor& key = *field.message_type()->map_key();
    const FieldDescriptor& value = *field.message_type()->map_value();
    std::vector<std::pair<std::string, const Message*>> entries;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      entries.emplace_back(KeyText(entry, key), &entry);
    }
    std::sort(entries.begin(), entries.end());
    BeginMap();
    for (const auto& [text, entry] : entries) {
      String(text);
      DumpField(*entry, value);
    }
    End();
  }

  static std::string KeyText(const Message& entry, const FieldDescriptor& key) {
    const Reflection& reflection = *entry.GetReflection();
    switch (key.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection.GetString(entry, &key);
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.GetBool(entry, &key) ? "true" : "false";
      case FieldDescriptor::CPPTYPE_INT32:
        return fmt::format("{}", reflection.GetInt32(entry, &key));
      case FieldDescriptor::CPPTYPE_INT64:
        return fmt::format("{}", reflection.GetInt64(entry, &key));
      case FieldDescriptor::CPPTYPE_UINT32:
        return fmt::format("{}", reflection.GetUInt32(entry, &key));
      default:
        return fmt::format("{}", reflection.GetUInt64(entry, &key));
    }
  }

  // One value: of a singular field (index -1) or one of a repeated field.
  void DumpValue(const Message& m, const FieldDescriptor& f, int i, const FieldTraits& traits) {
    const Reflection& r = *m.GetReflection();
    switch (f.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return Scalar(NodeKind::kBool,
                      (i < 0 ? r.GetBool(m, &f) : r.GetRepeatedBool(m, &f, i)) ? "true" : "false");
      case FieldDescriptor::CPPTYPE_INT32:
        return Signed(i < 0 ? r.GetInt32(m, &f) : r.GetRepeatedInt32(m, &f, i), traits);
      case FieldDescriptor::CPPTYPE_INT64:
        return Signed(i < 0 ? r.GetInt64(m, &f) : r.GetRepeatedInt64(m, &f, i), traits);
      case FieldDescriptor::CPPTYPE_UINT32:
        return Unsigned(i < 0 ? r.GetUInt32(m, &f) : r.GetRepeatedUInt32(m, &f, i), traits);
      case FieldDescriptor::CPPTYPE_UINT64:
        return Unsigned(i < 0 ? r.GetUInt64(m, &f) : r.GetRepeatedUInt64(m, &f, i), traits);
      case FieldDescriptor::CPPTYPE_FLOAT:
        return Floating(i < 0 ? r.GetFloat(m, &f) : r.GetRepeatedFloat(m, &f, i));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return Floating(i < 0 ? r.GetDouble(m, &f) : r.GetRepeatedDouble(m, &f, i));
      case FieldDescriptor::CPPTYPE_ENUM:
        return Enum(f, i < 0 ? r.GetEnumValue(m, &f) : r.GetRepeatedEnumValue(m, &f, i));
      case FieldDescriptor::CPPTYPE_STRING:
        return Text(f, i < 0 ? r.GetString(m, &f) : r.GetRepeatedString(m, &f, i));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return DumpMessage(i < 0 ? r.GetMessage(m, &f) : r.GetRepeatedMessage(m, &f, i), traits);
    }
  }

  void Signed(int64_t value, const FieldTraits& traits) {
    if (traits.size && value >= 0) return Unsigned(static_cast<uint64_t>(value), traits);
    Scalar(NodeKind::kNumber, fmt::format("{}", value));
  }
  void Unsigned(uint64_t value, const FieldTraits& traits) {
    if (traits.size && value > 0) return String(FormatSize(value));
    Scalar(NodeKind::kNumber, fmt::format("{}", value));
  }
  template <typename Number>
  void Floating(Number value) {
    const std::string text = fmt::format("{}", value);
    Scalar(std::isfinite(value) ? NodeKind::kNumber : NodeKind::kString, text);
  }
  void Enum(const FieldDescriptor& field, int number) {
    const auto* value = field.enum_type()->FindValueByNumber(number);
    if (value == nullptr) return Scalar(NodeKind::kNumber, fmt::format("{}", number));
    String(SpellingOf(*value));
  }
  void Text(const FieldDescriptor& field, const std::string& value) {
    String(field.type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(value) : value);
  }

  static std::chrono::nanoseconds DurationOf(const Message& message) {
    const auto& descriptor = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    constexpr int64_t kMaxSeconds = INT64_MAX / 1'000'000'000 - 1;
    const int64_t seconds = std::clamp(
        reflection.GetInt64(message, descriptor.FindFieldByNumber(1)), -kMaxSeconds, kMaxSeconds);
    const int32_t nanos = reflection.GetInt32(message, descriptor.FindFieldByNumber(2));
    return std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos);
  }

  void DumpTimestamp(const Message& message) {
    google::protobuf::Timestamp value;
    static_cast<void>(value.ParseFromString(message.SerializeAsString()));
    constexpr int64_t kYear1 = -62135596800;
    constexpr int64_t kYear9999 = 253402300799;
    value.set_seconds(std::clamp(value.seconds(), kYear1, kYear9999));
    value.set_nanos(std::clamp(value.nanos(), 0, 999'999'999));
    String(google::protobuf::util::TimeUtil::ToString(value));
  }

  void DumpRate(const Message& message) {
    const auto& descriptor = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    RateValue rate;
    rate.amount = reflection.GetUInt64(message, descriptor.FindFieldByName("amount"));
    rate.per = DurationOf(reflection.GetMessage(message, descriptor.FindFieldByName("per")));
    if (rate.per.count() > 0) return String(FormatRate(rate));
    DumpFields(message);  // not a rate that text can spell
  }

  void DumpAny(const Message& message) {
    const auto& any = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    const std::string url = reflection.GetString(message, any.FindFieldByNumber(1));
    const std::string bytes = reflection.GetString(message, any.FindFieldByNumber(2));
    BeginMap();
    String("@type");
    String(url);
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
            url.substr(url.rfind('/') + 1));
    const std::unique_ptr<Message> content(
        descriptor == nullptr ? nullptr
                              : google::protobuf::MessageFactory::generated_factory()
                                    ->GetPrototype(descriptor)
                                    ->New());
    if (content != nullptr && content->ParseFromString(bytes)) {
      DumpAnyContent(*content);
    }
    End();
  }

  void DumpAnyContent(const Message& content) {
    if (FormOf(*content.GetDescriptor()) != MessageForm::kFields) {
      String("value");
      return DumpMessage(content, {});
    }
    std::vector<const FieldDescriptor*> fields;
    content.GetReflection()->ListFields(content, &fields);
    DumpMembers(content, fields);
  }

  // The free forms by their generated types, also when the message is a dynamic one.
  template <typename Known>
  void DumpCopy(const Message& message, void (Dumper::*dump)(const Known&)) {
    Known known;
    static_cast<void>(known.ParseFromString(message.SerializeAsString()));
    (this->*dump)(known);
  }
  void DumpStruct(const google::protobuf::Struct& value) {
    std::vector<const std::string*> keys;
    for (const auto& entry : value.fields()) keys.push_back(&entry.first);
    std::sort(keys.begin(), keys.end(), [](const auto* a, const auto* b) { return *a < *b; });
    BeginMap();
    for (const std::string* key : keys) {
      String(*key);
      DumpFree(value.fields().at(*key));
    }
    End();
  }
  void DumpList(const google::protobuf::ListValue& value) {
    BeginList();
    for (const google::protobuf::Value& item : value.values()) DumpFree(item);
    End();
  }
  void DumpFree(const google::protobuf::Value& value) {
    switch (value.kind_case()) {
      case google::protobuf::Value::kBoolValue:
        return Scalar(NodeKind::kBool, value.bool_value() ? "true" : "false");
      case google::protobuf::Value::kNumberValue:
        return Floating(value.number_value());
      case google::protobuf::Value::kStringValue:
        return String(value.string_value());
      case google::protobuf::Value::kStructValue:
        return DumpStruct(value.struct_value());
      case google::protobuf::Value::kListValue:
        return DumpList(value.list_value());
      case google::protobuf::Value::kNullValue:
      case google::protobuf::Value::KIND_NOT_SET:
        return Scalar(NodeKind::kNull, "");
    }
  }

  DocumentBuilder builder_{Limits()};
  int depth_ = 0;
};

ParsedDocument Dump(const Message& message) {
  Dumper dumper;
  dumper.DumpMessage(message, {});
  return dumper.Finish();
}

}  // namespace

std::string ToYaml(const google::protobuf::Message& message) {
  return WriteYaml(Dump(message).document->root());
}

std::string ToJson(const google::protobuf::Message& message, int indent) {
  return WriteJson(Dump(message).document->root(), indent);
}

}  // namespace gatehouse::config
