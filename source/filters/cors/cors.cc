#include "source/filters/cors/cors.h"

#include <utility>

#include "api/gatehouse/filters/v1/cors.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/http/list.h"
#include "source/http/names.h"

namespace gatehouse::filters {

namespace {

using http::HeaderMap;
using http::Name;

constexpr int64_t kDefaultMaxAge = 600;  // seconds

constexpr http::NameSet kResponseNames({
    Name::kAccessControlAllowCredentials,
    Name::kAccessControlAllowHeaders,
    Name::kAccessControlAllowMethods,
    Name::kAccessControlAllowOrigin,
    Name::kAccessControlAllowPrivateNetwork,
    Name::kAccessControlExposeHeaders,
    Name::kAccessControlMaxAge,
});

// Adds `field` to Vary unless it is there, so that no cache gives one site's answer to another.
void AddVary(HeaderMap& response, std::string_view field) {
  bool there = false;
  response.ForEach(Name::kVary, [&](std::string_view line) {
    there = there || http::ListHas(line, field) || http::ListHas(line, "*");
  });
  if (!there) response.Append(Name::kVary, field);
}

bool IsTokenList(std::string_view list) {
  bool tokens = true;
  http::ForEachElement(
      list, [&](std::string_view element) { tokens = tokens && http::IsToken(element); });
  return tokens;
}

// Joins the tokens of a list in the config; empty when it is empty or holds "*".
absl::StatusOr<std::string> JoinTokens(const google::protobuf::RepeatedPtrField<std::string>& list,
                                       std::string_view field, BuildContext& build) {
  std::string joined;
  bool any = false;
  for (int i = 0; i < list.size(); ++i) {
    if (list[i] == "*") {
      any = true;
    } else if (!http::IsToken(list[i])) {
      return build.Error(fmt::format("{}[{}]", field, i),
                         fmt::format("\"{}\" is not a name", list[i]));
    } else {
      if (!joined.empty()) joined += ", ";
      joined += list[i];
    }
  }
  return any ? std::string() : joined;
}

}  // namespace

absl::StatusOr<Cors> Cors::Build(const v1::Cors& config, BuildContext& build) {
  Cors cors;
  absl::Status status;
  std::string error;
  for (int i = 0; i < config.allow_origins_size(); ++i) {
    if (cors.origins_.AddPattern(config.allow_origins(i), error)) continue;
    status = build.Error(fmt::format("allow_origins[{}]", i), error);
  }
  for (int i = 0; i < config.allow_origin_regexes_size(); ++i) {
    if (cors.origins_.AddRegex(config.allow_origin_regexes(i), error)) continue;
    status = build.Error(fmt::format("allow_origin_regexes[{}]", i), error);
  }
  if (!status.ok()) return status;
  if (cors.origins_.empty()) {
    return build.Error("allow_origins", "must name an origin, or \"*\" for all");
  }
  cors.credentials_ = config.allow_credentials();
  if (cors.credentials_ && cors.origins_.IsOpen()) {
    return build.Error("allow_credentials",
                       "cannot be combined with origins that allow every site: any site could act "
                       "with the cookies of your users");
  }
  auto methods = JoinTokens(config.allow_methods(), "allow_methods", build);
  if (!methods.ok()) return methods.status();
  cors.allow_methods_ = config.allow_methods().empty() ? "GET, HEAD, POST" : *std::move(methods);
  auto headers = JoinTokens(config.allow_headers(), "allow_headers", build);
  if (!headers.ok()) return headers.status();
  cors.allow_headers_ = *std::move(headers);
  auto exposed = JoinTokens(config.expose_headers(), "expose_headers", build);
  if (!exposed.ok()) return exposed.status();
  cors.expose_headers_ = *std::move(exposed);
  if (cors.expose_headers_.empty() && !config.expose_headers().empty()) {
    // Browsers take the star for a name when there are credentials (Fetch, 3.2.5).
    if (cors.credentials_) {
      return build.Error("expose_headers", "\"*\" has no meaning with allow_credentials");
    }
    cors.expose_headers_ = "*";
  }
  if (config.max_age().seconds() < 0 || config.max_age().nanos() < 0) {
    return build.Error("max_age", "must not be negative");
  }
  cors.max_age_ =
      std::to_string(config.has_max_age() ? config.max_age().seconds() : kDefaultMaxAge);
  cors.private_network_ = config.allow_private_network();
  cors.shadow_ = config.shadow();
  cors.forward_preflight_ = config.forward_preflight();
  return cors;
}

Verdict Cors::Call::OnRequestHeaders(const Cors& filter, FilterContext& context) {
  const HeaderMap& request = context.request();
  if (request.Count(Name::kOrigin) == 1) {
    origin_ = *request.Get(Name::kOrigin);
    allowed_ = filter.origins_.Allows(origin_);
  }
  if (origin_.empty()) return Continue();
  if (filter.shadow_) {
    context.SetNote("cors", allowed_ ? "allowed" : "denied");
    context.Leave();
    return Continue();
  }
  // Fetch, 4.8: this is what makes an OPTIONS request a preflight.
  const bool preflight = context.request_head().method == http::Method::kOptions &&
                         request.Has(Name::kAccessControlRequestMethod);
  if (!preflight) return Continue();
  if (filter.forward_preflight_) {
    context.Leave();  // the origin server's answer is the answer
    return Continue();
  }
  preflight_ = true;
  if (!allowed_) {
    return Reply{403, "cors_origin_denied", "This origin may not call this API from a browser."};
  }
  return Reply{.status = 204, .empty = true};
}

Verdict Cors::Call::OnResponseHeaders(const Cors& filter, FilterContext& context) {
  if (filter.shadow_) return Continue();
  HeaderMap& response = context.response();
  response.RemoveIf([](const http::HeaderEntry& entry) { return kResponseNames.Has(entry.id); });
  AddVary(response, "Origin");
  if (preflight_) {
    AddVary(response, "Access-Control-Request-Method");
    AddVary(response, "Access-Control-Request-Headers");
  }
  if (!allowed_) return Continue();
  filter.AllowOrigin(response, origin_);
  if (preflight_) {
    filter.DecoratePreflight(context);
  } else if (!filter.expose_headers_.empty()) {
    response.Set(Name::kAccessControlExposeHeaders, filter.expose_headers_);
  }
  return Continue();
}

void Cors::AllowOrigin(HeaderMap& response, std::string_view origin) const {
  const bool star = origins_.allows_any() && !credentials_ && origin != "null";
  response.Set(Name::kAccessControlAllowOrigin, star ? std::string_view("*") : origin);
  if (credentials_) response.SetLiteral(Name::kAccessControlAllowCredentials, "true");
}

void Cors::DecoratePreflight(FilterContext& context) const {
  const HeaderMap& request = context.request();
  HeaderMap& response = context.response();
  // With credentials, "*" would be taken for a name (Fetch, 3.2.5): say what was asked for.
  std::string_view methods = allow_methods_;
  if (methods.empty()) methods = *request.Get(Name::kAccessControlRequestMethod);
  if (http::IsToken(methods) || !allow_methods_.empty()) {
    response.Set(Name::kAccessControlAllowMethods, methods);
  }
  if (const auto asked = request.Get(Name::kAccessControlRequestHeaders)) {
    const std::string_view headers = allow_headers_.empty() ? *asked : allow_headers_;
    if (!headers.empty() && IsTokenList(headers)) {
      response.Set(Name::kAccessControlAllowHeaders, headers);
    }
  }
  response.Set(Name::kAccessControlMaxAge, max_age_);
  if (private_network_ &&
      request.Get(Name::kAccessControlRequestPrivateNetwork) == std::string_view("true")) {
    response.SetLiteral(Name::kAccessControlAllowPrivateNetwork, "true");
  }
}

}  // namespace gatehouse::filters
