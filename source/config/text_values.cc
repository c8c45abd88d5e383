#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/escaping.h"

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/base/utf8.h"
#include "source/config/text_decoder.h"
#include "source/config/text_environment.h"
#include "source/config/text_scalars.h"

namespace gatehouse::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A value set or, for a repeated field, added.
template <typename Value>
using Setter = void (Reflection::*)(Message*, const FieldDescriptor*, Value) const;
template <typename Value>
void Store(Message* message, const FieldDescriptor& field, std::type_identity_t<Value> value,
           Setter<Value> set, Setter<Value> add) {
  const Reflection* reflection = message->GetReflection();
  (reflection->*(field.is_repeated() ? add : set))(message, &field, std::move(value));
}

bool Is64Bit(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}

bool IsDigits(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.empty()) return false;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool DecodeBase64(std::string_view text, std::string* out) {
  const absl::string_view view(text.data(), text.size());
  return absl::Base64Unescape(view, out) || absl::WebSafeBase64Unescape(view, out);
}

}  // namespace

void Decoder::DecodeValue(const Node& node, Message* message, const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return DecodeBool(node, message, field);
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return DecodeSigned(node, message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return DecodeUnsigned(node, message, field);
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DecodeFloating(node, message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return DecodeEnum(node, message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return DecodeString(node, message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return;  // DecodeMessage takes these
  }
}

void Decoder::DecodeBool(const Node& node, Message* message, const FieldDescriptor& field) {
  if (node.kind() != NodeKind::kBool) return Mismatch(node, "expected true or false");
  const char first = node.text()[0];
  Store(message, field, first == 't' || first == 'T', &Reflection::SetBool, &Reflection::AddBool);
}

// A number, or the quoted digits that other protobuf tools write for 64 bits.
bool Decoder::IsNumberText(const Node& node, const FieldDescriptor& field) {
  if (node.kind() == NodeKind::kNumber) return true;
  if (node.kind() == NodeKind::kString && !node.plain() && Is64Bit(field) &&
      IsDigits(node.text())) {
    return true;
  }
  if (node.kind() == NodeKind::kString && !node.plain() && IsDigits(node.text())) {
    Mismatch(node, "expected a number without quotes");
  } else {
    Mismatch(node, "expected a number");
  }
  return false;
}

void Decoder::DecodeSigned(const Node& node, Message* message, const FieldDescriptor& field) {
  const bool wide = Is64Bit(field);
  const int64_t min = wide ? std::numeric_limits<int64_t>::min() : INT32_MIN;
  const int64_t max = wide ? std::numeric_limits<int64_t>::max() : INT32_MAX;
  const FieldTraits& traits = wrapped_ != nullptr ? *wrapped_ : TraitsFor(field);
  int64_t value = 0;
  if (traits.size && node.is_scalar() && node.kind() == NodeKind::kString) {
    uint64_t bytes = 0;
    std::string wrong = ParseSize(node.text(), &bytes);
    if (!wrong.empty()) return Mismatch(node, wrong);
    if (bytes > static_cast<uint64_t>(max)) {
      return Mismatch(node,
                      fmt::format("must be at most {}", FormatSize(static_cast<uint64_t>(max))));
    }
    value = static_cast<int64_t>(bytes);
  } else {
    if (!IsNumberText(node, field)) return;
    const std::string wrong = ParseSigned(node.text(), traits.size ? 0 : min, max, &value);
    if (!wrong.empty()) return Mismatch(node, wrong);
  }
  if (wide) {
    Store(message, field, value, &Reflection::SetInt64, &Reflection::AddInt64);
  } else {
    Store(message, field, static_cast<int32_t>(value), &Reflection::SetInt32,
          &Reflection::AddInt32);
  }
}

void Decoder::DecodeUnsigned(const Node& node, Message* message, const FieldDescriptor& field) {
  const bool wide = Is64Bit(field);
  const uint64_t max = wide ? std::numeric_limits<uint64_t>::max() : UINT32_MAX;
  const FieldTraits& traits = wrapped_ != nullptr ? *wrapped_ : TraitsFor(field);
  uint64_t value = 0;
  if (traits.size && node.kind() != NodeKind::kNumber) {
    std::string wrong = node.kind() == NodeKind::kString ? ParseSize(node.text(), &value)
                                                         : "expected a size such as 64KiB";
    if (!wrong.empty()) return Mismatch(node, wrong);
    if (value > max) return Mismatch(node, fmt::format("must be at most {} bytes", max));
  } else {
    if (!IsNumberText(node, field)) return;
    const std::string wrong = ParseUnsigned(node.text(), max, &value);
    if (!wrong.empty()) return Mismatch(node, wrong);
  }
  if (wide) {
    Store(message, field, value, &Reflection::SetUInt64, &Reflection::AddUInt64);
  } else {
    Store(message, field, static_cast<uint32_t>(value), &Reflection::SetUInt32,
          &Reflection::AddUInt32);
  }
}

void Decoder::DecodeFloating(const Node& node, Message* message, const FieldDescriptor& field) {
  const FieldTraits& traits = wrapped_ != nullptr ? *wrapped_ : TraitsFor(field);
  double value = 0;
  if (traits.ratio) {
    const bool scalar = node.kind() == NodeKind::kNumber || node.kind() == NodeKind::kString;
    const std::string wrong = scalar ? ParseRatio(node.text(), &value) : "expected a ratio";
    if (!wrong.empty()) return Mismatch(node, wrong);
  } else {
    if (!IsNumberText(node, field)) return;
    const std::string wrong = ParseDouble(node.text(), &value);
    if (!wrong.empty()) return Mismatch(node, wrong);
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    Store(message, field, value, &Reflection::SetDouble, &Reflection::AddDouble);
    return;
  }
  if (std::fabs(value) > static_cast<double>(std::numeric_limits<float>::max())) {
    return Mismatch(node, "the number is out of range");
  }
  Store(message, field, static_cast<float>(value), &Reflection::SetFloat, &Reflection::AddFloat);
}

void Decoder::DecodeEnum(const Node& node, Message* message, const FieldDescriptor& field) {
  const auto& type = *field.enum_type();
  const std::string_view text = node.kind() == NodeKind::kNull ? "null" : node.text();
  const auto* value = node.is_scalar() ? FindBySpelling(type, text) : nullptr;
  if (value != nullptr) {
    Store(message, field, value, &Reflection::SetEnum, &Reflection::AddEnum);
    return;
  }
  const std::vector<std::string> spellings = SpellingsOf(type);
  const std::vector<std::string_view> known(spellings.begin(), spellings.end());
  std::string list;
  for (const std::string_view name : known) {
    if (!list.empty()) list.append(", ");
    list.append(name);
  }
  const bool is_text = node.kind() == NodeKind::kString;
  Error(node, fmt::format("expected one of {}; found {}", list, Describe(node)),
        std::string(is_text ? Nearest(node.text(), known) : std::string_view()));
}

void Decoder::DecodeString(const Node& node, Message* message, const FieldDescriptor& field) {
  const bool is_text =
      node.kind() == NodeKind::kString ||
      (node.plain() && (node.kind() == NodeKind::kNumber || node.kind() == NodeKind::kBool));
  if (!is_text) {
    const bool needs_quotes = node.kind() == NodeKind::kNumber || node.kind() == NodeKind::kBool;
    return Mismatch(
        node, needs_quotes ? "expected a string: put the value in quotes" : "expected a string");
  }
  const FieldTraits& traits = wrapped_ != nullptr ? *wrapped_ : TraitsFor(field);
  std::string value(node.text());
  if (value.find("${") != std::string::npos) {
    if (!traits.env) {
      WarnOfSubstitution(node);
    } else if (context_.environment && !Substitute(node, &value)) {
      return;
    }
  }
  if (field.type() == FieldDescriptor::TYPE_BYTES) {
    std::string bytes;
    if (!DecodeBase64(value, &bytes)) return Mismatch(node, "expected base64");
    value = std::move(bytes);
  } else if (!IsUtf8(value)) {
    Error(node, "the value from the environment is not UTF-8");
    return;
  }
  Store(message, field, std::move(value), &Reflection::SetString, &Reflection::AddString);
}

bool Decoder::Substitute(const Node& node, std::string* value) {
  absl::StatusOr<std::string> text = ExpandEnvironment(*value, context_.environment);
  if (!text.ok()) {
    Error(node, MessageOf(text.status()));
    return false;
  }
  *value = *std::move(text);
  return true;
}

void Decoder::WarnOfSubstitution(const Node& node) {
  const std::string_view text = node.text();
  for (size_t at = text.find("${"); at != std::string_view::npos; at = text.find("${", at + 2)) {
    if (const std::optional<EnvironmentReference> reference = ParseReference(text.substr(at))) {
      Warn(node,
           fmt::format("${{{}}} stays as it is: the environment is read only in the values of "
                       "secrets",
                       reference->name));
      return;
    }
  }
}

void Decoder::DecodeMapKey(const Node& node, Message* entry, const FieldDescriptor& field) {
  const std::string_view text = node.text();
  const auto* reflection = entry->GetReflection();
  std::string wrong;
  int64_t number = 0;
  uint64_t unsigned_number = 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      reflection->SetString(entry, &field, std::string(text));
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return Mismatch(node, "expected a key true or false");
      reflection->SetBool(entry, &field, text == "true");
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      wrong = ParseSigned(text, INT32_MIN, INT32_MAX, &number);
      if (wrong.empty()) reflection->SetInt32(entry, &field, static_cast<int32_t>(number));
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      wrong = ParseSigned(text, INT64_MIN, INT64_MAX, &number);
      if (wrong.empty()) reflection->SetInt64(entry, &field, number);
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      wrong = ParseUnsigned(text, UINT32_MAX, &unsigned_number);
      if (wrong.empty()) {
        reflection->SetUInt32(entry, &field, static_cast<uint32_t>(unsigned_number));
      }
      break;
    default:  // protobuf has no other key types but uint64
      wrong = ParseUnsigned(text, UINT64_MAX, &unsigned_number);
      if (wrong.empty()) reflection->SetUInt64(entry, &field, unsigned_number);
      break;
  }
  if (!wrong.empty()) Mismatch(node, fmt::format("as a key: {}", wrong));
}

}  // namespace gatehouse::config
