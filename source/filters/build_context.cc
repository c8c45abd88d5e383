#include "source/filters/build_context.h"

#include <span>

#include "fmt/format.h"
#include "source/base/nearest.h"
#include "source/base/no_such.h"
#include "source/base/status.h"

namespace gatehouse::filters {

namespace {

template <typename T>
std::string_view NearestName(const BuildResources::ByName<T>& known, std::string_view name) {
  std::vector<std::string_view> names;
  names.reserve(known.size());
  for (const auto& [known_name, value] : known) names.push_back(known_name);
  return Nearest(name, names);
}

}  // namespace

std::weak_ptr<void>& StateStore::Entry(const void* type, std::string_view name,
                                       std::string_view fingerprint) {
  const auto [at, added] =
      entries_.try_emplace(Key{type, std::string(name), std::string(fingerprint)});
  std::weak_ptr<void>& entry = at->second;
  if (added && entries_.size() >= sweep_at_) {
    std::erase_if(entries_, [&entry](const auto& other) {
      return other.second.expired() && &other.second != &entry;
    });
    sweep_at_ = 2 * entries_.size() + kMinSweep;
  }
  return entry;
}

absl::StatusOr<const upstream::Cluster*> BuildContext::Cluster(std::string_view field,
                                                               std::string_view name) {
  const auto at = resources_.clusters.find(name);
  if (at == resources_.clusters.end()) {
    return Error(field, NoSuch("cluster", name), NearestName(resources_.clusters, name));
  }
  cluster_references_.emplace_back(name);
  return at->second;
}

absl::StatusOr<const gatehouse::v1::RateLimit*> BuildContext::RateLimit(std::string_view field,
                                                                        std::string_view name) {
  const auto at = resources_.rate_limits.find(name);
  if (at == resources_.rate_limits.end()) {
    return Error(field, NoSuch("rate limit", name), NearestName(resources_.rate_limits, name));
  }
  rate_limit_references_.emplace_back(name);
  return at->second;
}

absl::StatusOr<std::string_view> BuildContext::Secret(std::string_view field,
                                                      std::string_view name) {
  const auto at = resources_.secrets.find(name);
  if (at == resources_.secrets.end()) {
    return Error(field, NoSuch("secret", name), NearestName(resources_.secrets, name));
  }
  secret_references_.emplace_back(name);
  return std::string_view(at->second);
}

absl::Status BuildContext::Error(std::string_view field, std::string_view message,
                                 std::string_view suggestion) {
  FieldError error;
  error.path = path_;
  if (!field.empty()) {
    if (!error.path.empty() && field.front() != '[') error.path += '.';
    error.path += field;
  }
  error.message = message;
  error.suggestion = suggestion;
  absl::Status status = InvalidArgument(
      fmt::format("{}: {}{}", error.path, message,
                  suggestion.empty() ? "" : fmt::format(", did you mean \"{}\"?", suggestion)));
  errors_.push_back(std::move(error));
  return status;
}

}  // namespace gatehouse::filters
