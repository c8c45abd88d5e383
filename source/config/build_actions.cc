#include "source/config/build_actions.h"

#include <array>
#include <set>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/http/header_map.h"

namespace gatehouse::config {
namespace {

constexpr uint64_t kMaxWeight = 1'000'000;

class ActionBuilder {
 public:
  ActionBuilder(const v1::Route& message, BuildScope& scope, Route* route)
      : message_(message), scope_(scope), route_(*route) {}

  void Forward(const Field& field);
  void Split(const Field& field);
  void Redirect(const Field& field);
  void Respond(const Field& field);

 private:
  [[nodiscard]] const upstream::Cluster* FindCluster(const std::string& name, const Field& field);
  void ReadSticky(const v1::Sticky& sticky, const Field& field);
  // Of Forward and Split, which have the same three fields.
  template <typename Action>
  void ReadRewrite(const Action& action, const Field& field);
  void RewritePath(const v1::Rewrite& rewrite, const Field& field);
  void RewriteHost(const v1::Rewrite& rewrite, const Field& field);
  void RewriteHostTo(const std::string& host, const Field& field);
  void SetPathRewrite(absl::StatusOr<route::PathRewrite> rewrite, const Field& field);
  [[nodiscard]] bool PrefixMakesSense(const Field& field) const;
  void ReadHeaders(const google::protobuf::RepeatedPtrField<v1::HeaderValue>& headers,
                   std::vector<HeaderLiteral>* to, const Field& field) const;
  void RespondContent(const v1::Respond& respond, const Field& field);

