// Timeouts, limits, retries and upgrades of a route.
#include <algorithm>
#include <array>
#include <charconv>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/config/build_routes.h"
#include "source/http/header_map.h"

namespace gatehouse::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kMaxAttempts = 100;
// Kept in memory for each exchange.
constexpr uint64_t kMaxReplay = uint64_t{64} << 20;
constexpr uint64_t kAnyBody = INT64_MAX;

struct RetryWord {
  std::string_view word;
  bool RetryPolicy::* flag;
};
constexpr std::array<RetryWord, 5> kRetryWords = {{
    {"connect-failure", &RetryPolicy::on_connect_failure},
    {"reset", &RetryPolicy::on_reset},
    {"5xx", &RetryPolicy::on_5xx},
    {"gateway-error", &RetryPolicy::on_gateway_error},
    {"retriable-4xx", &RetryPolicy::on_retriable_4xx},
}};

void ReadRetryStatus(std::string_view text, RetryPolicy& policy, const Field& field) {
  uint16_t status = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  if (error != std::errc() || end != text.data() + text.size() || status < 400 || status > 599) {
    return field.Error(fmt::format("\"{}\" is not a status from 400 to 599", text));
  }
  policy.on_statuses.push_back(status);
}

void ReadRetryWord(std::string_view text, RetryPolicy& policy, const Field& field) {
  const auto known = std::ranges::find(kRetryWords, text, &RetryWord::word);
  if (known != kRetryWords.end()) {
    policy.*(known->flag) = true;
  } else if (!text.empty() && text.find_first_not_of("0123456789") == text.npos) {
    ReadRetryStatus(text, policy, field);
  } else {
    std::vector<std::string_view> words;
    for (const RetryWord& word : kRetryWords) words.push_back(word.word);
    field.Error(fmt::format("\"{}\" is no reason to retry: {} or a status such as 503", text,
                            fmt::join(words, ", ")),
                Nearest(text, words));
  }
}

void ReadRetry(const v1::Retry& retry, RetryPolicy& policy, const Field& field) {
  policy.attempts = static_cast<uint32_t>(
      ReadOptional(retry.has_attempts(), retry.attempts(),
                   {.fallback = 1, .min = 0, .max = kMaxAttempts}, field.Below("attempts")));
  policy.on_connect_failure = retry.on().empty();
  const Field on = field.Below("on");
  for (int i = 0; i < retry.on_size(); ++i) {
    ReadRetryWord(retry.on(i), policy, on.Item(static_cast<size_t>(i)));
  }
  policy.per_try_timeout =
      ReadDuration(retry.has_per_try_timeout(), retry.per_try_timeout(),
                   {.fallback = kNoTimeout, .zero_is_none = true}, field.Below("per_try_timeout"));
  policy.backoff =
      ReadDuration(retry.has_backoff(), retry.backoff(),
                   {.fallback = milliseconds(25), .zero_is_none = true}, field.Below("backoff"));
  policy.max_backoff = ReadDuration(
      retry.has_max_backoff(), retry.max_backoff(),
      {.fallback = std::min(10 * policy.backoff, kLongestTimeout), .zero_is_none = true},
      field.Below("max_backoff"));
  if (policy.max_backoff < policy.backoff) field.Below("max_backoff").Error("is less than backoff");
  policy.max_body_bytes =
      ReadSize(retry.max_body_bytes(), {.fallback = 64 * 1024, .min = 1, .max = kMaxReplay},
               field.Below("max_body_bytes"));
  policy.non_idempotent = retry.non_idempotent();
}

// A protocol name with an optional version: RFC 9110, section 7.8.
void ReadProtocol(std::string_view text, Route& route, const Field& field) {
  const std::string protocol = LowerCase(text);
  const std::string_view view = protocol;
  const size_t slash = view.find('/');
  const bool fine = http::IsToken(view.substr(0, slash)) &&
                    (slash == view.npos || http::IsToken(view.substr(slash + 1)));
  if (!fine) return field.Error(fmt::format("\"{}\" is not a protocol such as websocket", text));
  // Both would hide from us what goes through the connection.
  if (view == "h2c" || view.starts_with("tls") || view.starts_with("http")) {
    return field.Error(fmt::format("\"{}\" cannot be passed through", text));
  }
  if (std::ranges::find(route.upgrades, protocol) != route.upgrades.end()) {
    return field.Error(fmt::format("\"{}\" is there twice", text));
  }
  route.upgrades.push_back(protocol);
}

void ReadUpgrade(const v1::Upgrade& upgrade, Route& route, const Field& field) {
  const Field protocols = field.Below("protocols");
  if (upgrade.protocols().empty()) protocols.Error("must name a protocol such as websocket");
  for (int i = 0; i < upgrade.protocols_size(); ++i) {
    ReadProtocol(upgrade.protocols(i), route, protocols.Item(static_cast<size_t>(i)));
  }
  route.upgrade_idle_timeout = ReadDuration(
      upgrade.has_idle_timeout(), upgrade.idle_timeout(),
      {.fallback = std::chrono::hours(1), .zero_is_none = true}, field.Below("idle_timeout"));
}

// What a delegating route says about requests that other tables' routes will serve.
void RefuseOptions(const v1::Route& message, const Field& field) {
  const auto refuse = [&](bool given, std::string_view name) {
    if (given)
      field.Below(name).Error("has no effect here: write it at the routes of the mounted tables");
  };
  refuse(message.has_timeout(), "timeout");
  refuse(message.has_idle_timeout(), "idle_timeout");
  refuse(message.has_retry(), "retry");
  refuse(message.has_max_body_bytes(), "max_body_bytes");
  refuse(message.has_upgrade(), "upgrade");
  refuse(message.has_max_grpc_timeout(), "max_grpc_timeout");
}

}  // namespace

void ReadRouteOptions(const v1::Route& message, const RouteDefaults& defaults, const Field& field,
                      Route* route) {
  if (message.has_delegate()) return RefuseOptions(message, field);
  route->timeout =
      ReadDuration(message.has_timeout(), message.timeout(),
                   {.fallback = seconds(15), .zero_is_none = true}, field.Below("timeout"));
  route->idle_timeout = ReadDuration(message.has_idle_timeout(), message.idle_timeout(),
                                     {.fallback = defaults.idle_timeout, .zero_is_none = true},
                                     field.Below("idle_timeout"));
  route->max_grpc_timeout = ReadDuration(message.has_max_grpc_timeout(), message.max_grpc_timeout(),
                                         {.fallback = route->timeout, .zero_is_none = true},
                                         field.Below("max_grpc_timeout"));
  if (message.has_retry()) ReadRetry(message.retry(), route->retry, field.Below("retry"));
  route->max_body_bytes =
      ReadOptional(message.has_max_body_bytes(), message.max_body_bytes(),
                   {.fallback = defaults.max_body_bytes, .min = 0, .max = kAnyBody},
                   field.Below("max_body_bytes"));
  if (message.has_upgrade()) ReadUpgrade(message.upgrade(), *route, field.Below("upgrade"));
}

}  // namespace gatehouse::config
