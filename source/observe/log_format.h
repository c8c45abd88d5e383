// LogFormat: a line of the access log, compiled from a pattern or a list of JSON fields.
//
// Owner: an AccessLog; immutable. Thread: compiled on main, used by any worker. No allocation.
// Credentials do not get into a log: headers that carry them cannot be named, and values of query
// parameters whose names look like secrets are replaced by "***" unless the options say otherwise.
//
//   auto format = LogFormat::Compile("$(time) $(method) $(path) $(status) $(request.header.via)");
//   LogClock clock;
//   size_t size = format->Write(record, clock, {buffer, sizeof(buffer)});   // ends with '\n'
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "source/observe/log_record.h"
#include "source/observe/query_redaction.h"

namespace gatehouse::observe {

class LogLine;

struct LogFormatOptions {
  QueryLog query = QueryLog::kRedacted;
  // Further parameter names whose values kRedacted hides; case does not matter.
  std::vector<std::string> secret_parameters;
};

// The text of the current second, kept so that a line costs no calendar. One per writing thread.
class LogClock {
 public:
  // "2026-01-02T03:04:05.678Z"
  [[nodiscard]] std::string_view Text(int64_t wall_us);

 private:
  int64_t second_ = INT64_MIN;
  std::array<char, 24> text_{};
};

class LogFormat {
 public:
  // Room that any line fits into; longer ones have their values cut, and say so by "...".
  static constexpr size_t kMaxLine = 16 * 1024;
  static constexpr size_t kMaxFields = 128;
  static constexpr std::string_view kDefaultText =
      "$(time) $(client_ip) \"$(method) $(uri) $(protocol)\" $(status) $(flags) $(code) "
      "$(response_bytes) $(duration_us) $(gateway_us) $(upstream_us) $(route) $(cluster) "
      "$(upstream_address) $(trace_id)";

  // A text pattern. $(name) is a variable, $$ a dollar sign. An absent value is "-".
  [[nodiscard]] static absl::StatusOr<LogFormat> Compile(std::string_view pattern,
                                                         const LogFormatOptions& options = {});
  // A JSON object per line: {field name, variable name}, such as {"path", "path"}.
  [[nodiscard]] static absl::StatusOr<LogFormat> CompileJson(
      std::span<const std::pair<std::string, std::string>> fields,
      const LogFormatOptions& options = {});
  // The default JSON fields, then those of `extra`.
  [[nodiscard]] static absl::StatusOr<LogFormat> DefaultJson(
      std::span<const std::pair<std::string, std::string>> extra = {},
      const LogFormatOptions& options = {});

  // Writes one line, with its '\n', into `to`, which has kMaxLine bytes. Returns its length.
  [[nodiscard]] size_t Write(const LogRecord& record, LogClock& clock, std::span<char> to) const;

  // Every variable name that a pattern may use, for messages and documentation. Headers are apart.
  [[nodiscard]] static std::vector<std::string_view> VariableNames();

 private:
  enum class OpKind : uint8_t;
  struct Op {
    OpKind kind;
    uint8_t variable = 0;  // in the table of variables
    uint32_t begin = 0;    // literal or header name, in text_
    uint32_t size = 0;
  };

  explicit LogFormat(const LogFormatOptions& options);
  [[nodiscard]] absl::Status AddVariable(std::string_view name);
  [[nodiscard]] absl::Status AddHeader(std::string_view variable, std::string_view name);
  void AddLiteral(std::string_view text);
  // Ends the line and makes sure that any record fits.
  [[nodiscard]] absl::Status Finish();
  void Run(const LogRecord& record, LogClock& clock, LogLine& line) const;
  void RunOp(const Op& op, const LogRecord& record, LogClock& clock, LogLine& line) const;
  void WriteUrl(std::string_view path, std::string_view query, LogLine& line) const;

  bool json_ = false;
  QueryRedaction query_;
  std::string text_;
  std::vector<Op> ops_;
  size_t short_value_ = 0;  // bytes of a value that surely leave room for all others
};

}  // namespace gatehouse::observe
