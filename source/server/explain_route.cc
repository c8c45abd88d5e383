#include "source/server/explain_route.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "api/gatehouse/v1/route.pb.h"
#include "source/config/build_record.h"
#include "source/config/text.h"
#include "source/config/text_scalars.h"
#include "source/filters/request_values.h"
#include "source/filters/resolve.h"
#include "source/http/normalize.h"
#include "source/proxy/local_reply.h"

namespace gatehouse::server {
namespace {

using What = http::Error::What;

std::string TimeText(Duration time) {
  return time == kNoTimeout ? "none" : config::FormatDuration(time);
}

// A list of filter entries that has a say in a route's chain.
struct FilterScope {
  std::string where;
  const google::protobuf::RepeatedPtrField<v1::Filter>* entries;
};

// Tells of one route, in the order of Run().
class RouteTeller {
 public:
  RouteTeller(const RoutedRequest& request, Explained* out)
      : request_(request),
        route_(*request.listener.routes[request.match.action]),
        table_(*request.listener.route_table),
        out_(*out) {
    if (const v1::RouteTable* table = TableMessage(snapshot(), route_.table)) {
      const auto index = static_cast<int>(table_.RouteIndex(request.match.route));
      table_message_ = table;
      if (index < table->routes_size()) message_ = &table->routes(index);
    }
  }

  void Run() {
    Identity();
    Filters();
    Limits();
    switch (route_.action) {
      case config::Route::Action::kForward:
        out_.action = "forward";
        return Forward();
      case config::Route::Action::kSplit:
        out_.action = "split";
        return Forward();
      case config::Route::Action::kRedirect:
        out_.action = "redirect";
        return Redirect();
      case config::Route::Action::kRespond:
        out_.action = "respond";
        return Respond();
    }
  }

 private:
  [[nodiscard]] const config::Snapshot& snapshot() const { return request_.scene.snapshot; }
  void Identity();
  void Filters();
  [[nodiscard]] std::vector<FilterScope> FilterScopes() const;
  void Limits();
  void RetryLimits();
  void Forward();
  void Shares();
  [[nodiscard]] std::optional<uint64_t> StickyHash();
  void Rewrite(const config::Target* target);
  void Redirect();
  void Respond();
  [[nodiscard]] Explained::Target TargetOf(const config::Target& target) const;
  void Endpoints(const upstream::Cluster& cluster, Explained::Target* out) const;

