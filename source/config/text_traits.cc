#include "source/config/text_traits.h"

#include <algorithm>
#include <array>
#include <utility>

#include "api/gatehouse/v1/options.pb.h"

namespace gatehouse::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }

// EscapedSlashes: ESCAPED_SLASHES_
std::string PrefixFromName(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    if (i > 0 && IsUpper(name[i]) && !IsUpper(name[i - 1])) out.push_back('_');
    const char c = name[i];
    out.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  out.push_back('_');
  return out;
}

bool AllBeginWith(const EnumDescriptor& type, std::string_view prefix) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (!std::string_view(type.value(i)->name()).starts_with(prefix)) return false;
  }
  return true;
}

// The enum's name, or else what all values begin with up to an underscore.
std::string PrefixOf(const EnumDescriptor& type) {
  std::string prefix = PrefixFromName(type.name());
  if (AllBeginWith(type, prefix)) return prefix;
  prefix = type.value_count() > 1 ? type.value(0)->name() : std::string();
  while (!prefix.empty() && !(prefix.ends_with('_') && AllBeginWith(type, prefix))) {
    prefix.pop_back();
  }
  return prefix;
}

}  // namespace

FieldTraits TraitsOf(const FieldDescriptor& field) {
  const auto& options = field.options();
  FieldTraits traits;
  traits.size = options.GetExtension(v1::size);
  traits.ratio = options.GetExtension(v1::ratio);
  traits.secret = options.GetExtension(v1::secret);
  traits.env = options.GetExtension(v1::env);
  traits.required = options.GetExtension(v1::required);
  return traits;
}

MessageForm FormOf(const Descriptor& message) {
  constexpr std::string_view kPackage = "google.protobuf.";
  static constexpr std::array<std::pair<std::string_view, MessageForm>, 15> kForms = {
      {{"Duration", MessageForm::kDuration},
       {"Timestamp", MessageForm::kTimestamp},
       {"Any", MessageForm::kAny},
       {"Struct", MessageForm::kStruct},
       {"Value", MessageForm::kValue},
       {"ListValue", MessageForm::kListValue},
       {"DoubleValue", MessageForm::kWrapper},
       {"FloatValue", MessageForm::kWrapper},
       {"Int64Value", MessageForm::kWrapper},
       {"UInt64Value", MessageForm::kWrapper},
       {"Int32Value", MessageForm::kWrapper},
       {"UInt32Value", MessageForm::kWrapper},
       {"BoolValue", MessageForm::kWrapper},
       {"StringValue", MessageForm::kWrapper},
       {"BytesValue", MessageForm::kWrapper}}};
  if (message.options().GetExtension(v1::rate)) return MessageForm::kRate;
  const std::string_view name = message.full_name();
  if (!name.starts_with(kPackage)) return MessageForm::kFields;
  for (const auto& [known, form] : kForms) {
    if (name.substr(kPackage.size()) == known) return form;
  }
  return MessageForm::kFields;
}

const FieldDescriptor* ShorthandOf(const Descriptor& message) {
  if (!message.options().HasExtension(v1::shorthand)) return nullptr;
  return message.FindFieldByName(message.options().GetExtension(v1::shorthand));
}

bool IsRequired(const OneofDescriptor& oneof) {
  return oneof.options().GetExtension(v1::one_required);
}

std::string SpellingOf(const EnumValueDescriptor& value) {
  if (value.options().HasExtension(v1::spelling)) return value.options().GetExtension(v1::spelling);
  std::string name = value.name().substr(PrefixOf(*value.type()).size());
  for (char& c : name) c = IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
  return name;
}

const EnumValueDescriptor* FindBySpelling(const EnumDescriptor& type, std::string_view text) {
  if (const auto* value = type.FindValueByName(std::string(text))) return value;
  for (int i = 0; i < type.value_count(); ++i) {
    if (SpellingOf(*type.value(i)) == text) return type.value(i);
  }
  return nullptr;
}

std::vector<std::string> SpellingsOf(const EnumDescriptor& type) {
  std::vector<std::string> spellings;
  for (int i = 0; i < type.value_count(); ++i) spellings.push_back(SpellingOf(*type.value(i)));
  return spellings;
}

}  // namespace gatehouse::config
