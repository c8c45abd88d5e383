#include "source/observe/log_format.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/observe/log_line.h"

namespace gatehouse::observe {

enum class LogFormat::OpKind : uint8_t { kLiteral, kVariable, kRequestHeader, kResponseHeader };

namespace {

enum class ValueKind : uint8_t {
  kText,
  kUrl,  // text whose query is redacted
  kPath,
  kQuery,
  kUri,  // path and query
  kNumber,
  kDuration,  // microseconds; negative is absent
  kMillis,    // the same, as milliseconds with three decimals
  kStatus,    // 0 is absent
  kFlags,
  kTime,
  kUnixTime,  // seconds with three decimals
};

struct Variable {
  std::string_view name;
  ValueKind kind;
  std::string_view LogRecord::* text = nullptr;
  int64_t LogRecord::* number = nullptr;
};

constexpr Variable Text(std::string_view name, std::string_view LogRecord::* text) {
  return {name, ValueKind::kText, text, nullptr};
}
constexpr Variable Number(std::string_view name, ValueKind kind, int64_t LogRecord::* number) {
  return {name, kind, nullptr, number};
}

constexpr Variable kVariables[] = {
    {"time", ValueKind::kTime},
    {"unix_time", ValueKind::kUnixTime},
    Text("method", &LogRecord::method),
    Text("scheme", &LogRecord::scheme),
    Text("host", &LogRecord::host),
    {"path", ValueKind::kPath},
    {"query", ValueKind::kQuery},
    {"uri", ValueKind::kUri},
    Text("protocol", &LogRecord::protocol),
    {"status", ValueKind::kStatus},
    {"flags", ValueKind::kFlags},
    Text("code", &LogRecord::code),
    Text("listener", &LogRecord::listener),
    Text("table", &LogRecord::table),
    Text("route", &LogRecord::route),
    Text("cluster", &LogRecord::cluster),
    Text("upstream_address", &LogRecord::upstream_address),
    Number("upstream_status", ValueKind::kStatus, &LogRecord::upstream_status),
    Text("upstream_failure", &LogRecord::upstream_failure),
    Number("attempts", ValueKind::kNumber, &LogRecord::attempts),
    Number("request_bytes", ValueKind::kNumber, &LogRecord::request_bytes),
    Number("response_bytes", ValueKind::kNumber, &LogRecord::response_bytes),
    Number("duration_us", ValueKind::kDuration, &LogRecord::duration_us),
    Number("gateway_us", ValueKind::kDuration, &LogRecord::gateway_us),
    Number("upstream_us", ValueKind::kDuration, &LogRecord::upstream_us),
    Number("duration_ms", ValueKind::kMillis, &LogRecord::duration_us),
    Number("gateway_ms", ValueKind::kMillis, &LogRecord::gateway_us),
    Number("upstream_ms", ValueKind::kMillis, &LogRecord::upstream_us),
    Text("client_ip", &LogRecord::client_ip),
    Text("peer_address", &LogRecord::peer_address),
    Text("tls_version", &LogRecord::tls_version),
    Text("tls_cipher", &LogRecord::tls_cipher),
    Text("tls_server_name", &LogRecord::tls_server_name),
    Text("tls_client_subject", &LogRecord::tls_client_subject),
    Text("tls_client_fingerprint", &LogRecord::tls_client_fingerprint),
    Text("consumer", &LogRecord::consumer),
    Text("trace_id", &LogRecord::trace_id),
    Text("span_id", &LogRecord::span_id),
    Text("request_id", &LogRecord::request_id),
    Text("user_agent", &LogRecord::user_agent),
    {"referer", ValueKind::kUrl, &LogRecord::referer, nullptr},
};
static_assert(std::size(kVariables) < 256);

constexpr std::string_view kRequestHeader = "request.header.";
constexpr std::string_view kResponseHeader = "response.header.";

// Headers that carry credentials: no format may name them.
constexpr std::string_view kSecretHeaders[] = {"authorization", "proxy-authorization",
                                               "cookie",        "set-cookie",
                                               "x-api-key",     "api-key",
                                               "x-auth-token",  "x-amz-security-token",
                                               "x-csrf-token",  "x-access-token",
                                               "x-vault-token", "x-forwarded-client-cert"};

constexpr const char* kDefaultJson[] = {"time",
                                        "method",
                                        "scheme",
                                        "host",
                                        "path",
                                        "query",
                                        "protocol",
                                        "status",
                                        "flags",
                                        "code",
                                        "listener",
                                        "table",
                                        "route",
                                        "cluster",
                                        "upstream_address",
                                        "upstream_status",
                                        "upstream_failure",
                                        "attempts",
                                        "request_bytes",
                                        "response_bytes",
                                        "duration_us",
                                        "gateway_us",
                                        "upstream_us",
                                        "client_ip",
                                        "consumer",
                                        "trace_id",
                                        "request_id",
                                        "user_agent",
                                        "referer"};

constexpr std::string_view kFlagNames[kLogFlagCount] = {
    "NR", "UH",  "UF", "UO", "UT", "UR", "UC", "UPE", "URX", "RL",  "UAEX",
    "DC", "DPE", "DT", "IH", "SI", "LH", "OM", "DR",  "RLD", "RLU", "RLW"};

constexpr size_t kMaxLiterals = 4096;
// Room of a value that is no text: a time, a number, all flags.
constexpr size_t kFixedValue = 32;
constexpr size_t kAllFlags = 96;
// What one byte of a value can become, and what stands around a value.
constexpr size_t kWorstExpansion = 6;
constexpr size_t kAroundValue = 8;
// What LogLine wants free before it writes the last of a value.
constexpr size_t kSlack = 64;
// Values are cut here even when there is room for more.
constexpr size_t kLongValue = 4096;

bool IsHeaderName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
  });
}

}  // namespace