  const RoutedRequest& request_;
  const config::Route& route_;
  const route::RouteTable& table_;
  Explained& out_;
  const v1::RouteTable* table_message_ = nullptr;
  const v1::Route* message_ = nullptr;
};

void RouteTeller::Identity() {
  out_.route = route_.name;
  out_.route_table = route_.table;
  for (uint32_t at = table_.MountOf(request_.match.route); at != route::kNoRoute;
       at = table_.MountOf(at)) {
    out_.mounts.push_back(
        fmt::format("{}/{}", TableNameOf(snapshot(), request_.listener, table_.TableName(at)),
                    table_.RouteName(at)));
  }
  if (message_ != nullptr && message_->has_match()) {
    out_.match = config::ToJson(message_->match(), /*indent=*/0);
    while (out_.match.ends_with('\n')) out_.match.pop_back();
  }
  for (uint32_t i = 0; i < request_.match.capture_count; ++i) {
    out_.captures.emplace_back(table_.CaptureName(request_.match.route, i),
                               request_.match.captures[i]);
  }
}

// From the route outwards.
std::vector<FilterScope> RouteTeller::FilterScopes() const {
  std::vector<FilterScope> scopes;
  if (message_ != nullptr) scopes.push_back({"route", &message_->filters()});
  if (table_message_ != nullptr) {
    scopes.push_back({fmt::format("table {}", route_.table), &table_message_->filters()});
  }
  for (uint32_t at = table_.MountOf(request_.match.route); at != route::kNoRoute;
       at = table_.MountOf(at)) {
    const std::string name = TableNameOf(snapshot(), request_.listener, table_.TableName(at));
    const v1::RouteTable* table = TableMessage(snapshot(), name);
    const auto index = static_cast<int>(table_.RouteIndex(at));
    if (table == nullptr || index >= table->routes_size()) continue;
    scopes.push_back(
        {fmt::format("mount {}/{}", name, table_.RouteName(at)), &table->routes(index).filters()});
    scopes.push_back({fmt::format("table {}", name), &table->filters()});
  }
  return scopes;
}

const v1::Filter* FindEntry(const FilterScope& scope, std::string_view name) {
  for (const v1::Filter& entry : *scope.entries) {
    if (filters::NameOf(entry) == name) return &entry;
  }
  return nullptr;
}

void RouteTeller::Filters() {
  const std::vector<FilterScope> scopes = FilterScopes();
  for (size_t i = 0; i < route_.chain->size(); ++i) {
    Explained::Filter& filter = out_.filters.emplace_back();
    filter.name = route_.chain->NameOf(i);
    filter.note = route_.chain->ExplainAt(i, request_.context);
    if (!scopes.empty()) filter.from = "built in";
    for (const FilterScope& scope : scopes) {
      const v1::Filter* entry = FindEntry(scope, filter.name);
      if (entry == nullptr) continue;
      filter.kind = filters::KindOf(*entry);
      filter.from = scope.where;
      break;
    }
  }
  for (const FilterScope& scope : scopes) {
    for (const v1::Filter& entry : *scope.entries) {
      const std::string_view name = filters::NameOf(entry);
      const bool runs = std::ranges::any_of(
          out_.filters, [name](const Explained::Filter& filter) { return filter.name == name; });
      if (entry.disabled() && !runs) {
        out_.filters_off.push_back(fmt::format("{}, disabled by {}", name, scope.where));
      }
    }
  }
}

void RouteTeller::Limits() {
  ExplainedFacts& limits = out_.limits;
  limits.emplace_back("timeout", TimeText(route_.timeout));
  limits.emplace_back("idle_timeout", TimeText(route_.idle_timeout));
  if (proxy::IsGrpcRequest(request_.head)) {
    limits.emplace_back("max_grpc_timeout", TimeText(route_.max_grpc_timeout));
  }
  limits.emplace_back("max_body_bytes", config::FormatSize(route_.max_body_bytes));
  if (!route_.upgrades.empty()) {
    limits.emplace_back("upgrade", fmt::format("{}", fmt::join(route_.upgrades, ", ")));
  }
  const bool forwards = route_.action == config::Route::Action::kForward ||
                        route_.action == config::Route::Action::kSplit;
  if (forwards) RetryLimits();
  if (request_.head.body == http::BodyKind::kLength &&
      request_.head.content_length > route_.max_body_bytes) {
    out_.answer = AnswerOf(http::Error::Downstream(What::kBodyTooLarge),
                           "the body is larger than the route's max_body_bytes");
  }
}

void RouteTeller::RetryLimits() {
  const config::RetryPolicy& retry = route_.retry;
  std::vector<std::string> on;
  const auto add = [&on](bool given, const char* name) {
    if (given) on.emplace_back(name);
  };
  add(retry.on_connect_failure, "connect-failure");
  add(retry.on_reset, "reset");
  add(retry.on_5xx, "5xx");
  add(retry.on_gateway_error, "gateway-error");
  add(retry.on_retriable_4xx, "retriable-4xx");
  for (const uint16_t status : retry.on_statuses) on.push_back(std::to_string(status));
  if (retry.attempts == 0 || on.empty()) {
    out_.limits.emplace_back("retry", "none");
    return;
  }
  std::string text = fmt::format("{} more on {}", retry.attempts, fmt::join(on, ", "));
  if (retry.per_try_timeout != kNoTimeout) {
    text += fmt::format(", each within {}", TimeText(retry.per_try_timeout));
  }
  out_.limits.emplace_back("retry", std::move(text));
}

void RouteTeller::Forward() {
  for (const config::Target& target : route_.targets) out_.targets.push_back(TargetOf(target));
  const config::Target* chosen = route_.targets.size() == 1 ? &route_.targets.front() : nullptr;
  if (route_.split.has_value()) {
    Shares();
    if (const std::optional<uint64_t> hash = StickyHash()) {
      const size_t index = route_.split->PickByHash(*hash);
      out_.targets[index].chosen = true;
      chosen = &route_.targets[index];
    }
  }
  Rewrite(chosen);
}

void RouteTeller::Shares() {
  if (message_ == nullptr || !message_->has_split()) return;
  const v1::Split& split = message_->split();
  const auto weight = [](const v1::WeightedCluster& cluster) {
    return uint64_t{cluster.has_weight() ? cluster.weight() : 1};
  };
  const uint64_t all = std::accumulate(
      split.clusters().begin(), split.clusters().end(), uint64_t{0},
      [&](uint64_t sum, const v1::WeightedCluster& cluster) { return sum + weight(cluster); });
  for (int i = 0; i < split.clusters_size(); ++i) {
    const auto index = static_cast<size_t>(i);
    if (index >= out_.targets.size()) return;
    out_.targets[index].share = fmt::format("{} of {}", weight(split.clusters(i)), all);
  }
}

// As Exchange::StickyHash() does it, but that no cookie is given.
std::optional<uint64_t> RouteTeller::StickyHash() {
  const config::StickyPolicy& sticky = route_.sticky;
  const auto by = [&](std::string_view what, std::string_view name,
                      std::optional<std::string_view> value) -> std::optional<uint64_t> {
    if (value) {
      out_.effects.emplace_back("sticky", fmt::format("by {} {}={}", what, name, *value));
      return route::HashStickyValue(*value);
    }
    const bool new_cookie = what == "cookie" && sticky.cookie_ttl != kNoTimeout;
    out_.effects.emplace_back("sticky",
                              fmt::format("by {} {}, which the request lacks: {}", what, name,
                                          new_cookie ? "it is given one at random" : "by turns"));
    return std::nullopt;
  };
  switch (sticky.by) {
    case config::StickyPolicy::By::kNone:
      break;
    case config::StickyPolicy::By::kHeader:
      return by("header", sticky.name, request_.head.headers.Get(std::string_view(sticky.name)));
    case config::StickyPolicy::By::kCookie:
      return by("cookie", sticky.name, filters::CookieValue(request_.head.headers, sticky.name));
    case config::StickyPolicy::By::kClientIp: {
      const net::IpAddress& ip = request_.context.facts().client_ip;
      out_.effects.emplace_back("sticky", fmt::format("by client_ip {}", ip.ToString()));
      return route::HashStickyValue({reinterpret_cast<const char*>(ip.bytes), sizeof(ip.bytes)});
    }
  }
  out_.effects.emplace_back("sticky", "no: by turns");
  return std::nullopt;
}

// As Exchange::RewriteRequest() does it. `target`: null when it is not known which.
void RouteTeller::Rewrite(const config::Target* target) {
  http::RequestHead& head = request_.head;
  if (target != nullptr) {
    for (const config::HeaderLiteral& header : target->set_request_headers) {
      head.headers.Set(header.name, header.value);
    }
  }
  const auto refuse = [&](const char* why) {
    out_.answer = AnswerOf(http::Error::Downstream(What::kBadRequest), why);
  };
  if (route_.path_rewrite.has_value()) {
    const route::RewriteInput input{request_.path, request_.query, &request_.match};
    const http::NormalizedPath path = http::NormalizePath(
        route_.path_rewrite->Apply(input, request_.arena), request_.listener.path, request_.arena);
    if (path.path.empty()) return refuse("the rewritten path is not one that may be sent");
    head.path = path.path;
  }
  if (route_.host_rewrite.has_value()) {
    const auto host = route_.host_rewrite->Apply(head.headers, request_.match, request_.arena);
    if (!host.has_value()) return refuse("the rewritten host is missing or is none");
    head.authority = *host;
  }
  out_.effects.emplace_back("sends", fmt::format("{} {}", head.method_text, head.path));
  out_.effects.emplace_back(
      "host", route_.host_from_endpoint ? "the endpoint's" : std::string(head.authority));
}

void RouteTeller::Redirect() {
  const route::RewriteInput input{request_.path, request_.query, &request_.match};
  const std::string_view location = route_.redirect->Location(
      {request_.head.scheme, request_.host, request_.port}, input, request_.arena);
  if (location.empty()) {
    out_.answer = AnswerOf(http::Error::Downstream(What::kBadRequest),
                           "a redirect to another scheme or port needs the request's host");
    return;
  }
  out_.effects.emplace_back("status", std::to_string(route_.redirect->status()));
  out_.effects.emplace_back("location", location);
}

void RouteTeller::Respond() {
  const config::RespondAction& respond = *route_.respond;
  out_.effects.emplace_back("status", std::to_string(respond.status));
  for (const config::HeaderLiteral& header : respond.headers) {
    out_.effects.emplace_back(header.name, header.value);
  }
  const std::string_view body = respond.body_template.has_value()
                                    ? respond.body_template->Evaluate(request_.context)
                                    : std::string_view(respond.body);
  if (!body.empty() && !respond.content_type.empty()) {
    out_.effects.emplace_back("content-type", respond.content_type);
  }
  out_.effects.emplace_back("body", fmt::format("{} bytes", body.size()));
}

std::string_view ProtocolText(upstream::Protocol protocol) {
  switch (protocol) {
    case upstream::Protocol::kHttp1:
      return "HTTP/1.1";
    case upstream::Protocol::kHttp2:
      return "HTTP/2";
    case upstream::Protocol::kAuto:
      return "HTTP/2 or HTTP/1.1, as agreed";
  }
  return {};
}

Explained::Target RouteTeller::TargetOf(const config::Target& target) const {
  Explained::Target out;
  const upstream::Cluster& cluster = *target.cluster;
  const upstream::ClusterOptions& options = cluster.options();
  out.cluster = cluster.name();
  for (const config::HeaderLiteral& header : target.set_request_headers) {
    out.adds.emplace_back(header.name, header.value);
  }
  out.limits = {
      {"protocol",
       fmt::format("{}{}", ProtocolText(options.protocol), options.tls != nullptr ? ", TLS" : "")},
      {"connect_timeout", TimeText(options.connect_timeout)},
      {"response_header_timeout", TimeText(options.response_header_timeout)},
      {"max_connections", fmt::format("{} for each worker", options.max_connections)},
      {"max_pending", fmt::format("{} for each worker", options.max_pending)},
  };
  Endpoints(cluster, &out);
  return out;
}

void RouteTeller::Endpoints(const upstream::Cluster& cluster, Explained::Target* out) const {
  std::shared_ptr<const upstream::EndpointSet> set;
  if (request_.scene.endpoints) {
    set = request_.scene.endpoints(cluster);
  } else {
    set = cluster.endpoints();
  }
  if (set == nullptr || (cluster.has_dns() && !request_.scene.endpoints)) {
    std::vector<std::string> names;
    if (cluster.has_dns()) {
      for (const upstream::EndpointSpec& name : cluster.dns().names) {
        names.push_back(fmt::format("{}:{}", name.host, name.port));
      }
    }
    out->endpoints_note =
        fmt::format("names are looked up where they are served: {}", fmt::join(names, ", "));
    return;
  }
  size_t usable = 0;
  for (const upstream::EndpointSet::Entry& entry : *set) {
    Explained::Endpoint& endpoint = out->endpoints.emplace_back();
    endpoint.address = entry.endpoint->address().ToString();
    if (entry.endpoint->text() != endpoint.address) endpoint.name = entry.endpoint->text();
    endpoint.weight = entry.weight;
    endpoint.healthy = entry.endpoint->healthy();
    endpoint.usable = endpoint.healthy && entry.weight > 0;
    if (endpoint.usable) ++usable;
  }
  if (usable == 0) {
    const Explained::Answer answer = AnswerOf(http::Error::Gateway(What::kNoHealthyUpstream), {});
    out->endpoints_note = fmt::format("none can be chosen: {} {}", answer.status, answer.code);
  }
}

}  // namespace

void ExplainRoute(const RoutedRequest& request, Explained* out) { RouteTeller(request, out).Run(); }

std::string TableNameOf(const config::Snapshot& snapshot, const config::Listener& listener,
                        std::string_view part) {
  if (snapshot.record != nullptr) {
    const auto at = snapshot.record->listeners_by_name.find(listener.name);
    if (at != snapshot.record->listeners_by_name.end()) {
      for (const config::MatcherPart& known : at->second.parts) {
        if (known.name == part) return known.table;
      }
    }
  }
  return std::string(part);
}

const v1::RouteTable* TableMessage(const config::Snapshot& snapshot, std::string_view name) {
  if (snapshot.record == nullptr) return nullptr;
  const auto at = snapshot.record->tables_by_name.find(name);
  return at == snapshot.record->tables_by_name.end() ? nullptr : at->second.message.get();
}

Explained::Answer AnswerOf(http::Error error, std::string why) {
  const proxy::LocalReply reply = proxy::ReplyForError(error);
  return {reply.status, std::string(reply.code), std::move(why), {}, {}};
}

}  // namespace gatehouse::server
