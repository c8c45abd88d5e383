#include "source/control_plane/folder_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/status.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/durable_file.h"
#include "source/control_plane/stored.h"

namespace gatehouse::control {
namespace {

// Below this a sync for each file is quicker than one for the whole file system.
constexpr size_t kFewFiles = 16;
constexpr size_t kDigestBytes = 32;

std::optional<uint64_t> NumberOf(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderStore>> FolderStore::Open(const std::string& folder) {
  std::unique_ptr<FolderStore> store(new FolderStore(folder));
  if (absl::Status made = store->MakeFolders(); !made.ok()) return made;
  if (absl::Status locked = store->Lock(); !locked.ok()) return locked;
  if (absl::Status read = store->ReadAll(); !read.ok()) return read;
  return store;
}

FolderStore::~FolderStore() {
  {
    const std::lock_guard lock(current_mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (lock_ >= 0) close(lock_);
}

absl::Status FolderStore::MakeFolders() {
  for (const char* part : {"", "/blobs", "/revisions"}) {
    if (absl::Status made = MakeFolder(folder_ + part); !made.ok()) return made;
  }
  return absl::OkStatus();
}

// Somebody has removed the folder, history and lock included: what is served is kept in memory, and
// the next revision has all of it.
absl::Status FolderStore::BeginAnewIfGone() {
  if (access((folder_ + "/revisions").c_str(), F_OK) == 0 &&
      access((folder_ + "/blobs").c_str(), F_OK) == 0) {
    return absl::OkStatus();
  }
  if (absl::Status made = MakeFolders(); !made.ok()) return made;
  close(lock_);
  if (absl::Status locked = Lock(); !locked.ok()) return locked;
  kept_.clear();
  references_.clear();
  whole_.clear();
  return absl::OkStatus();
}

absl::Status FolderStore::Lock() {
  const std::string path = folder_ + "/lock";
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) return Unavailable(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return Unavailable(fmt::format(
      "another gatehouse-control uses {}; stop it, or give this one a --state of its own",
      folder_));
}

absl::Status FolderStore::ReadAll() {
  absl::StatusOr<std::vector<std::string>> names = ListFolder(folder_ + "/revisions");
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::optional<uint64_t> number = NumberOf(name);
    if (!number.has_value()) continue;
    highest_ = std::max(highest_, *number);
    if (absl::Status read = ReadRevision(*number); !read.ok()) damage_ = MessageOf(read);
  }
  return UseNewestWhole(highest_);
}

absl::Status FolderStore::ReadRevision(uint64_t number) {
  absl::StatusOr<std::string> content = ReadWhole(RevisionPath(number));
  if (!content.ok()) return content.status();
  const absl::Status damaged =
      Unavailable(fmt::format("{} is damaged and was left out", RevisionPath(number)));
  if (content->size() < kDigestBytes) return damaged;
  const std::string body = content->substr(kDigestBytes);
  stored::v1::Revision revision;
  if (Sha256(body) != content->substr(0, kDigestBytes) || !revision.ParseFromString(body) ||
      revision.revision() != number) {
    return damaged;
  }
  const absl::StatusOr<stored::v1::Manifest> manifest =
      DecodeManifest(revision, [this](const std::string& digest) { return ReadBlob(digest); });
  if (!manifest.ok()) return manifest.status();
  Kept kept{.note = NoteOf(revision), .blobs = BlobsOf(revision, *manifest)};
  for (const std::string& digest : kept.blobs) ++references_[digest];
  kept_.emplace(number, std::move(kept));
  return absl::OkStatus();
}

absl::Status FolderStore::UseNewestWhole(uint64_t wanted) {
  current_ = std::make_shared<const ResourceSet>(0, ResourceSet::All{}, nullptr);
  while (!kept_.empty() && current_->revision() == 0) {
    const uint64_t number = kept_.rbegin()->first;
    absl::StatusOr<ResourceSet::All> all = ReadResources(number, {});
    if (all.ok()) {
      current_ = std::make_shared<const ResourceSet>(number, *std::move(all), nullptr);
      const std::vector<std::string>& blobs = kept_.rbegin()->second.blobs;
      whole_.insert(blobs.begin(), blobs.end());
    } else {
      damage_ = MessageOf(all.status());
      static_cast<void>(LeaveOut(number));
    }
  }
  if (current_->revision() == 0 && wanted != 0) {
    // Going on with nothing would take everything from every gateway.
    return Unavailable(
        fmt::format("no revision in {} is whole ({}); bring it back from a backup, or remove the "
                    "folder to begin anew",
                    folder_, damage_));
  }
  if (current_->revision() != wanted) {
    trouble_ = fmt::format("revision {} in {} is damaged ({}); revision {} is used in its place",
                           wanted, folder_, damage_, current_->revision());
  }
  RemoveStrays();
  return absl::OkStatus();
}

absl::StatusOr<ResourceSet::All> FolderStore::ReadResources(uint64_t number,
                                                            const ResourceSet::All& known) const {
  absl::StatusOr<std::string> content = ReadWhole(RevisionPath(number));
  if (!content.ok()) return content.status();
  stored::v1::Revision revision;
  if (content->size() < kDigestBytes || !revision.ParseFromString(content->substr(kDigestBytes))) {
    return Unavailable(fmt::format("{} is damaged", RevisionPath(number)));
  }
  const Fetch fetch = [this](const std::string& digest) { return ReadBlob(digest); };
  const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(revision, fetch);
  if (!manifest.ok()) return manifest.status();
  return Decode(*manifest, known, fetch);
}

absl::StatusOr<std::string> FolderStore::ReadBlob(const std::string& digest) const {
  absl::StatusOr<std::string> content = ReadWhole(BlobPath(digest));
  if (!content.ok()) return Unavailable(MessageOf(content.status()));
  if (Sha256(*content) != digest)
    return Unavailable(fmt::format("{} is damaged", BlobPath(digest)));
  return content;
}

absl::Status FolderStore::WriteBlobs(const std::map<std::string, std::string>& blobs) {
  std::vector<std::pair<std::string, const std::string*>> missing;
  for (const auto& [digest, content] : blobs) {
    // One that only old revisions have may have been damaged since.
    if (whole_.count(digest) == 0 &&
        (references_.find(digest) == references_.end() || !ReadBlob(digest).ok())) {
      missing.emplace_back(BlobPath(digest), &content);
    }
  }
  const bool few = missing.size() <= kFewFiles;
  for (const auto& [path, content] : missing) {
    if (absl::Status status = WriteBeside(path, *content, few); !status.ok()) return status;
  }
  if (missing.empty()) return absl::OkStatus();
  return few ? SyncFolder(folder_ + "/blobs") : SyncAll(folder_);
}

std::string FolderStore::BlobPath(std::string_view digest) const {
  return fmt::format("{}/blobs/{}", folder_, Hex(digest));
}

std::string FolderStore::RevisionPath(uint64_t number) const {
  return fmt::format("{}/revisions/{}", folder_, number);
}

std::vector<std::string> FolderStore::LeaveOut(uint64_t number) {
  const auto at = kept_.find(number);
  std::vector<std::string> unused;
  for (const std::string& digest : at->second.blobs) {
    const auto reference = references_.find(digest);
    if (--reference->second > 0) continue;
    unused.push_back(digest);
    references_.erase(reference);
    whole_.erase(digest);
  }
  kept_.erase(at);
  return unused;
}

// The revision's file first: blobs that nobody names are strays, a name without its blob is damage.
void FolderStore::Remove(uint64_t number) {
  unlink(RevisionPath(number).c_str());
  for (const std::string& digest : LeaveOut(number)) unlink(BlobPath(digest).c_str());
}

// What killed commits left. Blobs of a revision that cannot be read may look the same: they stay.
void FolderStore::RemoveStrays() {
  std::set<std::string> known;
  for (const auto& [digest, count] : references_) known.insert(Hex(digest));
  for (const std::string part : {"/blobs/", "/revisions/", "/"}) {
    const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder_ + part);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      const bool stray = part == "/blobs/" && known.count(name) == 0 && damage_.empty();
      if (stray || name.starts_with(kTemporaryPrefix)) unlink((folder_ + part + name).c_str());
    }
  }
}

std::shared_ptr<const ResourceSet> FolderStore::Current() const {
  const std::lock_guard lock(current_mutex_);
  return current_;
}

absl::StatusOr<std::shared_ptr<const ResourceSet>> FolderStore::Commit(uint64_t base,
                                                                       ResourceSet::All all,
                                                                       RevisionNote note) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<const ResourceSet> before = Current();
  if (before->revision() != base) {
    return MakeStatus(
        absl::StatusCode::kAborted,
        fmt::format("revision {} is not the newest any more, {} is", base, before->revision()));
  }
  note.revision = highest_ + 1;
  const Encoded encoded = Encode(all, note, std::nullopt);
  const std::string body = encoded.revision.SerializeAsString();
  absl::Status written = BeginAnewIfGone();
  if (written.ok()) written = WriteBlobs(encoded.blobs);
  if (written.ok()) written = WriteDurably(RevisionPath(note.revision), Sha256(body) + body);
  if (!written.ok()) {
    // It may be there already, if the last sync failed.
    unlink(RevisionPath(note.revision).c_str());
    RemoveStrays();
    return Unavailable(fmt::format("nothing was changed: {}", MessageOf(written)));
  }
  highest_ = note.revision;
  Kept kept{.note = note, .blobs = {}};
  const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(
      encoded.revision,
      [](const std::string& /*digest*/) { return absl::StatusOr<std::string>(std::string()); });
  CHECK(manifest.ok());
  kept.blobs = BlobsOf(encoded.revision, *manifest);
  for (const std::string& digest : kept.blobs) ++references_[digest];
  whole_.insert(kept.blobs.begin(), kept.blobs.end());
  kept_.emplace(note.revision, std::move(kept));
  while (kept_.size() > kKeptRevisions) Remove(kept_.begin()->first);
  trouble_.clear();

