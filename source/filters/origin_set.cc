#include "source/filters/origin_set.h"

#include <algorithm>

#include "fmt/format.h"
#include "source/base/status.h"
#include "source/http/chars.h"
#include "source/http/normalize.h"
#include "source/route/regex.h"

namespace gatehouse::filters {

namespace {

// What no config means to allow: who says yes to this says yes to everybody.
constexpr std::string_view kStranger = "https://a-stranger.cors-probe.invalid:4711";

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  });
  return lower;
}

}  // namespace

bool OriginSet::AddPattern(std::string_view pattern, std::string& error) {
  if (pattern == "*") {
    any_ = true;
    return true;
  }
  if (pattern == "null") {
    exact_.insert("null");
    return true;
  }
  const std::string origin = Lower(pattern);
  const size_t scheme_end = origin.find("://");
  if (scheme_end == std::string::npos || scheme_end == 0) {
    error = fmt::format("\"{}\" is not an origin such as \"https://shop.example\"", pattern);
    return false;
  }
  const std::string scheme = origin.substr(0, scheme_end + 3);
  std::string host = origin.substr(scheme_end + 3);
  if (host.find('/') != std::string::npos) {
    error = fmt::format("\"{}\": an origin has no path, not even \"/\"", pattern);
    return false;
  }
  // Browsers leave the default port out.
  const std::string_view default_port = scheme == "https://" ? ":443" : ":80";
  if ((scheme == "https://" || scheme == "http://") && host.ends_with(default_port)) {
    host.resize(host.size() - default_port.size());
  }
  const bool wildcard = host.starts_with("*.");
  const std::string_view fixed = std::string_view(host).substr(wildcard ? 2 : 0);
  if (!http::IsAuthority(fixed)) {
    error = fmt::format(
        "\"{}\" is not an origin; \"*\" is possible alone or for the first labels of the host, as "
        "in \"https://*.shop.example\"",
        pattern);
    return false;
  }
  if (wildcard) {
    suffixes_.push_back({scheme, host.substr(1)});
  } else {
    exact_.insert(scheme + host);
  }
  return true;
}

bool OriginSet::AddRegex(std::string_view regex, std::string& error) {
  auto compiled = route::CompileRegex(regex);
  if (!compiled.ok()) {
    error = MessageOf(compiled.status());
    return false;
  }
  regexes_.emplace_back(*std::move(compiled));
  return true;
}

bool OriginSet::Allows(std::string_view origin) const {
  if (origin.empty()) return false;
  if (exact_.contains(origin)) return true;
  if (origin == "null") return false;
  if (any_) return true;
  for (const Suffix& suffix : suffixes_) {
    if (!origin.starts_with(suffix.scheme) || !origin.ends_with(suffix.host)) continue;
    const size_t fixed = suffix.scheme.size() + suffix.host.size();
    if (origin.size() <= fixed) continue;
    const std::string_view labels = origin.substr(suffix.scheme.size(), origin.size() - fixed);
    const auto is_host_char = [](char c) { return http::IsHostChar(c) || c == '.'; };
    if (std::ranges::all_of(labels, is_host_char)) return true;
  }
  return std::ranges::any_of(
      regexes_, [origin](const auto& regex) { return route::FullMatch(*regex, origin); });
}

bool OriginSet::IsOpen() const { return any_ || Allows("null") || Allows(kStranger); }

bool OriginSet::empty() const {
  return !any_ && exact_.empty() && suffixes_.empty() && regexes_.empty();
}

}  // namespace gatehouse::filters
