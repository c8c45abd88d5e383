// The threads of an EtcdStore: what others commit, what others tell of their gateways, whether
// etcd is there, the copy for a start without it, and removing what nobody has.
#include <algorithm>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/durable_file.h"
#include "source/control_plane/etcd_store.h"
#include "source/control_plane/etcd_values.h"

namespace gatehouse::control {
namespace {

constexpr auto kLease = std::chrono::seconds(10);
constexpr auto kRetry = std::chrono::milliseconds(300);
constexpr size_t kRemovedAtOnce = 100;
constexpr size_t kKeysAtOnce = 5'000;
constexpr std::string_view kCopy = "/etcd_copy";
constexpr size_t kDigestBytes = 32;
constexpr size_t kMaxStatus = size_t{1} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<EtcdStore>> EtcdStore::Open(EtcdStoreOptions options, Fleet& fleet) {
  if (!options.prefix.ends_with('/')) options.prefix.push_back('/');
  absl::StatusOr<std::unique_ptr<EtcdClient>> etcd = EtcdClient::Make(options.etcd);
  if (!etcd.ok()) return etcd.status();
  if (!options.state.empty()) {
    if (absl::Status made = MakeFolder(options.state); !made.ok()) return made;
  }
  std::unique_ptr<EtcdStore> store(new EtcdStore(std::move(options), fleet));
  store->etcd_ = *std::move(etcd);
  store->current_ = std::make_shared<const ResourceSet>(0, ResourceSet::All{}, nullptr);
  store->ReadCopy();
  {
    const std::lock_guard lock(store->syncing_);
    const absl::StatusOr<Head> head = store->Sync();
    if (!head.ok()) store->SetTrouble(MessageOf(head.status()));
  }
  store->watch_thread_ = std::thread([self = store.get()] { self->RunWatch(); });
  store->heartbeat_thread_ = std::thread([self = store.get()] { self->RunHeartbeat(); });
  return store;
}

EtcdStore::~EtcdStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (watch_ != nullptr) watch_->Cancel();
  }
  changed_.notify_all();
  for (std::thread* thread : {&watch_thread_, &heartbeat_thread_, &telling_thread_}) {
    if (thread->joinable()) thread->join();
  }
}

bool EtcdStore::Pause(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [this] { return stopping_; });
}

void EtcdStore::RunWatch() {
  do {
    absl::StatusOr<Head> head;
    {
      const std::lock_guard lock(syncing_);
      head = Sync();
    }
    absl::Status others = head.ok() ? ReadOthers() : head.status();
    if (!others.ok()) {
      SetTrouble(MessageOf(others));
      etcd_->Leave();
      continue;
    }
    WatchOnce(*head);
  } while (Pause(kRetry));
}

void EtcdStore::WatchOnce(const Head& head) {
  etcdserverpb::WatchCreateRequest current;
  current.set_key(Key("current"));
  current.set_start_revision(head.etcd + 1);
  etcdserverpb::WatchCreateRequest status = current;
  status.set_key(Key("status/"));
  status.set_range_end(EndOfPrefix(Key("status/")));
  const std::unique_ptr<EtcdClient::Watch> watch = etcd_->StartWatch({current, status});
  {
    const std::lock_guard lock(mutex_);
    watch_ = watch.get();
    if (stopping_) watch->Cancel();
  }
  etcdserverpb::WatchResponse response;
  // A cancelled watch (compaction, no leader) is begun anew after a look at what there is.
  while (watch->Read(&response) && !response.canceled()) OnEvents(response);
  {
    const std::lock_guard lock(mutex_);
    watch_ = nullptr;
  }
  watch->Cancel();
  static_cast<void>(watch->Finish());
}

void EtcdStore::OnEvents(const etcdserverpb::WatchResponse& response) {
  bool changed = false;
  for (const mvccpb::Event& event : response.events()) {
    if (event.kv().key() == Key("current")) {
      changed = true;
    } else if (event.type() == mvccpb::Event::DELETE) {
      fleet_.Forget(event.kv().key().substr(Key("status/").size()));
    } else {
      MergeOther(event.kv().key(), event.kv().value());
    }
  }
  if (!changed) return;
  const std::lock_guard lock(syncing_);
  const absl::StatusOr<Head> head = Sync();
  if (!head.ok()) SetTrouble(MessageOf(head.status()));
}

