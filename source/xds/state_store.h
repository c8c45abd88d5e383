// StateStore: the accepted config on disk, so that a restart serves it when the control plane is
// away; and what is known to crash the gateway, so that it is not loaded again.
//
// Owner: the Server. Thread: main; files are written by a thread of its own, the newest config wins
// when several wait. Whatever is written can be cut off at any byte (SIGKILL, a full disk, a
// machine that loses power): what was there before is still there and whole. One process per
// folder: Open() takes a lock.
//
//   auto store = StateStore::Open(folder, complain);
//   if (auto saved = store->Load()) Serve(saved->resources);
//   store->Save(std::move(config));
//
// Quarantine, the second half. A gateway that dies while it loads a config, or shortly after, and
// does so again with the same one, must not die a third time: Trying() before the config is built,
// Proven() once it has served for a while. After `kMaxCrashes` deaths in between, Load() sets that
// file aside and gives the one before it, and Suspects() names what of a pushed update is not to be
// tried again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/base/status.h"
#include "source/base/time.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

struct SavedResource {
  Type type = Type::kSecret;
  std::string name;
  std::string version;
  // Shared with who saves it: a config of 10 000 resources of which one has changed is not copied.
  std::shared_ptr<const std::string> bytes;
};

struct SavedConfig {
  std::vector<SavedResource> resources;
  std::vector<std::pair<Type, std::string>> versions;  // of whole types, state of the world
  std::string source;                                  // "control plane 10.0.0.1:18000"
  int64_t accepted_unix = 0;                           // seconds
};

// What was being loaded when the process died, again and again.
struct Suspect {
  Type type = Type::kSecret;
  std::string name;
  std::string digest;  // StateStore::DigestOf() of its bytes
};

class StateStore {
 public:
  static constexpr int kMaxCrashes = 2;

  // `complain` gets one line for each thing that an operator should know, on main. Fails when the
  // folder cannot be made, read or locked.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StateStore>> Open(
      const std::string& folder, std::function<void(std::string_view)> complain);
  // Waits for what is being written.
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // The newest config that is whole and not in quarantine; nothing when there is none. Files that
  // are not whole are set aside and complained about.
  [[nodiscard]] std::optional<SavedConfig> Load();
  // Of resources that crashed the process. They are forgotten when the operator deletes the file
  // that complain() named.
  [[nodiscard]] const std::vector<Suspect>& suspects() const { return suspects_; }

  // Later, on the writer's thread. A failure (disk full) is complained about once until it is over;
  // what was saved last stays.
  void Save(SavedConfig config);
  // What Save() was given last is on disk. Blocks; for the end of the process and for tests.
  void Flush();

  // Before resources are used that were not used before (`Load()` does it for a saved config).
  // Cheap: survives the death of the process, not of the machine.
  void Trying(const std::vector<Suspect>& resources);
  // What was tried has served well; also at an orderly end.
  void Proven();

  [[nodiscard]] static std::string DigestOf(std::string_view bytes);

  struct State {
    int64_t saved_unix = 0;  // when the newest config on disk was accepted; 0: none
    uint64_t saves = 0;
    uint64_t failures = 0;
    std::string failure;  // of the last save; empty: it went well
  };
  [[nodiscard]] State state() const;

 private:
  class Writer;

  StateStore(std::string folder, int lock, std::function<void(std::string_view)> complain);

  std::string folder_;
  int lock_;
  std::function<void(std::string_view)> complain_;
  std::vector<Suspect> suspects_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace gatehouse::xds
