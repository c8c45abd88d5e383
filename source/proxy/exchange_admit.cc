// From the request's head to a route and what it does. See exchange.h.
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "source/filters/request_values.h"
#include "source/http/client_cert_header.h"
#include "source/http/early_data.h"
#include "source/http/forwarded.h"
#include "source/http/grpc_frame.h"
#include "source/http/normalize.h"
#include "source/proxy/downstream.h"
#include "source/proxy/exchange.h"

namespace gatehouse::proxy {

using http::Name;
using What = http::Error::What;

namespace {

constexpr std::string_view kServedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

bool EqualsIgnoreCase(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
         });
}

}  // namespace

// One form of the path and host for everything that follows, and nothing left in the head that a
// client has no right to say.
Exchange::Outcome Exchange::Admit() {
  shard_.counters().Add(config_->metrics->requests);
  context_.facts().original_path = request_.path;
  if (loop_.slabs().exhausted()) {
    shard_.counters().Add(shard_.server_metrics().shed);
    return Fail(http::Error::Gateway(What::kOverload));
  }
  if (request_.method == http::Method::kConnect || request_.method == http::Method::kTrace) {
    return StartReply(ReplyForError(http::Error::Gateway(What::kMethodNotAllowed)), kServedMethods);
  }
  const http::NormalizedPath path = http::NormalizePath(request_.path, config_->path, arena_);
  if (path.result == http::PathResult::kInvalid) {
    return Fail(http::Error::Downstream(What::kBadRequest));
  }
  const std::optional<http::HostPort> host = http::NormalizeHost(request_.authority, arena_);
  // HTTP/1.0 clients may name no host.
  if (!host.has_value() && !request_.authority.empty()) {
    return Fail(http::Error::Downstream(What::kBadRequest));
  }
  if (host.has_value()) {
    host_ = host->host;
    port_ = host->port;
  }
  if (!TakeClientAddress() || !http::StripHopByHop(request_.headers)) {
    return Fail(http::Error::Downstream(What::kBadRequest));
  }
  const bool keep_client_cert =
      config_->client_cert.forward != http::ClientCertPolicy::Forward::kSanitize;
  (void)http::StripUntrusted(request_.headers, {.trust_forwarded = context_.facts().peer_trusted,
                                                .keep_client_cert = keep_client_cert});
  if (keep_client_cert) {
    http::ForwardClientCert(config_->client_cert, context_.facts().tls, request_.headers);
  }
  if (!http::AdmitEarlyData(request_, request_.early_data)) {
    shard_.counters().Add(config_->metrics->early_data_rejected);
    return Fail(http::Error::Downstream(What::kTooEarly));
  }
  if (path.result == http::PathResult::kRedirect) {
    response_.Reset();
    response_.status = 307;
    response_.headers.Set(Name::kLocation, path.path);
    return RespondEmpty();
  }
  request_.path = path.path;
  path_ = filters::PathOnly(path.path);
  query_ = filters::QueryOnly(path.path);
  AddForwardingHeaders();
  if (request_.path == "*" || !TakeMaxForwards()) {
    response_.Reset();
    response_.status = 204;
    response_.headers.Set(Name::kAllow, kServedMethods);
    return RespondEmpty();
  }
  return Next(Phase::kRoute);
}

// Who the client is. False: a trusted proxy's claim makes no sense.
bool Exchange::TakeClientAddress() {
  const http::TrustedProxies& trusted = config_->trusted_proxies;
  if (trusted.networks.empty() && trusted.hops == 0) return true;
  const http::ClientAddressResult client =
      http::ClientAddress(client_->ip, request_.headers, trusted);
  context_.facts().client_ip = client.address;
  context_.facts().peer_trusted = client.peer_trusted;
  if (client.peer_trusted) TakeScheme();
  return true;
}

// The proxy in front may have ended the client's TLS: redirects, cookies and logs must say https.
// More than one value, or one that is no scheme of ours, tells nothing.
void Exchange::TakeScheme() {
  if (request_.headers.Count(Name::kXForwardedProto) != 1) return;
  const std::string_view scheme = *request_.headers.Get(Name::kXForwardedProto);
  if (EqualsIgnoreCase(scheme, "https")) {
    request_.scheme = "https";
  } else if (EqualsIgnoreCase(scheme, "http")) {
    request_.scheme = "http";
  }
}

// RFC 9110, section 7.6.2. False: the request goes no further than here.
bool Exchange::TakeMaxForwards() {
  if (request_.method != http::Method::kOptions) return true;
  const auto value = request_.headers.Get(Name::kMaxForwards);
  if (!value.has_value()) return true;
  uint32_t hops = 0;
  const char* end = value->data() + value->size();
  const auto [stop, error] = std::from_chars(value->data(), end, hops);
  if (error != std::errc() || stop != end) return true;
  if (hops == 0) return false;
  char text[10];
  const char* last = std::to_chars(text, text + sizeof(text), hops - 1).ptr;
  request_.headers.Set(Name::kMaxForwards, {text, static_cast<size_t>(last - text)});
  return true;
}

