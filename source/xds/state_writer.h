// StateWriter: the thread that writes accepted configs. The newest wins when several wait; a save
// that fails is tried again, later and later, and at once when there is a newer one.
//
// Owner: StateStore. Thread: main for all methods; `report` comes on the writer's thread.
//
// Two generations: "config" and the one before it, "config.before". A config that has not proven
// itself is replaced and does not become the one before: that is one which has served for a while,
// even if a bad one was followed by ten others.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "source/base/time.h"
#include "source/xds/saved_file.h"
#include "source/xds/state_folder.h"

namespace gatehouse::xds {

class StateWriter {
 public:
  static constexpr char kNewest[] = "config";
  static constexpr char kBefore[] = "config.before";
  static constexpr char kNext[] = "config.new";  // being written

  struct Options {
    // From one save to the next, unless somebody waits: under a flood of pushes most are skipped.
    Duration min_interval = std::chrono::seconds(1);
    Duration first_retry = std::chrono::seconds(1);
    Duration max_retry = std::chrono::seconds(60);
  };
  struct State {
    int64_t saved_unix = 0;
    uint64_t saves = 0;
    uint64_t failures = 0;
    std::string failure;
  };

  // `folder` outlives it. `report`: the first failure, and the success after it.
  StateWriter(StateFolder& folder, Options options, std::function<void(std::string)> report);
  // Writes what waits, or tries to.
  ~StateWriter();
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;

  // Nothing is written unless the folder is ours.
  void Own(bool ours);
  void Save(SavedConfig config, bool proven);
  // What was saved last, on disk or not yet, has served for a while.
  void Proven();
  // What is on disk, when it was not written by this process. `set_aside`: files that cannot be
  // used, and what they are to be called before something takes their place.
  using Renames = std::vector<std::pair<std::string, std::string>>;
  void Found(int64_t saved_unix, bool newest_is_proven, Renames set_aside);
  // Blocks until what was saved last is on disk: true; or until that has failed, or cannot be as
  // the folder is not ours.
  bool Flush();
  [[nodiscard]] State state() const;

 private:
  struct Item {
    SavedConfig config;
    bool proven = true;
  };

  void Run();
  // With the lock held, which it gives up to write.
  void WriteOnce(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] absl::Status Write(const SavedConfig& config, bool keep_newest, Renames* set_aside);

  StateFolder& folder_;
  const Options options_;
  const std::function<void(std::string)> report_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Item> next_;
  bool ours_ = false;
  bool stop_ = false;
  bool writing_ = false;
  bool writing_proven_ = false;
  int flushing_ = 0;
  bool newest_proven_ = true;
  Renames set_aside_;
  uint64_t started_ = 0;
  uint64_t failed_ = 0;  // the last of `started_` that failed
  std::chrono::steady_clock::time_point last_start_;
  std::chrono::steady_clock::time_point not_before_;
  Duration retry_;
  State state_;

  // The writer's own.
  std::string on_disk_;  // the digest of the newest file, once renamed

  std::thread thread_;
};

}  // namespace gatehouse::xds
