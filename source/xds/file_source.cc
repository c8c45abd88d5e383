#include "source/xds/file_source.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

namespace gatehouse::xds {
namespace {

constexpr Duration kSettle = std::chrono::milliseconds(50);
constexpr int kMaxLinks = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<FileSource>> FileSource::Watch(net::Loop& loop,
                                                              const std::string& path,
                                                              std::function<void()> changed) {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) {
    return Unavailable(fmt::format(
        "cannot watch {}: inotify: {} (see fs.inotify.max_user_instances; SIGHUP still reloads)",
        path, std::strerror(errno)));
  }
  return std::unique_ptr<FileSource>(new FileSource(loop, path, fd, std::move(changed)));
}

FileSource::FileSource(net::Loop& loop, std::string path, int fd, std::function<void()> changed)
    : loop_(loop),
      path_(std::move(path)),
      fd_(fd),
      changed_(std::move(changed)),
      content_(0),
      settle_(Timer::Calls<FileSource, &FileSource::Look>(), this) {
  events_ = std::make_unique<net::FdEvents>(
      loop_, fd_, this, [](void* self, net::Ready) { static_cast<FileSource*>(self)->OnEvents(); },
      net::FdEvents::Trigger::kLevelRead);
  WatchFolders();
  content_ = HashOfContent();
}

FileSource::~FileSource() {
  events_.reset();
  close(fd_);
}

// The folder of the file, and that of every link on the way to it: any of them may be swapped.
void FileSource::WatchFolders() {
  namespace fs = std::filesystem;
  for (int watch : watches_) inotify_rm_watch(fd_, watch);
  watches_.clear();
  std::error_code error;
  const fs::path path = fs::absolute(path_, error).lexically_normal();
  std::deque<fs::path> left(path.begin(), path.end());
  fs::path folder;
  int links = 0;
  while (!left.empty()) {
    const fs::path at = folder / left.front();
    left.pop_front();
    if (at.filename() == "..") {
      folder = folder.parent_path();
    } else if (fs::is_symlink(at, error) && ++links <= kMaxLinks) {
      WatchFolder(folder.string());
      const fs::path target = fs::read_symlink(at, error);
      if (target.is_absolute()) folder.clear();
      left.insert(left.begin(), target.begin(), target.end());
    } else {
      // What is missing may come.
      if (left.empty() || !fs::exists(at, error)) return WatchFolder(folder.string());
      folder = at;
    }
  }
}

void FileSource::WatchFolder(const std::string& folder) {
  const int watch = inotify_add_watch(
      fd_, folder.c_str(),
      IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MODIFY | IN_ONLYDIR);
  if (watch >= 0) watches_.insert(watch);
}

void FileSource::OnEvents() {
  char buffer[4096];
  while (read(fd_, buffer, sizeof(buffer)) > 0) {
  }
  // An editor writes in several steps; the last of them counts.
  loop_.Arm(settle_, kSettle);
}

void FileSource::Look() {
  WatchFolders();
  const size_t content = HashOfContent();
  if (content == content_) return;
  content_ = content;
  changed_();
}

size_t FileSource::HashOfContent() const {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return 0;
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return std::hash<std::string_view>{}(text) | 1;
}

}  // namespace gatehouse::xds