std::string_view LogFlagName(int index) {
  DCHECK(index >= 0 && index < kLogFlagCount);
  return kFlagNames[index];
}

std::vector<std::string_view> LogFormat::VariableNames() {
  std::vector<std::string_view> names;
  for (const Variable& variable : kVariables) names.push_back(variable.name);
  return names;
}

LogFormat::LogFormat(const LogFormatOptions& options)
    : query_(options.query, options.secret_parameters) {}

absl::StatusOr<LogFormat> LogFormat::Compile(std::string_view pattern,
                                             const LogFormatOptions& options) {
  LogFormat format(options);
  while (!pattern.empty()) {
    const size_t dollar = pattern.find('$');
    format.AddLiteral(pattern.substr(0, dollar));
    if (dollar == std::string_view::npos) break;
    pattern.remove_prefix(dollar + 1);
    if (pattern.starts_with('$')) {
      format.AddLiteral("$");
      pattern.remove_prefix(1);
    } else if (pattern.starts_with('(')) {
      const size_t end = pattern.find(')');
      if (end == std::string_view::npos) {
        return InvalidArgument(fmt::format("'$({}' lacks its ')'", pattern.substr(1)));
      }
      const absl::Status status = format.AddVariable(pattern.substr(1, end - 1));
      if (!status.ok()) return status;
      pattern.remove_prefix(end + 1);
    } else {
      return InvalidArgument("a '$' must be followed by '(name)'; write '$$' for a dollar sign");
    }
  }
  const absl::Status status = format.Finish();
  if (!status.ok()) return status;
  return format;
}

absl::StatusOr<LogFormat> LogFormat::CompileJson(
    std::span<const std::pair<std::string, std::string>> fields, const LogFormatOptions& options) {
  LogFormat format(options);
  format.json_ = true;
  std::vector<std::string_view> seen;
  std::string before = "{\"";
  for (const auto& [field, variable] : fields) {
    if (std::find(seen.begin(), seen.end(), field) != seen.end()) {
      return InvalidArgument(fmt::format("field '{}' is there twice", field));
    }
    seen.push_back(field);
    std::array<char, 1024> name;
    LogLine line({name.data(), name.size()}, name.size() / kWorstExpansion - kAroundValue);
    line.JsonContent(field);
    if (field.empty() || line.overflow() || line.cut()) {
      return InvalidArgument(fmt::format("field '{}': its name must have 1 to 160 bytes", field));
    }
    before += std::string_view(name.data(), line.size());
    before += "\":";
    format.AddLiteral(before);
    const absl::Status status = format.AddVariable(variable);
    if (!status.ok()) {
      return InvalidArgument(fmt::format("field '{}': {}", field, MessageOf(status)));
    }
    before = ",\"";
  }
  format.AddLiteral(fields.empty() ? "{}" : "}");
  const absl::Status status = format.Finish();
  if (!status.ok()) return status;
  return format;
}

