// A format and a record from any bytes: what compiles writes one valid line.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/base/check.h"
#include "source/base/json.h"
#include "source/observe/log_format.h"

namespace gatehouse::observe {
namespace {

size_t Write(const LogFormat& format, const LogRecord& record, std::string& buffer) {
  LogClock clock;
  const size_t size = format.Write(record, clock, {buffer.data(), LogFormat::kMaxLine});
  CHECK(size >= 1 && size <= LogFormat::kMaxLine);
  CHECK(buffer[size - 1] == '\n');
  return size;
}

// The pattern, a NUL, then the values.
void Try(std::string_view text) {
  const size_t split = std::min(text.find('\0'), text.size());
  const std::string_view pattern = text.substr(0, split);
  const std::string_view values = text.substr(std::min(split + 1, text.size()));
  LogRecord record;
  record.method = values.substr(0, values.size() / 4);
  record.path = values.substr(values.size() / 4);
  record.query = values;
  record.referer = values;
  record.user_agent = values.substr(values.size() / 2);
  record.flags.Add(static_cast<LogFlag>(values.size() & ((1u << kLogFlagCount) - 1)));
  record.duration_us = static_cast<int64_t>(values.size()) * 7919;
  record.header_context = &values;
  record.header = [](const void* context, bool, std::string_view) {
    return *static_cast<const std::string_view*>(context);
  };
  static std::string buffer(LogFormat::kMaxLine, '\0');
  const LogFormatOptions options{.query = static_cast<QueryLog>(text.size() % 4)};
  const auto plain = LogFormat::Compile(pattern, options);
  if (plain.ok()) Write(*plain, record, buffer);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"path", "path"}, {"uri", "uri"}, {"referer", "referer"}, {"header", "request.header.x"}};
  fields.emplace_back(pattern.substr(0, 200), "query");
  const auto json = LogFormat::CompileJson(fields, options);
  if (!json.ok()) return;
  const size_t size = Write(*json, record, buffer);
  CHECK(std::count(buffer.data(), buffer.data() + size, '\n') == 1);
  // Names that differ in bytes that are not UTF-8 may become the same, which is an error of its
  // own.
  CHECK(ParseJson(std::string_view(buffer.data(), size)).document != nullptr);
}

}  // namespace
}  // namespace gatehouse::observe

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gatehouse::observe::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
