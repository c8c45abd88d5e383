#include "source/config/schema.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "fmt/format.h"
#include "source/base/document.h"
#include "source/base/json.h"
#include "source/config/text_traits.h"

namespace gatehouse::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::OneofDescriptor;

constexpr std::string_view kOwnPackage = "gatehouse.v1.";
constexpr std::string_view kDurationPattern =
    R"(^(0|(?=[0-9])([0-9]+(\.[0-9]+)?d)?([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?([0-9]+(\.[0-9]+)?us)?([0-9]+ns)?)$)";
constexpr std::string_view kSizePattern = R"(^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB)?$)";
constexpr std::string_view kRatioPattern = R"(^[0-9]+(\.[0-9]+)?%?$)";
constexpr std::string_view kRatePattern = R"(^[0-9]+/([0-9].*)?(d|h|m|s|ms|us|ns)$)";

// The comments of the proto files, found by the full name of what they are about.
class Comments {
 public:
  explicit Comments(const google::protobuf::FileDescriptorSet* files) {
    if (files == nullptr) return;
    for (const auto& file : files->file()) Build(file, *files);
  }

  [[nodiscard]] std::string Of(const FieldDescriptor& field) const {
    return Text(pool_.FindFieldByName(field.full_name()));
  }
  [[nodiscard]] std::string Of(const Descriptor& message) const {
    return Text(pool_.FindMessageTypeByName(message.full_name()));
  }

 private:
  // What a file imports must be there before it; what is not in the set has been compiled in.
  void Build(const FileDescriptorProto& file, const google::protobuf::FileDescriptorSet& files) {
    if (pool_.FindFileByName(file.name()) != nullptr) return;
    for (const std::string& name : file.dependency()) {
      const auto known = std::find_if(files.file().begin(), files.file().end(),
                                      [&](const auto& other) { return other.name() == name; });
      if (known != files.file().end()) {
        Build(*known, files);
      } else if (const auto* own = DescriptorPool::generated_pool()->FindFileByName(name)) {
        FileDescriptorProto copy;
        own->CopyTo(&copy);
        Build(copy, files);
      }
    }
    static_cast<void>(pool_.BuildFile(file));
  }

  template <typename Described>
  static std::string Text(const Described* described) {
    google::protobuf::SourceLocation location;
    if (described == nullptr || !described->GetSourceLocation(&location)) return {};
    std::string text;
    for (const char c : location.leading_comments) {
      if (c == ' ' && (text.empty() || text.back() == ' ')) continue;
      text.push_back(c == '\n' ? ' ' : c);
    }
    while (text.ends_with(' ')) text.pop_back();
    return text;
  }

  DescriptorPool pool_;
};

class SchemaWriter {
 public:
  explicit SchemaWriter(const SchemaOptions& options) : comments_(options.comments) {}

  std::string Write(const Descriptor& root, const SchemaOptions& options) {
    root_ = &root;
    Begin();
    Property("$schema", "https://json-schema.org/draft/2020-12/schema");
    if (!options.id.empty()) Property("$id", options.id);
    Property("title", options.title.empty() ? root.name() : options.title);
    Reference(root);
    Key("$defs");
    Begin();
    while (!waiting_.empty()) {
      const Descriptor& next = *waiting_.back();
      waiting_.pop_back();
      Key(NameOfDefinition(next));
      Definition(next);
    }
    End();
    End();
    return WriteJson(builder_.Finish().document->root(), options.indent);
  }

 private:
  void Begin() { static_cast<void>(builder_.Begin(NodeKind::kMap)); }
  void BeginList() { static_cast<void>(builder_.Begin(NodeKind::kSequence)); }
  void End() { static_cast<void>(builder_.End()); }
  void String(std::string_view text) {
    static_cast<void>(builder_.Scalar(NodeKind::kString, text));
  }
  void Key(std::string_view key) { String(key); }
  void Property(std::string_view key, std::string_view value) {
    Key(key);
    String(value);
  }
  void Number(std::string_view key, std::string_view lexeme) {
    Key(key);
    static_cast<void>(builder_.Scalar(NodeKind::kNumber, lexeme));
  }
  void Bool(std::string_view key, bool value) {
    Key(key);
    static_cast<void>(builder_.Scalar(NodeKind::kBool, value ? "true" : "false"));
  }
  void StringList(std::string_view key, const std::vector<std::string>& values) {
    Key(key);
    BeginList();
    for (const std::string& value : values) String(value);
    End();
  }

  static std::string NameOfDefinition(const Descriptor& message) {
    const std::string& name = message.full_name();
    return name.starts_with(kOwnPackage) ? name.substr(kOwnPackage.size()) : name;
  }

  // Into an open map.
  void Reference(const Descriptor& message) {
    if (known_.insert(&message).second) waiting_.push_back(&message);
    Property("$ref", fmt::format("#/$defs/{}", NameOfDefinition(message)));
  }

  void Definition(const Descriptor& message) {
    Begin();
    if (std::string text = comments_.Of(message); !text.empty()) Property("description", text);
    switch (FormOf(message)) {
      case MessageForm::kFields:
        FieldsOrShorthand(message);
        break;
      case MessageForm::kDuration:
        TextOrNumber(kDurationPattern, "const", "0");
        break;
      case MessageForm::kTimestamp:
        Property("type", "string");
        Property("format", "date-time");
        break;
      case MessageForm::kWrapper:
        Value(*message.field(0), {});
        break;
      case MessageForm::kRate:
        Property("type", "string");
        Property("pattern", kRatePattern);
        break;
      case MessageForm::kStruct:
        Property("type", "object");
        break;
      case MessageForm::kListValue:
        Property("type", "array");
        break;
      case MessageForm::kValue:
        break;
      case MessageForm::kAny:
        Property("type", "object");
        StringList("required", {"@type"});
        break;
    }
    End();
  }

