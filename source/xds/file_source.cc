#include "source/xds/file_source.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace gatehouse::xds {
namespace {

constexpr Duration kSettle = std::chrono::milliseconds(50);
// Who writes without a pause is looked at in between.
constexpr Duration kMaxSettle = std::chrono::seconds(1);
constexpr int kMaxLinks = 16;

// 0 when it cannot be read: gone, no permission, a folder, a disk that fails.
size_t HashOfFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return 0;
  std::string text;
  char buffer[16384];
  struct stat status{};
  ssize_t got = fstat(file, &status) == 0 && S_ISREG(status.st_mode) ? 1 : -1;
  while (got > 0) {
    got = read(file, buffer, sizeof(buffer));
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
  close(file);
  return got < 0 ? 0 : config::ContentHash(text);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileSource>> FileSource::Watch(net::Loop& loop,
                                                              const std::string& path,
                                                              Changed changed) {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) {
    return Unavailable(fmt::format(
        "cannot watch {}: inotify: {} (see fs.inotify.max_user_instances; SIGHUP still reloads)",
        path, std::strerror(errno)));
  }
  return std::unique_ptr<FileSource>(new FileSource(loop, path, fd, std::move(changed)));
}

FileSource::FileSource(net::Loop& loop, const std::string& path, int fd, Changed changed)
    : loop_(loop),
      fd_(fd),
      changed_(std::move(changed)),
      settle_(Timer::Calls<FileSource, &FileSource::Look>(), this) {
  events_ = std::make_unique<net::FdEvents>(
      loop_, fd_, this, [](void* self, net::Ready) { static_cast<FileSource*>(self)->OnEvents(); },
      net::FdEvents::Trigger::kLevelRead);
  files_.push_back({.path = path});
  WatchNames();
  files_.front().content = HashOfFile(path);
}

FileSource::~FileSource() {
  events_.reset();
  close(fd_);
}

void FileSource::WatchAlso(const std::vector<config::FileRead>& files) {
  std::vector<File> before = std::move(files_);
  files_.clear();
  files_.push_back(std::move(before.front()));
  for (const config::FileRead& file : files) {
    if (file.path == files_.front().path) continue;
    files_.push_back({.path = file.path, .content = file.content});
    const auto old = std::ranges::find(before, file.path, &File::path);
    if (old != before.end()) files_.back().told = old->told;
  }
  // Before the files are looked at, so that nothing is missed in between. Events that wait to be
  // read are of watches that are gone: the first file is looked at, too.
  WatchNames();
  bool newer = false;
  for (File& file : files_) {
    const size_t content = HashOfFile(file.path);
    if (content == file.content) continue;
    if (file.content == 0 && content == file.told) {
      file.content = content;
    } else {
      newer = true;
    }
  }
  if (newer) Settle();
}

void FileSource::WatchNames() {
  for (const auto& [watch, names] : watches_) inotify_rm_watch(fd_, watch);
  watches_.clear();
  for (const File& file : files_) WatchPath(file.path);
}

// Every name on the way to the file, in its folder: a link may be swapped, a folder renamed.
void FileSource::WatchPath(const std::string& file) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path path = fs::absolute(file, error).lexically_normal();
  std::deque<fs::path> left(path.begin(), path.end());
  fs::path folder;
  int links = 0;
  while (!left.empty()) {
    const fs::path name = left.front();
    const fs::path at = folder / name;
    left.pop_front();
    if (name == "..") {
      folder = folder.parent_path();
      continue;
    }
    // What is missing may come.
    const bool last = left.empty() || !fs::exists(at, error);
    if (!folder.empty()) WatchName(folder.string(), name.string(), last);
    if (fs::is_symlink(at, error) && ++links <= kMaxLinks) {
      const fs::path target = fs::read_symlink(at, error);
      if (target.is_absolute()) folder.clear();
      left.insert(left.begin(), target.begin(), target.end());
    } else if (last) {
      return;
    } else {
      folder = at;
    }
  }
}

void FileSource::WatchName(const std::string& folder, const std::string& name, bool is_file) {
  const uint32_t events = IN_CREATE | IN_MOVED_TO | (is_file ? IN_CLOSE_WRITE | IN_DELETE : 0);
  const int watch = inotify_add_watch(fd_, folder.c_str(), events | IN_ONLYDIR | IN_MASK_ADD);
  if (watch >= 0) watches_[watch].insert(name);
}

void FileSource::OnEvents() {
  alignas(inotify_event) char buffer[4096];
  bool matters = false;
  ssize_t got;
  while ((got = read(fd_, buffer, sizeof(buffer))) > 0) {
    for (const char* at = buffer; at < buffer + got;) {
      inotify_event event;
      std::memcpy(&event, at, sizeof(event));
      const auto watch = watches_.find(event.wd);
      matters |= (event.mask & IN_Q_OVERFLOW) != 0 || (watch != watches_.end() && event.len > 0 &&
                                                       watch->second.contains(at + sizeof(event)));
      at += sizeof(event) + event.len;
    }
  }
  if (matters) Settle();
}

void FileSource::Settle() {
  // An editor writes in several steps; the last of them counts.
  if (!settle_.armed()) first_event_ = loop_.Now();
  loop_.Arm(settle_, std::min(loop_.Now() + kSettle, first_event_ + kMaxSettle));
}

void FileSource::Look() {
  WatchNames();
  std::vector<std::string> changed;
  for (File& file : files_) {
    const size_t content = HashOfFile(file.path);
    if (content == file.content) continue;
    file.content = content;
    file.told = content;
    changed.push_back(file.path);
  }
  if (!changed.empty()) changed_(changed);
}

}  // namespace gatehouse::xds
