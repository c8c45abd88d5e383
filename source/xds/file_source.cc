#include "source/xds/file_source.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
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

// The folder of the path, and of what each link on the way to the file points to.
void FileSource::WatchFolders() {
  namespace fs = std::filesystem;
  for (int watch : watches_) inotify_rm_watch(fd_, watch);
  watches_.clear();
  std::error_code error;
  fs::path at = fs::absolute(path_, error);
  for (int links = 0; links < kMaxLinks; ++links) {
    // Any folder on the way may be a link too: that is how mounted volumes are swapped.
    for (fs::path folder = at.parent_path(); !folder.empty(); folder = folder.parent_path()) {
      const bool last = folder == folder.root_path();
      if (folder == at.parent_path() || fs::is_symlink(folder, error)) {
        const fs::path watched = folder == at.parent_path() ? folder : folder.parent_path();
        const int watch = inotify_add_watch(
            fd_, watched.c_str(),
            IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MODIFY | IN_ONLYDIR);
        if (watch >= 0) watches_.insert(watch);
      }
      if (last) break;
    }
    if (!fs::is_symlink(at, error)) {
      // The file itself may stand behind linked folders.
      const fs::path real = fs::canonical(at, error);
      if (error || real == at) break;
      at = real;
      continue;
    }
    const fs::path target = fs::read_symlink(at, error);
    if (error) break;
    at = target.is_absolute() ? target : at.parent_path() / target;
  }
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
