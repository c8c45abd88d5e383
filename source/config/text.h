// Text configs (YAML, JSON) to protobuf messages and back, for any message, by reflection.
//
// The rules, beyond the protobuf JSON mapping (docs/configuration.md):
// - Field names in snake_case. An unknown field is an error that names the nearest known one.
// - null is "not written". Two members of a oneof are an error.
// - Enums by the value's name without the enum's prefix, lower case (POLICY_ROUND_ROBIN:
// round_robin),
//   or as (gatehouse.v1.spelling) says; the full name is accepted too.
// - Numbers are range-checked; 1e3 is an integer. A quoted number is text, and an error, except for
//   64-bit fields, which other protobuf tools quote. A plain YAML scalar is good for a string
//   field: `version: 8080` is "8080".
// - google.protobuf.Duration: 2s, 150ms, 1m30s, 1h, 0. Wrappers: the plain value. Struct, Value:
// free
//   form. Any: a map with "@type". bytes: base64.
// - Sizes, ratios, rates, shorthands, secrets, environment: api/gatehouse/v1/options.proto.
// All errors are collected, not only the first. Main thread; nothing is kept after a call returns
// but what the caller holds (a SourceMap shares the parsed document).
//
//   ErrorList errors;
//   DecodeContext context{.errors = &errors, .environment = ProcessEnvironment()};
//   v1::Bootstrap bootstrap;
//   SourceMap source;
//   if (!LoadFile("gateway.yaml", &bootstrap, context, &source)) std::cerr << errors.ToString();
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "google/protobuf/message.h"

#include "source/base/document.h"
#include "source/config/config_error.h"
#include "source/config/source_map.h"

namespace gatehouse::config {

// The value of an environment variable, or nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
[[nodiscard]] Environment ProcessEnvironment();

struct DecodeContext {
  std::string file;  // for errors; LoadFile uses the file's path when empty
  ErrorList* errors = nullptr;
  // For fields with (gatehouse.v1.env). Empty: ${NAME} stays as it is, for a config that another
  // machine will read.
  Environment environment;
  DocumentLimits limits;
  // Where the types in Any come from. Default: those linked into the program.
  const google::protobuf::DescriptorPool* pool = nullptr;
  google::protobuf::MessageFactory* factory = nullptr;
};

enum class TextFormat { kDetect, kYaml, kJson };

// Fills `message`, which must be empty. False when it added an error; the message then holds what
// could be read.
bool DecodeInto(const Node& node, google::protobuf::Message* message, DecodeContext& context);

// Parses and decodes. kDetect: JSON when it begins with '{' or '['. `source` may be nullptr.
bool LoadText(std::string_view text, TextFormat format, google::protobuf::Message* message,
              DecodeContext& context, SourceMap* source);
// By the extension: .json is JSON, .yaml and .yml YAML, others by content.
bool LoadFile(const std::string& path, google::protobuf::Message* message, DecodeContext& context,
              SourceMap* source);

// In the spelling that DecodeInto reads, without defaults, secrets as "[redacted]".
[[nodiscard]] std::string ToYaml(const google::protobuf::Message& message);
[[nodiscard]] std::string ToJson(const google::protobuf::Message& message, int indent = 2);

}  // namespace gatehouse::config