absl::Status EtcdStore::ReadOthers() {
  etcdserverpb::RangeRequest request;
  request.set_key(Key("status/"));
  request.set_range_end(EndOfPrefix(Key("status/")));
  const absl::StatusOr<etcdserverpb::RangeResponse> response = etcd_->Range(request);
  if (!response.ok()) return response.status();
  // Those whose end nobody saw, too.
  std::set<std::string> gone = std::exchange(others_, {});
  for (const auto& kv : response->kvs()) {
    MergeOther(kv.key(), kv.value());
    gone.erase(kv.key().substr(Key("status/").size()));
  }
  for (const std::string& instance : gone) fleet_.Forget(instance);
  return absl::OkStatus();
}

void EtcdStore::MergeOther(const std::string& key, const std::string& value) {
  const std::string instance = key.substr(Key("status/").size());
  if (instance == fleet_.instance()) return;
  others_.insert(instance);
  const absl::StatusOr<std::string> bytes = Unpack(value);
  stored::v1::InstanceStatus status;
  if (bytes.ok() && status.ParseFromString(*bytes)) fleet_.Merge(instance, DecodeStatus(status));
}

void EtcdStore::RunHeartbeat() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, options_.look, [this] { return stopping_ || status_changed_; });
      if (stopping_) break;
    }
    absl::StatusOr<Head> head;
    {
      const std::lock_guard lock(syncing_);
      head = Sync();
      if (!head.ok()) SetTrouble(MessageOf(head.status()));
    }
    if (head.ok()) {
      SendStatus();
    } else {
      // A stream to an etcd that does not answer tells nothing.
      const std::lock_guard lock(mutex_);
      if (watch_ != nullptr) watch_->Cancel();
    }
    if (!head.ok() && !Pause(kRetry)) break;
  }
  if (lease_ != 0) etcd_->RevokeLease(lease_);
}

void EtcdStore::PublishStatus(const Fleet& fleet) {
  std::string status;
  // Fewer details, when all of them are more than etcd takes.
  for (const size_t refusals : {SIZE_MAX, size_t{10}, size_t{1}}) {
    status = Pack(EncodeStatus(fleet, refusals).SerializeAsString());
    if (status.size() <= kMaxStatus) break;
  }
  {
    const std::lock_guard lock(mutex_);
    if (status != status_) status_changed_ = true;
    status_ = std::move(status);
  }
  changed_.notify_all();
}

void EtcdStore::SendStatus() {
  if (lease_ != 0 && !etcd_->KeepLease(lease_).ok()) lease_ = 0;
  std::string status;
  {
    const std::lock_guard lock(mutex_);
    if (status_.empty() || (!status_changed_ && lease_ != 0)) return;
    status = status_;
    status_changed_ = false;
  }
  if (lease_ == 0) lease_ = etcd_->GrantLease(kLease).value_or(0);
  etcdserverpb::TxnRequest request;
  auto* put = request.add_success()->mutable_request_put();
  put->set_key(Key("status/" + fleet_.instance()));
  put->set_value(std::move(status));
  put->set_lease(lease_);
  if (lease_ == 0 || !etcd_->Txn(request, /*again=*/true).ok()) {
    // With the next beat of the heart; no lease means that it is told anew.
    lease_ = 0;
  }
}

void EtcdStore::Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) {
  watcher_ = std::move(watcher);
  telling_thread_ = std::thread([this] { RunTelling(); });
}

void EtcdStore::RunTelling() {
  std::shared_ptr<const ResourceSet> told;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || told != current_; });
    if (stopping_) return;
    told = current_;
    const std::string word = word_;
    lock.unlock();
    watcher_(told);
    WriteCopy(told, word);
    lock.lock();
  }
}

void EtcdStore::WriteCopy(const std::shared_ptr<const ResourceSet>& set, const std::string& word) {
  if (options_.state.empty() || set->revision() == 0) return;
  Encoded encoded = Encode(set->all(), {.revision = set->revision()}, std::nullopt);
  stored::v1::Copy copy;
  *copy.mutable_revision() = std::move(encoded.revision);
  copy.set_word(word);
  for (auto& [digest, content] : encoded.blobs) copy.add_blobs(std::move(content));
  const std::string bytes = copy.SerializeAsString();
  const absl::Status written =
      WriteDurably(options_.state + std::string(kCopy), Sha256(bytes) + bytes);
  if (!written.ok()) {
    SetTrouble(fmt::format("the copy for a start without etcd: {}", MessageOf(written)));
  }
}