absl::StatusOr<LogFormat> LogFormat::DefaultJson(
    std::span<const std::pair<std::string, std::string>> extra, const LogFormatOptions& options) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const char* name : kDefaultJson) fields.emplace_back(name, name);
  fields.insert(fields.end(), extra.begin(), extra.end());
  return CompileJson(fields, options);
}

void LogFormat::AddLiteral(std::string_view text) {
  if (text.empty()) return;
  if (!ops_.empty() && ops_.back().kind == OpKind::kLiteral) {
    ops_.back().size += static_cast<uint32_t>(text.size());
  } else {
    ops_.push_back({.kind = OpKind::kLiteral,
                    .begin = static_cast<uint32_t>(text_.size()),
                    .size = static_cast<uint32_t>(text.size())});
  }
  text_ += text;
}

absl::Status LogFormat::AddVariable(std::string_view name) {
  if (name.starts_with(kRequestHeader) || name.starts_with(kResponseHeader)) {
    return AddHeader(name, name.substr(name.find(".header.") + 8));
  }
  for (size_t i = 0; i < std::size(kVariables); ++i) {
    if (kVariables[i].name != name) continue;
    ops_.push_back({.kind = OpKind::kVariable, .variable = static_cast<uint8_t>(i)});
    return absl::OkStatus();
  }
  const std::vector<std::string_view> names = VariableNames();
  const std::string_view nearest = Nearest(name, names);
  if (nearest.empty()) return InvalidArgument(fmt::format("unknown variable '{}'", name));
  return InvalidArgument(fmt::format("unknown variable '{}'; did you mean '{}'?", name, nearest));
}

absl::Status LogFormat::AddHeader(std::string_view variable, std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (!IsHeaderName(lower)) {
    return InvalidArgument(fmt::format("'{}' does not name a header", variable));
  }
  const auto* end = std::end(kSecretHeaders);
  if (std::find(std::begin(kSecretHeaders), end, lower) != end) {
    return InvalidArgument(
        fmt::format("'{}' carries credentials, which are never logged", variable));
  }
  ops_.push_back({.kind = variable.starts_with(kRequestHeader) ? OpKind::kRequestHeader
                                                               : OpKind::kResponseHeader,
                  // Used as "holds a URL" by header operations.
                  .variable = lower == "referer" || lower == "location" || lower == "origin",
                  .begin = static_cast<uint32_t>(text_.size()),
                  .size = static_cast<uint32_t>(lower.size())});
  text_ += lower;
  return absl::OkStatus();
}

absl::Status LogFormat::Finish() {
  AddLiteral("\n");
  text_.append(LogLine::kPadding, '\0');
  size_t literals = 0;
  size_t texts = 0;
  size_t fixed = 0;
  for (const Op& op : ops_) {
    if (op.kind == OpKind::kLiteral) {
      literals += op.size;
    } else if (op.kind != OpKind::kVariable) {
      texts += 2;
    } else {
      switch (kVariables[op.variable].kind) {
        case ValueKind::kUri:
        case ValueKind::kUrl:
          texts += 2;
          break;
        case ValueKind::kText:
        case ValueKind::kPath:
        case ValueKind::kQuery:
          texts += 1;
          break;
        case ValueKind::kFlags:
          fixed += kAllFlags;
          break;
        default:
          fixed += kFixedValue;
      }
    }
  }
  if (ops_.size() > 2 * kMaxFields || literals > kMaxLiterals) {
    return InvalidArgument(fmt::format("more than {} variables or {} bytes of text between them",
                                       kMaxFields, kMaxLiterals));
  }
  const size_t around = texts * kAroundValue + fixed + literals + kSlack;
  if (around + texts * kWorstExpansion > kMaxLine) {
    return InvalidArgument("its lines could be longer than 16 KiB: use fewer variables");
  }
  short_value_ = texts == 0 ? 0 : (kMaxLine - around) / (texts * kWorstExpansion);
  return absl::OkStatus();
}

