// FileSource: tells when a config file may have changed: written, replaced by a rename, or swapped
// through a symbolic link as in mounted volumes.
//
// Owner: the Server. Thread: main. It watches the folders of the path and of every link on the way,
// waits until changes settle, and compares what the file holds: `changed` comes only for new
// content.
#pragma once

#include <functional>
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
  void WatchFolders();
  void WatchFolder(const std::string& folder);
  void OnEvents();
  void Look();
  [[nodiscard]] size_t HashOfContent() const;

  net::Loop& loop_;
  std::string path_;
  int fd_;
  std::function<void()> changed_;
  std::set<int> watches_;
  size_t content_;
  Timer settle_;
  std::unique_ptr<net::FdEvents> events_;
};

}  // namespace gatehouse::xds
