#include "source/config/config_error.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::config {

std::string ConfigError::ToString() const {
  std::string out = file;
  const auto append = [&out](std::string_view part) {
    if (!out.empty()) out.push_back(':');
    out.append(part);
  };
  if (line > 0) append(fmt::format("{}", line));
  if (line > 0 && column > 0 && path.empty()) append(fmt::format("{}", column));
  if (!out.empty()) out.append(": ");
  if (severity == Severity::kWarning) out.append("warning: ");
  if (!path.empty()) fmt::format_to(std::back_inserter(out), "{}: ", path);
  out.append(message);
  if (!suggestion.empty()) {
    fmt::format_to(std::back_inserter(out), ", did you mean \"{}\"?", suggestion);
  }
  return out;
}

void ErrorList::Add(ConfigError error) {
  if (error.severity == ConfigError::Severity::kError) ++error_count_;
  if (entries_.size() >= kMaxKept) {
    ++dropped_;
    return;
  }
  entries_.push_back(std::move(error));
}

void ErrorList::Append(const ErrorList& other) {
  size_t kept_errors = 0;
  for (const ConfigError& error : other.entries_) {
    if (error.severity == ConfigError::Severity::kError) ++kept_errors;
    Add(error);
  }
  dropped_ += other.dropped_;
  error_count_ += other.error_count_ - kept_errors;
}

void ErrorList::Sort() {
  std::stable_sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.file, a.line) < std::tie(b.file, b.line);
  });
}

std::string ErrorList::ToString() const {
  ErrorList sorted = *this;
  sorted.Sort();
  std::string out;
  for (const ConfigError& error : sorted.entries_) {
    out.append(error.ToString());
    out.push_back('\n');
  }
  if (dropped_ > 0) {
    fmt::format_to(std::back_inserter(out), "and {} more\n", dropped_);
  }
  return out;
}

absl::Status ErrorList::ToStatus() const {
  if (ok()) return absl::OkStatus();
  ErrorList errors;
  for (const ConfigError& error : entries_) {
    if (error.severity == ConfigError::Severity::kError) errors.Add(error);
  }
  errors.dropped_ = error_count_ - errors.error_count_;
  std::string text = errors.ToString();
  text.pop_back();
  return InvalidArgument(text);
}

}  // namespace gatehouse::config
