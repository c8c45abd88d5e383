#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/util/time_util.h"

#include "fmt/format.h"
#include "source/config/text_decoder.h"
#include "source/config/text_scalars.h"

namespace gatehouse::config {
namespace {

using google::protobuf::Message;

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// Above it a double has no room for every whole number.
constexpr double kMaxExact = 9007199254740992.0;

// Duration and Timestamp: seconds and nanos. By number, because the message may be a dynamic one.
void SetSecondsAndNanos(Message* message, int64_t seconds, int32_t nanos) {
  const auto& descriptor = *message->GetDescriptor();
  const auto* reflection = message->GetReflection();
  if (seconds != 0) reflection->SetInt64(message, descriptor.FindFieldByNumber(1), seconds);
  if (nanos != 0) reflection->SetInt32(message, descriptor.FindFieldByNumber(2), nanos);
}

void SetDuration(Message* message, std::chrono::nanoseconds value) {
  SetSecondsAndNanos(message, value.count() / kNanosPerSecond,
                     static_cast<int32_t>(value.count() % kNanosPerSecond));
}

}  // namespace

void Decoder::DecodeDuration(const Node& node, Message* message) {
  std::chrono::nanoseconds value{};
  if (node.kind() != NodeKind::kString && node.kind() != NodeKind::kNumber) {
    return Mismatch(node, "expected a duration such as 2s, 150ms or 1m30s");
  }
  const std::string wrong = ParseDuration(node.text(), &value);
  if (!wrong.empty()) return Mismatch(node, wrong);
  SetDuration(message, value);
}

void Decoder::DecodeTimestamp(const Node& node, Message* message) {
  google::protobuf::Timestamp value;
  if (node.kind() != NodeKind::kString ||
      !google::protobuf::util::TimeUtil::FromString(std::string(node.text()), &value)) {
    return Mismatch(node, "expected a time such as 2030-01-31T12:00:00Z");
  }
  SetSecondsAndNanos(message, value.seconds(), value.nanos());
}

void Decoder::DecodeRate(const Node& node, Message* message) {
  if (node.kind() == NodeKind::kMap) return DecodeFields(node, message, /*skip_type=*/false);
  if (node.kind() != NodeKind::kString) {
    return Mismatch(node, "expected a rate such as 10/s, 600/m or 5000/h");
  }
  RateValue rate;
  const std::string wrong = ParseRate(node.text(), &rate);
  if (!wrong.empty()) return Mismatch(node, wrong);
  const auto& descriptor = *message->GetDescriptor();
  const auto* reflection = message->GetReflection();
  reflection->SetUInt64(message, descriptor.FindFieldByName("amount"), rate.amount);
  SetDuration(
      reflection->MutableMessage(message, descriptor.FindFieldByName("per"), context_.factory),
      rate.per);
}

void Decoder::DecodeAny(const Node& node, Message* message) {
  const Node* type = node.Find("@type");
  if (type == nullptr || type->kind() != NodeKind::kString) {
    return Mismatch(node,
                    "expected a map with an \"@type\" such as "
                    "\"type.googleapis.com/my.package.Message\"");
  }
  const std::string_view url = type->text();
  const std::string name(url.substr(url.rfind('/') + 1));  // npos + 1 is 0
  const auto* pool =
      context_.pool != nullptr ? context_.pool : google::protobuf::DescriptorPool::generated_pool();
  const auto* descriptor = pool->FindMessageTypeByName(name);
  auto* factory = context_.factory != nullptr
                      ? context_.factory
                      : google::protobuf::MessageFactory::generated_factory();
  const Message* prototype = descriptor == nullptr ? nullptr : factory->GetPrototype(descriptor);
  if (prototype == nullptr) {
    return Error(*type, fmt::format("unknown type \"{}\": nothing in this program knows it",
                                    name.substr(0, 100)));
  }
  const std::unique_ptr<Message> content(prototype->New());
  if (TraitsFor(*descriptor).form == MessageForm::kFields) {
    DecodeFields(node, content.get(), /*skip_type=*/true);
  } else {
    const Node* value = node.Find("value");
    if (value == nullptr) return Error(node, "the field \"value\" is required");
    const PathScope scope(path_);
    AppendField(&path_, "value");
    DecodeMessage(*value, content.get());
  }
  const auto& any = *message->GetDescriptor();
  const auto* reflection = message->GetReflection();
  reflection->SetString(message, any.FindFieldByNumber(1),
                        fmt::format("{}{}", kTypeUrlPrefix, name));
  reflection->SetString(message, any.FindFieldByNumber(2), content->SerializeAsString());
}

void Decoder::DecodeFree(const Node& node, Message* message, MessageForm form) {
  google::protobuf::Struct as_struct;
  google::protobuf::Value as_value;
  google::protobuf::ListValue as_list;
  const Message* result = &as_value;
  bool ok = false;
  if (form == MessageForm::kStruct) {
    result = &as_struct;
    ok = ToStruct(node, &as_struct);
  } else if (form == MessageForm::kListValue) {
    result = &as_list;
    ok = ToList(node, &as_list);
  } else {
    ok = ToValue(node, &as_value);
  }
  if (!ok) return;
  if (message->GetDescriptor() == result->GetDescriptor()) {
    message->CopyFrom(*result);
  } else if (!message->ParseFromString(result->SerializeAsString())) {  // a dynamic message
    Error(node, "nested too deep");
  }
}

bool Decoder::ToStruct(const Node& node, google::protobuf::Struct* out) {
  if (node.kind() != NodeKind::kMap) {
    Mismatch(node, "expected a map");
    return false;
  }
  for (const NodeMember& member : node.members()) {
    const PathScope scope(path_);
    AppendKey(&path_, member.key.text());
    if (!ToValue(member.value, &(*out->mutable_fields())[std::string(member.key.text())])) {
      return false;
    }
  }
  return true;
}

bool Decoder::ToList(const Node& node, google::protobuf::ListValue* out) {
  if (node.kind() != NodeKind::kSequence) {
    Mismatch(node, "expected a list");
    return false;
  }
  size_t index = 0;
  for (const Node& item : node.items()) {
    const PathScope scope(path_);
    AppendIndex(&path_, index++);
    if (!ToValue(item, out->add_values())) return false;
  }
  return true;
}

bool Decoder::ToValue(const Node& node, google::protobuf::Value* out) {
  double number = 0;
  switch (node.kind()) {
    case NodeKind::kNull:
      out->set_null_value(google::protobuf::NULL_VALUE);
      return true;
    case NodeKind::kBool:
      out->set_bool_value(node.text()[0] == 't' || node.text()[0] == 'T');
      return true;
    case NodeKind::kNumber:
      if (std::string wrong = ParseDouble(node.text(), &number); !wrong.empty()) {
        Mismatch(node, wrong);
        return false;
      }
      if ((number > kMaxExact || number < -kMaxExact) &&
          node.text().find_first_of(".eE") == std::string_view::npos) {
        Mismatch(node, "the number has too many digits to be kept: put it in quotes");
        return false;
      }
      out->set_number_value(number);
      return true;
    case NodeKind::kString:
      out->set_string_value(std::string(node.text()));
      return true;
    case NodeKind::kSequence:
      return ToList(node, out->mutable_list_value());
    case NodeKind::kMap:
      return ToStruct(node, out->mutable_struct_value());
  }
  return false;
}

}  // namespace gatehouse::config
