#include "source/config/text_decoder.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "source/base/nearest.h"

namespace gatehouse::config {
namespace {

constexpr size_t kMaxQuoted = 40;
constexpr size_t kMaxNamed = 24;

bool IsMessage(const google::protobuf::FieldDescriptor& field) {
  return field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE;
}

// "a, b, c", cut where it would get long.
template <typename Names>
std::string Join(const Names& names) {
  std::string out;
  size_t count = 0;
  for (const auto& name : names) {
    if (count++ == kMaxNamed) return out + ", ...";
    if (!out.empty()) out.append(", ");
    out.append(name);
  }
  return out;
}

std::vector<std::string_view> FieldNames(const google::protobuf::Descriptor& descriptor) {
  std::vector<std::string_view> names;
  for (int i = 0; i < descriptor.field_count(); ++i) names.push_back(descriptor.field(i)->name());
  return names;
}

// null is a value of its own only where the type has one.
bool TakesNull(const google::protobuf::FieldDescriptor& field) {
  if (field.enum_type() != nullptr) return FindBySpelling(*field.enum_type(), "null") != nullptr;
  return IsMessage(field) && FormOf(*field.message_type()) == MessageForm::kValue;
}

// `tls:` with nothing behind it may be meant as TLS with the defaults, and without would be plain
// TCP: where being there is all that a field says, its author has to say it.
bool NullIsAmbiguous(const google::protobuf::FieldDescriptor& field) {
  return IsMessage(field) && !field.is_repeated() &&
         FormOf(*field.message_type()) == MessageForm::kFields;
}

}  // namespace

const Decoder::MessageTraits& Decoder::TraitsFor(const Descriptor& descriptor) {
  std::unique_ptr<MessageTraits>& traits = traits_[&descriptor];
  if (traits == nullptr) {
    traits = std::make_unique<MessageTraits>();
    traits->form = FormOf(descriptor);
    traits->shorthand = ShorthandOf(descriptor);
    for (int i = 0; i < descriptor.field_count(); ++i) {
      traits->fields.push_back(TraitsOf(*descriptor.field(i)));
      traits->any_required |= traits->fields.back().required;
    }
    for (int i = 0; i < descriptor.real_oneof_decl_count(); ++i) {
      traits->any_required |= IsRequired(*descriptor.oneof_decl(i));
    }
  }
  return *traits;
}

const FieldTraits& Decoder::TraitsFor(const FieldDescriptor& field) {
  return TraitsFor(*field.containing_type()).fields[static_cast<size_t>(field.index())];
}

void Decoder::Report(const Node& node, std::string message, std::string suggestion,
                     ConfigError::Severity severity) {
  ConfigError error;
  error.file = context_.file;
  error.line = static_cast<int>(node.position().line);
  error.column = static_cast<int>(node.position().column);
  error.path = path_;
  error.message = std::move(message);
  error.suggestion = std::move(suggestion);
  error.severity = severity;
  context_.errors->Add(std::move(error));
}

void Decoder::Error(const Node& node, std::string message, std::string suggestion) {
  Report(node, std::move(message), std::move(suggestion), ConfigError::Severity::kError);
}

void Decoder::Warn(const Node& node, std::string message) {
  Report(node, std::move(message), {}, ConfigError::Severity::kWarning);
}

void Decoder::Mismatch(const Node& node, std::string_view expected) {
  Error(node, fmt::format("{}, found {}", expected, Describe(node)));
}

std::string Decoder::Describe(const Node& node) const {
  if (node.kind() == NodeKind::kNull || !node.is_scalar() || secret_depth_ > 0) {
    return std::string(NameOf(node.kind()));
  }
  std::string_view text = node.text();
  std::string_view more;
  if (text.size() > kMaxQuoted) {
    size_t end = kMaxQuoted;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
    more = "...";
  }
  std::string shown;
  for (const char c : text) shown.push_back(c == '\n' || c == '\r' || c == '\t' ? ' ' : c);
  switch (node.kind()) {
    case NodeKind::kNumber:
      return fmt::format("the number {}{}", shown, more);
    case NodeKind::kBool:
      return fmt::format("the boolean {}", shown);
    default:
      return fmt::format("the string \"{}\"{}", shown, more);
  }
}

void Decoder::DecodeMessage(const Node& node, Message* message) {
  const MessageTraits& traits = TraitsFor(*message->GetDescriptor());
  const FieldTraits* wrapper_traits = std::exchange(wrapped_, nullptr);
  switch (traits.form) {
    case MessageForm::kFields:
      if (node.kind() == NodeKind::kMap) {
        DecodeFields(node, message, /*skip_type=*/false);
      } else {
        DecodeShorthand(node, message, traits);
      }
      return;
    case MessageForm::kDuration:
      return DecodeDuration(node, message);
    case MessageForm::kTimestamp:
      return DecodeTimestamp(node, message);
    case MessageForm::kWrapper:
      wrapped_ = wrapper_traits;
      DecodeValue(node, message, *message->GetDescriptor()->field(0));
      wrapped_ = nullptr;
      return;
    case MessageForm::kRate:
      return DecodeRate(node, message);
    case MessageForm::kAny:
      return DecodeAny(node, message);
    case MessageForm::kStruct:
    case MessageForm::kValue:
    case MessageForm::kListValue:
      return DecodeFree(node, message, traits.form);
  }
}

void Decoder::DecodeShorthand(const Node& node, Message* message, const MessageTraits& traits) {
  const Descriptor& descriptor = *message->GetDescriptor();
  const FieldDescriptor* field = traits.shorthand;
  const bool fits = field != nullptr && node.kind() != NodeKind::kNull &&
                    field->is_repeated() == (node.kind() == NodeKind::kSequence);
  if (!fits) {
    const std::string fields = descriptor.field_count() == 0
                                   ? std::string("an empty map: {}")
                                   : fmt::format("a map ({})", Join(FieldNames(descriptor)));
    if (field != nullptr && field->is_repeated() && node.is_scalar()) {
      Error(node, fmt::format("expected a list, found {}: write [{}]", Describe(node),
                              secret_depth_ > 0 ? "..." : node.text().substr(0, kMaxQuoted)));
    } else if (field != nullptr) {
      Mismatch(node, fmt::format("expected the value of \"{}\" or {}", field->name(), fields));
    } else {
      Mismatch(node, fmt::format("expected {}", fields));
    }
    return;
  }
  std::vector<bool> seen(traits.fields.size());
  seen[static_cast<size_t>(field->index())] = true;
  DecodeField(node, message, *field);
  CheckRequired(node, *message, seen);
}

void Decoder::DecodeFields(const Node& node, Message* message, bool skip_type) {
  const Descriptor& descriptor = *message->GetDescriptor();
  std::vector<bool> seen(static_cast<size_t>(descriptor.field_count()));
  std::vector<const FieldDescriptor*> chosen(static_cast<size_t>(descriptor.oneof_decl_count()));
  for (const NodeMember& member : node.members()) {
    if (skip_type && member.key.text() == "@type") continue;
    if (path_.empty() && member.key.text() == "$schema") continue;  // for the author's editor
    const FieldDescriptor* field = descriptor.FindFieldByName(std::string(member.key.text()));
    if (field == nullptr) {
      ReportUnknownField(member, descriptor);
      continue;
    }
    const PathScope scope(path_);
    if (member.value.kind() == NodeKind::kNull && !TakesNull(*field)) {
      if (!NullIsAmbiguous(*field)) continue;
      seen[static_cast<size_t>(field->index())] = true;
      AppendField(&path_, field->name());
      Error(member.key, "nothing is written here: write {} for the defaults, or leave it out");
      continue;
    }
    seen[static_cast<size_t>(field->index())] = true;
    if (!CheckOneof(member, *field, &chosen)) continue;
    AppendField(&path_, field->name());
    DecodeField(member.value, message, *field);
  }
  CheckRequired(node, *message, seen);
}

bool Decoder::CheckOneof(const NodeMember& member, const FieldDescriptor& field,
                         std::vector<const FieldDescriptor*>* chosen) {
  const auto* oneof = field.real_containing_oneof();
  if (oneof == nullptr) return true;
  const FieldDescriptor*& first = (*chosen)[static_cast<size_t>(oneof->index())];
  if (first != nullptr) {
    Error(member.key, fmt::format("\"{}\" and \"{}\" exclude each other: write one of them",
                                  first->name(), field.name()));
    return false;
  }
  first = &field;
  return true;
}

void Decoder::CheckRequired(const Node& node, const Message& message,
                            const std::vector<bool>& seen) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const MessageTraits& traits = TraitsFor(descriptor);
  if (!traits.any_required) return;
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    const auto index = static_cast<size_t>(i);
    if (!traits.fields[index].required) continue;
    if (!seen[index]) {
      Error(node, fmt::format("the field \"{}\" is required", field.name()));
      continue;
    }
    // What was written but could not be read has its error already; it is no empty value.
    const Node* written = node.kind() == NodeKind::kMap ? node.Find(field.name()) : &node;
    const bool empty_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
                            !field.is_repeated() && written->is_scalar() && written->text().empty();
    const bool empty_list = field.is_repeated() && reflection->FieldSize(message, &field) == 0 &&
                            !written->is_scalar() && written->items().empty() &&
                            written->members().empty();
    if (empty_text || empty_list) {
      const PathScope scope(path_);
      if (node.kind() == NodeKind::kMap) AppendField(&path_, field.name());
      Error(*written, "must not be empty");
    }
  }
  for (int i = 0; i < descriptor.real_oneof_decl_count(); ++i) {
    const auto& oneof = *descriptor.oneof_decl(i);
    if (!IsRequired(oneof)) continue;
    std::vector<std::string_view> names;
    bool any_seen = false;
    for (int j = 0; j < oneof.field_count(); ++j) {
      names.push_back(oneof.field(j)->name());
      any_seen |= seen[static_cast<size_t>(oneof.field(j)->index())];
    }
    if (!any_seen) Error(node, fmt::format("one of these is required: {}", Join(names)));
  }
}

