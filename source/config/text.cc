#include "source/config/text.h"

#include <cstdlib>
#include <utility>

#include "fmt/format.h"
#include "source/base/json.h"
#include "source/base/yaml.h"
#include "source/config/text_decoder.h"

namespace gatehouse::config {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool LooksLikeJson(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const size_t first = text.find_first_not_of(kSpace);
  return first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
}

// "{ a: 1 }" is YAML in braces, not JSON: it is tried as that when it is no JSON. When it is
// neither, quoted names tell that JSON was meant, and whose error helps.
ParsedDocument ParseDetected(std::string_view text, const DocumentLimits& limits) {
  if (!LooksLikeJson(text)) return ParseYaml(text, limits);
  ParsedDocument json = ParseJson(text, limits);
  if (json.document != nullptr) return json;
  ParsedDocument yaml = ParseYaml(text, limits);
  if (yaml.document != nullptr) return yaml;
  const size_t name = text.find_first_not_of(kSpace, text.find_first_of("{[") + 1);
  return name != std::string_view::npos && text[name] == '"' ? json : yaml;
}

ParsedDocument Parse(std::string_view text, TextFormat format, const DocumentLimits& limits) {
  switch (format) {
    case TextFormat::kYaml:
      return ParseYaml(text, limits);
    case TextFormat::kJson:
      return ParseJson(text, limits);
    case TextFormat::kDetect:
      return ParseDetected(text, limits);
  }
  return {};
}

void AddError(DecodeContext& context, SourcePosition position, std::string message) {
  ConfigError error;
  error.file = context.file;
  error.line = static_cast<int>(position.line);
  error.column = static_cast<int>(position.column);
  error.message = std::move(message);
  context.errors->Add(std::move(error));
}

std::string EmptyHint(const google::protobuf::Message& message) {
  std::string fields;
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    if (!fields.empty()) fields.append(", ");
    fields.append(descriptor.field(i)->name());
  }
  return fmt::format("there is nothing here; write a map with some of these fields: {}", fields);
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

bool DecodeInto(const Node& node, google::protobuf::Message* message, DecodeContext& context) {
  ErrorList own;
  ErrorList* const given = context.errors;
  if (given == nullptr) context.errors = &own;
  const size_t before = context.errors->error_count();
  if (node.kind() == NodeKind::kNull) {
    AddError(context, node.position(), EmptyHint(*message));
  } else {
    Decoder(context).DecodeMessage(node, message);
  }
  const bool ok = context.errors->error_count() == before;
  context.errors = given;
  return ok;
}

bool LoadText(std::string_view text, TextFormat format, google::protobuf::Message* message,
              DecodeContext& context, SourceMap* source) {
  ErrorList own;
  ErrorList* const given = context.errors;
  if (given == nullptr) context.errors = &own;
  const ParsedDocument parsed = Parse(text, format, context.limits);
  bool ok = parsed.ok();
  if (text.find_first_not_of(kSpace) == std::string_view::npos) {
    AddError(context, {}, EmptyHint(*message));
  } else {
    for (const DocumentError& error : parsed.errors) {
      AddError(context, error.position, error.message);
    }
  }
  if (source != nullptr) *source = SourceMap(context.file, parsed.document);
  if (parsed.document != nullptr) ok &= DecodeInto(parsed.document->root(), message, context);
  context.errors = given;
  return ok;
}

}  // namespace gatehouse::config