void Exchange::AddForwardingHeaders() {
  http::HeaderMap& headers = request_.headers;
  if (!config_->via.empty()) headers.Append(Name::kVia, ViaFor(request_.version));
  if (!context_.facts().peer_trusted) {
    // Nothing of the kind is left: StripUntrusted has seen to it.
    headers.SetMade(Name::kXForwardedFor, client_->ip_text);
    headers.SetMade(Name::kXForwardedProto, request_.scheme);
    // Checked as an authority before.
    if (!request_.authority.empty()) headers.SetMade(Name::kXForwardedHost, request_.authority);
    return;
  }
  headers.Append(Name::kXForwardedFor, client_->ip_text);
  if (!headers.Has(Name::kXForwardedProto)) headers.Add(Name::kXForwardedProto, request_.scheme);
  if (!headers.Has(Name::kXForwardedHost) && !request_.authority.empty()) {
    headers.Add(Name::kXForwardedHost, request_.authority);
  }
}

// A preflight asks what the request that it announces may do (Fetch, section 4.8): the route of
// that request answers, whatever methods it serves.
route::Match Exchange::FindRoute() const {
  const route::RouteTable& table = *config_->route_table;
  const http::HeaderMap& headers = request_.headers;
  if (request_.method == http::Method::kOptions && headers.Has(Name::kOrigin) &&
      headers.Count(Name::kAccessControlRequestMethod) == 1) {
    const std::string_view method = *headers.Get(Name::kAccessControlRequestMethod);
    const route::Match match =
        table.Find({http::FindMethod(method), method, host_, path_, query_, &headers});
    if (match && config_->routes[match.action]->has_cors) return match;
  }
  return table.Find({request_.method, request_.method_text, host_, path_, query_, &headers});
}

Exchange::Outcome Exchange::Route() {
  if (config_->route_table == nullptr) return Fail(http::Error::Gateway(What::kNoRoute));
  match_ = FindRoute();
  if (!match_) {
    shard_.counters().Add(shard_.server_metrics().no_route);
    if (!match_.MethodNotAllowed()) return Fail(http::Error::Gateway(What::kNoRoute));
    return StartReply(ReplyForError(http::Error::Gateway(What::kMethodNotAllowed)),
                      config_->route_table->Allow(match_.allowed_methods, arena_));
  }
  route_ = config_->routes[match_.action].get();
  filters::ExchangeFacts& facts = context_.facts();
  facts.table = route_->table;
  facts.route = route_->name;
  facts.captures = {this, [](const void* self, std::string_view name) {
                      const auto* exchange = static_cast<const Exchange*>(self);
                      return exchange->config_->route_table->Capture(exchange->match_, name)
                          .value_or(std::string_view());
                    }};
  shard_.counters().Gauge(route_->metrics->active, +1);
  stream_counted_ = true;
  idle_timeout_ = route_->idle_timeout;
  retries_left_ = route_->retry.attempts;
  if (request_.upgrade && (!head_only_request_ || !AllowUpgrade())) {
    // Not a request that means anything without it (RFC 9220, section 3).
    if (request_.extended_connect) return Fail(http::Error::Gateway(What::kNotImplemented));
    // A server may ignore an Upgrade (RFC 9110, section 7.8). With a body in front of it nobody
    // could tell which bytes are whose when the origin switches before it has read all of that.
    request_.upgrade = false;
    request_.upgrade_protocol = {};
  }
  TakeGrpcTimeout();
  run_.Start(*route_->chain, context_, this,
             [](void* self) { static_cast<Exchange*>(self)->Run(); });
  if (request_.body == http::BodyKind::kLength &&
      request_.content_length > route_->max_body_bytes) {
    return Fail(http::Error::Downstream(What::kBodyTooLarge));
  }
  return Next(Phase::kRequestFilters);
}

// The client's own deadline, which counts from the start of its request and for streams that never
// end, too.
void Exchange::TakeGrpcTimeout() {
  const auto text = request_.headers.Get(Name::kGrpcTimeout);
  if (!text.has_value() || !IsGrpcRequest(request_)) return;
  const std::optional<Duration> timeout = http::ParseGrpcTimeout(*text);
  if (!timeout.has_value()) return;
  const Duration most = route_->max_grpc_timeout;
  deadline_ = started_ + (most == kNoTimeout ? *timeout : std::min(*timeout, most));
  grpc_deadline_ = true;
}

bool Exchange::AllowUpgrade() {
  for (const std::string& protocol : route_->upgrades) {
    if (EqualsIgnoreCase(request_.upgrade_protocol, protocol)) return true;
  }
  return false;
}

