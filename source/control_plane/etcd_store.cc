#include "source/control_plane/etcd_store.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/durable_file.h"
#include "source/control_plane/etcd_values.h"

namespace gatehouse::control {
namespace {

// etcd takes 128 operations and 1.5 MiB in one request, if nobody has told it otherwise.
constexpr size_t kMaxOperations = 100;
constexpr size_t kMaxRequest = size_t{1} << 20;
constexpr size_t kMaxValue = kMaxRequest + (size_t{256} << 10);
constexpr size_t kPiece = size_t{512} << 10;
constexpr int kCommitTries = 5;
constexpr size_t kWordBytes = 8;

uint64_t NumberIn(std::string_view value) {
  uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

etcdserverpb::RequestOp Put(std::string key, std::string value, int64_t lease = 0) {
  etcdserverpb::RequestOp operation;
  operation.mutable_request_put()->set_key(std::move(key));
  operation.mutable_request_put()->set_value(std::move(value));
  operation.mutable_request_put()->set_lease(lease);
  return operation;
}

etcdserverpb::Compare SameMod(std::string key, int64_t mod) {
  etcdserverpb::Compare compare;
  compare.set_target(etcdserverpb::Compare::MOD);
  compare.set_key(std::move(key));
  compare.set_mod_revision(mod);
  return compare;
}

size_t BytesOf(const etcdserverpb::RequestOp& operation) { return operation.ByteSizeLong(); }

// Which of the resources is the content that is too large.
std::string NameOf(const std::string& digest, const Encoded& encoded) {
  const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(
      encoded.revision,
      [&](const std::string& d) -> absl::StatusOr<std::string> { return encoded.blobs.at(d); });
  if (!manifest.ok()) return "a resource";
  for (const auto& entry : manifest->entries()) {
    if (entry.message() == digest || entry.outline() == digest) {
      return fmt::format("{} {}", entry.type(), entry.name());
    }
  }
  return "a resource";
}

}  // namespace

std::string EtcdStore::RevisionKey(uint64_t revision) const {
  return Key(fmt::format("revisions/{:020}", revision));
}
std::string EtcdStore::BlobKey(std::string_view digest) const {
  return Key("blobs/" + Hex(digest));
}

std::shared_ptr<const ResourceSet> EtcdStore::Current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

absl::StatusOr<EtcdStore::Head> EtcdStore::ReadHead() {
  etcdserverpb::RangeRequest request;
  request.set_key(Key("current"));
  const absl::StatusOr<etcdserverpb::RangeResponse> response = etcd_->Range(request);
  if (!response.ok()) return response.status();
  Head head{.etcd = response->header().revision()};
  if (response->kvs().empty()) return head;
  head.value = response->kvs(0).value();
  head.revision = NumberIn(head.value);
  head.mod = response->kvs(0).mod_revision();
  return head;
}

absl::StatusOr<stored::v1::Revision> EtcdStore::ReadRevision(uint64_t revision) {
  etcdserverpb::RangeRequest request;
  request.set_key(RevisionKey(revision));
  const absl::StatusOr<etcdserverpb::RangeResponse> response = etcd_->Range(request);
  if (!response.ok()) return response.status();
  if (response->kvs().empty()) {
    return NotFound(fmt::format(
        "there is no revision {}; `gatehouse-control history` lists those that are kept",
        revision));
  }
  stored::v1::Revision stored;
  if (!stored.ParseFromString(response->kvs(0).value())) {
    return Unavailable(fmt::format("revision {} in etcd is damaged", revision));
  }
  return stored;
}

absl::Status EtcdStore::Fetch(const std::vector<std::string>& digests, Blobs* blobs) {
  std::vector<std::string> missing;
  for (const std::string& digest : digests) {
    if (blobs->try_emplace(digest).second) missing.push_back(digest);
  }
  for (size_t at = 0; at < missing.size(); at += kMaxOperations) {
    etcdserverpb::TxnRequest request;
    const size_t end = std::min(missing.size(), at + kMaxOperations);
    for (size_t i = at; i < end; ++i) {
      request.add_success()->mutable_request_range()->set_key(BlobKey(missing[i]));
    }
    const absl::StatusOr<etcdserverpb::TxnResponse> response = etcd_->Txn(request, /*again=*/true);
    if (!response.ok()) return response.status();
    for (size_t i = at; i < end; ++i) {
      const auto& found = response->responses(static_cast<int>(i - at)).response_range();
      if (found.kvs().empty()) return Unavailable("a content is missing in etcd");
      absl::StatusOr<std::string> content = Unpack(found.kvs(0).value());
      if (!content.ok()) return content.status();
      if (Sha256(*content) != missing[i]) return Unavailable("a content in etcd is damaged");
      (*blobs)[missing[i]] = *std::move(content);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ResourceSet::All> EtcdStore::ReadResources(const stored::v1::Revision& revision,
                                                          const ResourceSet::All& known,
                                                          Blobs* blobs) {
  const control::Fetch fetch = [&](const std::string& digest) -> absl::StatusOr<std::string> {
    if (absl::Status fetched = Fetch({digest}, blobs); !fetched.ok()) return fetched;
    return blobs->at(digest);
  };
  const absl::StatusOr<stored::v1::Manifest> manifest = DecodeManifest(revision, fetch);
  if (!manifest.ok()) return manifest.status();
  // Those of the current revision are mostly shared and not read at all; the others in few calls.
  std::vector<std::string> wanted;
  for (const std::string& digest : BlobsOf(revision, *manifest)) {
    if (known_blobs_.count(digest) == 0) wanted.push_back(digest);
  }
  if (absl::Status fetched = Fetch(wanted, blobs); !fetched.ok()) return fetched;
  absl::StatusOr<ResourceSet::All> all = Decode(*manifest, known, fetch);
  // All digests, for the caller to know.
  for (const std::string& digest : BlobsOf(revision, *manifest)) blobs->try_emplace(digest);
  return all;
}

void EtcdStore::Use(std::shared_ptr<const ResourceSet> set, const std::vector<std::string>& blobs,
                    const std::string& word) {
  known_blobs_ = std::set<std::string>(blobs.begin(), blobs.end());
  {
    const std::lock_guard lock(mutex_);
    current_ = std::move(set);
    word_ = word;
  }
  changed_.notify_all();
}

absl::StatusOr<EtcdStore::Head> EtcdStore::Sync() {
  absl::StatusOr<Head> head = ReadHead();
  if (!head.ok()) return head;
  const std::shared_ptr<const ResourceSet> before = Current();
  if (head->mod == 0 && before->revision() != 0) {
    // Nobody empties a fleet by losing a disk.
    SetTrouble(
        fmt::format("etcd has no revisions any more; revision {} stays until the next change",
                    before->revision()));
    return head;
  }
  std::string word;
  {
    const std::lock_guard lock(mutex_);
    word = word_;
  }
  // Not by its number alone: another etcd may have a revision of the same number.
  if (head->value != word) {
    const absl::StatusOr<stored::v1::Revision> revision = ReadRevision(head->revision);
    if (!revision.ok()) return revision.status();
    Blobs blobs;
    absl::StatusOr<ResourceSet::All> all = ReadResources(*revision, before->all(), &blobs);
    if (!all.ok()) return all.status();
    std::vector<std::string> digests;
    for (const auto& [digest, content] : blobs) digests.push_back(digest);
    Use(std::make_shared<const ResourceSet>(head->revision, *std::move(all), before), digests,
        head->value);
  }
  SetTrouble("");
  return head;
}

absl::StatusOr<std::vector<etcdserverpb::RequestOp>> EtcdStore::NewBlobs(const Encoded& encoded) {
  std::vector<etcdserverpb::RequestOp> puts;
  for (const auto& [digest, content] : encoded.blobs) {
    if (known_blobs_.count(digest) != 0) continue;
    std::string packed = Pack(content);
    if (packed.size() > kMaxValue) {
      return InvalidArgument(
          fmt::format("{} is too large for etcd: {} KiB compressed, of at most {} KiB; split it",
                      NameOf(digest, encoded), packed.size() >> 10, kMaxValue >> 10));
    }
    puts.push_back(Put(BlobKey(digest), std::move(packed)));
  }
  return puts;
}

absl::Status EtcdStore::TryCommit(const Encoded& encoded, const std::string& word, const Head& head,
                                  bool* again) {
  absl::StatusOr<std::vector<etcdserverpb::RequestOp>> puts = NewBlobs(encoded);
  if (!puts.ok()) return puts.status();
  size_t bytes = 0;
  for (const auto& put : *puts) bytes += BytesOf(put);

  etcdserverpb::TxnRequest last;
  *last.add_compare() = SameMod(Key("current"), head.mod);
  if (puts->size() > kMaxOperations || bytes > kMaxRequest) {
    // In several steps, between which others may remove what nobody seems to have.
    etcdserverpb::RangeRequest request;
    request.set_key(Key("swept"));
    const absl::StatusOr<etcdserverpb::RangeResponse> swept = etcd_->Range(request);
    if (!swept.ok()) return swept.status();
    *last.add_compare() =
        SameMod(Key("swept"), swept->kvs().empty() ? 0 : swept->kvs(0).mod_revision());
    while (!puts->empty()) {
      etcdserverpb::TxnRequest some;
      size_t size = 0;
      while (!puts->empty() && static_cast<size_t>(some.success_size()) < kMaxOperations &&
             (size == 0 || size + BytesOf(puts->back()) <= kMaxRequest)) {
        size += BytesOf(puts->back());
        *some.add_success() = std::move(puts->back());
        puts->pop_back();
      }
      const absl::StatusOr<etcdserverpb::TxnResponse> put = etcd_->Txn(some, /*again=*/true);
      if (!put.ok()) return put.status();
    }
  }
  for (auto& put : *puts) *last.add_success() = std::move(put);
  *last.add_success() =
      Put(RevisionKey(encoded.revision.revision()), encoded.revision.SerializeAsString());
  *last.add_success() = Put(Key("current"), word);
  const absl::StatusOr<etcdserverpb::TxnResponse> done = etcd_->Txn(last, /*again=*/false);
  if (done.ok() && done->succeeded()) return absl::OkStatus();
  // It was refused, or nobody knows whether it was done: `current` tells.
  const absl::StatusOr<Head> now = ReadHead();
  if (now.ok() && now->value == word) return absl::OkStatus();
  *again = now.ok() && now->mod == head.mod;
  // etcd may still do what it did not answer in time.
  if (!now.ok() || (*again && absl::IsUnavailable(done.status()))) {
    return Unavailable(
        fmt::format("{}; it is not known whether the change is made, look again "
                    "with `gatehouse-control history`",
                    MessageOf(now.ok() ? done.status() : now.status())));
  }
  if (*again && !done.ok()) return done.status();
  return MakeStatus(absl::StatusCode::kAborted, "another control plane has made a change");
}

absl::StatusOr<std::shared_ptr<const ResourceSet>> EtcdStore::Commit(uint64_t base,
                                                                     ResourceSet::All all,
                                                                     RevisionNote note) {
  const std::lock_guard lock(syncing_);
  bool again = true;
  for (int i = 0; i < kCommitTries && again; ++i) {
    const absl::StatusOr<Head> head = Sync();
    if (!head.ok()) {
      SetTrouble(MessageOf(head.status()));
      return Unavailable(fmt::format("nothing was changed: {}", MessageOf(head.status())));
    }
    const std::shared_ptr<const ResourceSet> before = Current();
    if (before->revision() != base) {
      return MakeStatus(
          absl::StatusCode::kAborted,
          fmt::format("revision {} is not the newest any more, {} is", base, before->revision()));
    }
    note.revision = base + 1;
    const Encoded encoded = Encode(all, note, kPiece);
    // Nothing is where it was: all blobs have to be put again.
    if (head->mod == 0) known_blobs_.clear();
    const std::string word = fmt::format("{} {}", note.revision, RandomHex(kWordBytes));
    again = false;
    const absl::Status tried = TryCommit(encoded, word, *head, &again);
    if (tried.ok()) {
      std::vector<std::string> digests;
      for (const auto& [digest, content] : encoded.blobs) digests.push_back(digest);
      auto set = std::make_shared<const ResourceSet>(note.revision, std::move(all), before);
      Use(set, digests, word);
      SetTrouble("");
      constexpr uint64_t kSweepEvery = 20;
      if (++commits_ % kSweepEvery == 0) Sweep();
      return set;
    }
    if (absl::IsAborted(tried) && !again) static_cast<void>(Sync());
    if (!again || !absl::IsAborted(tried)) return tried;
  }
  return Unavailable("nothing was changed: etcd is being cleaned up all the time; try again");
}

absl::StatusOr<std::vector<RevisionNote>> EtcdStore::History(size_t count) {
  etcdserverpb::RangeRequest request;
  request.set_key(Key("revisions/"));
  request.set_range_end(EndOfPrefix(Key("revisions/")));
  request.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
  request.set_limit(static_cast<int64_t>(count));
  const absl::StatusOr<etcdserverpb::RangeResponse> response = etcd_->Range(request);
  if (!response.ok()) return response.status();
  std::vector<RevisionNote> notes;
  for (const auto& kv : response->kvs()) {
    stored::v1::Revision revision;
    if (revision.ParseFromString(kv.value())) notes.push_back(NoteOf(revision));
  }
  return notes;
}

absl::StatusOr<std::shared_ptr<const ResourceSet>> EtcdStore::Load(uint64_t number) {
  const std::lock_guard lock(syncing_);
  const absl::StatusOr<stored::v1::Revision> revision = ReadRevision(number);
  if (!revision.ok()) return revision.status();
  const std::shared_ptr<const ResourceSet> current = Current();
  Blobs blobs;
  absl::StatusOr<ResourceSet::All> all = ReadResources(*revision, current->all(), &blobs);
  if (!all.ok()) return all.status();
  return std::make_shared<const ResourceSet>(number, *std::move(all), current);
}

std::string EtcdStore::Trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void EtcdStore::SetTrouble(const std::string& trouble) {
  const std::lock_guard lock(mutex_);
  trouble_ = trouble;
}

}  // namespace gatehouse::control