size_t LogFormat::Write(const LogRecord& record, LogClock& clock, std::span<char> to) const {
  CHECK(to.size() >= kMaxLine);
  LogLine line(to, std::max(kLongValue, short_value_));
  Run(record, clock, line);
  if (__builtin_expect(line.overflow(), 0)) {
    line = LogLine(to, short_value_);
    Run(record, clock, line);
    CHECK(!line.overflow());
  }
  return line.size();
}

void LogFormat::Run(const LogRecord& record, LogClock& clock, LogLine& line) const {
  for (const Op& op : ops_) {
    if (op.kind == OpKind::kLiteral) {
      line.Padded(text_.data() + op.begin, op.size);
    } else {
      RunOp(op, record, clock, line);
    }
  }
}

void LogFormat::RunOp(const Op& op, const LogRecord& record, LogClock& clock, LogLine& line) const {
  if (op.kind != OpKind::kVariable) {
    std::string_view value;
    if (record.header != nullptr) {
      value = record.header(record.header_context, op.kind == OpKind::kResponseHeader,
                            std::string_view(text_).substr(op.begin, op.size));
    }
    if (op.variable == 0) return line.Text(value, json_);
    const size_t query = value.find('?');
    return WriteUrl(value.substr(0, query),
                    query == value.npos ? std::string_view() : value.substr(query + 1), line);
  }
  const Variable& variable = kVariables[op.variable];
  switch (variable.kind) {
    case ValueKind::kText:
      return line.Text(record.*variable.text, json_);
    case ValueKind::kUrl: {
      const std::string_view value = record.*variable.text;
      const size_t query = value.find('?');
      return WriteUrl(value.substr(0, query),
                      query == value.npos ? std::string_view() : value.substr(query + 1), line);
    }
    case ValueKind::kPath:
      return line.Text(record.path, json_);
    case ValueKind::kQuery:
      return WriteUrl({}, record.query, line);
    case ValueKind::kUri:
      return WriteUrl(record.path, record.query, line);
    case ValueKind::kNumber:
      return line.Number(record.*variable.number);
    case ValueKind::kDuration:
    case ValueKind::kMillis: {
      const int64_t value = record.*variable.number;
      if (value < 0) return line.Absent(json_);
      return variable.kind == ValueKind::kDuration ? line.Number(value) : line.Thousandths(value);
    }
    case ValueKind::kStatus: {
      const int64_t status = variable.number == nullptr ? record.status : record.*variable.number;
      return status == 0 ? line.Absent(json_) : line.Number(status);
    }
    case ValueKind::kFlags:
      return line.Flags(record.flags, json_);
    case ValueKind::kTime:
      return line.Quoted(clock.Text(record.wall_us), json_);
    case ValueKind::kUnixTime:
      return line.Thousandths(record.wall_us / 1000);
  }
}

// The path, then the query behind a '?' as far as it may be logged. With no path the query alone.
void LogFormat::WriteUrl(std::string_view path, std::string_view query, LogLine& line) const {
  if (query_.mode() == QueryLog::kNone) query = {};
  if (path.empty() && query.empty()) return line.Absent(json_);
  line.BeginText(json_);
  line.Content(path, json_);
  if (!query.empty()) {
    if (!path.empty()) line.Raw("?");
    bool cut = false;
    query = line.Limit(query, cut);
    query_.ForEachPiece(query, [&](std::string_view piece) { line.Content(piece, json_); });
    if (cut) line.Raw("...");
  }
  line.EndText(json_);
}

}  // namespace gatehouse::observe
