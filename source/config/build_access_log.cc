#include "source/config/build_access_log.h"

#include <array>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/status.h"

namespace gatehouse::config {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

constexpr uint64_t kDefaultBuffer = uint64_t{1} << 20;
constexpr uint64_t kMinBuffer = uint64_t{64} << 10;
constexpr uint64_t kMaxBuffer = uint64_t{1} << 30;

void CheckPath(const std::string& path, const Field& field) {
  if (path == "stdout" || path == "stderr") return;
  if (path.find('\0') != std::string::npos) return field.Error("is not a path");
  if (path.find('/') != std::string::npos && !path.ends_with('/')) return;
  constexpr std::array<std::string_view, 3> kWords = {"stdout", "stderr", "off"};
  field.Error(fmt::format("\"{}\" is neither stdout, stderr, off nor the path of a file", path),
              Nearest(path, kWords));
}

// By itself, so that a field that cannot be logged is reported where it is named.
bool CheckVariable(const std::string& name, const Field& field) {
  const std::array<std::pair<std::string, std::string>, 1> alone = {{{name, name}}};
  const absl::StatusOr<observe::LogFormat> format = observe::LogFormat::CompileJson(alone);
  if (format.ok()) return true;
  std::string text = MessageOf(format.status());
  const std::string prefix = fmt::format("field '{}': ", name);
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
  field.Error(std::move(text));
  return false;
}

template <typename List>
void ReadHeaders(const List& names, std::string_view kind, const Field& field,
                 std::vector<std::string>* lower, Fields* fields) {
  for (int i = 0; i < names.size(); ++i) {
    const Field item = field.Item(static_cast<size_t>(i));
    std::string name = ReadHeaderName(names[i], item);
    if (name.empty()) continue;
    const std::string variable = fmt::format("{}.header.{}", kind, name);
    if (!CheckVariable(variable, item)) continue;
    fields->emplace_back(variable, variable);
    lower->push_back(std::move(name));
  }
}

// The fields that are named, one by one for their errors.
Fields ReadFields(const v1::AccessLog& message, const Field& field) {
  Fields fields;
  for (int i = 0; i < message.fields_size(); ++i) {
    const std::string& name = message.fields(i);
    if (CheckVariable(name, field.Item(static_cast<size_t>(i)))) fields.emplace_back(name, name);
  }
  return fields;
}

absl::StatusOr<observe::LogFormat> ReadFormat(const v1::AccessLog& message, const Field& field,
                                              Listener* listener) {
  observe::LogFormatOptions options;
  if (message.omit_query()) options.query = observe::QueryLog::kNone;
  Fields headers;
  ReadHeaders(message.request_headers(), "request", field.Below("request_headers"),
              &listener->log_request_headers, &headers);
  ReadHeaders(message.response_headers(), "response", field.Below("response_headers"),
              &listener->log_response_headers, &headers);
  if (!message.pattern().empty()) {
    if (!message.fields().empty())
      field.Below("fields").Error("is for JSON, and there is a pattern");
    if (!headers.empty()) {
      field.Error(fmt::format("a pattern names its headers itself: $({})", headers.front().first));
    }
    return observe::LogFormat::Compile(message.pattern(), options);
  }
  if (message.fields().empty()) return observe::LogFormat::DefaultJson(headers, options);
  Fields fields = ReadFields(message, field.Below("fields"));
  fields.insert(fields.end(), headers.begin(), headers.end());
  return observe::LogFormat::CompileJson(fields, options);
}

}  // namespace

std::optional<PlannedLog> ReadAccessLog(const v1::AccessLog& message, const Field& field,
                                        Listener* listener) {
  PlannedLog log;
  log.path = message.path().empty() ? "stdout" : message.path();
  const bool off = log.path == "off";
  if (!off) CheckPath(log.path, field.Below("path"));
  log.buffer_bytes = ReadSize(message.buffer_bytes(),
                              {.fallback = kDefaultBuffer, .min = kMinBuffer, .max = kMaxBuffer},
                              field.Below("buffer_bytes"));
  absl::StatusOr<observe::LogFormat> format = ReadFormat(message, field, listener);
  if (format.ok()) {
    log.format = *std::move(format);
  } else {
    field.Below(message.pattern().empty() ? "fields" : "pattern").Error(format.status());
  }
  if (off) return std::nullopt;
  return log;
}

}  // namespace gatehouse::config