  const v1::Route& message_;
  BuildScope& scope_;
  Route& route_;
};

const upstream::Cluster* ActionBuilder::FindCluster(const std::string& name, const Field& field) {
  const auto at = scope_.offers.clusters.find(name);
  if (at != scope_.offers.clusters.end()) return at->second;
  field.Unknown("cluster", name, NamesOf(scope_.offers.clusters));
  return nullptr;
}

void ActionBuilder::ReadHeaders(const google::protobuf::RepeatedPtrField<v1::HeaderValue>& headers,
                                std::vector<HeaderLiteral>* to, const Field& field) const {
  for (int i = 0; i < headers.size(); ++i) {
    const Field item = field.Item(static_cast<size_t>(i));
    if (CheckSettableHeader(headers[i].name(), headers[i].value(), item)) {
      to->push_back({headers[i].name(), headers[i].value()});
    }
  }
}

bool ActionBuilder::PrefixMakesSense(const Field& field) const {
  const auto by = message_.match().by_path_case();
  if (by != v1::Match::kPathTemplate && by != v1::Match::kPathRegex) return true;
  field.Error("replaces what match.path_prefix or match.path matched, but the route has neither");
  return false;
}

void ActionBuilder::SetPathRewrite(absl::StatusOr<route::PathRewrite> rewrite, const Field& field) {
  if (!rewrite.ok()) return field.ErrorBelow(rewrite.status());
  route_.path_rewrite = *std::move(rewrite);
}

void ActionBuilder::RewritePath(const v1::Rewrite& rewrite, const Field& field) {
  switch (rewrite.by_path_case()) {
    case v1::Rewrite::kPrefix: {
      const Field prefix = field.Below("prefix");
      if (!PrefixMakesSense(prefix)) return;
      return SetPathRewrite(route::PathRewrite::Prefix(rewrite.prefix()), prefix);
    }
    case v1::Rewrite::kRegex:
      return SetPathRewrite(
          route::PathRewrite::Regex(rewrite.regex().pattern(), rewrite.regex().substitution()),
          field.Below("regex"));
    case v1::Rewrite::kTemplate:
      return SetPathRewrite(
          route::PathRewrite::Template(rewrite.template_(),
                                       route::CaptureNamesOf(PathMatchOf(message_.match()))),
          field.Below("template"));
    case v1::Rewrite::BY_PATH_NOT_SET:
      return;
  }
}

void ActionBuilder::RewriteHostTo(const std::string& host, const Field& field) {
  absl::StatusOr<route::HostRewrite> rewrite =
      host.find('{') == std::string::npos
          ? route::HostRewrite::Literal(host)
          : route::HostRewrite::Template(host,
                                         route::CaptureNamesOf(PathMatchOf(message_.match())));
  if (!rewrite.ok()) return field.Error(rewrite.status());
  route_.host_rewrite = *std::move(rewrite);
}

void ActionBuilder::RewriteHost(const v1::Rewrite& rewrite, const Field& field) {
  switch (rewrite.by_host_case()) {
    case v1::Rewrite::kHost:
      return RewriteHostTo(rewrite.host(), field.Below("host"));
    case v1::Rewrite::kHostFromHeader: {
      absl::StatusOr<route::HostRewrite> from =
          route::HostRewrite::FromHeader(rewrite.host_from_header());
      if (!from.ok()) return field.Below("host_from_header").Error(from.status());
      route_.host_rewrite = *std::move(from);
      return;
    }
    case v1::Rewrite::kHostFromEndpoint:
      route_.host_from_endpoint = rewrite.host_from_endpoint();
      return;
    case v1::Rewrite::BY_HOST_NOT_SET:
      return;
  }
}

template <typename Action>
void ActionBuilder::ReadRewrite(const Action& action, const Field& field) {
  const v1::Rewrite& rewrite = action.rewrite();
  RewritePath(rewrite, field.Below("rewrite"));
  RewriteHost(rewrite, field.Below("rewrite"));
  const Field prefix = field.Below("rewrite_prefix");
  if (!action.rewrite_prefix().empty()) {
    if (rewrite.by_path_case() != v1::Rewrite::BY_PATH_NOT_SET) {
      prefix.Error("the path is rewritten by `rewrite` already");
    } else if (PrefixMakesSense(prefix)) {
      SetPathRewrite(route::PathRewrite::Prefix(action.rewrite_prefix()), prefix);
    }
  }
  const Field host = field.Below("rewrite_host");
  if (!action.rewrite_host().empty()) {
    if (rewrite.by_host_case() != v1::Rewrite::BY_HOST_NOT_SET) {
      host.Error("the host is rewritten by `rewrite` already");
    } else {
      RewriteHostTo(action.rewrite_host(), host);
    }
  }
}

void ActionBuilder::Forward(const Field& field) {
  route_.action = Route::Action::kForward;
  const v1::Forward& forward = message_.forward();
  route_.targets.push_back({FindCluster(forward.cluster(), field.Below("cluster")), {}});
  ReadRewrite(forward, field);
}

void ActionBuilder::Split(const Field& field) {
  route_.action = Route::Action::kSplit;
  const v1::Split& split = message_.split();
  const Field clusters = field.Below("clusters");
  std::vector<route::WeightedSplit::Target> targets;
  std::set<std::string_view> seen;
  bool twice = false;
  for (int i = 0; i < split.clusters_size(); ++i) {
    const v1::WeightedCluster& share = split.clusters(i);
    const Field item = clusters.Item(static_cast<size_t>(i));
    const Field name = item.Below("cluster");
    Target& target = route_.targets.emplace_back();
    target.cluster = FindCluster(share.cluster(), name);
    ReadHeaders(share.set_request_headers(), &target.set_request_headers,
                item.Below("set_request_headers"));
    const uint64_t weight =
        ReadOptional(share.has_weight(), share.weight(),
                     {.fallback = 1, .min = 0, .max = kMaxWeight}, item.Below("weight"));
    targets.push_back({share.cluster(), static_cast<uint32_t>(weight)});
    if (!seen.insert(share.cluster()).second) {
      name.Error(fmt::format("\"{}\" is there twice; add the weights up", share.cluster()));
      twice = true;
    }
  }
  if (!twice) {
    absl::StatusOr<route::WeightedSplit> built = route::WeightedSplit::Build(targets);
    if (built.ok()) {
      route_.split = *std::move(built);
    } else {
      field.ErrorBelow(built.status());
    }
  }
  if (split.has_sticky()) ReadSticky(split.sticky(), field.Below("sticky"));
  ReadRewrite(split, field);
}

void ActionBuilder::ReadSticky(const v1::Sticky& sticky, const Field& field) {
  StickyPolicy& policy = route_.sticky;
  switch (sticky.by_case()) {
    case v1::Sticky::kHeader:
      policy.by = StickyPolicy::By::kHeader;
      policy.name = ReadHeaderName(sticky.header(), field.Below("header"));
      return;
    case v1::Sticky::kCookie: {
      const Field cookie = field.Below("cookie");
      policy.by = StickyPolicy::By::kCookie;
      policy.name = sticky.cookie().name();
      if (!http::IsToken(policy.name)) {
        cookie.Below("name").Error(fmt::format("\"{}\" is not a cookie's name", policy.name));
      }
      policy.cookie_ttl =
          ReadDuration(sticky.cookie().has_ttl(), sticky.cookie().ttl(),
                       {.fallback = kNoTimeout, .zero_is_none = true, .longest = kLongestCookie},
                       cookie.Below("ttl"));
      if (policy.cookie_ttl > kNoTimeout && policy.cookie_ttl < std::chrono::seconds(1)) {
        cookie.Below("ttl").Error("must be at least 1s: a cookie's life is counted in seconds");
      }
      return;
    }
    case v1::Sticky::kClientIp:
      policy.by = StickyPolicy::By::kClientIp;
      if (!sticky.client_ip()) field.Below("client_ip").Error("must be true, or leave sticky out");
      return;
    case v1::Sticky::BY_NOT_SET:
      field.Error("needs header, cookie or client_ip");
  }
}

void ActionBuilder::Redirect(const Field& field) {
  route_.action = Route::Action::kRedirect;
  const v1::Redirect& redirect = message_.redirect();
  route::Redirect::Spec spec;
  spec.scheme = redirect.scheme();
  spec.host = redirect.host();
  spec.port = redirect.port();
  spec.strip_query = redirect.strip_query();
  spec.status = redirect.status();
  const auto set_path = [&](absl::StatusOr<route::PathRewrite> rewrite, const Field& part) {
    if (!rewrite.ok()) return part.ErrorBelow(rewrite.status());
    spec.path = *std::move(rewrite);
  };
  switch (redirect.by_path_case()) {
    case v1::Redirect::kPath:
      set_path(route::PathRewrite::Whole(redirect.path()), field.Below("path"));
      break;
    case v1::Redirect::kPrefix: {
      const Field prefix = field.Below("prefix");
      if (PrefixMakesSense(prefix)) {
        set_path(route::PathRewrite::Prefix(redirect.prefix()), prefix);
      }
      break;
    }
    case v1::Redirect::kRegex:
      set_path(
          route::PathRewrite::Regex(redirect.regex().pattern(), redirect.regex().substitution()),
          field.Below("regex"));
      break;
    case v1::Redirect::BY_PATH_NOT_SET:
      if (spec.scheme.empty() && spec.host.empty() && spec.port == 0 && !spec.strip_query) {
        return field.Error(
            "leads to where the request came from: name a scheme, host, port or path");
      }
  }
  absl::StatusOr<route::Redirect> built = route::Redirect::Build(std::move(spec));
  if (!built.ok()) return field.ErrorBelow(built.status());
  route_.redirect = *std::move(built);
}

void ActionBuilder::RespondContent(const v1::Respond& respond, const Field& field) {
  RespondAction& action = *route_.respond;
  switch (respond.content_case()) {
    case v1::Respond::kBody:
      action.body = respond.body();
      return;
    case v1::Respond::kFile: {
      const absl::StatusOr<std::string>& content =
          scope_.ReadFile(respond.file(), kMaxRespondFile, kRespondFile);
      if (!content.ok()) return field.Below("file").Error(content.status());
      action.body = *content;
      return;
    }
    case v1::Respond::kTemplate: {
      absl::StatusOr<filters::Substitution> text =
          filters::Substitution::Compile(respond.template_(), filters::Substitution::kRequest);
      if (!text.ok()) return field.Below("template").Error(text.status());
      if (text->is_literal()) {
        action.body = text->literal();
      } else {
        action.body_template = *std::move(text);
      }
      return;
    }
    case v1::Respond::CONTENT_NOT_SET:
      return;
  }
}

void ActionBuilder::Respond(const Field& field) {
  route_.action = Route::Action::kRespond;
  const v1::Respond& respond = message_.respond();
  RespondAction& action = route_.respond.emplace();
  action.status = static_cast<uint16_t>(ReadNumber(
      respond.status(), {.fallback = 200, .min = 200, .max = 599}, field.Below("status")));
  RespondContent(respond, field);
  const bool has_body = !action.body.empty() || action.body_template.has_value();
  if (has_body && (action.status == 204 || action.status == 205 || action.status == 304)) {
    field.Below("status").Error(
        fmt::format("a response with status {} has no body", action.status));
  }
  action.content_type =
      respond.content_type().empty() ? "text/plain; charset=utf-8" : respond.content_type();
  if (!http::IsFieldValue(action.content_type)) {
    field.Below("content_type").Error("holds a control character, which no header may");
  }
  ReadHeaders(respond.headers(), &action.headers, field.Below("headers"));
}

}  // namespace

route::PathMatch PathMatchOf(const v1::Match& match) {
  switch (match.by_path_case()) {
    case v1::Match::kPath:
      return route::PathMatch::Exact(match.path());
    case v1::Match::kPathPrefix:
      return route::PathMatch::Prefix(match.path_prefix());
    case v1::Match::kPathTemplate:
      return route::PathMatch::Template(match.path_template());
    case v1::Match::kPathRegex:
      return route::PathMatch::Regex(match.path_regex());
    case v1::Match::BY_PATH_NOT_SET:
      break;
  }
  return {};
}

void BuildAction(const v1::Route& message, BuildScope& scope, const Field& field, Route* route) {
  ActionBuilder builder(message, scope, route);
  switch (message.action_case()) {
    case v1::Route::kForward:
      return builder.Forward(field.Below("forward"));
    case v1::Route::kSplit:
      return builder.Split(field.Below("split"));
    case v1::Route::kRedirect:
      return builder.Redirect(field.Below("redirect"));
    case v1::Route::kRespond:
      return builder.Respond(field.Below("respond"));
    case v1::Route::kDelegate:
      return;
    case v1::Route::ACTION_NOT_SET:
      field.Error("has no action: it needs forward, split, redirect, respond or delegate");
  }
}

}  // namespace gatehouse::config
