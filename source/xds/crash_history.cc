#include "source/xds/crash_history.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace gatehouse::xds {
namespace {

constexpr char kMarker[] = "trying";
constexpr char kSuspects[] = "suspects";
// What crashed once and never came again is forgotten at some point.
constexpr size_t kMaxRemembered = 1000;
constexpr size_t kMaxNamed = 5;

std::string Names(const std::vector<LoadAttempt>& resources) {
  std::vector<std::string> names;
  for (const LoadAttempt& resource : resources) {
    if (names.size() == kMaxNamed) {
      names.push_back(fmt::format("{} more", resources.size() - kMaxNamed));
      break;
    }
    names.push_back(fmt::format("{} \"{}\"", TypeName(*resource.type), resource.name));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

CrashHistory::CrashHistory(StateFolder& folder, int max_crashes, Complain complain)
    : folder_(folder), max_crashes_(max_crashes), complain_(std::move(complain)) {}

CrashHistory::~CrashHistory() {
  if (marker_ >= 0) close(marker_);
}

CrashHistory::Key CrashHistory::KeyOf(std::optional<Type> type, std::string_view name,
                                      std::string_view digest) {
  return {type ? static_cast<int>(*type) + 1 : 0, std::string(name), std::string(digest)};
}

void CrashHistory::Look() {
  ReadSuspects(false);
  ReadMarker(false);
}

void CrashHistory::Open() {
  ours_ = true;
  ReadSuspects(true);
  ReadMarker(true);
  std::vector<LoadAttempt> added;
  for (auto it = counts_.begin(); it != counts_.end();) {
    const auto& [type, name, digest] = it->first;
    if (type == 0 || it->second.crashes < max_crashes_) {
      ++it;
      continue;
    }
    added.push_back({.type = static_cast<Type>(type - 1),
                     .name = name,
                     .digest = digest,
                     .crashes = it->second.crashes});
    it = counts_.erase(it);
  }
  // First the suspects: a process that dies in between finds them in the marker again.
  if (!added.empty()) AddSuspects(added);
  if (!counts_.empty() || !added.empty()) WriteMarker();
}

void CrashHistory::Own() {
  ours_ = true;
  if (trying_ > 0) WriteMarker();
}

void CrashHistory::ReadSuspects(bool may_change) {
  const absl::StatusOr<std::string> file = folder_.Read(kSuspects);
  if (!file.ok()) {
    if (file.status().code() != absl::StatusCode::kNotFound) complain_(MessageOf(file.status()));
    return;
  }
  std::optional<std::vector<LoadAttempt>> read = ReadLoadAttempts(*file);
  if (read) {
    for (LoadAttempt& suspect : *read) {
      if (suspect.type) suspects_[{*suspect.type, suspect.name}] = std::move(suspect);
    }
  } else if (may_change) {
    complain_(fmt::format("{}/{} is damaged: it is set aside as {}.broken", folder_.path(),
                          kSuspects, kSuspects));
    if (const absl::Status moved = folder_.Rename(kSuspects, fmt::format("{}.broken", kSuspects));
        !moved.ok()) {
      complain_(MessageOf(moved));
    }
  }
}

void CrashHistory::ReadMarker(bool count) {
  const absl::StatusOr<std::string> file = folder_.Read(kMarker);
  if (!file.ok()) {
    if (file.status().code() != absl::StatusCode::kNotFound) complain_(MessageOf(file.status()));
    return;
  }
  // One that is damaged was being written: nothing is known, and nobody can help it.
  const std::optional<std::vector<LoadAttempt>> read = ReadLoadAttempts(*file);
  if (!read) return;
  for (const LoadAttempt& attempt : *read) {
    const int crashes = attempt.crashes + (count && attempt.trying ? 1 : 0);
    if (crashes > 0) counts_[KeyOf(attempt.type, attempt.name, attempt.digest)] = {crashes, false};
  }
}

void CrashHistory::WriteMarker() {
  if (!ours_) return;
  std::vector<LoadAttempt> attempts;
  attempts.reserve(counts_.size());
  size_t remembered = 0;
  for (const auto& [key, count] : counts_) {
    const auto& [type, name, digest] = key;
    if (!count.trying && ++remembered > kMaxRemembered) continue;
    attempts.push_back(
        {.name = name, .digest = digest, .crashes = count.crashes, .trying = count.trying});
    if (type > 0) attempts.back().type = static_cast<Type>(type - 1);
  }
  const absl::Status written = folder_.Overwrite(kMarker, WriteLoadAttempts(attempts), &marker_);
  if (!written.ok() && !failing_) {
    complain_(fmt::format("{}; a config that crashes the process will not be noticed",
                          MessageOf(written)));
  }
  failing_ = !written.ok();
}

void CrashHistory::AddSuspects(const std::vector<LoadAttempt>& added) {
  complain_(
      fmt::format("the process died {} times in a row soon after it began to use {}: refused from "
                  "now on, until "
                  "something else is pushed under that name or {}/{} is deleted before a start",
                  max_crashes_, Names(added), folder_.path(), kSuspects));
  for (const LoadAttempt& suspect : added) suspects_[{*suspect.type, suspect.name}] = suspect;
  const std::string next = fmt::format("{}.new", kSuspects);
  absl::Status status = folder_.WriteWhole(next, WriteLoadAttempts(suspects()));
  if (status.ok()) status = folder_.Rename(next, kSuspects);
  if (status.ok()) status = folder_.Sync();
  if (!status.ok()) {
    complain_(fmt::format("{}; they are refused until the process ends", MessageOf(status)));
  }
}

void CrashHistory::Try(std::vector<LoadAttempt> attempts) {
  if (attempts.empty()) return;
  for (const LoadAttempt& attempt : attempts) {
    const Key key = KeyOf(attempt.type, attempt.name, attempt.digest);
    // What was there before under this name is not used any more.
    auto it = counts_.lower_bound(KeyOf(attempt.type, attempt.name, ""));
    while (attempt.type && it != counts_.end() && std::get<0>(it->first) == std::get<0>(key) &&
           std::get<1>(it->first) == attempt.name) {
      trying_ -= it->second.trying ? 1 : 0;
      it->second.trying = false;
      it = it->second.crashes == 0 ? counts_.erase(it) : std::next(it);
    }
    Count& count = counts_[key];
    trying_ += count.trying ? 0 : 1;
    count.trying = true;
  }
  WriteMarker();
}

void CrashHistory::Proven() {
  if (trying_ == 0) return;
  std::erase_if(counts_, [](const auto& entry) { return entry.second.trying; });
  trying_ = 0;
  WriteMarker();
}

int CrashHistory::CrashesOf(std::optional<Type> type, std::string_view name,
                            std::string_view digest) const {
  if (type) {
    const auto suspect = suspects_.find(std::pair(*type, std::string(name)));
    if (suspect != suspects_.end() && suspect->second.digest == digest) {
      return std::max(suspect->second.crashes, max_crashes_);
    }
  }
  const auto it = counts_.find(KeyOf(type, name, digest));
  return it == counts_.end() ? 0 : it->second.crashes;
}

bool CrashHistory::Knows(Type type, std::string_view name) const {
  const auto it = counts_.lower_bound(KeyOf(type, name, ""));
  if (it != counts_.end() && std::get<0>(it->first) == static_cast<int>(type) + 1 &&
      std::get<1>(it->first) == name) {
    return true;
  }
  return suspects_.contains(std::pair(type, std::string(name)));
}

std::vector<LoadAttempt> CrashHistory::suspects() const {
  std::vector<LoadAttempt> all;
  for (const auto& [key, suspect] : suspects_) all.push_back(suspect);
  return all;
}

void CrashHistory::ForgetConfig(std::string_view digest) {
  if (counts_.erase(KeyOf(std::nullopt, "", digest)) > 0) WriteMarker();
}

}  // namespace gatehouse::xds
