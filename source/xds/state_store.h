// StateStore: the accepted config on disk, so that a restart serves it when the control plane is
// away; and what is known to crash the gateway, so that it is not loaded again.
//
// Owner: the Server. Thread: main; files are written by a thread of its own, the newest config wins
// when several wait. Whatever is written can be cut off at any byte (SIGKILL, a full disk, a
// machine that loses power): what was there before is still there and whole.
//
//   auto store = StateStore::Open(loop, folder, complain, {.takes_over = old_process != nullptr});
//   if (auto saved = store->Load()) Serve(saved->resources);
//   store->Save(std::move(config));
//
// One process per folder: Open() takes a lock. In a binary upgrade two processes overlap: the new
// one opens with `takes_over`, and reads what the old one has saved (files are replaced by renames,
// so they are whole). It keeps what it is told to save, and the marker of what it tries, until it
// gets the lock, for which it looks several times a second. The old one lets go with Release() when
// it learns that the new one serves (TakeoverOffer::Callbacks::replaced), or with its end. If the
// new one dies before that, nothing in the folder has changed.
//
// Quarantine, the second half. A gateway that dies while it loads a config, or shortly after, and
// does so again with the same one, must not die a third time: Trying() before the config is built,
// Proven() once it has served for a while. After `kMaxCrashes` deaths in between, Load() sets that
// file aside and gives the one before it, and suspects() names what of a pushed update is not to be
// tried again. A process that ends in any orderly way, also with an error at its start, must call
// Proven(): what is left unproven has crashed. SIGKILL (or the kernel, out of memory) looks like a
// crash; it takes two in a row, of the same content, to be one.
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
#include "source/base/timer_wheel.h"
#include "source/net/loop.h"
#include "source/xds/crash_history.h"
#include "source/xds/saved_file.h"
#include "source/xds/state_folder.h"
#include "source/xds/state_writer.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

// What was being loaded when the process died, again and again.
struct Suspect {
  Type type = Type::kSecret;
  std::string name;
  std::string digest;  // StateStore::DigestOf() of its bytes
};

struct StateOptions {
  // Another process of this gateway may have the folder, and will let go of it.
  bool takes_over = false;
  StateWriter::Options writing;
  StateFolder::Fault fault;  // for tests
};

class StateStore {
 public:
  static constexpr int kMaxCrashes = 2;
  using State = StateWriter::State;

  // `complain` gets one line for each thing that an operator should know, on main, from within a
  // method or from the loop. Fails when the folder cannot be made or read, or another process has
  // it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StateStore>> Open(
      net::Loop& loop, const std::string& folder, std::function<void(std::string_view)> complain,
      StateOptions options = {});
  // Writes what waits to be saved, or tries once. Does not call Proven().
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // The newest config that is whole and not in quarantine; nothing when there is none. Files that
  // are not whole are set aside ("config.broken") and complained about, as are those that crash the
  // process ("config.crashed"); one of each is kept. Files of a newer version of the gateway are
  // left alone. Once, before the first Save().
  [[nodiscard]] std::optional<SavedConfig> Load();
  // Of resources that crashed the process. They are forgotten when the operator deletes the file
  // that complain() named. Other content under the same name is no suspect.
  [[nodiscard]] const std::vector<Suspect>& suspects() const { return suspects_; }
  // Cheap unless something of that name is a suspect.
  [[nodiscard]] bool IsSuspect(Type type, std::string_view name, std::string_view bytes) const;

  // Later, on the writer's thread, and not more than once a second. A failure (disk full) is
  // complained about once until it is over, and tried again; what was saved last stays.
  void Save(SavedConfig config);
  // What Save() was given last is on disk: true. Blocks; for the end of the process and for tests.
  bool Flush();
  // Writes what waits and leaves the folder to the process that has taken over. Nothing is saved or
  // marked from now on. Also a Proven().
  void Release();

  // Before resources are used that were not used before (`Load()` does it for a saved config).
  // Cheap: survives the death of the process, not of the machine.
  void Trying(const std::vector<Suspect>& resources);
  // What was tried has served well; also at an orderly end.
  void Proven();
  // Something waits for Proven().
  [[nodiscard]] bool trying() const { return history_.trying(); }

  [[nodiscard]] static std::string DigestOf(std::string_view bytes);

  // saved_unix: when the newest config on disk was accepted; 0: none, or not looked at yet.
  [[nodiscard]] State state() const { return writer_->state(); }
  // The folder is this process's; not yet after Open() with `takes_over`, no more after Release().
  [[nodiscard]] bool owns_folder() const { return ours_; }

 private:
  struct Mail;

  StateStore(net::Loop& loop, std::unique_ptr<StateFolder> folder,
             std::function<void(std::string_view)> complain, const StateOptions& options);
  void Own();
  void LookForLock();
  bool TakeLock();
  // What cannot be used is renamed, now or, in `later`, before something takes its place.
  [[nodiscard]] std::optional<SavedConfig> LoadFile(const std::string& name,
                                                    StateWriter::Renames* later);
  // What of the config crashed too often; empty: nothing. Else adds to `tried` what crashed before.
  [[nodiscard]] std::string CrashOf(const SavedFile& file, std::vector<LoadAttempt>* tried) const;
  void SetAside(const std::string& name, std::string_view ending, StateWriter::Renames* later);
  void UseSuspects();

  net::Loop& loop_;
  std::unique_ptr<StateFolder> folder_;
  std::shared_ptr<Mail> mail_;
  CrashHistory history_;
  bool loaded_unharmed_ = false;  // neither the file loaded last nor anything in it has crashed
  std::vector<Suspect> suspects_;
  bool ours_ = false;
  bool released_ = false;
  Timer look_for_lock_;
  std::unique_ptr<StateWriter> writer_;
};

}  // namespace gatehouse::xds
