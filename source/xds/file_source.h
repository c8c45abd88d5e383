// FileSource: tells when a config file may have changed: written, replaced by a rename, or swapped
// through a symbolic link as in mounted volumes.
//
// Owner: the Server. Thread: main. It watches every name of the path and of the links on the way
// (a log that grows beside the file is nothing to it), waits until changes settle, and compares
// what the file holds: `changed` comes only for new content.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "source/base/status.h"
#include "source/base/timer_wheel.h"
#include "source/net/loop.h"

namespace gatehouse::xds {

class FileSource {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FileSource>> Watch(
      net::Loop& loop, const std::string& path, std::function<void()> changed);
  ~FileSource();
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

 private:
  FileSource(net::Loop& loop, std::string path, int fd, std::function<void()> changed);
  void WatchNames();
  void WatchName(const std::string& folder, const std::string& name, bool is_file);
  void OnEvents();
  void Look();
  [[nodiscard]] size_t HashOfContent() const;

  net::Loop& loop_;
  std::string path_;
  int fd_;
  std::function<void()> changed_;
  std::map<int, std::set<std::string>> watches_;  // by descriptor: the names that matter there
  size_t content_;
  TimePoint first_event_;  // of those that settle now
  Timer settle_;
  std::unique_ptr<net::FdEvents> events_;
};

}  // namespace gatehouse::xds
