#include "source/server/explain.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "api/gatehouse/v1/route.pb.h"
#include "source/base/nearest.h"
#include "source/base/status.h"
#include "source/config/build_record.h"
#include "source/filters/request_values.h"
#include "source/http/client_cert_header.h"
#include "source/http/forwarded.h"
#include "source/http/h1_parser.h"
#include "source/http/normalize.h"
#include "source/route/explain.h"
#include "source/server/explain_route.h"

namespace gatehouse::server {
namespace {

using http::Name;
using What = http::Error::What;

// What Exchange::Admit() offers.
constexpr std::string_view kServedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

bool EqualsIgnoreCase(std::string_view text, std::string_view lower) {
  return std::ranges::equal(text, lower, [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
  });
}

// A URL as a client takes it apart, and the headers.
struct Target {
  std::string scheme;  // empty: the URL was a path
  std::string authority;
  std::string path;
  std::vector<std::string> headers;  // but Host
};

absl::Status CheckLine(std::string_view text, std::string_view what) {
  if (text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos) return absl::OkStatus();
  return InvalidArgument(fmt::format("{} holds a line break or NUL", what));
}

absl::Status ReadUrl(std::string_view url, Target* target) {
  if (url == "*" || url.starts_with('/')) {
    target->path = url;
    return absl::OkStatus();
  }
  const size_t colon = url.find("://");
  const std::string_view scheme = url.substr(0, colon == url.npos ? 0 : colon);
  if (!EqualsIgnoreCase(scheme, "http") && !EqualsIgnoreCase(scheme, "https")) {
    return InvalidArgument(fmt::format(
        "\"{}\" is no URL: it begins with http://, https:// or, with a Host header, /", url));
  }
  target->scheme = EqualsIgnoreCase(scheme, "https") ? "https" : "http";
  url.remove_prefix(colon + 3);
  const size_t end = std::min(url.find_first_of("/?#"), url.size());
  target->authority = url.substr(0, end);
  if (target->authority.empty()) return InvalidArgument("the URL names no host");
  if (target->authority.find('@') != std::string::npos) {
    return InvalidArgument(
        "the URL holds a user: clients send that as a header, -H 'Authorization: ...'");
  }
  url.remove_prefix(end);
  target->path = url.substr(0, url.find('#'));  // which clients keep to themselves
  if (!target->path.starts_with('/')) target->path.insert(0, "/");
  return absl::OkStatus();
}

absl::Status ReadHeaders(const std::vector<std::string>& headers, Target* target) {
  bool host_given = false;
  for (const std::string& header : headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || !http::IsToken(header.substr(0, colon))) {
      return InvalidArgument(fmt::format("\"{}\" is no header: write name: value", header));
    }
    if (absl::Status status = CheckLine(header, "a header"); !status.ok()) return status;
    if (EqualsIgnoreCase(std::string_view(header).substr(0, colon), "host") && !host_given) {
      const size_t value = std::min(header.find_first_not_of(" \t", colon + 1), header.size());
      target->authority = header.substr(value);
      host_given = true;
    } else {
      target->headers.push_back(header);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Target> ReadTarget(const ExplainRequest& request) {
  if (!http::IsToken(request.method)) {
    return InvalidArgument(fmt::format("\"{}\" is no method", request.method));
  }
  Target target;
  absl::Status status = CheckLine(request.url, "the URL");
  if (status.ok()) status = ReadUrl(request.url, &target);
  if (status.ok()) status = ReadHeaders(request.headers, &target);
  if (!status.ok()) return status;
  if (target.authority.empty()) {
    return InvalidArgument(
        "which host? Write http://HOST/path, or give the header, -H 'Host: HOST'");
  }
  return target;
}

std::string AddressOf(const ExplainScene& scene, const config::Listener& listener) {
  const std::string address = scene.address ? scene.address(listener) : std::string();
  return address.empty() ? listener.address_text : address;
}

bool HasPort(std::string_view address, std::string_view port) {
  return address.ends_with(port) && address.substr(0, address.size() - port.size()).ends_with(':');
}

std::string ListenerNames(const config::Snapshot& snapshot) {
  std::string names;
  for (const auto& listener : snapshot.listeners) {
    names += names.empty() ? "" : ", ";
    names += listener->name;
  }
  return names;
}

// By name; or the only one with the URL's port; or the only one, or the only one of the URL's
// scheme.
absl::StatusOr<const config::Listener*> ChooseListener(const ExplainScene& scene,
                                                       const ExplainRequest& request,
                                                       const Target& target) {
  const config::Snapshot& snapshot = scene.snapshot;
  if (snapshot.listeners.empty()) return NotFound("there are no listeners in this config");
  if (!request.listener.empty()) {
    if (const config::Listener* named = snapshot.FindListener(request.listener)) return named;
    return InvalidArgument(fmt::format("there is no listener \"{}\"; there are: {}",
                                       request.listener, ListenerNames(snapshot)));
  }
  const auto only = [&](auto&& holds) -> const config::Listener* {
    const config::Listener* found = nullptr;
    for (const auto& listener : snapshot.listeners) {
      if (!holds(*listener)) continue;
      if (found != nullptr) return nullptr;
      found = listener.get();
    }
    return found;
  };
  const size_t colon = target.authority.rfind(':');
  const bool has_port =
      colon != std::string::npos && target.authority.find(']', colon) == std::string::npos;
  const std::string port = has_port                   ? target.authority.substr(colon + 1)
                           : target.scheme == "https" ? "443"
                                                      : "80";
  const config::Listener* found =
      only([&](const config::Listener& one) { return HasPort(AddressOf(scene, one), port); });
  if (found == nullptr) found = only([](const config::Listener&) { return true; });
  if (found == nullptr && !target.scheme.empty()) {
    found = only([&](const config::Listener& one) {
      return (one.tls != nullptr) == (target.scheme == "https");
    });
  }
  if (found != nullptr) return found;
  return InvalidArgument(fmt::format("which listener? Name one of {}", ListenerNames(snapshot)));
}

// One request's way through Admit() and Route() of proxy/exchange_admit.cc, and what is told of it.
class Explainer {
 public:
  Explainer(const ExplainScene& scene, const config::Listener& listener)
      : scene_(scene),
        listener_(listener),
        head_(arena_),
        response_(arena_),
        context_(scene.loop, arena_, head_, response_) {}

  // False: the request ends here, with an answer.
  [[nodiscard]] bool Parse(const ExplainRequest& request, const Target& target);
  [[nodiscard]] bool Admit(const net::IpAddress& peer);
  void Route();

  [[nodiscard]] Explained& out() { return out_; }

 private:
  bool Refuse(http::Error error, std::string why) {
    out_.answer = AnswerOf(error, std::move(why));
    return false;
  }
  bool RefuseBad(std::string why) {
    return Refuse(http::Error::Downstream(What::kBadRequest), std::move(why));
  }
  [[nodiscard]] bool TakeClient(const net::IpAddress& peer);
  [[nodiscard]] bool AnswersItself();
  [[nodiscard]] route::Match Find(http::Method method, std::string_view text);
  [[nodiscard]] std::optional<route::Match> FindPreflight();
  void Unmatched(const route::Match& match);
  void TellTables();
  [[nodiscard]] Explained::Table TellTable(const std::string& name, const v1::RouteTable* message);
  [[nodiscard]] std::string WithHostOf(const v1::RouteTable& table) const;

  const ExplainScene& scene_;
  const config::Listener& listener_;
  Arena arena_;
  std::string bytes_;
  http::RequestHead head_;
  http::ResponseHead response_;
  filters::FilterContext context_;
  std::string_view host_;
  uint16_t port_ = 0;
  std::string_view path_;
  std::string_view query_;
  Explained out_;
};

bool Explainer::Parse(const ExplainRequest& request, const Target& target) {
  out_.method = request.method;
  out_.url = request.url;
  out_.listener = listener_.name;
  out_.address = AddressOf(scene_, listener_);
  out_.tls = listener_.tls != nullptr;
  out_.path_given = target.path;
  bytes_ =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method,
                  request.method == "CONNECT" ? target.authority : target.path, target.authority);
  for (const std::string& header : target.headers) bytes_ += header + "\r\n";
  bytes_ += "\r\n";
  http::H1HeadParser parser;
  http::H1HeadScratch scratch;
  const http::H1Limits limits = listener_.h1 == nullptr ? http::H1Limits() : listener_.h1->limits;
  if (parser.ParseRequest(bytes_, limits, scratch) != http::H1ParseStatus::kDone) {
    return Refuse(scratch.error(), std::string(http::H1FaultText(scratch.fault())));
  }
  head_.scheme = listener_.tls != nullptr ? "https" : "http";
  scratch.CopyTo(arena_, head_);
  return true;
}

// In the order of Exchange::Admit().
bool Explainer::Admit(const net::IpAddress& peer) {
  if (head_.method == http::Method::kConnect || head_.method == http::Method::kTrace) {
    (void)Refuse(http::Error::Gateway(What::kMethodNotAllowed), "no gateway serves this method");
    out_.answer->allow = kServedMethods;
    return false;
  }
  filters::ExchangeFacts& facts = context_.facts();
  facts.original_path = head_.path;
  facts.listener = listener_.name;
  const http::NormalizedPath path = http::NormalizePath(head_.path, listener_.path, arena_);
  if (path.result == http::PathResult::kInvalid) {
    return RefuseBad(
        "the path has a character or an escape that no path may have, an encoded slash, or it "
        "climbs above /");
  }
  const std::optional<http::HostPort> host = http::NormalizeHost(head_.authority, arena_);
  if (!host.has_value()) return RefuseBad("the host is none");
  host_ = host->host;
  port_ = host->port;
  out_.host = host_;
  if (!TakeClient(peer)) return false;
  if (!http::StripHopByHop(head_.headers)) {
    return RefuseBad("Connection names a header that the gateway or the origin relies on");
  }
  const bool keep_client_cert =
      listener_.client_cert.forward != http::ClientCertPolicy::Forward::kSanitize;
  (void)http::StripUntrusted(
      head_.headers, {.trust_forwarded = facts.peer_trusted, .keep_client_cert = keep_client_cert});
  if (path.result == http::PathResult::kRedirect) {
    out_.path = path.path;
    out_.answer = {307, "", "escaped slashes in a path are redirected", "", std::string(path.path)};
    return false;
  }
  head_.path = path.path;
  path_ = filters::PathOnly(path.path);
  query_ = filters::QueryOnly(path.path);
  out_.path = path.path;
  return !AnswersItself();
}

bool Explainer::TakeClient(const net::IpAddress& peer) {
  filters::ExchangeFacts& facts = context_.facts();
  facts.client_ip = peer;
  facts.peer = net::Address(peer, 0);
  const http::TrustedProxies& trusted = listener_.trusted_proxies;
  if (!trusted.networks.empty() || trusted.hops != 0) {
    const http::ClientAddressResult client = http::ClientAddress(peer, head_.headers, trusted);
    facts.client_ip = client.address;
    facts.peer_trusted = client.peer_trusted;
    const bool one_scheme = head_.headers.Count(Name::kXForwardedProto) == 1;
    if (client.peer_trusted && one_scheme) {
      const std::string_view scheme = *head_.headers.Get(Name::kXForwardedProto);
      if (EqualsIgnoreCase(scheme, "https")) head_.scheme = "https";
      if (EqualsIgnoreCase(scheme, "http")) head_.scheme = "http";
    }
  }
  out_.client = facts.client_ip.ToString();
  if (facts.client_ip != peer) {
    out_.client += fmt::format("  (told by the trusted proxy {})", peer.ToString());
  }
  return true;
}

// OPTIONS * and Max-Forwards: 0 go no further than here.
bool Explainer::AnswersItself() {
  bool last = head_.path == "*";
  if (head_.method == http::Method::kOptions) {
    const auto value = head_.headers.Get(Name::kMaxForwards);
    uint32_t hops = 1;
    if (value.has_value()) {
      const char* end = value->data() + value->size();
      const auto [stop, error] = std::from_chars(value->data(), end, hops);
      if (error != std::errc() || stop != end) hops = 1;
    }
    last |= hops == 0;
  }
  if (!last) return false;
  out_.answer = {204, "", "the gateway itself is asked", std::string(kServedMethods), ""};
  return true;
}

route::Match Explainer::Find(http::Method method, std::string_view text) {
  route::Explanation why;
  const route::Match match =
      listener_.route_table->Explain({method, text, host_, path_, query_, &head_.headers}, why);
  out_.domain = why.domain;
  out_.table = TableNameOf(scene_.snapshot, listener_, why.table_name);
  out_.candidates.clear();
  for (route::Explanation::Step& step : why.steps) {
    out_.candidates.push_back(
        {std::move(step.route_name), TableNameOf(scene_.snapshot, listener_, step.table_name),
         std::string(route::OutcomeName(step.outcome)), std::move(step.detail)});
  }
  return match;
}

// As Exchange::FindRoute() does it.
std::optional<route::Match> Explainer::FindPreflight() {
  const http::HeaderMap& headers = head_.headers;
  if (head_.method != http::Method::kOptions || !headers.Has(Name::kOrigin) ||
      headers.Count(Name::kAccessControlRequestMethod) != 1) {
    return std::nullopt;
  }
  const std::string_view method = *headers.Get(Name::kAccessControlRequestMethod);
  const route::Match match = Find(http::FindMethod(method), method);
  if (!match || !listener_.routes[match.action]->has_cors) return std::nullopt;
  out_.preflight = fmt::format("of {}, whose route answers it", method);
  return match;
}

void Explainer::Route() {
  if (listener_.route_table == nullptr) {
    (void)Refuse(http::Error::Gateway(What::kNoRoute), "the listener has no route tables");
    return;
  }
  const std::optional<route::Match> preflight = FindPreflight();
  const route::Match match = preflight ? *preflight : Find(head_.method, head_.method_text);
  if (!match) return Unmatched(match);
  filters::ExchangeFacts& facts = context_.facts();
  const config::Route& route = *listener_.routes[match.action];
  facts.table = route.table;
  facts.route = route.name;
  struct Found {
    const route::RouteTable* table;
    const route::Match* match;
  } found = {listener_.route_table.get(), &match};
  facts.captures = {&found, [](const void* self, std::string_view name) {
                      const auto* of = static_cast<const Found*>(self);
                      return of->table->Capture(*of->match, name).value_or(std::string_view());
                    }};
  ExplainRoute({scene_, listener_, match, head_, context_, arena_, host_, port_, path_, query_},
               &out_);
}

void Explainer::Unmatched(const route::Match& match) {
  if (match.MethodNotAllowed()) {
    (void)Refuse(http::Error::Gateway(What::kMethodNotAllowed),
                 "routes that match serve other methods");
    out_.answer->allow = listener_.route_table->Allow(match.allowed_methods, arena_);
  } else {
    (void)Refuse(http::Error::Gateway(What::kNoRoute),
                 out_.domain.empty() ? fmt::format("no domain is {}", host_)
                                     : fmt::format("no route of table {} matches", out_.table));
  }
  TellTables();
}

void Explainer::TellTables() {
  if (scene_.snapshot.record == nullptr) return;
  const auto& listeners = scene_.snapshot.record->listeners_by_name;
  const auto at = listeners.find(listener_.name);
  if (at == listeners.end()) return;
  for (const config::MatcherPart& part : at->second.parts) {
    const v1::RouteTable* message = TableMessage(scene_.snapshot, part.table);
    if (message == nullptr || message->domains().empty()) continue;
    out_.tables.push_back(TellTable(part.table, message));
  }
}

// The paths of a table's routes, as they are written.
std::vector<std::string_view> PathsOf(const v1::RouteTable& table) {
  std::vector<std::string_view> paths;
  for (const v1::Route& route : table.routes()) {
    const v1::Match& match = route.match();
    if (!match.path().empty()) paths.push_back(match.path());
    if (!match.path_prefix().empty()) paths.push_back(match.path_prefix());
    if (!match.path_template().empty()) paths.push_back(match.path_template());
  }
  return paths;
}

// For the path or the beginnings of it: "/users" for "/user/7".
std::string NearestPath(std::string_view path, const v1::RouteTable& table) {
  const std::vector<std::string_view> known = PathsOf(table);
  while (path.size() > 1) {
    const std::string_view near = Nearest(path, known);
    if (!near.empty()) return std::string(near);
    path = path.substr(0, path.rfind('/'));
  }
  return {};
}

Explained::Table Explainer::TellTable(const std::string& name, const v1::RouteTable* message) {
  Explained::Table told;
  told.name = name;
  told.domains = {message->domains().begin(), message->domains().end()};
  if (name == out_.table) {
    told.why = out_.candidates.empty()
                   ? fmt::format("has the host, by its domain {}, and no route with this path",
                                 out_.domain)
                   : fmt::format("has the host, by its domain {}; see what was tried", out_.domain);
    if (out_.candidates.empty()) told.nearest = NearestPath(path_, *message);
    return told;
  }
  told.why = fmt::format("has other domains: {}", fmt::join(told.domains, ", "));
  const std::string there = WithHostOf(*message);
  if (!there.empty()) told.why += "; " + there;
  const std::vector<std::string_view> domains(told.domains.begin(), told.domains.end());
  told.nearest = Nearest(host_, domains);
  return told;
}

// Whether the request would find a route if it named a host of the table.
std::string Explainer::WithHostOf(const v1::RouteTable& table) const {
  for (const std::string& domain : table.domains()) {
    if (domain == "*") continue;
    const std::string host = domain.starts_with("*.") ? "any" + domain.substr(1) : domain;
    const route::Match match = listener_.route_table->Find(
        {head_.method, head_.method_text, host, path_, query_, &head_.headers});
    if (!match) continue;
    return fmt::format(
        "as {} it would take route {}/{}", host,
        TableNameOf(scene_.snapshot, listener_, listener_.route_table->TableName(match.route)),
        listener_.route_table->RouteName(match.route));
  }
  return {};
}

}  // namespace

absl::StatusOr<Explained> Explain(const ExplainRequest& request, const ExplainScene& scene) {
  absl::StatusOr<Target> target = ReadTarget(request);
  if (!target.ok()) return target.status();
  net::IpAddress peer{};
  if (!net::IpAddress::Parse(request.client, &peer)) {
    return InvalidArgument(fmt::format("\"{}\" is no address of a client", request.client));
  }
  const auto listener = ChooseListener(scene, request, *target);
  if (!listener.ok()) return listener.status();
  Explainer explainer(scene, **listener);
  if (explainer.Parse(request, *target) && explainer.Admit(peer)) explainer.Route();
  return std::move(explainer.out());
}

}  // namespace gatehouse::server