  auto made = std::make_shared<const ResourceSet>(note.revision, std::move(all), before);
  {
    const std::lock_guard current_lock(current_mutex_);
    current_ = made;
  }
  changed_.notify_all();
  return made;
}

absl::StatusOr<std::vector<RevisionNote>> FolderStore::History(size_t count) {
  const std::lock_guard lock(mutex_);
  std::vector<RevisionNote> notes;
  for (auto at = kept_.rbegin(); at != kept_.rend() && notes.size() < count; ++at) {
    notes.push_back(at->second.note);
  }
  return notes;
}

absl::StatusOr<std::shared_ptr<const ResourceSet>> FolderStore::Load(uint64_t revision) {
  const std::lock_guard lock(mutex_);
  if (kept_.find(revision) == kept_.end()) {
    return NotFound(fmt::format(
        "there is no revision {}; `gatehouse-control history` lists those that are kept",
        revision));
  }
  const std::shared_ptr<const ResourceSet> current = Current();
  absl::StatusOr<ResourceSet::All> all = ReadResources(revision, current->all());
  if (!all.ok()) return all.status();
  return std::make_shared<const ResourceSet>(revision, *std::move(all), current);
}

void FolderStore::Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) {
  watcher_ = std::move(watcher);
  thread_ = std::thread([this] { Run(); });
}

void FolderStore::Run() {
  std::shared_ptr<const ResourceSet> told;
  std::unique_lock lock(current_mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || told != current_; });
    if (stopping_) return;
    told = current_;
    lock.unlock();
    watcher_(told);
    lock.lock();
  }
}

std::string FolderStore::Trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

}  // namespace gatehouse::control
