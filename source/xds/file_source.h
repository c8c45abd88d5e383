// FileSource: tells when a config file, or one that the config names, has changed: written,
// replaced by a rename, or swapped through a symbolic link as in mounted volumes.
//
// Owner: the Server. Thread: main. It watches every name of the paths and of the links on the way
// (a log that grows beside the file is nothing to it), waits until changes settle, and compares
// what the files hold: `changed` comes only for new content, once for all that changed together.
//
//   source->WatchAlso(config::Build(...).files);
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "source/base/status.h"
#include "source/base/timer_wheel.h"
#include "source/config/file_read.h"
#include "source/net/loop.h"

namespace gatehouse::xds {

class FileSource {
 public:
  // `paths` as they were given.
  using Changed = std::function<void(const std::vector<std::string>& paths)>;

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FileSource>> Watch(net::Loop& loop,
                                                                         const std::string& path,
                                                                         Changed changed);
  ~FileSource();
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  // Besides the first file, in the place of those before: what a build has read. One that holds
  // something else by now has changed.
  void WatchAlso(const std::vector<config::FileRead>& files);

 private:
  struct File {
    std::string path;
    size_t content = 0;  // its ContentHash; 0: it cannot be read
    // What was told of last. A build may refuse to read what is there: that is told once.
    size_t told = 0;
  };

  FileSource(net::Loop& loop, const std::string& path, int fd, Changed changed);
  void WatchNames();
  void WatchPath(const std::string& path);
  void WatchName(const std::string& folder, const std::string& name, bool is_file);
  void OnEvents();
  void Settle();
  void Look();

  net::Loop& loop_;
  int fd_;
  Changed changed_;
  std::map<int, std::set<std::string>> watches_;  // by descriptor: the names that matter there
  std::vector<File> files_;                       // the first is the one of Watch()
  TimePoint first_event_;                         // of those that settle now
  Timer settle_;
  std::unique_ptr<net::FdEvents> events_;
};

}  // namespace gatehouse::xds