void EtcdStore::ReadCopy() {
  if (options_.state.empty()) return;
  const absl::StatusOr<std::string> file = ReadWhole(options_.state + std::string(kCopy));
  if (!file.ok() || file->size() < kDigestBytes) return;
  const std::string bytes = file->substr(kDigestBytes);
  stored::v1::Copy copy;
  if (Sha256(bytes) != file->substr(0, kDigestBytes) || !copy.ParseFromString(bytes)) return;
  Blobs blobs;
  for (const std::string& content : copy.blobs()) blobs.emplace(Sha256(content), content);
  const auto fetch = [&](const std::string& digest) -> absl::StatusOr<std::string> {
    const auto at = blobs.find(digest);
    if (at == blobs.end()) return Unavailable("the copy is not whole");
    return at->second;
  };
  const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(copy.revision(), fetch);
  if (!manifest.ok()) return;
  absl::StatusOr<ResourceSet::All> all = Decode(*manifest, {}, fetch);
  if (!all.ok()) return;
  current_ =
      std::make_shared<const ResourceSet>(copy.revision().revision(), *std::move(all), nullptr);
}

absl::Status EtcdStore::RemoveKeys(const std::vector<std::string>& keys) {
  for (size_t at = 0; at < keys.size(); at += kRemovedAtOnce) {
    etcdserverpb::TxnRequest request;
    for (size_t i = at; i < std::min(keys.size(), at + kRemovedAtOnce); ++i) {
      request.add_success()->mutable_request_delete_range()->set_key(keys[i]);
    }
    auto* put = request.add_success()->mutable_request_put();
    put->set_key(Key("swept"));
    put->set_value(fleet_.instance());
    // Only what was seen: a commit in between may have what is removed.
    const absl::StatusOr<Head> head = ReadHead();
    if (!head.ok()) return head.status();
    if (head->revision != Current()->revision()) return absl::OkStatus();
    auto* compare = request.add_compare();
    compare->set_target(etcdserverpb::Compare::MOD);
    compare->set_key(Key("current"));
    compare->set_mod_revision(head->mod);
    const absl::StatusOr<etcdserverpb::TxnResponse> removed = etcd_->Txn(request, /*again=*/true);
    if (!removed.ok()) return removed.status();
    if (!removed->succeeded()) return absl::OkStatus();
  }
  return absl::OkStatus();
}

// Under syncing_. What fails is done the next time.
void EtcdStore::Sweep() {
  etcdserverpb::RangeRequest request;
  request.set_key(Key("revisions/"));
  request.set_range_end(EndOfPrefix(Key("revisions/")));
  request.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
  const absl::StatusOr<etcdserverpb::RangeResponse> revisions = etcd_->Range(request);
  if (!revisions.ok()) return;
  std::vector<std::string> removed;
  std::set<std::string> used;
  Blobs blobs;
  size_t kept = 0;
  for (const auto& kv : revisions->kvs()) {
    stored::v1::Revision revision;
    if (kept == kKeptRevisions || !revision.ParseFromString(kv.value())) {
      removed.push_back(kv.key());
      continue;
    }
    ++kept;
    const auto fetch = [&](const std::string& digest) -> absl::StatusOr<std::string> {
      if (absl::Status fetched = Fetch({digest}, &blobs); !fetched.ok()) return fetched;
      return blobs.at(digest);
    };
    const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(revision, fetch);
    if (!manifest.ok()) return;
    for (const std::string& digest : BlobsOf(revision, *manifest)) used.insert(BlobKey(digest));
  }
  std::string from = Key("blobs/");
  const std::string end = EndOfPrefix(from);
  while (true) {
    request.Clear();
    request.set_key(from);
    request.set_range_end(end);
    request.set_keys_only(true);
    request.set_limit(kKeysAtOnce);
    const absl::StatusOr<etcdserverpb::RangeResponse> some = etcd_->Range(request);
    if (!some.ok()) return;
    for (const auto& kv : some->kvs()) {
      if (used.count(kv.key()) == 0) removed.push_back(kv.key());
    }
    if (!some->more() || some->kvs().empty()) break;
    from = some->kvs(some->kvs_size() - 1).key() + std::string(1, '\0');
  }
  static_cast<void>(RemoveKeys(removed));
}

}  // namespace gatehouse::control
