#include "source/xds/applier.h"

#include <algorithm>
#include <iterator>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/config/text_environment.h"

namespace gatehouse::xds {
namespace {

std::shared_ptr<google::protobuf::Message> Parse(Type type, const std::string& bytes) {
  std::shared_ptr<google::protobuf::Message> message(PrototypeOf(type).New());
  return message->ParseFromString(bytes) ? message : nullptr;
}

template <typename List>
void AddNames(Type type, const List& list, std::set<std::pair<Type, std::string>>& names) {
  for (const auto& resource : list) names.emplace(type, resource.message->name());
}

std::set<std::pair<Type, std::string>> NamesIn(const config::Resources& file) {
  std::set<std::pair<Type, std::string>> names;
  AddNames(Type::kSecret, file.secrets, names);
  AddNames(Type::kRateLimit, file.rate_limits, names);
  AddNames(Type::kCluster, file.clusters, names);
  for (const auto& resource : file.endpoints) {
    names.emplace(Type::kEndpoints, resource.message->cluster());
  }
  AddNames(Type::kRouteTable, file.route_tables, names);
  AddNames(Type::kListener, file.listeners, names);
  return names;
}

Refusal RefusalOf(std::string name, std::string version, std::string message) {
  Refusal refusal;
  refusal.name = std::move(name);
  refusal.version = std::move(version);
  refusal.errors.push_back({.path = {}, .message = std::move(message), .suggestion = {}});
  return refusal;
}

// ${NAME} means a variable of this machine. What is saved and compared is what was pushed.
absl::Status ExpandSecret(std::shared_ptr<const google::protobuf::Message>* message) {
  const auto& secret = static_cast<const v1::Secret&>(**message);
  if (!secret.has_inline_() || secret.inline_().find("${") == std::string::npos) {
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> text =
      config::ExpandEnvironment(secret.inline_(), config::ProcessEnvironment());
  if (!text.ok()) return text.status();
  auto expanded = std::make_shared<v1::Secret>(secret);
  expanded->set_inline_(*std::move(text));
  *message = std::move(expanded);
  return absl::OkStatus();
}

// What is kept for people of one refused resource.
constexpr size_t kMaxErrors = 20;

}  // namespace

Applier::Applier(net::Loop& loop, Hooks hooks, Options options)
    : loop_(loop),
      hooks_(std::move(hooks)),
      options_(std::move(options)),
      work_([](void* self) { static_cast<Applier*>(self)->Work(); }, this),
      timer_(Timer::Calls<Applier, &Applier::OnTimer>(), this) {}

config::BuildResult Applier::Start(config::Resources file,
                                   const std::optional<SavedConfig>& saved) {
  CHECK(!started_);
  file_ = std::move(file);
  in_file_ = NamesIn(file_);
  if (saved.has_value()) {
    for (const SavedResource& resource : saved->resources) {
      Enqueue(resource.type, {resource.name, resource.version, *resource.bytes}, 0);
    }
    for (const auto& [type, version] : saved->versions) type_versions_[IndexOf(type)] = version;
    saved_ = true;
    told_.fill(true);
  }
  static_cast<void>(TakeIn());
  config::BuildResult built = BuildUntilFine();
  if (built.snapshot == nullptr) return built;
  built_ = built.snapshot;
  sequence_ = 1;
  Accept(sequence_);
  for (const Type type : kAllTypes) {
    for (const auto& [name, refusal] : refused_[IndexOf(type)]) {
      hooks_.say(fmt::format("saved {} \"{}\" is left out: {}", TypeName(type), name,
                             refusal.errors.empty() ? "it is refused" : refusal.errors[0].message));
    }
  }
  for (const Type type : kAllTypes) {
    const size_t index = IndexOf(type);
    // A control plane that hears of this version would not send again what is not held.
    if (!refused_[index].empty() || !pending_[index].empty()) type_versions_[index].clear();
  }
  unsaved_ = false;
  started_ = true;
  return built;
}

Applier::SnapshotPtr Applier::StartWithout(
    const std::vector<std::pair<std::string, std::string>>& listeners) {
  const size_t index = IndexOf(Type::kListener);
  bool left_out = false;
  for (const auto& [name, why] : listeners) {
    const auto at = held_[index].find(name);
    if (at == held_[index].end()) continue;
    refused_[index][name] = {
        .name = name, .version = at->second.version, .errors = {{"address", why, ""}}};
    held_[index].erase(at);
    hooks_.say(fmt::format("saved Listener \"{}\" is left out: {}", name, why));
    left_out = true;
  }
  if (!left_out) return nullptr;
  type_versions_[index].clear();
  built_ = BuildHeld().snapshot;
  return built_;
}

config::BuildResult Applier::Rebuild(const config::Resources& file) {
  config::BuildResult result;
  const auto clash = [&](Type type, const auto& list, const auto& name_of) {
    for (const auto& resource : list) {
      const std::string& name = name_of(*resource.message);
      if (!held_[IndexOf(type)].contains(name)) continue;
      result.errors.Add(resource.source.Error(
          "",
          fmt::format("the control plane has pushed a {} \"{}\" already", TypeName(type), name)));
    }
  };
  const auto by_name = [](const auto& message) -> const std::string& { return message.name(); };
  clash(Type::kSecret, file.secrets, by_name);
  clash(Type::kRateLimit, file.rate_limits, by_name);
  clash(Type::kCluster, file.clusters, by_name);
  clash(Type::kEndpoints, file.endpoints,
        [](const auto& message) -> const std::string& { return message.cluster(); });
  clash(Type::kRouteTable, file.route_tables, by_name);
  clash(Type::kListener, file.listeners, by_name);
  if (!result.errors.ok()) return result;

  // What waits goes on waiting: a file is read all or nothing.
  config::Resources file_before = std::exchange(file_, file);
  FileWaiting waiting_before = std::exchange(file_waiting_, {});
  result = BuildFile(file_before, waiting_before);
  file_ = std::move(file_before);
  file_rebuilt_ = std::exchange(file_waiting_, std::move(waiting_before));
  return result;
}

void Applier::Reloaded(config::Resources file, SnapshotPtr built) {
  file_ = std::move(file);
  in_file_ = NamesIn(file_);
  file_waiting_ = std::exchange(file_rebuilt_, {});
  if (built != built_) {
    built_ = std::move(built);
    ++sequence_;
  }
  // It may have brought what something waits for.
  WorkLater();
}

void Applier::Apply(Update update) {
  const size_t index = IndexOf(update.type);
  ++updates_[index];
  told_[index] = true;
  if (update.id != 0) {
    Ticket& ticket = tickets_[update.id];
    ticket.type = update.type;
    ticket.version = update.version;
    ticket.sequence = sequence_;
    ticket.deadline = loop_.Now() + options_.warm_timeout;
  }
  if (update.complete) {
    std::set<std::string_view> here;
    for (const Upsert& upsert : update.upserts) here.insert(upsert.name);
    for (const Refusal& refusal : update.refused) here.insert(refusal.name);
    const auto drop = [&](const std::string& name) {
      if (!here.contains(name)) update.removed.push_back(name);
    };
    for (const auto& [name, held] : held_[index]) drop(name);
    for (const auto& [name, change] : pending_[index]) {
      if (change.value.has_value() && !held_[index].contains(name)) drop(name);
    }
    std::erase_if(refused_[index], [&](const auto& entry) { return !here.contains(entry.first); });
  }
  refused_[index].erase("");  // of the message before
  for (const Refusal& refusal : update.refused) NoteRefused(update.type, refusal);
  for (Upsert& upsert : update.upserts) Enqueue(update.type, std::move(upsert), update.id);
  for (const std::string& name : update.removed) EnqueueRemoval(update.type, name, update.id);
  WorkLater();
}

// What can be said of it without building anything. Parses it.
std::optional<Refusal> Applier::Check(Type type, Upsert& upsert) const {
  const auto refuse = [&](std::string message) {
    return RefusalOf(upsert.name, upsert.version, std::move(message));
  };
  if (in_file_.contains({type, upsert.name})) {
    return refuse("is in this gateway's own file; take it out there, or push another name");
  }
  if (hooks_.is_suspect(type, upsert.name, upsert.bytes)) {
    return refuse(
        "is in quarantine: this gateway died each time that it loaded it; push a changed one, or "
        "delete the file \"suspects\" in the gateway's state_folder and restart it");
  }
  if (upsert.message == nullptr) upsert.message = Parse(type, upsert.bytes);
  if (upsert.message == nullptr) return refuse("cannot be read as a message of its type");
  if (type != Type::kSecret) return std::nullopt;
  const absl::Status expanded = ExpandSecret(&upsert.message);
  if (expanded.ok()) return std::nullopt;
  Refusal refusal = refuse(MessageOf(expanded));
  refusal.errors[0].path = "inline";
  return refusal;
}

void Applier::Enqueue(Type type, Upsert upsert, uint64_t update) {
  const size_t index = IndexOf(type);
  if (std::optional<Refusal> refusal = Check(type, upsert)) {
    if (update != 0) tickets_.at(update).refusals.push_back(*refusal);
    NoteRefused(type, *std::move(refusal));
    return;
  }
  const auto held = held_[index].find(upsert.name);
  if (held != held_[index].end() && *held->second.bytes == upsert.bytes) {
    // The same again: whatever else was on its way for this name is no longer wanted.
    unsaved_ |= held->second.version != upsert.version;
    held->second.version = std::move(upsert.version);
    if (const auto at = pending_[index].find(upsert.name); at != pending_[index].end()) {
      DropPending(type, at);
    }
    refused_[index].erase(upsert.name);
    return;
  }
  Change change;
  change.value = Held{.message = std::move(upsert.message),
                      .version = std::move(upsert.version),
                      .bytes = std::make_shared<const std::string>(std::move(upsert.bytes))};
  change.update = update;
  SetPending(type, upsert.name, std::move(change));
}

void Applier::EnqueueRemoval(Type type, const std::string& name, uint64_t update) {
  const size_t index = IndexOf(type);
  refused_[index].erase(name);
  const auto at = pending_[index].find(name);
  if (held_[index].contains(name)) {
    // Already on its way out.
    if (at != pending_[index].end() && !at->second.value.has_value()) return;
    Change change;
    change.update = update;
    SetPending(type, name, std::move(change));
  } else if (at != pending_[index].end()) {
    DropPending(type, at);
  }
}

void Applier::DropPending(Type type, Changes::iterator at) {
  Close(at->second.update, sequence_);
  decided_.emplace(type, at->first);
  pending_[IndexOf(type)].erase(at);
}

// A control plane that invents names without end does not fill the memory.
void Applier::NoteRefused(Type type, Refusal refusal) {
  auto& refused = refused_[IndexOf(type)];
  if (refused.size() >= kMaxRefused && !refused.contains(refusal.name)) return;
  if (refusal.errors.size() > kMaxErrors) refusal.errors.resize(kMaxErrors);
  std::string name = refusal.name;
  refused.insert_or_assign(std::move(name), std::move(refusal));
}

void Applier::SetPending(Type type, const std::string& name, Change change) {
  change.deadline = loop_.Now() + (started_ ? options_.warm_timeout : Duration(0));
  if (change.update != 0) ++tickets_.at(change.update).open;
  const auto [at, is_new] = pending_[IndexOf(type)].try_emplace(name);
  // The newer one takes its place, and nobody asks any more what became of the older.
  if (!is_new) Close(at->second.update, sequence_);
  at->second = std::move(change);
}

// One change of the update is decided.
void Applier::Close(uint64_t update, uint64_t sequence) {
  const auto at = tickets_.find(update);
  if (at == tickets_.end()) return;
  DCHECK(at->second.open > 0);
  --at->second.open;
  at->second.sequence = std::max(at->second.sequence, sequence);
}

bool Applier::IsHeld(const Name& name) const {
  return held_[IndexOf(name.first)].contains(name.second) ||
         (in_file_.contains(name) && !file_waiting_.contains(name));
}

void Applier::OnServed(uint64_t sequence) {
  served_ = std::max(served_, sequence);
  AnswerReady();
  // What came while the workers were busy.
  WorkLater();
}

void Applier::OnAbsent(Type type, const std::vector<std::string>& names) {
  told_[IndexOf(type)] = true;
  if (type == Type::kEndpoints) {
    for (auto& [name, change] : pending_[IndexOf(Type::kCluster)]) {
      if (names.empty() || std::ranges::count(names, name) > 0) change.deadline = loop_.Now();
    }
  }
  WorkLater();
}

// Those of one type in the order in which they came.
void Applier::AnswerReady() {
  const TimePoint now = loop_.Now();
  for (auto at = tickets_.begin(); at != tickets_.end();) {
    auto& [id, ticket] = *at;
    const bool decided = ticket.open == 0 && served_ >= ticket.sequence;
    if (!decided && (ticket.answered || now < ticket.deadline)) {
      ++at;
      continue;
    }
    std::optional<std::vector<Refusal>> waiting = WaitingOf(id, ticket.type);
    // What has not been tried, or is on its way to the workers, is no reason to complain.
    if (!decided && (!waiting.has_value() || waiting->empty())) {
      ++at;
      continue;
    }
    std::vector<Refusal> refusals = ticket.refusals;
    std::ranges::move(*waiting, std::back_inserter(refusals));
    ticket.answered = true;
    if (refusals.empty()) type_versions_[IndexOf(ticket.type)] = ticket.version;
    hooks_.answer(ticket.type, id, refusals);
    at = decided ? tickets_.erase(at) : std::next(at);
  }
  SaveIfWhole();
  ArmTimer();
}

// Those of its changes that wait; nothing if one of them has not been tried yet.
std::optional<std::vector<Refusal>> Applier::WaitingOf(uint64_t update, Type type) const {
  std::vector<Refusal> waiting;
  for (const auto& [name, change] : pending_[IndexOf(type)]) {
    if (change.update != update || !change.value.has_value()) continue;
    if (!change.waiting) return std::nullopt;
    Refusal& refusal = waiting.emplace_back(change.why);
    refusal.name = name;
    refusal.version = change.value->version;
    refusal.waiting = true;
  }
  return waiting;
}

// Half of a first config would be worse than the whole one that may be on disk from before.
void Applier::SaveIfWhole() {
  if (!unsaved_ || !started_ || served_ != sequence_) return;
  if (!saved_ && !complete()) return;
  // Nor what is about to change this turn.
  for (const Changes& changes : pending_) {
    if (!std::ranges::all_of(changes, [](const auto& entry) { return entry.second.waiting; }))
      return;
  }
  unsaved_ = false;
  saved_ = true;
  SavedConfig saved;
  for (const Type type : kAllTypes) {
    for (const auto& [name, held] : held_[IndexOf(type)]) {
      saved.resources.push_back({type, name, held.version, held.bytes});
    }
    if (!type_versions_[IndexOf(type)].empty()) {
      saved.versions.emplace_back(type, type_versions_[IndexOf(type)]);
    }
  }
  saved.source = options_.source;
  saved.accepted_unix = loop_.WallMicros() / 1'000'000;
  hooks_.save(std::move(saved));
}

void Applier::OnTimer() {
  AnswerReady();
  WorkLater();
}

void Applier::ArmTimer() {
  TimePoint next = kNever;
  const TimePoint now = loop_.Now();
  for (const auto& [id, ticket] : tickets_) {
    if (!ticket.answered && ticket.deadline > now) next = std::min(next, ticket.deadline);
  }
  for (const auto& [name, change] : pending_[IndexOf(Type::kCluster)]) {
    if (change.deadline > now) next = std::min(next, change.deadline);
  }
  if (next != kNever) loop_.Arm(timer_, std::max(next, now + std::chrono::milliseconds(1)));
}

Versions Applier::HeldVersions(Type type) const {
  Versions versions;
  const size_t index = IndexOf(type);
  for (const auto& [name, held] : held_[index]) versions.emplace(name, held.version);
  for (const auto& [name, change] : pending_[index]) {
    if (change.value.has_value()) {
      versions[name] = change.value->version;
    } else {
      versions.erase(name);
    }
  }
  return versions;
}

std::string Applier::HeldVersion(Type type) const { return type_versions_[IndexOf(type)]; }

Applier::Status Applier::status() const {
  Status status;
  for (const Type type : kAllTypes) {
    const size_t index = IndexOf(type);
    status.accepted[index] = held_[index].size();
    for (const auto& [name, refusal] : refused_[index]) status.refused.emplace_back(type, refusal);
    for (const auto& [name, change] : pending_[index]) {
      if (!change.value.has_value()) {
        status.leaving.emplace_back(type, name);
      } else if (change.waiting) {
        status.waiting.emplace_back(type, change.why);
      }
    }
  }
  for (const auto& [name, why] : file_waiting_) {
    Refusal refusal = RefusalOf(name.second, "", fmt::format("in this gateway's file: {}", why));
    status.waiting.emplace_back(name.first, std::move(refusal));
  }
  status.updates = updates_;
  status.builds = builds_;
  status.told = told_;
  return status;
}

bool Applier::AllTold() const {
  return std::ranges::all_of(told_, [](bool told) { return told; });
}

bool Applier::complete() const {
  return served_ == sequence_ && AllTold() &&
         std::ranges::all_of(tickets_, [](const auto& entry) { return entry.second.answered; });
}

}  // namespace gatehouse::xds