  void FieldsOrShorthand(const Descriptor& message) {
    const FieldDescriptor* shorthand = ShorthandOf(message);
    if (shorthand == nullptr) return Fields(message);
    Key("anyOf");
    BeginList();
    Begin();
    Field(*shorthand, /*describe=*/false);
    End();
    Begin();
    Fields(message);
    End();
    End();
  }

  void Fields(const Descriptor& message) {
    Property("type", "object");
    Bool("additionalProperties", false);
    Key("properties");
    Begin();
    if (&message == root_) {
      Key("$schema");
      Begin();
      Property("type", "string");
      End();
    }
    std::vector<std::string> required;
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      Key(field.name());
      Begin();
      Field(field, /*describe=*/true);
      End();
      if (TraitsOf(field).required) required.push_back(field.name());
    }
    End();
    if (!required.empty()) StringList("required", required);
    if (message.real_oneof_decl_count() == 0) return;
    Key("allOf");
    BeginList();
    for (int i = 0; i < message.real_oneof_decl_count(); ++i) Oneof(*message.oneof_decl(i));
    End();
  }

  // Exactly one member, or none.
  void Oneof(const OneofDescriptor& oneof) {
    Begin();
    Key("oneOf");
    BeginList();
    for (int i = 0; i < oneof.field_count(); ++i) {
      Begin();
      StringList("required", {oneof.field(i)->name()});
      End();
    }
    if (!IsRequired(oneof)) None(oneof);
    End();
    End();
  }
  void None(const OneofDescriptor& oneof) {
    Begin();
    Key("not");
    Begin();
    Key("anyOf");
    BeginList();
    for (int i = 0; i < oneof.field_count(); ++i) {
      Begin();
      StringList("required", {oneof.field(i)->name()});
      End();
    }
    End();
    End();
    End();
  }

  // Into an open map.
  void Field(const FieldDescriptor& field, bool describe) {
    if (std::string text = comments_.Of(field); describe && !text.empty()) {
      Property("description", text);
    }
    const FieldTraits traits = TraitsOf(field);
    if (field.is_map()) {
      Property("type", "object");
      Key("additionalProperties");
      Begin();
      Value(*field.message_type()->map_value(), {});
      End();
    } else if (field.is_repeated()) {
      Property("type", "array");
      if (traits.required) Number("minItems", "1");
      Key("items");
      Begin();
      Value(field, traits);
      End();
    } else {
      Value(field, traits);
    }
  }

  void Value(const FieldDescriptor& field, const FieldTraits& traits) {
    const bool wrapper =
        field.message_type() != nullptr && FormOf(*field.message_type()) == MessageForm::kWrapper;
    // The options of a wrapper's field are about the value in it.
    if (wrapper && (traits.size || traits.ratio))
      return Value(*field.message_type()->field(0), traits);
    if (traits.size) return TextOrNumber(kSizePattern, "minimum", "0");
    if (traits.ratio) return Ratio();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return Property("type", "boolean");
      case FieldDescriptor::CPPTYPE_INT32:
        return Integer(fmt::format("{}", INT32_MIN), fmt::format("{}", INT32_MAX));
      case FieldDescriptor::CPPTYPE_INT64:
        return Integer(fmt::format("{}", INT64_MIN), fmt::format("{}", INT64_MAX));
      case FieldDescriptor::CPPTYPE_UINT32:
        return Integer("0", fmt::format("{}", UINT32_MAX));
      case FieldDescriptor::CPPTYPE_UINT64:
        return Integer("0", fmt::format("{}", UINT64_MAX));
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return Property("type", "number");
      case FieldDescriptor::CPPTYPE_ENUM:
        return StringList("enum", SpellingsOf(*field.enum_type()));
      case FieldDescriptor::CPPTYPE_STRING:
        return Text(field, traits);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Reference(*field.message_type());
    }
  }

  // A plain YAML scalar is good for a string.
  void Text(const FieldDescriptor& field, const FieldTraits& traits) {
    if (field.type() == FieldDescriptor::TYPE_BYTES) {
      Property("type", "string");
      Property("contentEncoding", "base64");
      return;
    }
    StringList("type", {"string", "number", "boolean"});
    if (traits.required && !field.is_repeated()) Number("minLength", "1");
  }

  void Integer(std::string_view min, std::string_view max) {
    Property("type", "integer");
    Number("minimum", min);
    Number("maximum", max);
  }

  void Ratio() {
    Key("anyOf");
    BeginList();
    Begin();
    Property("type", "number");
    Number("minimum", "0");
    Number("maximum", "1");
    End();
    Begin();
    Property("type", "string");
    Property("pattern", kRatioPattern);
    End();
    End();
  }

  void TextOrNumber(std::string_view pattern, std::string_view keyword, std::string_view bound) {
    Key("anyOf");
    BeginList();
    Begin();
    Property("type", "string");
    Property("pattern", pattern);
    End();
    Begin();
    if (keyword != "const") Property("type", "integer");
    Number(keyword, bound);
    End();
    End();
  }

  Comments comments_;
  DocumentBuilder builder_;
  const Descriptor* root_ = nullptr;
  std::set<const Descriptor*> known_;
  std::vector<const Descriptor*> waiting_;
};

}  // namespace

std::string JsonSchema(const Descriptor& root, const SchemaOptions& options) {
  return SchemaWriter(options).Write(root, options);
}

}  // namespace gatehouse::config
