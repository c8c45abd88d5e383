#include "source/xds/state_store.h"

#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "source/base/crypto.h"

namespace gatehouse::xds {
namespace {

constexpr Duration kLookForLock = std::chrono::milliseconds(100);

}  // namespace

// Complaints, which may come from the writer's thread and are told on main.
struct StateStore::Mail {
  std::function<void(std::string_view)> complain;  // none once the store is gone
  std::mutex mutex;
  std::vector<std::string> lines;

  void Deliver() {
    std::vector<std::string> waiting;
    {
      const std::lock_guard lock(mutex);
      waiting.swap(lines);
    }
    for (const std::string& line : waiting) {
      if (complain) complain(line);
    }
  }
};

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(
    net::Loop& loop, const std::string& folder, std::function<void(std::string_view)> complain,
    StateOptions options) {
  absl::StatusOr<std::unique_ptr<StateFolder>> opened =
      StateFolder::Open(folder, std::move(options.fault));
  if (!opened.ok()) return opened.status();
  const absl::StatusOr<bool> locked = (*opened)->TryLock();
  if (!locked.ok()) return locked.status();
  if (!*locked && !options.takes_over) {
    const pid_t holder = (*opened)->LockedBy();
    return Unavailable(
        fmt::format("the state folder {} is in use by another gateway{}: each needs one of its own",
                    folder, holder > 0 ? fmt::format(" (process {})", holder) : ""));
  }
  if ((*opened)->open_to_others()) {
    complain(fmt::format(
        "the state folder {} can be changed by other users, who could put a config of theirs there",
        folder));
  }
  std::unique_ptr<StateStore> store(
      new StateStore(loop, *std::move(opened), std::move(complain), options));
  if (*locked) {
    store->history_.Open();
    store->Own();
  } else {
    store->history_.Look();
    loop.Arm(store->look_for_lock_, loop.Now() + kLookForLock);
  }
  store->UseSuspects();
  return store;
}

StateStore::StateStore(net::Loop& loop, std::unique_ptr<StateFolder> folder,
                       std::function<void(std::string_view)> complain, const StateOptions& options)
    : loop_(loop),
      folder_(std::move(folder)),
      mail_(std::make_shared<Mail>()),
      history_(*folder_, kMaxCrashes, complain),
      look_for_lock_(Timer::Calls<StateStore, &StateStore::LookForLock>(), this) {
  mail_->complain = std::move(complain);
  writer_ = std::make_unique<StateWriter>(*folder_, options.writing,
                                          [&loop = loop_, mail = mail_](std::string line) {
                                            {
                                              const std::lock_guard lock(mail->mutex);
                                              mail->lines.push_back(std::move(line));
                                            }
                                            loop.Post([mail] { mail->Deliver(); });
                                          });
}

StateStore::~StateStore() {
  writer_.reset();
  mail_->Deliver();
  mail_->complain = nullptr;
}

void StateStore::Own() {
  ours_ = true;
  // Left by a process that died while it wrote.
  if (const absl::Status removed = folder_->Remove(StateWriter::kNext); !removed.ok()) {
    mail_->complain(MessageOf(removed));
  }
  writer_->Own(true);
}

bool StateStore::TakeLock() {
  if (ours_ || released_) return ours_;
  const absl::StatusOr<bool> locked = folder_->TryLock();
  if (!locked.ok() || !*locked) return false;
  history_.Own();
  Own();
  return true;
}

void StateStore::LookForLock() {
  if (!TakeLock() && !released_) loop_.Arm(look_for_lock_, loop_.Now() + kLookForLock);
}

void StateStore::UseSuspects() {
  suspects_.clear();
  for (const LoadAttempt& suspect : history_.suspects()) {
    suspects_.push_back({.type = *suspect.type, .name = suspect.name, .digest = suspect.digest});
  }
}

// ---- loading ----

std::optional<SavedConfig> StateStore::Load() {
  StateWriter::Renames later;
  std::optional<SavedConfig> config = LoadFile(StateWriter::kNewest, &later);
  // Whatever crashed was not in it: it must outlive what is saved next, which may be that.
  const bool newest_is_proven = config && loaded_unharmed_;
  if (!config) config = LoadFile(StateWriter::kBefore, &later);
  writer_->Found(config ? config->accepted_unix : 0, newest_is_proven, std::move(later));
  return config;
}

std::optional<SavedConfig> StateStore::LoadFile(const std::string& name,
                                                StateWriter::Renames* later) {
  const absl::StatusOr<std::string> bytes = folder_->Read(name);
  if (!bytes.ok()) {
    if (bytes.status().code() != absl::StatusCode::kNotFound) {
      mail_->complain(fmt::format("the saved config is not used: {}", MessageOf(bytes.status())));
      later->emplace_back(name, name + ".broken");
    }
    return std::nullopt;
  }
  SavedFile file = ReadSavedConfig(*bytes);
  if (file.condition == FileCondition::kNewer) {
    mail_->complain(fmt::format("the saved config {}/{} is not used, and left alone: {}",
                                folder_->path(), name, file.problem));
    later->emplace_back(name, name + ".newer");
    return std::nullopt;
  }
  if (file.condition == FileCondition::kBroken) {
    mail_->complain(
        fmt::format("the saved config {}/{} is damaged: {}", folder_->path(), name, file.problem));
    SetAside(name, "broken", later);
    return std::nullopt;
  }
  std::vector<LoadAttempt> tried = {{.digest = file.digest}};
  if (const std::string crash = CrashOf(file, &tried); !crash.empty()) {
    mail_->complain(
        fmt::format("the saved config {}/{} is not used: {}", folder_->path(), name, crash));
    SetAside(name, "crashed", later);
    if (ours_) history_.ForgetConfig(file.digest);
    return std::nullopt;
  }
  loaded_unharmed_ = tried.size() == 1 && history_.CrashesOf(std::nullopt, "", file.digest) == 0;
  history_.Try(std::move(tried));
  return std::move(file.config);
}

std::string StateStore::CrashOf(const SavedFile& file, std::vector<LoadAttempt>* tried) const {
  if (const int crashes = history_.CrashesOf(std::nullopt, "", file.digest);
      crashes >= kMaxCrashes) {
    return fmt::format("the process died {} times in a row soon after it was loaded", crashes);
  }
  for (const SavedResource& resource : file.config.resources) {
    if (!history_.Knows(resource.type, resource.name)) continue;
    LoadAttempt attempt{
        .type = resource.type, .name = resource.name, .digest = DigestOf(*resource.bytes)};
    const int crashes = history_.CrashesOf(attempt.type, attempt.name, attempt.digest);
    if (crashes >= kMaxCrashes) {
      return fmt::format("the process died {} times in a row soon after it began to use {} \"{}\"",
                         crashes, TypeName(resource.type), resource.name);
    }
    if (crashes > 0) tried->push_back(std::move(attempt));
  }
  return "";
}

void StateStore::SetAside(const std::string& name, std::string_view ending,
                          StateWriter::Renames* later) {
  const std::string aside = fmt::format("{}.{}", name, ending);
  const absl::Status moved = ours_ ? folder_->Rename(name, aside) : Unavailable("");
  if (moved.ok()) return;
  if (ours_) mail_->complain(MessageOf(moved));
  later->emplace_back(name, aside);
}

// ---- saving ----

void StateStore::Save(SavedConfig config) {
  if (!released_) writer_->Save(std::move(config), !history_.trying());
}

bool StateStore::Flush() {
  TakeLock();
  const bool flushed = writer_->Flush();
  mail_->Deliver();
  return flushed;
}

void StateStore::Release() {
  if (released_) return;
  Proven();
  if (ours_) Flush();
  released_ = true;
  ours_ = false;
  writer_->Own(false);
  history_.Disown();
  folder_->Unlock();
}

void StateStore::Trying(const std::vector<Suspect>& resources) {
  if (released_) return;
  std::vector<LoadAttempt> attempts;
  attempts.reserve(resources.size());
  for (const Suspect& resource : resources) {
    attempts.push_back({.type = resource.type, .name = resource.name, .digest = resource.digest});
  }
  history_.Try(std::move(attempts));
}

void StateStore::Proven() {
  if (!history_.trying()) return;
  history_.Proven();
  writer_->Proven();
}

bool StateStore::IsSuspect(Type type, std::string_view name, std::string_view bytes) const {
  return history_.Knows(type, name) &&
         history_.CrashesOf(type, name, DigestOf(bytes)) >= kMaxCrashes;
}

std::string StateStore::DigestOf(std::string_view bytes) { return HexEncode(View(Sha256(bytes))); }

}  // namespace gatehouse::xds
