#include "source/config/messages.h"

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/unknown_field_set.h"

#include "fmt/format.h"
#include "source/config/source_map.h"

namespace gatehouse::config {
namespace {

// `size`: what ByteSizeLong() has just said, which also cached the sizes of the parts. Into `out`,
// which has room for it: a stream into a string that once held a large message fills all of its
// capacity with zeros for each small one.
void Serialize(const google::protobuf::MessageLite& message, size_t size, char* out) {
  google::protobuf::io::ArrayOutputStream stream(out, static_cast<int>(size));
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);  // maps in one order
  message.SerializeWithCachedSizes(&coded);
}

char* Room(size_t size, std::vector<char>* buffer) {
  if (buffer->size() < size) buffer->resize(size);
  return buffer->data();
}

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The fields of a type that can hold something unknown, messages and enums, with what reflection
// takes its time to tell. Of each type once per thread.
struct SearchPlan {
  struct Entry {
    const FieldDescriptor* field;
    bool is_repeated;
    const google::protobuf::EnumDescriptor* enum_type;  // or null
    const SearchPlan* message;                          // or null
  };
  bool is_any = false;
  std::vector<Entry> entries;
};

const SearchPlan& PlanOf(const google::protobuf::Descriptor& descriptor) {
  thread_local std::unordered_map<const google::protobuf::Descriptor*, SearchPlan> plans;
  const auto [at, is_new] = plans.try_emplace(&descriptor);
  SearchPlan& plan = at->second;  // stays where it is
  if (!is_new) return plan;
  plan.is_any = &descriptor == google::protobuf::Any::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* field = descriptor.field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      plan.entries.push_back({field, field->is_repeated(), field->enum_type(), nullptr});
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      plan.entries.push_back(
          {field, field->is_repeated(), nullptr, &PlanOf(*field->message_type())});
    }
  }
  return plan;
}

// Whether a search is worth it: a table of 10 000 routes mostly holds nothing that is unknown, and
// to know that takes no paths. True also for every Any.
bool MayHoldUnknown(const Message& message, const SearchPlan& plan) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (plan.is_any || !reflection.GetUnknownFields(message).empty()) return true;
  for (const auto& [field, is_repeated, enum_type, message_plan] : plan.entries) {
    const int count = is_repeated ? reflection.FieldSize(message, field)
                                  : (reflection.HasField(message, field) ? 1 : 0);
    for (int i = 0; i < count; ++i) {
      if (enum_type != nullptr) {
        const int number = is_repeated ? reflection.GetRepeatedEnumValue(message, field, i)
                                       : reflection.GetEnumValue(message, field);
        if (enum_type->FindValueByNumber(number) == nullptr) return true;
      } else if (MayHoldUnknown(is_repeated ? reflection.GetRepeatedMessage(message, field, i)
                                            : reflection.GetMessage(message, field),
                                *message_plan)) {
        return true;
      }
    }
  }
  return false;
}

// One walk; `path_` is that of the message in hand.
class UnknownFieldSearch {
 public:
  std::optional<UnknownField> In(const Message& message);

 private:
  std::optional<UnknownField> InAny(const google::protobuf::Any& any);
  std::optional<UnknownField> InField(const Message& message, const FieldDescriptor& field);
  std::optional<UnknownField> InItem(const Message& message, const FieldDescriptor& field, int i);

  std::string path_;
  int any_depth_ = 0;
};

// An Any within an Any, and so on: each is parsed anew, so that the parser's own limit of depth
// does not hold, and the stack would end at some depth that a peer chooses.
constexpr int kMaxAnyDepth = 8;

std::optional<UnknownField> UnknownFieldSearch::In(const Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const google::protobuf::UnknownFieldSet& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return UnknownField{path_, fmt::format("field {} is not known to this version of the gateway",
                                           unknown.field(0).number())};
  }
  if (message.GetDescriptor() == google::protobuf::Any::descriptor()) {
    return InAny(static_cast<const google::protobuf::Any&>(message));
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool message_or_enum = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ||
                                 field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
    if (!message_or_enum) continue;
    const size_t size = path_.size();
    AppendField(&path_, field->name());
    if (auto found = InField(message, *field)) return found;
    path_.resize(size);
  }
  return std::nullopt;
}

std::optional<UnknownField> UnknownFieldSearch::InField(const Message& message,
                                                        const FieldDescriptor& field) {
  if (!field.is_repeated()) return InItem(message, field, -1);
  const int count = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < count; ++i) {
    const size_t size = path_.size();
    AppendIndex(&path_, static_cast<size_t>(i));
    if (auto found = InItem(message, field, i)) return found;
    path_.resize(size);
  }
  return std::nullopt;
}

// The item, or the field's only value.
std::optional<UnknownField> UnknownFieldSearch::InItem(const Message& message,
                                                       const FieldDescriptor& field, int i) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return In(i < 0 ? reflection.GetMessage(message, &field)
                    : reflection.GetRepeatedMessage(message, &field, i));
  }
  const int number = i < 0 ? reflection.GetEnumValue(message, &field)
                           : reflection.GetRepeatedEnumValue(message, &field, i);
  if (field.enum_type()->FindValueByNumber(number) != nullptr) return std::nullopt;
  return UnknownField{
      path_, fmt::format("the value {} is not known to this version of the gateway", number)};
}

std::optional<UnknownField> UnknownFieldSearch::InAny(const google::protobuf::Any& any) {
  const std::string& url = any.type_url();
  const auto* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
      url.substr(url.rfind('/') + 1));
  if (type == nullptr) return std::nullopt;  // whoever uses it tells
  if (any_depth_ == kMaxAnyDepth) {
    return UnknownField{path_, "more messages within one another than any extension has"};
  }
  const std::unique_ptr<Message> inner(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!inner->ParseFromString(any.value())) return std::nullopt;
  ++any_depth_;
  auto found = In(*inner);
  --any_depth_;
  return found;
}

}  // namespace

bool SameMessage(const google::protobuf::MessageLite& a, const google::protobuf::MessageLite& b) {
  if (&a == &b) return true;
  const size_t size = a.ByteSizeLong();
  if (size != b.ByteSizeLong()) return false;
  // Kept, since a reload compares each route of a large config.
  thread_local std::vector<char> bytes_a;
  thread_local std::vector<char> bytes_b;
  char* in_a = Room(size, &bytes_a);
  char* in_b = Room(size, &bytes_b);
  Serialize(a, size, in_a);
  Serialize(b, size, in_b);
  return size == 0 || std::memcmp(in_a, in_b, size) == 0;
}

std::string BytesOf(const google::protobuf::MessageLite& message) {
  std::string bytes(message.ByteSizeLong(), '\0');
  Serialize(message, bytes.size(), bytes.data());
  return bytes;
}

std::optional<UnknownField> UnknownFieldOf(const Message& message) {
  if (!MayHoldUnknown(message, PlanOf(*message.GetDescriptor()))) return std::nullopt;
  return UnknownFieldSearch().In(message);
}

}  // namespace gatehouse::config
