#include "source/route/host_map.h"

#include <utility>

#include "fmt/format.h"

namespace gatehouse::route {
namespace {

size_t CountLabels(std::string_view text) {
  return 1 + static_cast<size_t>(std::count(text.begin(), text.end(), '.'));
}

bool IsAddressLiteral(std::string_view host) { return !host.empty() && host.front() == '['; }

}  // namespace

void HostMap::Builder::Add(std::string_view domain, uint32_t value) {
  if (domain == "*") {
    any_ = value;
  } else if (domain.starts_with("*.")) {
    domain.remove_prefix(2);
    suffix_labels_ = std::max(suffix_labels_, CountLabels(domain));
    names_.Add(kSuffix, domain, value);
  } else if (domain.ends_with(".*")) {
    domain.remove_suffix(2);
    prefix_labels_ = std::max(prefix_labels_, CountLabels(domain));
    names_.Add(kPrefix, domain, value);
  } else {
    names_.Add(kExact, domain, value);
  }
}

HostMap HostMap::Builder::Build() && {
  HostMap map;
  map.names_ = std::move(names_).Build();
  map.suffix_labels_ = suffix_labels_;
  map.prefix_labels_ = prefix_labels_;
  map.any_ = any_;
  return map;
}

uint32_t HostMap::FindWildcard(std::string_view host) const {
  if (IsAddressLiteral(host)) return any_;
  if (suffix_labels_ > 0) {
    // Back to the longest tail that a wildcard can have, then forward from there.
    size_t start = host.size();
    for (size_t labels = 0; labels < suffix_labels_ && start != std::string_view::npos; ++labels) {
      start = start == 0 ? std::string_view::npos : host.rfind('.', start - 1);
    }
    if (start == std::string_view::npos || start == 0) start = host.find('.', 1);
    for (; start != std::string_view::npos; start = host.find('.', start + 1)) {
      if (const auto* found = names_.Find(kSuffix, host.substr(start + 1))) return found->payload;
    }
  }
  if (prefix_labels_ > 0) {
    size_t end = 0;
    for (size_t labels = 0; labels < prefix_labels_; ++labels) {
      const size_t dot = host.find('.', end == 0 ? 0 : end + 1);
      if (dot == std::string_view::npos || dot + 1 == host.size()) break;
      end = dot;
    }
    while (end != 0 && end != std::string_view::npos) {
      if (const auto* found = names_.Find(kPrefix, host.substr(0, end))) return found->payload;
      end = host.rfind('.', end - 1);
    }
  }
  return any_;
}

std::string NormalizeDomain(std::string_view domain, std::string& error) {
  std::string lower(domain);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  if (lower == "*") return lower;
  std::string_view name = lower;
  if (name.starts_with("*.")) {
    name.remove_prefix(2);
  } else if (name.ends_with(".*")) {
    name.remove_suffix(2);
  } else if (IsAddressLiteral(name)) {
    if (name.find_first_not_of("0123456789abcdef:.", 1) != name.size() - 1 || name.back() != ']') {
      error = fmt::format("'{}' is not an IPv6 address in brackets", domain);
    }
    return lower;
  }
  if (name.empty()) {
    error = "must not be empty";
  } else if (name.size() > 253) {
    error = "is longer than 253 characters";
  } else if (name.find('*') != std::string_view::npos) {
    error = fmt::format("'{}': a wildcard is *, *.suffix or prefix.*", domain);
  } else if (name.find(':') != std::string_view::npos) {
    error = fmt::format("'{}': must not have a port: it is the listener's", domain);
  } else if (name.front() == '.' || name.back() == '.' ||
             name.find("..") != std::string_view::npos) {
    error = fmt::format("'{}': has an empty label", domain);
  } else if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") !=
             std::string_view::npos) {
    error = fmt::format("'{}': only letters, digits, '-', '_' and '.' (other names as xn--...)",
                        domain);
  }
  return lower;
}

}  // namespace gatehouse::route
