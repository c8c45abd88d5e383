// DirectorySource: the resources are what is written in a directory.
//
//   DIR/*.yaml, *.yml, *.json           for all gateways, or for the file's own `group:`
//   DIR/<group>/*.yaml, *.yml, *.json   for that group
//
// Names that begin with '.' are ignored. The directory is watched, and looked at every second for
// what a watch does not tell (links to elsewhere, network file systems). One content of it is one
// change: with any error in any file nothing is changed, and the last good revision stays. What
// stands there is read once it has been still for a moment, so that a `git pull` is one change too.
// A ConfigMap's way of swapping a link ("..data") is seen as any other change.
//
// Owner: main(). One thread of its own; Problems() by any.
//
//   DirectorySource source({.folder = "/etc/gatehouse/resources"}, editor, store, say);
//   source.Read();   // once, before gateways are served
//   source.Start();
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "source/config/config_error.h"
#include "source/control_plane/editor.h"
#include "source/control_plane/resource_file.h"
#include "source/control_plane/store.h"

namespace gatehouse::control {

struct DirectoryOptions {
  std::string folder;
  // A directory that has become empty empties the fleet.
  bool allow_empty = false;
  std::chrono::milliseconds settle{50};   // without a change, before it is read
  std::chrono::milliseconds look{1'000};  // between looks without being told
};

// What stands in a directory at one moment.
struct DirectoryContent {
  std::vector<ResourceFile> files;  // by name
  config::ErrorList errors;         // of what could not be read
  // Over all names and texts. Empty: the directory could not be read.
  std::string digest;
};
[[nodiscard]] DirectoryContent ReadDirectory(const std::string& folder);

class DirectorySource {
 public:
  // `say` is for people: what has been loaded, and what is wrong, each once.
  DirectorySource(DirectoryOptions options, Editor& editor, const Store& store,
                  std::function<void(std::string_view)> say);
  ~DirectorySource();
  DirectorySource(const DirectorySource&) = delete;
  DirectorySource& operator=(const DirectorySource&) = delete;

  void Read();
  void Start();
  void Stop();

  // Why the directory as it is now is not what gateways get; empty: it is.
  [[nodiscard]] config::ErrorList Problems() const;
  [[nodiscard]] const std::string& folder() const { return options_.folder; }

 private:
  void Run();
  void WatchFolders();
  // Until nothing happens any more.
  void Settle();
  // Takes the kernel's news; false: none came in `wait`.
  bool TakeNews(std::chrono::milliseconds wait);
  [[nodiscard]] std::string Look() const;
  void Use(const DirectoryContent& content);
  void SetProblems(config::ErrorList problems);
  [[nodiscard]] bool stopping() const;

  const DirectoryOptions options_;
  Editor& editor_;
  const Store& store_;
  const std::function<void(std::string_view)> say_;

  int inotify_ = -1;
  int wake_ = -1;          // an eventfd
  std::string seen_;       // Look() before the last read
  std::string used_;       // digest of the content that was tried last
  uint64_t tried_on_ = 0;  // the revision that was current then
  bool try_again_ = false;

  mutable std::mutex mutex_;
  config::ErrorList problems_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace gatehouse::control
