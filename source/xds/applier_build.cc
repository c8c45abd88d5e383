// From what is pending to what is served. See applier.h.
#include <algorithm>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/no_such.h"
#include "source/base/status.h"
#include "source/config/messages.h"
#include "source/xds/applier.h"

namespace gatehouse::xds {
namespace {

using Name = std::pair<Type, std::string>;

// Of one search for what does not fit: a control plane that pushes nonsense does not stop the
// gateway from doing anything else.
constexpr int kMaxTrials = 50;

size_t IndexOf(Type type) { return static_cast<size_t>(type); }

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

template <typename Message, typename Table>
void AddPushed(const Table& held, std::vector<config::Resource<Message>>* out) {
  for (const auto& [name, resource] : held) {
    out->push_back({std::static_pointer_cast<const Message>(resource.message), {}});
  }
}

template <typename Message, typename IsWaiting>
void AddFile(const std::vector<config::Resource<Message>>& from, const IsWaiting& is_waiting,
             std::vector<config::Resource<Message>>* out) {
  for (const config::Resource<Message>& resource : from) {
    if (!is_waiting(*resource.message)) out->push_back(resource);
  }
}

}  // namespace

config::Resources Applier::ResourcesNow() const {
  config::Resources now;
  const auto add = [&](Type type, const auto& file, auto* out) {
    using Message = typename std::remove_reference_t<decltype(file)>::value_type;
    out->reserve(file.size() + held_[IndexOf(type)].size());
    AddFile(
        file,
        [&](const auto& message) {
          if constexpr (std::is_same_v<Message, config::Resource<v1::Endpoints>>) {
            return file_waiting_.contains({type, message.cluster()});
          } else {
            return file_waiting_.contains({type, message.name()});
          }
        },
        out);
    AddPushed(held_[IndexOf(type)], out);
  };
  add(Type::kSecret, file_.secrets, &now.secrets);
  add(Type::kRateLimit, file_.rate_limits, &now.rate_limits);
  add(Type::kCluster, file_.clusters, &now.clusters);
  add(Type::kEndpoints, file_.endpoints, &now.endpoints);
  add(Type::kRouteTable, file_.route_tables, &now.route_tables);
  add(Type::kListener, file_.listeners, &now.listeners);
  now.folder = file_.folder;
  return now;
}

config::BuildResult Applier::BuildHeld() {
  ++builds_;
  return hooks_.build(ResourcesNow(), built_);
}

// file_ is the new one. What waited waits on if it is as before, or for nothing but what it refers
// to.
config::BuildResult Applier::BuildFile(const config::Resources& before,
                                       const FileWaiting& waited) {
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

void Applier::Work() {
  if (!started_ || hooks_.busy()) return;
  const bool any = TakeIn();
  decided_.clear();
  // What the file waits for may have come, too.
  if (!any && file_waiting_.empty()) return AnswerReady();
  TellTrying();
  file_waited_ = std::exchange(file_waiting_, {});
  while (true) {
    const config::BuildResult built = BuildUntilFine();
    if (built.snapshot == nullptr) {
      HoldBack(built.rejections, "the config as a whole cannot be built");
      break;
    }
    if (built.snapshot == built_) {
      Accept(sequence_);
      break;
    }
    if (PublishBuilt(built.snapshot)) break;
  }
  // Each time for less: something was decided.
  if (!decided_.empty() && AnyMayTry()) WorkLater();
  AnswerReady();
}

// False: something was taken back, and is to be built without.
bool Applier::PublishBuilt(const SnapshotPtr& built) {
  const PublishResult result = hooks_.publish(built, sequence_ + 1);
  if (result.status.ok()) {
    built_ = built;
    Accept(++sequence_);
    return true;
  }
  bool refused = false;
  auto& listeners = pending_[IndexOf(Type::kListener)];
  for (const auto& [name, why] : result.listeners) {
    const auto at = listeners.find(name);
    if (at == listeners.end() || !at->second.in_build || !at->second.value.has_value()) {
      const Name of_file(Type::kListener, name);
      refused |= file_waited_.contains(of_file) && file_waiting_.emplace(of_file, why).second;
      continue;
    }
    Refusal refusal;
    refusal.name = name;
    refusal.version = at->second.value->version;
    refusal.errors.push_back({"address", why, ""});
    Refuse(Type::kListener, name, at->second, std::move(refusal));
    refused = true;
  }
  if (!refused) HoldBack({}, MessageOf(result.status));
  return !refused;
}

bool Applier::IsChanging(const Name& name) const {
  const Changes& changes = pending_[IndexOf(name.first)];
  const auto at = changes.find(name.second);
  return at != changes.end() && at->second.in_build;
}

// A cluster whose endpoints are a resource of their own is not there before them.
bool Applier::LacksEndpoints(const std::string& name, const Change& change) const {
  const auto& cluster = static_cast<const v1::Cluster&>(*change.value->message);
  if (!cluster.endpoints().empty() || change.deadline <= loop_.Now()) return false;
  if (IsHeld({Type::kEndpoints, name}) || IsChanging({Type::kEndpoints, name})) return false;
  const Changes& endpoints = pending_[IndexOf(Type::kEndpoints)];
  if (const auto at = endpoints.find(name); at != endpoints.end() && at->second.value) return false;
  const Table& held = held_[IndexOf(Type::kCluster)];
  const auto before = held.find(name);
  // One that is served without any has nothing to lose.
  return before == held.end() ||
         !static_cast<const v1::Cluster&>(*before->second.message).endpoints().empty();
}

bool Applier::MayTry(Type type, const std::string& name, const Change& change) const {
  if (type == Type::kCluster && change.value && LacksEndpoints(name, change)) return false;
  if (!change.waiting) return true;
  if (!change.missing.empty()) {
    return std::ranges::all_of(change.missing, [&](const Name& other) { return IsHeld(other); });
  }
  if (change.blockers.empty()) return true;
  return std::ranges::any_of(change.blockers, [&](const Name& other) {
    return IsChanging(other) || !IsHeld(other) || decided_.contains(other);
  });
}

bool Applier::AnyMayTry() const {
  return std::ranges::any_of(kAllTypes, [&](Type type) {
    return std::ranges::any_of(pending_[IndexOf(type)], [&](const auto& entry) {
      return MayTry(type, entry.first, entry.second);
    });
  });
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

// Puts into held_ whatever may be tried; one may make another possible.
bool Applier::TakeIn() {
  bool any = false;
  for (bool more = true; more;) {
    more = false;
    for (const Type type : kAllTypes) {
      for (auto& [name, change] : pending_[IndexOf(type)]) {
        if (change.in_build) continue;
        if (MayTry(type, name, change)) {
          Insert(type, name, change);
          more = any = true;
        } else if (!change.waiting) {
          change.waiting = true;
          change.why.errors = {{"", fmt::format("waits for Endpoints \"{}\"", name), ""}};
        }
      }
    }
  }
  return any;
}

void Applier::Insert(Type type, const std::string& name, Change& change) {
  Table& held = held_[IndexOf(type)];
  const auto at = held.find(name);
  change.before.reset();
  if (at != held.end()) change.before = std::move(at->second);
  change.in_build = true;
  change.waiting = false;
  change.missing.clear();
  change.blockers.clear();
  change.why = {};
  if (!change.value.has_value()) {
    if (at != held.end()) held.erase(at);
  } else if (at != held.end()) {
    at->second = *change.value;
  } else {
    held.emplace(name, *change.value);
  }
}

void Applier::Revert(Type type, const std::string& name, Change& change) {
  DCHECK(change.in_build);
  Table& held = held_[IndexOf(type)];
  if (change.before.has_value()) {
    held.insert_or_assign(name, *std::move(change.before));
  } else {
    held.erase(name);
  }
  change.before.reset();
  change.in_build = false;
}

template <typename Visitor>
void Applier::ForEachInBuild(Visitor&& visit) {
  for (const Type type : kAllTypes) {
    Changes& changes = pending_[IndexOf(type)];
    for (auto at = changes.begin(); at != changes.end();) {
      // The visitor may drop it.
      const auto next = std::next(at);
      if (at->second.in_build) visit(type, at->first, at->second);
      at = next;
    }
  }
}

void Applier::TellTrying() {
  std::vector<Suspect> suspects;
  ForEachInBuild([&](Type type, const std::string& name, const Change& change) {
    if (!change.value.has_value()) return;
    suspects.push_back({type, name, StateStore::DigestOf(*change.value->bytes)});
  });
  if (!suspects.empty()) hooks_.trying(suspects);
}

// Null only when what was served before cannot be built either.
config::BuildResult Applier::BuildUntilFine() {
  bool looked_for_culprits = false;
  while (true) {
    KeepEndpoints();
    config::BuildResult built = BuildHeld();
    if (built.snapshot != nullptr) return built;
    if (Settle(built.rejections)) continue;
    if (std::exchange(looked_for_culprits, true)) return built;
    FindCulprits();
  }
}

// False: none of them could be put right by taking back what is new.
bool Applier::Settle(const std::vector<config::Rejection>& rejections) {
  bool settled = false;
  restored_.clear();
  for (const config::Rejection& rejection : rejections) {
    const std::optional<Type> type = TypeOfName(rejection.type);
    CHECK(type.has_value());
    settled |= SettleOne(*type, rejection);
  }
  return settled;
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
  const bool may_wait =
      file_waited_.contains(name) || (built_ == nullptr && missing.nothing_else);
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

// Nothing new can be served now, whose fault ever it is.
void Applier::HoldBack(const std::vector<config::Rejection>& rejections, std::string_view text) {
  std::string why(text);
  if (!rejections.empty()) {
    const auto& errors = rejections[0].errors.entries();
    why += fmt::format(": {} \"{}\": {}", rejections[0].type, rejections[0].name,
                       errors.empty() ? "" : errors[0].ToString());
  }
  hooks_.say(fmt::format("what was pushed waits: {}", why));
  ForEachInBuild([&](Type type, const std::string& name, Change& change) {
    Revert(type, name, change);
    LetWait(change);
    change.why.errors = {{"", why, ""}};
  });
  file_waiting_.insert(file_waited_.begin(), file_waited_.end());
}

// A removal is never refused: its update is not kept waiting.
void Applier::LetWait(Change& change) {
  change.waiting = true;
  if (change.value.has_value()) return;
  Close(change.update, sequence_);
  change.update = 0;
}

void Applier::Accept(uint64_t sequence) {
  ForEachInBuild([&](Type type, const std::string& name, Change& change) {
    refused_[IndexOf(type)].erase(name);
    decided_.emplace(type, name);
    Close(change.update, sequence);
    unsaved_ = true;
    pending_[IndexOf(type)].erase(pending_[IndexOf(type)].find(name));
  });
}

}  // namespace gatehouse::xds
