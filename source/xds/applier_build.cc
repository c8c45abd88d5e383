// From what is pending to what is served. See applier.h.
#include <algorithm>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/no_such.h"
#include "source/base/status.h"
#include "source/xds/applier.h"

namespace gatehouse::xds {
namespace {

using Name = std::pair<Type, std::string>;

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

void Applier::Work() {
  if (!started_ || hooks_.busy()) return;
  // What the file waits for may have come, too.
  if (!TakeIn() && file_waiting_.empty()) return AnswerReady();
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
  const std::string text = MessageOf(result.status);
  auto& listeners = pending_[IndexOf(Type::kListener)];
  const auto at = listeners.find(result.listener);
  if (at != listeners.end() && at->second.in_build && at->second.value.has_value()) {
    Refusal refusal;
    refusal.name = at->first;
    refusal.version = at->second.value->version;
    refusal.errors.push_back({"address", text, ""});
    Refuse(Type::kListener, at->first, at->second, std::move(refusal));
    return false;
  }
  HoldBack({}, text);
  return true;
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
  return std::ranges::any_of(
      change.blockers, [&](const Name& other) { return IsChanging(other) || !IsHeld(other); });
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
  const bool may_wait = options_.pushed && (built_ == nullptr || file_waited_.contains(name));
  return may_wait && missing.nothing_else && in_file_.contains(name) &&
         file_waiting_.insert(name).second;
}

// Something that is to be removed is still referred to: it stays for now.
bool Applier::RestoreMissing(const Name& of, const std::set<Name>& missing) {
  bool restored = false;
  for (const auto& [type, name] : missing) {
    Changes& changes = pending_[IndexOf(type)];
    const auto at = changes.find(name);
    if (at == changes.end() || !at->second.in_build || at->second.value.has_value()) continue;
    Revert(type, name, at->second);
    LetWait(at->second);
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
  refused_[IndexOf(type)][key] = std::move(refusal);
  pending_[IndexOf(type)].erase(key);
}

// The new ones are fine each by itself, but something else is wrong because of them. Those that do
// harm wait.
void Applier::FindCulprits() {
  std::vector<Name> names;
  ForEachInBuild([&](Type type, const std::string& name, Change& change) {
    names.emplace_back(type, name);
    Revert(type, name, change);
  });
  // Each by itself would only be found guilty, one after the other, of what was wrong before.
  if (BuildHeld().snapshot != nullptr) return AddWhatBuilds(names);
  for (const auto& [type, name] : names) Insert(type, name, pending_[IndexOf(type)].at(name));
}

void Applier::AddWhatBuilds(const std::vector<Name>& names) {
  if (names.empty()) return;
  for (const auto& [type, name] : names) Insert(type, name, pending_[IndexOf(type)].at(name));
  const config::BuildResult built = BuildHeld();
  if (built.snapshot != nullptr) return;
  for (const auto& [type, name] : names) {
    Change& change = pending_[IndexOf(type)].at(name);
    Revert(type, name, change);
    LetWait(change);
  }
  if (names.size() == 1) {
    Change& change = pending_[IndexOf(names[0].first)].at(names[0].second);
    for (const config::Rejection& rejection : built.rejections) {
      change.blockers.emplace(*TypeOfName(rejection.type), rejection.name);
      for (const auto& error : RefusalOf(rejection, "").errors) {
        change.why.errors.push_back(
            {"",
             fmt::format("with it {} \"{}\" would be wrong: {}{}{}", rejection.type, rejection.name,
                         error.path, error.path.empty() ? "" : ": ", error.message),
             ""});
      }
    }
    return;
  }
  const auto middle = names.begin() + static_cast<std::ptrdiff_t>(names.size() / 2);
  AddWhatBuilds({names.begin(), middle});
  AddWhatBuilds({middle, names.end()});
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
    Close(change.update, sequence);
    unsaved_ = true;
    pending_[IndexOf(type)].erase(pending_[IndexOf(type)].find(name));
  });
}

}  // namespace gatehouse::xds
