#include "source/filters/substitution.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/random.h"
#include "source/base/status.h"
#include "source/filters/filter_context.h"
#include "source/filters/request_values.h"
#include "source/net/tls_spec.h"
#include "source/observe/trace_context.h"

namespace gatehouse::filters {

enum class Substitution::Variable : uint8_t {
  // With a name behind the last dot.
  kRequestHeader,
  kResponseHeader,
  kQueryParameter,
  kCookie,
  kCapture,
  kNote,
  // Alone.
  kResponseStatus,
  kClientIp,
  kPeer,
  kUuid,
  kRoute,
  kTable,
  kListener,
  kCluster,
  kUpstreamAddress,
  kMethod,
  kScheme,
  kHost,
  kAuthority,
  kPath,
  kQuery,
  kOriginalPath,
  kRequestId,
  kTraceId,
  kTime,
  kTimeUnix,
  kTlsServerName,
  kTlsClientSubject,
  kTlsClientFingerprint,
  kTlsClientUri,
};

struct Substitution::Known {
  std::string_view text;
  Variable variable;
  bool response = false;  // there is none before the response

  // One that ends in a dot takes a name.
  [[nodiscard]] bool TakesName() const { return text.back() == '.'; }
  [[nodiscard]] std::string Spelling() const {
    return TakesName() ? fmt::format("{}x", text) : std::string(text);
  }

  static const Known kAll[];
};

constexpr Substitution::Known Substitution::Known::kAll[] = {
    {"request.header.", Variable::kRequestHeader},
    {"response.header.", Variable::kResponseHeader, true},
    {"response.status", Variable::kResponseStatus, true},
    {"query.", Variable::kQueryParameter},
    {"cookie.", Variable::kCookie},
    {"capture.", Variable::kCapture},
    {"note.", Variable::kNote},
    {"client_ip", Variable::kClientIp},
    {"peer", Variable::kPeer},
    {"uuid", Variable::kUuid},
    {"route", Variable::kRoute},
    {"table", Variable::kTable},
    {"listener", Variable::kListener},
    {"cluster", Variable::kCluster, true},
    {"upstream_address", Variable::kUpstreamAddress, true},
    {"method", Variable::kMethod},
    {"scheme", Variable::kScheme},
    {"host", Variable::kHost},
    {"authority", Variable::kAuthority},
    {"path", Variable::kPath},
    {"query", Variable::kQuery},
    {"original_path", Variable::kOriginalPath},
    {"request_id", Variable::kRequestId},
    {"trace_id", Variable::kTraceId},
    {"time", Variable::kTime},
    {"time_unix", Variable::kTimeUnix},
    {"tls.server_name", Variable::kTlsServerName},
    {"tls.client.subject", Variable::kTlsClientSubject},
    {"tls.client.fingerprint", Variable::kTlsClientFingerprint},
    {"tls.client.uri", Variable::kTlsClientUri},
};

namespace {

constexpr size_t kMaxVariables = 64;

absl::Status UnknownVariable(std::string_view text, std::span<const std::string_view> known) {
  const std::string_view nearest = Nearest(text, known);
  return InvalidArgument(
      fmt::format("unknown variable \"$({})\"{}", text,
                  nearest.empty() ? "" : fmt::format(", did you mean \"$({})\"?", nearest)));
}

std::string_view FormatNumber(int64_t number, Arena& arena) {
  char* const begin = arena.AllocateChars(20);
  return {begin, static_cast<size_t>(std::to_chars(begin, begin + 20, number).ptr - begin)};
}

std::string_view FormatIp(const net::IpAddress& ip, Arena& arena) {
  char text[46];
  return arena.Copy({text, ip.Format(text)});
}

std::string_view NewUuid(Arena& arena) {
  char* const text = arena.AllocateChars(observe::kRequestIdSize);
  return observe::WriteRequestId(
      ThreadRandom(), std::span<char, observe::kRequestIdSize>(text, observe::kRequestIdSize));
}

std::string_view Timestamp(int64_t wall_micros, Arena& arena) {
  char text[kTimestampSize];
  WriteTimestamp(wall_micros, text);
  return arena.Copy({text, kTimestampSize});
}

std::string_view HeaderValue(const http::HeaderMap& headers, http::Name id, std::string_view name) {
  const auto value = id != http::Name::kUnknown ? headers.Get(id) : headers.Get(name);
  return value.value_or(std::string_view());
}

}  // namespace

absl::StatusOr<Substitution> Substitution::Compile(std::string_view text, Scope scope) {
  Substitution compiled;
  std::string literal;
  while (true) {
    const size_t dollar = text.find('$');
    literal += text.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar + 1);
    if (text.starts_with('$')) {
      literal += '$';
      text.remove_prefix(1);
      continue;
    }
    if (!text.starts_with('(')) {
      return InvalidArgument(
          "a \"$\" begins a variable such as $(client_ip); write \"$$\" for a dollar");
    }
    const size_t close = text.find(')');
    if (close == std::string_view::npos) {
      return InvalidArgument(fmt::format("\"${}\" has no \")\"", text.substr(0, 32)));
    }
    absl::StatusOr<Op> op = CompileVariable(text.substr(1, close - 1), scope);
    if (!op.ok()) return op.status();
    if (compiled.ops_.size() == kMaxVariables) {
      return InvalidArgument(fmt::format("more than {} variables in one text", kMaxVariables));
    }
    op->literal = std::exchange(literal, {});
    compiled.ops_.push_back(*std::move(op));
    text.remove_prefix(close + 1);
  }
  compiled.tail_ = std::move(literal);
  return compiled;
}

