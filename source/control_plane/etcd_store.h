// EtcdStore: revisions in etcd, which several control planes share.
//
//   <prefix>blobs/<sha256>         contents, each once
//   <prefix>revisions/<20 digits>  notes and the names of their manifests' blobs
//   <prefix>current                the number of the newest, and a word of who made it
//   <prefix>swept                  written whenever blobs are removed
//   <prefix>status/<instance>      gateways of one control plane, under a lease
//
// A commit puts its blobs first and then, in one transaction, its revision and `current`, on the
// condition that `current` is as it was. Blobs that no revision has are removed now and then; a
// commit during which that happened is done again, for it may have counted on one of them.
//
// What others commit comes by a watch, and every two seconds `current` is read, so that a watch
// that has gone deaf (a paused etcd, a compaction, a lost leader) is noticed. While etcd is away
// the last revision stays; with a state folder it is kept there too, for a start without etcd.
//
// Owner: main(). Two threads of its own; methods by any thread.
//
//   auto store = EtcdStore::Open({.etcd = {.endpoints = {"127.0.0.1:2379"}}}, fleet);
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

#include "source/control_plane/etcd_client.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/store.h"
#include "source/control_plane/stored.h"

namespace gatehouse::control {

struct EtcdStoreOptions {
  EtcdOptions etcd;
  std::string prefix = "/gatehouse/";
  std::string state;  // a folder for a copy; empty: none
  std::chrono::milliseconds look{2'000};
};

class EtcdStore final : public Store {
 public:
  static constexpr size_t kKeptRevisions = 100;

  // Also when etcd is away: Trouble() says so then. INVALID_ARGUMENT: the options are wrong.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EtcdStore>> Open(EtcdStoreOptions options,
                                                                       Fleet& fleet);
  ~EtcdStore() override;

  [[nodiscard]] std::shared_ptr<const ResourceSet> Current() const override;
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Commit(
      uint64_t base, ResourceSet::All all, RevisionNote note) override;
  [[nodiscard]] absl::StatusOr<std::vector<RevisionNote>> History(size_t count) override;
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const ResourceSet>> Load(uint64_t revision) override;
  void Watch(std::function<void(std::shared_ptr<const ResourceSet>)> watcher) override;
  void PublishStatus(const Fleet& fleet) override;
  [[nodiscard]] std::string Trouble() const override;

 private:
  // What `current` says.
  struct Head {
    uint64_t revision = 0;
    std::string value;
    int64_t mod = 0;   // 0: there is none
    int64_t etcd = 0;  // etcd's own revision when it was read
  };

  EtcdStore(EtcdStoreOptions options, Fleet& fleet) : options_(std::move(options)), fleet_(fleet) {}

  [[nodiscard]] std::string Key(std::string_view name) const {
    return options_.prefix + std::string(name);
  }
  [[nodiscard]] std::string RevisionKey(uint64_t revision) const;
  [[nodiscard]] std::string BlobKey(std::string_view digest) const;

  [[nodiscard]] absl::StatusOr<Head> ReadHead();
  // Makes what etcd has the current set.
  [[nodiscard]] absl::StatusOr<Head> Sync();
  [[nodiscard]] absl::StatusOr<stored::v1::Revision> ReadRevision(uint64_t revision);
  [[nodiscard]] absl::StatusOr<ResourceSet::All> ReadResources(const stored::v1::Revision& revision,
                                                               const ResourceSet::All& known,
                                                               Blobs* blobs);
  // Into `blobs`, those that are not there yet.
  [[nodiscard]] absl::Status Fetch(const std::vector<std::string>& digests, Blobs* blobs);
  void Use(std::shared_ptr<const ResourceSet> set, const std::vector<std::string>& blobs,
           const std::string& word);

  // One try. ABORTED with `*again`: blobs were removed meanwhile.
  [[nodiscard]] absl::Status TryCommit(const Encoded& encoded, const std::string& word,
                                       const Head& head, bool* again);
  [[nodiscard]] absl::StatusOr<std::vector<etcdserverpb::RequestOp>> NewBlobs(
      const Encoded& encoded);
  void Sweep();
  [[nodiscard]] absl::Status RemoveKeys(const std::vector<std::string>& keys);

  void RunWatch();
  void WatchOnce(const Head& head);
  void OnEvents(const etcdserverpb::WatchResponse& response);
  void RunHeartbeat();
  void SendStatus();
  [[nodiscard]] absl::Status ReadOthers();
  void MergeOther(const std::string& key, const std::string& value);
  void RunTelling();

  void ReadCopy();
  void WriteCopy(const std::shared_ptr<const ResourceSet>& set, const std::string& word);
  void SetTrouble(const std::string& trouble);
  [[nodiscard]] bool Pause(std::chrono::milliseconds time);

  const EtcdStoreOptions options_;
  Fleet& fleet_;
  std::unique_ptr<EtcdClient> etcd_;

  std::mutex syncing_;                 // one Sync() or Commit() at a time
  std::set<std::string> known_blobs_;  // of the current revision; under syncing_
  uint64_t commits_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const ResourceSet> current_;
  std::string word_;  // the value of `current` in etcd that goes with it
  std::string trouble_;
  bool stopping_ = false;
  EtcdClient::Watch* watch_ = nullptr;  // that is being read
  std::string status_;                  // to be told to the others
  bool status_changed_ = false;
  std::function<void(std::shared_ptr<const ResourceSet>)> watcher_;
  int64_t lease_ = 0;             // of the heartbeat thread
  std::set<std::string> others_;  // instances that have told something; of the watch thread

  std::thread watch_thread_;
  std::thread heartbeat_thread_;
  std::thread telling_thread_;
};

}  // namespace gatehouse::control
