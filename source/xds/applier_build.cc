// From what is pending to what is served. See applier.h.
#include <algorithm>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/xds/applier.h"

namespace gatehouse::xds {
namespace {

using Name = std::pair<Type, std::string>;

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
