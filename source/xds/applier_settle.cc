// From a build that failed to one that does not: what is refused, what waits, what stays. See
// applier.h.
#include <algorithm>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/base/no_such.h"
#include "source/config/messages.h"
#include "source/xds/applier.h"

namespace gatehouse::xds {
namespace {

using Name = std::pair<Type, std::string>;

// Of one search for what does not fit: a control plane that pushes nonsense does not stop the
// gateway from doing anything else.
constexpr int kMaxTrials = 50;

std::optional<Type> TypeCalled(std::string_view what) {
  if (what == "cluster") return Type::kCluster;
  if (what == "route table") return Type::kRouteTable;
  if (what == "rate limit") return Type::kRateLimit;
  if (what == "secret") return Type::kSecret;
  return std::nullopt;
}

Refusal RefusalOf(const config::Rejection& rejection, std::string version) {
  Refusal refusal;
  refusal.name = rejection.name;
  refusal.version = std::move(version);
  for (const config::ConfigError& error : rejection.errors.entries()) {
    if (error.severity == config::ConfigError::Severity::kError) {
      refusal.errors.push_back({error.path, error.message, error.suggestion});
    }
  }
  return refusal;
}

struct Missing {
  std::set<Name> names;
  bool nothing_else = true;  // is wrong with it
};

Missing MissingIn(const config::Rejection& rejection) {
  Missing missing;
  for (const config::ConfigError& error : rejection.errors.entries()) {
    if (error.severity != config::ConfigError::Severity::kError) continue;
    const std::optional<MissingName> found = ReadNoSuch(error.message);
    const std::optional<Type> type = found ? TypeCalled(found->what) : std::nullopt;
    if (type) {
      missing.names.emplace(*type, found->name);
    } else {
      missing.nothing_else = false;
    }
  }
  return missing;
}

std::string FirstErrorOf(const config::Rejection& rejection) {
  const Refusal refusal = RefusalOf(rejection, "");
  if (refusal.errors.empty()) return "waits";
  const Refusal::Error& error = refusal.errors[0];
  return error.path.empty() ? error.message : fmt::format("{}: {}", error.path, error.message);
}

template <typename Message>
const google::protobuf::Message* FindIn(const std::vector<config::Resource<Message>>& list,
                                        std::string_view name) {
  const auto at = std::ranges::find_if(list, [&](const auto& resource) {
    if constexpr (std::is_same_v<Message, v1::Endpoints>) {
      return resource.message->cluster() == name;
    } else {
      return resource.message->name() == name;
    }
  });
  return at == list.end() ? nullptr : at->message.get();
}

// Null: there is none.
const google::protobuf::Message* MessageIn(const config::Resources& file, const Name& name) {
  switch (name.first) {
    case Type::kSecret:
      return FindIn(file.secrets, name.second);
    case Type::kRateLimit:
      return FindIn(file.rate_limits, name.second);
    case Type::kCluster:
      return FindIn(file.clusters, name.second);
    case Type::kEndpoints:
      return FindIn(file.endpoints, name.second);
    case Type::kRouteTable:
      return FindIn(file.route_tables, name.second);
    case Type::kListener:
      return FindIn(file.listeners, name.second);
  }
  return nullptr;
}

}  // namespace

// False: none of them could be put right by taking back what is new.
bool Applier::Settle(const std::vector<config::Rejection>& rejections) {
  restored_.clear();
  // Of one type at a time: with what is taken back, what refers to it may be right.
  for (const Type type : kAllTypes) {
    bool settled = false;
    for (const config::Rejection& rejection : rejections) {
      if (rejection.type == TypeName(type)) settled |= SettleOne(type, rejection);
    }
    if (settled) return true;
  }
  return false;
}

bool Applier::SettleOne(Type type, const config::Rejection& rejection) {
  const Missing missing = MissingIn(rejection);
  if (RestoreMissing({type, rejection.name}, missing.names)) return true;
  Changes& changes = pending_[IndexOf(type)];
  const auto at = changes.find(rejection.name);
  if (at != changes.end() && at->second.in_build && at->second.value.has_value()) {
    Change& change = at->second;
    Refusal refusal = RefusalOf(rejection, change.value->version);
    if (!missing.nothing_else || missing.names.empty()) {
      Refuse(type, rejection.name, change, std::move(refusal));
      return true;
    }
    Revert(type, rejection.name, change);
    LetWait(change);
    change.missing = missing.names;
    change.why = std::move(refusal);
    return true;
  }
  const Name name(type, rejection.name);
  // What has waited waits on, whatever it is now: that is no reason to refuse what was pushed.
  const bool may_wait = file_waited_.contains(name) || (built_ == nullptr && missing.nothing_else);
  return options_.pushed && may_wait && in_file_.contains(name) &&
         file_waiting_.emplace(name, FirstErrorOf(rejection)).second;
}

// Something that is to be removed is still referred to: it stays for now.
bool Applier::RestoreMissing(const Name& of, const std::set<Name>& missing) {
  bool restored = false;
  for (const auto& [type, name] : missing) {
    Changes& changes = pending_[IndexOf(type)];
    const auto at = changes.find(name);
    if (at == changes.end() || at->second.value.has_value()) continue;
    if (at->second.in_build) {
      Revert(type, name, at->second);
      LetWait(at->second);
      restored_.emplace(type, name);
    } else if (!restored_.contains({type, name})) {
      continue;
    }
    at->second.blockers.insert(of);
    restored = true;
  }
  return restored;
}

void Applier::Refuse(Type type, const std::string& name, Change& change, Refusal refusal) {
  const std::string key = name;  // `name` may be part of the change that goes
  Revert(type, key, change);
  if (change.update != 0) {
    tickets_.at(change.update).refusals.push_back(refusal);
    Close(change.update, sequence_);
  }
  NoteRefused(type, std::move(refusal));
  decided_.emplace(type, key);
  pending_[IndexOf(type)].erase(key);
}

// The new ones are fine each by itself, but something else is wrong because of them. Those that do
// harm wait.
void Applier::FindCulprits() {
  std::vector<Name> names;
  std::vector<Name> removed;
  ForEachInBuild([&](Type type, const std::string& name, Change& change) {
    (change.value.has_value() ? names : removed).emplace_back(type, name);
    Revert(type, name, change);
  });
  // Last, and what refers before what it refers to.
  names.insert(names.end(), removed.rbegin(), removed.rend());
  file_waiting_.insert(file_waited_.begin(), file_waited_.end());
  // Each by itself would only be found guilty, one after the other, of what was wrong before.
  int builds_left = kMaxTrials;
  if (BuildHeld().snapshot != nullptr) return AddWhatBuilds(names, &builds_left);
  for (const auto& [type, name] : names) Insert(type, name, pending_[IndexOf(type)].at(name));
}

void Applier::AddWhatBuilds(const std::vector<Name>& names, int* builds_left) {
  if (names.empty()) return;
  for (const auto& [type, name] : names) Insert(type, name, pending_[IndexOf(type)].at(name));
  const config::BuildResult built = BuildHeld();
  if (built.snapshot != nullptr) return;
  --*builds_left;
  for (const auto& [type, name] : names) {
    Change& change = pending_[IndexOf(type)].at(name);
    Revert(type, name, change);
    LetWait(change);
  }
  if (names.size() == 1 || *builds_left <= 0) return Block(names, built.rejections);
  const auto middle = names.begin() + static_cast<std::ptrdiff_t>(names.size() / 2);
  AddWhatBuilds({names.begin(), middle}, builds_left);
  AddWhatBuilds({middle, names.end()}, builds_left);
}

void Applier::Block(const std::vector<Name>& names,
                    const std::vector<config::Rejection>& rejections) {
  for (const auto& [type, name] : names) {
    Change& change = pending_[IndexOf(type)].at(name);
    for (const config::Rejection& rejection : rejections) {
      change.blockers.emplace(*TypeOfName(rejection.type), rejection.name);
      for (const auto& error : RefusalOf(rejection, "").errors) {
        change.why.errors.push_back(
            {"",
             fmt::format("with it {} \"{}\" would be wrong: {}{}{}", rejection.type, rejection.name,
                         error.path, error.path.empty() ? "" : ": ", error.message),
             ""});
      }
    }
  }
}

bool Applier::NeedsEndpoints(const std::string& cluster) const {
  const Table& held = held_[IndexOf(Type::kCluster)];
  if (const auto at = held.find(cluster); at != held.end()) {
    return static_cast<const v1::Cluster&>(*at->second.message).endpoints().empty();
  }
  const google::protobuf::Message* own = MessageIn(file_, {Type::kCluster, cluster});
  return own != nullptr && static_cast<const v1::Cluster*>(own)->endpoints().empty();
}

// That its endpoints go before the cluster, or before what leads to it, is only the order in which
// messages come. Who wants a cluster to have none pushes an empty list.
void Applier::KeepEndpoints() {
  for (auto& [name, change] : pending_[IndexOf(Type::kEndpoints)]) {
    if (!change.in_build || change.value.has_value() || !NeedsEndpoints(name)) continue;
    Revert(Type::kEndpoints, name, change);
    LetWait(change);
    change.blockers.emplace(Type::kCluster, name);
  }
}

// file_ is the new one. What waited waits on if it is as before, or for nothing but what it refers
// to.
config::BuildResult Applier::BuildFile(const config::Resources& before, const FileWaiting& waited) {
  while (true) {
    config::BuildResult built = BuildHeld();
    bool more = false;
    for (const config::Rejection& rejection : built.rejections) {
      const Name name(*TypeOfName(rejection.type), rejection.name);
      const google::protobuf::Message* now = MessageIn(file_, name);
      if (!waited.contains(name) || now == nullptr) continue;
      const google::protobuf::Message* old = MessageIn(before, name);
      const bool same = old != nullptr && config::SameMessage(*old, *now);
      if (!same && !MissingIn(rejection).nothing_else) continue;
      more |= file_waiting_.emplace(name, FirstErrorOf(rejection)).second;
    }
    if (!more) return built;
  }
}

}  // namespace gatehouse::xds