void Decoder::ReportUnknownField(const NodeMember& member, const Descriptor& descriptor) {
  const std::vector<std::string_view> names = FieldNames(descriptor);
  std::string suggestion(Nearest(member.key.text(), names));
  std::string message =
      fmt::format("unknown field \"{}\"", member.key.text().substr(0, kMaxQuoted));
  if (suggestion.empty()) {
    message.append(names.empty() ? "; there are no fields here"
                                 : fmt::format("; the fields here are {}", Join(names)));
  }
  Error(member.key, std::move(message), std::move(suggestion));
}

void Decoder::DecodeField(const Node& node, Message* message, const FieldDescriptor& field) {
  const FieldTraits& traits = TraitsFor(field);
  if (traits.secret) ++secret_depth_;
  if (field.is_map()) {
    DecodeMap(node, message, field);
  } else if (field.is_repeated()) {
    DecodeList(node, message, field);
  } else if (IsMessage(field)) {
    wrapped_ = &traits;
    DecodeMessage(node,
                  message->GetReflection()->MutableMessage(message, &field, context_.factory));
  } else {
    DecodeValue(node, message, field);
  }
  if (traits.secret) --secret_depth_;
}

void Decoder::DecodeList(const Node& node, Message* message, const FieldDescriptor& field) {
  if (node.kind() != NodeKind::kSequence) {
    std::string hint;
    if (node.kind() == NodeKind::kMap) {
      hint = ": begin each item with \"- \"";
    } else if (secret_depth_ == 0) {
      hint = fmt::format(": write [{}]", node.text().substr(0, kMaxQuoted));
    }
    Error(node, fmt::format("expected a list, found {}{}", Describe(node), hint));
    return;
  }
  size_t index = 0;
  for (const Node& item : node.items()) {
    const PathScope scope(path_);
    AppendIndex(&path_, index++);
    if (item.kind() == NodeKind::kNull && !TakesNull(field)) {
      Error(item, "the list item is empty");
    } else if (IsMessage(field)) {
      wrapped_ = &TraitsFor(field);
      DecodeMessage(item, message->GetReflection()->AddMessage(message, &field, context_.factory));
    } else {
      DecodeValue(item, message, field);
    }
  }
}

void Decoder::DecodeMap(const Node& node, Message* message, const FieldDescriptor& field) {
  if (node.kind() != NodeKind::kMap) return Mismatch(node, "expected a map");
  const FieldDescriptor& key = *field.message_type()->map_key();
  const FieldDescriptor& value = *field.message_type()->map_value();
  for (const NodeMember& member : node.members()) {
    const PathScope scope(path_);
    AppendKey(&path_, member.key.text());
    if (member.value.kind() == NodeKind::kNull && !TakesNull(value)) {
      Error(member.key, "the value is missing");
      continue;
    }
    Message* entry = message->GetReflection()->AddMessage(message, &field, context_.factory);
    DecodeMapKey(member.key, entry, key);
    DecodeField(member.value, entry, value);
  }
}

}  // namespace gatehouse::config