Exchange::Outcome Exchange::Act() {
  switch (route_->action) {
    case config::Route::Action::kForward:
    case config::Route::Action::kSplit:
      return ChooseTarget();
    case config::Route::Action::kRedirect:
      return RedirectClient();
    case config::Route::Action::kRespond:
      return RespondLocally();
  }
  return Fail(http::Error::Gateway(What::kInternal));
}

Exchange::Outcome Exchange::ChooseTarget() {
  size_t index = 0;
  if (route_->split.has_value()) {
    uint64_t hash = 0;
    index = StickyHash(&hash) ? route_->split->PickByHash(hash)
                              : route_->split->Pick(shard_.NextCursor(route_->split_cursor));
  }
  target_ = &route_->targets[index];
  context_.facts().cluster = target_->cluster->name();
  for (const config::HeaderLiteral& header : target_->set_request_headers) {
    request_.headers.Set(header.name, header.value);
  }
  if (!RewriteRequest()) return Fail(http::Error::Downstream(What::kBadRequest));
  if (run_.wants_request_body() && !head_only_request_) {
    // Its length is not what the client said any more.
    request_.body = http::BodyKind::kChunked;
  }
  return Next(Phase::kConnect);
}

// False: this request is shared out by weight.
bool Exchange::StickyHash(uint64_t* hash) {
  const config::StickyPolicy& sticky = route_->sticky;
  switch (sticky.by) {
    case config::StickyPolicy::By::kNone:
      return false;
    case config::StickyPolicy::By::kHeader: {
      const auto value = request_.headers.Get(std::string_view(sticky.name));
      if (!value.has_value()) return false;
      *hash = route::HashStickyValue(*value);
      return true;
    }
    case config::StickyPolicy::By::kClientIp: {
      const auto& bytes = context_.facts().client_ip.bytes;
      *hash = route::HashStickyValue({reinterpret_cast<const char*>(bytes), sizeof(bytes)});
      return true;
    }
    case config::StickyPolicy::By::kCookie: {
      auto value = filters::CookieValue(request_.headers, sticky.name);
      if (!value.has_value()) {
        if (sticky.cookie_ttl == kNoTimeout) return false;
        char* id = arena_.AllocateChars(16);
        char* end = std::to_chars(id, id + 16, shard_.random().Next(), 16).ptr;
        sticky_cookie_ = std::string_view(id, static_cast<size_t>(end - id));
        value = sticky_cookie_;
      }
      *hash = route::HashStickyValue(*value);
      return true;
    }
  }
  return false;
}

// A cluster that is told of the client by the PROXY protocol hears both ends of its connection.
upstream::PickHint Exchange::HintForPick() {
  upstream::PickHint hint{.avoid = last_endpoint_, .fresh = retry_fresh_};
  if (target_->cluster->options().proxy_header == upstream::ProxyHeader::kNone) return hint;
  hint.client = &client_->peer;
  hint.destination = &client_->destination;
  if (client_->destination.family() == AF_UNSPEC && client_->fd >= 0) {
    hint.destination = arena_.New<net::Address>(net::LocalAddress(client_->fd));
  }
  return hint;
}

route::RewriteInput Exchange::RewriteOf() const { return {path_, query_, &match_}; }

bool Exchange::RewriteRequest() {
  if (route_->path_rewrite.has_value()) {
    // A rewrite may put captures together into something that is not normal any more.
    const http::NormalizedPath path = http::NormalizePath(
        route_->path_rewrite->Apply(RewriteOf(), arena_), config_->path, arena_);
    if (path.path.empty()) return false;
    request_.path = path.path;
  }
  if (route_->host_rewrite.has_value()) {
    const auto host = route_->host_rewrite->Apply(request_.headers, match_, arena_);
    if (!host.has_value()) return false;
    request_.authority = *host;
    request_.headers.Set(Name::kHost, *host);
  }
  return true;
}

Exchange::Outcome Exchange::RedirectClient() {
  const std::string_view location =
      route_->redirect->Location({request_.scheme, host_, port_}, RewriteOf(), arena_);
  if (location.empty()) return Fail(http::Error::Downstream(What::kBadRequest));
  response_.Reset();
  response_.status = static_cast<uint16_t>(route_->redirect->status());
  response_.headers.Set(Name::kLocation, location);
  return RespondEmpty();
}

Exchange::Outcome Exchange::RespondLocally() {
  const config::RespondAction& respond = *route_->respond;
  response_.Reset();
  response_.status = respond.status;
  for (const config::HeaderLiteral& header : respond.headers) {
    response_.headers.Add(header.name, header.value);
  }
  local_body_ = respond.body_template.has_value() ? respond.body_template->Evaluate(context_)
                                                  : std::string_view(respond.body);
  if (!local_body_.empty() && !respond.content_type.empty()) {
    response_.headers.Set(Name::kContentType, respond.content_type);
  }
  return SendOwn();
}

}  // namespace gatehouse::proxy
