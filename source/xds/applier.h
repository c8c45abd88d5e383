// Applier: the one entrance for configuration. It folds what the file says and what a control plane
// pushes into one set of resources, has it built, and gives the result away to be served.
//
// Owner: the Server. Thread: main. Hooks are called from its methods or from the loop; none of them
// may call back from within.
//
//   pushed --> pending --(end of turn: build)--> accepted --(workers run on it)--> answered
//                 |  ^                  |
//                 |  +-- waiting <------+   what it refers to is not there: the one before serves
//                 on
//                 +----- refused <------+   by itself; its predecessor stays
//
// - Make before break, whatever the order of arrival: a resource whose references are missing
//   waits, and one that is removed while others refer to it stays until they do not. The endpoints
//   of a cluster stay as long as it does, unless it has others.
// - A bad resource is refused by name; the good ones of the same push apply.
// - What says nothing new changes nothing: equal resources keep their pointers, and Build() shares
//   whatever is equal.
// - Pushes that come while workers take over a config are folded into one build.
//
//   Applier applier(loop, {.build = ..., .publish = ...}, options);
//   config::BuildResult built = applier.Start(file_resources, store->Load());
//   applier.Apply(update);
//   applier.OnServed(sequence);
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "google/protobuf/message.h"

#include "source/base/timer_wheel.h"
#include "source/config/build.h"
#include "source/config/resources.h"
#include "source/net/loop.h"
#include "source/xds/state_store.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

class Applier {
 public:
  using SnapshotPtr = std::shared_ptr<const config::Snapshot>;

  struct PublishResult {
    absl::Status status;
    // Whose fault it is, if it is that of listeners, and why: their ports are taken. All of them,
    // since each round of building without them opens the sockets of the others again.
    std::vector<std::pair<std::string, std::string>> listeners;
  };

  struct Hooks {
    std::function<config::BuildResult(const config::Resources&, const SnapshotPtr& previous)> build;
    // To be served. OnServed(sequence) follows, for this one or for a later one.
    std::function<PublishResult(const SnapshotPtr&, uint64_t sequence)> publish;
    // What was published before is not served by all workers: pushes are folded until OnServed().
    std::function<bool()> busy;
    std::function<void(Type, uint64_t update, const std::vector<Refusal>&)> answer;
    std::function<void(SavedConfig)> save;                    // accepted, and served
    std::function<void(const std::vector<Suspect>&)> trying;  // before they are built
    // It has crashed this gateway before.
    std::function<bool(Type, std::string_view name, std::string_view bytes)> is_suspect;
    std::function<void(std::string_view)> say;  // a line for the operator
  };

  struct Options {
    Duration warm_timeout = std::chrono::seconds(5);
    // There is a control plane: resources of the file may refer to ones that it pushes.
    bool pushed = false;
    std::string source;  // of what is saved
  };

  Applier(net::Loop& loop, Hooks hooks, Options options);
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;

  // The first config: the file's, and what was saved. The snapshot is null when the file is wrong;
  // saved resources that are not accepted any more are left out, and told. It is to be published as
  // sequence 1.
  [[nodiscard]] config::BuildResult Start(config::Resources file,
                                          const std::optional<SavedConfig>& saved);
  // These listeners of what Start() gave cannot be opened. A port that somebody took must not keep
  // the rest of the saved config from being served, nor the control plane from mending it. Null
  // when none of them was saved: what the file wants is there or nothing starts.
  [[nodiscard]] SnapshotPtr StartWithout(
      const std::vector<std::pair<std::string, std::string>>& listeners);
  // The file, read again: all of it or nothing. The snapshot is current() when nothing differs;
  // another one is to be published, and if that worked, Reloaded() called. Nothing may come
  // between.
  [[nodiscard]] config::BuildResult Rebuild(const config::Resources& file);
  // The sequence under which it was published.
  [[nodiscard]] uint64_t NextSequence() const { return sequence_ + 1; }
  void Reloaded(config::Resources file, SnapshotPtr built);

  void Apply(Update update);
  // All workers run on what was published as `sequence`.
  void OnServed(uint64_t sequence);
  // The control plane has nothing of this type, or none of these, or is not asked: who waits for
  // them waits no longer.
  void OnAbsent(Type type, const std::vector<std::string>& names);

  [[nodiscard]] Versions HeldVersions(Type type) const;
  [[nodiscard]] std::string HeldVersion(Type type) const;
  void set_source(std::string source) { options_.source = std::move(source); }

  // For admin and metrics.
  struct Status {
    std::array<size_t, kTypes> accepted{};
    std::vector<std::pair<Type, Refusal>> refused;  // not more than kMaxRefused of a type
    std::vector<std::pair<Type, Refusal>> waiting;
    std::vector<std::pair<Type, std::string>> leaving;  // removed, but something refers to them
    std::array<uint64_t, kTypes> updates{};
    uint64_t builds = 0;
    // The type has been told of, by the control plane or from the disk.
    std::array<bool, kTypes> told{};
  };
  [[nodiscard]] Status status() const;
  // Everything has been told of (or is absent) and nothing is left to be built.
  [[nodiscard]] bool complete() const;
  [[nodiscard]] const SnapshotPtr& current() const { return built_; }

  static constexpr size_t kMaxRefused = 1000;

 private:
  using Name = std::pair<Type, std::string>;
  using MessagePtr = std::shared_ptr<const google::protobuf::Message>;