absl::StatusOr<Substitution::Op> Substitution::CompileVariable(std::string_view text, Scope scope) {
  for (const Known& known : Known::kAll) {
    const bool matches = known.TakesName() ? text.starts_with(known.text) : text == known.text;
    if (!matches) continue;
    if (known.response && scope == kRequest) {
      return InvalidArgument(
          fmt::format("\"$({})\" is not known before there is a response", text));
    }
    Op op;
    op.variable = known.variable;
    if (!known.TakesName()) return op;
    op.name = text.substr(known.text.size());
    const bool header =
        known.variable == Variable::kRequestHeader || known.variable == Variable::kResponseHeader;
    if (op.name.empty() || (header && !http::IsToken(op.name))) {
      return InvalidArgument(
          fmt::format("\"$({})\" needs a name, as in \"$({})\"", text, known.Spelling()));
    }
    if (header) op.name_id = http::FindName(op.name);
    return op;
  }
  std::vector<std::string> spellings;
  for (const Known& known : Known::kAll) spellings.push_back(known.Spelling());
  const std::vector<std::string_view> views(spellings.begin(), spellings.end());
  // "$(request.headers.x-tenant)": compare what stands before the name.
  const size_t dot = text.rfind('.');
  if (dot != std::string_view::npos) {
    return UnknownVariable(fmt::format("{}.x", text.substr(0, dot)), views);
  }
  return UnknownVariable(text, views);
}

std::string_view Substitution::Evaluate(FilterContext& context) const {
  if (ops_.empty()) return tail_;
  if (ops_.size() == 1 && ops_[0].literal.empty() && tail_.empty()) {
    return Value(ops_[0], context);
  }
  std::array<std::string_view, kMaxVariables> values;
  size_t size = tail_.size();
  for (size_t i = 0; i < ops_.size(); ++i) {
    values[i] = Value(ops_[i], context);
    size += ops_[i].literal.size() + values[i].size();
  }
  char* const begin = context.arena().AllocateChars(size);
  char* out = begin;
  for (size_t i = 0; i < ops_.size(); ++i) {
    out = std::ranges::copy(ops_[i].literal, out).out;
    out = std::ranges::copy(values[i], out).out;
  }
  std::ranges::copy(tail_, out);
  return {begin, size};
}

std::string_view Substitution::Value(const Op& op, FilterContext& context) {
  const http::RequestHead& request = context.request_head();
  const ExchangeFacts& facts = context.facts();
  Arena& arena = context.arena();
  switch (op.variable) {
    case Variable::kRequestHeader:
      return HeaderValue(context.request(), op.name_id, op.name);
    case Variable::kResponseHeader:
      return HeaderValue(context.response(), op.name_id, op.name);
    case Variable::kResponseStatus:
      return FormatNumber(context.response_head().status, arena);
    case Variable::kQueryParameter:
      return QueryValue(request.path, op.name, arena).value_or(std::string_view());
    case Variable::kCookie:
      return CookieValue(context.request(), op.name).value_or(std::string_view());
    case Variable::kCapture:
      return facts.captures.Get(op.name);
    case Variable::kNote:
      return context.GetNote(op.name);
    case Variable::kClientIp:
      return FormatIp(facts.client_ip, arena);
    case Variable::kPeer:
      return FormatIp(facts.peer.ip(), arena);
    case Variable::kUuid:
      return NewUuid(arena);
    case Variable::kRoute:
      return facts.route;
    case Variable::kTable:
      return facts.table;
    case Variable::kListener:
      return facts.listener;
    case Variable::kCluster:
      return facts.cluster;
    case Variable::kUpstreamAddress:
      return facts.upstream_address;
    case Variable::kMethod:
      return request.method_text;
    case Variable::kScheme:
      return request.scheme;
    case Variable::kHost:
      return HostOnly(request.authority);
    case Variable::kAuthority:
      return request.authority;
    case Variable::kPath:
      return PathOnly(request.path);
    case Variable::kQuery:
      return QueryOnly(request.path);
    case Variable::kOriginalPath:
      return facts.original_path;
    case Variable::kRequestId:
      return facts.request_id;
    case Variable::kTraceId:
      return facts.trace_id;
    case Variable::kTime:
      return Timestamp(context.loop().WallMicros(), arena);
    case Variable::kTimeUnix:
      return FormatNumber(context.loop().WallMicros() / 1'000'000, arena);
    case Variable::kTlsServerName:
      return facts.tls == nullptr ? std::string_view() : facts.tls->server_name;
    case Variable::kTlsClientSubject:
      return facts.tls == nullptr ? std::string_view() : facts.tls->subject;
    case Variable::kTlsClientFingerprint:
      return facts.tls == nullptr ? std::string_view() : facts.tls->fingerprint;
    case Variable::kTlsClientUri:
      if (facts.tls == nullptr || facts.tls->uris.empty()) return {};
      return facts.tls->uris.front();
  }
  return {};
}

}  // namespace gatehouse::filters
