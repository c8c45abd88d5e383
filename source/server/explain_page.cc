#include "source/server/explain_page.h"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "source/base/arena.h"
#include "source/base/status.h"
#include "source/filters/request_values.h"

namespace gatehouse::server {
namespace {

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

void AppendParameter(std::string_view name, std::string_view value, std::string* query) {
  if (!query->empty()) *query += '&';
  *query += name;
  *query += '=';
  for (const char c : value) {
    if (IsUnreserved(c)) {
      *query += c;
    } else {
      *query += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
}

AdminReply BadQuestion(std::string_view why) {
  return {.status = 400, .body = fmt::format("{}\n", why)};
}

// What a parameter sets; null for one that is not known.
std::string* FieldOf(std::string_view name, ExplainRequest* request, std::string* format) {
  if (name == "method") return &request->method;
  if (name == "url") return &request->url;
  if (name == "listener") return &request->listener;
  if (name == "client") return &request->client;
  if (name == "header") return &request->headers.emplace_back();
  if (name == "format") return format;
  return nullptr;
}

// What is wrong with the query, or nothing.
std::optional<std::string> ReadQuery(std::string_view query, ExplainRequest* request,
                                     std::string* format) {
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(parameter.size() + 1, query.size()));
    if (parameter.empty()) continue;
    const std::string_view name = parameter.substr(0, parameter.find('='));
    std::string* field = FieldOf(name, request, format);
    if (field == nullptr) {
      return fmt::format(
          "there is no parameter \"{}\": there are method, url, header, listener, client, format",
          name);
    }
    Arena arena;
    *field = filters::QueryValue(arena.Concat("?", parameter), name, arena).value_or("");
  }
  if (request->url.empty()) return "explain what? /explain?method=GET&url=http://HOST/PATH";
  if (!format->empty() && *format != "json" && *format != "text") {
    return fmt::format("format is text or json, not \"{}\"", *format);
  }
  return std::nullopt;
}

}  // namespace

AdminReply ExplainPage(std::string_view query, const ExplainScene& scene) {
  ExplainRequest request;
  std::string format;
  if (const auto wrong = ReadQuery(query, &request, &format)) return BadQuestion(*wrong);
  const absl::StatusOr<Explained> explained = Explain(request, scene);
  if (absl::IsNotFound(explained.status())) {
    return {.status = 503, .body = MessageOf(explained.status()) + "\n"};
  }
  if (!explained.ok()) return BadQuestion(MessageOf(explained.status()));
  if (format == "json") return {.content_type = "application/json", .body = ToJson(*explained)};
  return {.body = ToText(*explained)};
}

std::string ExplainQuery(const ExplainRequest& request, bool json) {
  std::string query;
  AppendParameter("method", request.method, &query);
  AppendParameter("url", request.url, &query);
  for (const std::string& header : request.headers) AppendParameter("header", header, &query);
  if (!request.listener.empty()) AppendParameter("listener", request.listener, &query);
  AppendParameter("client", request.client, &query);
  if (json) AppendParameter("format", "json", &query);
  return query;
}

}  // namespace gatehouse::server