  struct Held {
    MessagePtr message;
    std::string version;
    std::shared_ptr<const std::string> bytes;
  };
  using Table = std::map<std::string, Held, std::less<>>;

  // Something that was pushed and is not decided.
  struct Change {
    std::optional<Held> value;  // none: removal
    uint64_t update = 0;        // 0: nobody waits for an answer
    // Until then a cluster waits for its endpoints.
    TimePoint deadline;
    bool in_build = false;  // its value is in held_, and `before` was there
    std::optional<Held> before;
    bool waiting = false;
    Refusal why;  // it waits
    // It may do better when all of these are there ...
    std::set<Name> missing;
    // ... or when one of these is another one, or gone, or not to be another one after all.
    std::set<Name> blockers;
  };
  using Changes = std::map<std::string, Change, std::less<>>;
  // Of the file, and why they wait.
  using FileWaiting = std::map<Name, std::string>;

  // An update that has not been answered for good.
  struct Ticket {
    Type type = Type::kSecret;
    std::string version;
    size_t open = 0;  // changes that are not decided
    std::vector<Refusal> refusals;
    uint64_t sequence = 0;  // that must be served first
    TimePoint deadline;     // then it is answered, even if something waits
    bool answered = false;
  };

  // applier.cc: what comes in, and what is answered.
  void Enqueue(Type type, Upsert upsert, uint64_t update);
  void EnqueueRemoval(Type type, const std::string& name, uint64_t update);
  void SetPending(Type type, const std::string& name, Change change);
  void DropPending(Type type, Changes::iterator at);
  void NoteRefused(Type type, Refusal refusal);
  void Close(uint64_t update, uint64_t sequence);
  [[nodiscard]] std::optional<Refusal> Check(Type type, Upsert& upsert) const;
  [[nodiscard]] bool IsHeld(const Name& name) const;
  void AnswerReady();
  [[nodiscard]] std::optional<std::vector<Refusal>> WaitingOf(uint64_t update, Type type) const;
  void SaveIfWhole();
  [[nodiscard]] bool AllTold() const;
  void OnTimer();
  void ArmTimer();
  void WorkLater() { loop_.FlushLater(work_); }

  // applier_build.cc: from what is pending to what is served.
  void Work();
  [[nodiscard]] bool TakeIn();
  [[nodiscard]] bool MayTry(Type type, const std::string& name, const Change& change) const;
  [[nodiscard]] bool LacksEndpoints(const std::string& name, const Change& change) const;
  [[nodiscard]] bool IsChanging(const Name& name) const;
  [[nodiscard]] bool AnyMayTry() const;
  void Insert(Type type, const std::string& name, Change& change);
  void Revert(Type type, const std::string& name, Change& change);
  template <typename Visitor>  // (type, name, change)
  void ForEachInBuild(Visitor&& visit);
  void TellTrying();
  [[nodiscard]] config::BuildResult BuildHeld();
  [[nodiscard]] config::BuildResult BuildUntilFine();
  void LetWait(Change& change);
  void HoldBack(const std::vector<config::Rejection>& rejections, std::string_view text);
  [[nodiscard]] bool PublishBuilt(const SnapshotPtr& built);
  void Accept(uint64_t sequence);
  [[nodiscard]] config::Resources ResourcesNow() const;

  // applier_settle.cc: from a build that failed to one that does not.
  [[nodiscard]] bool Settle(const std::vector<config::Rejection>& rejections);
  [[nodiscard]] bool SettleOne(Type type, const config::Rejection& rejection);
  [[nodiscard]] bool RestoreMissing(const Name& of, const std::set<Name>& missing);
  void Refuse(Type type, const std::string& name, Change& change, Refusal refusal);
  void FindCulprits();
  void AddWhatBuilds(const std::vector<Name>& names, int* builds_left);
  void Block(const std::vector<Name>& names, const std::vector<config::Rejection>& rejections);
  [[nodiscard]] bool NeedsEndpoints(const std::string& cluster) const;
  void KeepEndpoints();
  [[nodiscard]] config::BuildResult BuildFile(const config::Resources& before,
                                              const FileWaiting& waited);

  net::Loop& loop_;
  Hooks hooks_;
  Options options_;
  config::Resources file_;
  std::set<Name> in_file_;
  // Of the file: left out until what they refer to is there; never what has been served.
  FileWaiting file_waiting_;
  FileWaiting file_waited_;   // before this build
  FileWaiting file_rebuilt_;  // of the last Rebuild()
  std::array<Table, kTypes> held_;
  std::array<Changes, kTypes> pending_;
  std::set<Name> restored_;  // were to be removed, in this build
  // Since the last build: who was blocked by them may be tried again.
  std::set<Name> decided_;
  std::array<std::map<std::string, Refusal, std::less<>>, kTypes> refused_;
  std::array<std::string, kTypes> type_versions_;
  std::array<bool, kTypes> told_{};
  std::array<uint64_t, kTypes> updates_{};
  std::map<uint64_t, Ticket> tickets_;
  SnapshotPtr built_;
  uint64_t sequence_ = 0;  // published last
  uint64_t served_ = 0;
  uint64_t builds_ = 0;
  net::Flushable work_;
  Timer timer_;
  bool started_ = false;
  bool unsaved_ = false;
  bool saved_ = false;  // some whole config, by this process or before
};

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

}  // namespace gatehouse::xds
