#include "source/control_plane/directory.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "source/base/status.h"
#include "source/control_plane/digest.h"
#include "source/control_plane/durable_file.h"

namespace gatehouse::control {
namespace {

constexpr uint32_t kWatched = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                              IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_MODIFY;
constexpr auto kLongestSettle = std::chrono::seconds(2);
// A file that is still growing is read this often before it is taken as it is.
constexpr int kReads = 5;
constexpr size_t kMaxFileBytes = size_t{64} << 20;

bool IsResourceFile(std::string_view name) {
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

struct Found {
  std::string name;   // below the folder
  std::string group;  // of the folder in it
  struct stat status{};
};

config::ConfigError ErrorOf(std::string file, std::string message) {
  config::ConfigError error;
  error.file = std::move(file);
  error.message = std::move(message);
  return error;
}

// The files of one folder and, with no group, the folders in it.
absl::Status FindIn(const std::string& root, const std::string& group, std::vector<Found>* found,
                    std::vector<std::string>* groups) {
  const std::string folder = group.empty() ? root : root + "/" + group;
  absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return names.status();
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) {
    if (name.starts_with('.')) continue;
    Found one{.name = group.empty() ? name : group + "/" + name, .group = group};
    const std::string path = folder + "/" + name;
    const bool known = stat(path.c_str(), &one.status) == 0;
    const int error = errno;
    if (known && S_ISDIR(one.status.st_mode)) {
      if (group.empty()) groups->push_back(name);
    } else if (IsResourceFile(name)) {
      // A link to nowhere is told when it is read.
      found->push_back(std::move(one));
    } else if (!known && group.empty() && lstat(path.c_str(), &one.status) == 0) {
      // It may be a group's folder: one that is away is no reason to take everything from the
      // group.
      return Unavailable(fmt::format("cannot read {}: {}", path, std::strerror(error)));
    }
  }
  return absl::OkStatus();
}

struct Listing {
  absl::Status status;
  std::vector<Found> files;
  std::vector<std::string> groups;
};

Listing List(const std::string& folder) {
  Listing listing;
  listing.status = FindIn(folder, "", &listing.files, &listing.groups);
  for (const std::string& group : listing.groups) {
    // A folder that has just gone has no files.
    absl::Status status = FindIn(folder, group, &listing.files, nullptr);
    if (!status.ok() && !absl::IsNotFound(status)) listing.status = status;
  }
  return listing;
}

}  // namespace

DirectoryContent ReadDirectory(const std::string& folder) {
  DirectoryContent content;
  const Listing listing = List(folder);
  if (!listing.status.ok()) {
    content.errors.Add(
        ErrorOf(folder, fmt::format("{}; the last resources stay", MessageOf(listing.status))));
    return content;
  }
  std::string all;
  for (const Found& found : listing.files) {
    absl::StatusOr<std::string> text = ReadRegularFile(folder + "/" + found.name, kMaxFileBytes);
    if (!text.ok()) {
      content.errors.Add(ErrorOf(found.name, MessageOf(text.status())));
      all.append(fmt::format("{}:unreadable:", found.name));
      continue;
    }
    if (std::string wrong = WrongGroup(found.group); !wrong.empty()) {
      content.errors.Add(ErrorOf(found.name, std::move(wrong)));
    }
    all.append(fmt::format("{}:{}:{}:", found.name.size(), found.name, text->size()));
    all.append(*text);
    content.files.push_back({.name = found.name,
                             .text = *std::move(text),
                             .group = found.group,
                             .group_is_fixed = !found.group.empty(),
                             .from_directory = true});
  }
  content.digest = Hex(Sha256(all));
  return content;
}

DirectorySource::DirectorySource(DirectoryOptions options, Editor& editor, const Store& store,
                                 std::function<void(std::string_view)> say)
    : options_(std::move(options)),
      editor_(editor),
      store_(store),
      say_(std::move(say)),
      // Without it (a limit of the machine), looking every second is what is left.
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

DirectorySource::~DirectorySource() {
  Stop();
  if (inotify_ >= 0) close(inotify_);
  if (wake_ >= 0) close(wake_);
}

void DirectorySource::Start() {
  thread_ = std::thread([this] { Run(); });
}

void DirectorySource::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  static_cast<void>(!write(wake_, &one, sizeof(one)));
  if (thread_.joinable()) thread_.join();
}

bool DirectorySource::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

config::ErrorList DirectorySource::Problems() const {
  const std::lock_guard lock(mutex_);
  return problems_;
}

void DirectorySource::SetProblems(config::ErrorList problems) {
  problems.Sort();
  std::string text = problems.ToString();
  {
    const std::lock_guard lock(mutex_);
    if (problems_.ToString() == text) text.clear();
    problems_ = std::move(problems);
  }
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) say_(std::string_view(text).substr(0, end));
    text.erase(0, end + 1);
  }
}

void DirectorySource::WatchFolders() {
  if (inotify_ < 0) return;
  // Again each time: a folder that was put in the place of another is a different one.
  inotify_add_watch(inotify_, options_.folder.c_str(), kWatched);
  for (const std::string& group : List(options_.folder).groups) {
    inotify_add_watch(inotify_, (options_.folder + "/" + group).c_str(), kWatched);
  }
}

bool DirectorySource::TakeNews(std::chrono::milliseconds wait) {
  std::array<pollfd, 2> ready{{{.fd = wake_, .events = POLLIN, .revents = 0},
                               {.fd = inotify_, .events = POLLIN, .revents = 0}}};
  if (poll(ready.data(), ready.size(), static_cast<int>(wait.count())) <= 0) return false;
  alignas(inotify_event) std::array<char, 16384> buffer;
  bool news = false;
  while (inotify_ >= 0 && read(inotify_, buffer.data(), buffer.size()) > 0) news = true;
  return news;
}

void DirectorySource::Settle() {
  const auto until = std::chrono::steady_clock::now() + kLongestSettle;
  while (!stopping() && TakeNews(options_.settle) && std::chrono::steady_clock::now() < until) {
  }
}

// Changes when a file is written, replaced or renamed, also where no watch tells.
std::string DirectorySource::Look() const {
  const Listing listing = List(options_.folder);
  std::string look = listing.status.ok() ? "" : MessageOf(listing.status);
  for (const Found& found : listing.files) {
    const struct stat& s = found.status;
    look.append(fmt::format("{}|{}|{}|{}|{}.{}|{}.{}\n", found.name, s.st_dev, s.st_ino, s.st_size,
                            s.st_mtim.tv_sec, s.st_mtim.tv_nsec, s.st_ctim.tv_sec,
                            s.st_ctim.tv_nsec));
  }
  return look;
}

void DirectorySource::Read() {
  WatchFolders();
  DirectoryContent content;
  for (int i = 0; i < kReads; ++i) {
    seen_ = Look();
    content = ReadDirectory(options_.folder);
    if (seen_ == Look() || stopping()) break;
    Settle();
  }
  Use(content);
}

void DirectorySource::Use(const DirectoryContent& content) {
  const uint64_t revision = store_.Current()->revision();
  if (content.digest == used_ && !content.digest.empty() && !try_again_ && tried_on_ == revision) {
    return;
  }
  used_ = content.digest;
  tried_on_ = revision;
  try_again_ = false;
  if (!content.digest.empty()) editor_.SetDirectoryContent(content.digest);
  config::ErrorList errors = content.errors;
  ResourceSet::All all;
  Resources resources;
  for (const ResourceFile& file : content.files) {
    const Resources more = ParseResourceFile(file, errors);
    AddResources(more, &all, errors);
    resources.insert(resources.end(), more.begin(), more.end());
  }
  if (!errors.ok()) return SetProblems(std::move(errors));
  absl::StatusOr<Change> change = editor_.UseDirectory(
      resources, content.digest, {.author = "directory", .allow_empty = options_.allow_empty});
  if (!change.ok()) {
    try_again_ = !absl::IsFailedPrecondition(change.status());
    config::ErrorList why;
    why.Add(ErrorOf("", MessageOf(change.status())));
    return SetProblems(std::move(why));
  }
  tried_on_ = store_.Current()->revision();
  const bool made = !change->refused() && change->before != change->after;
  SetProblems(std::move(change->problems));
  if (made) {
    say_(fmt::format("revision {}: {} resources, from {}", change->after->revision(),
                     change->after->all().size(), options_.folder));
  }
}

void DirectorySource::Run() {
  while (!stopping()) {
    const bool news = TakeNews(options_.look);
    if (stopping()) return;
    if (news) {
      Settle();
    } else if (seen_ == Look() && !try_again_ && tried_on_ == store_.Current()->revision()) {
      continue;
    }
    Read();
  }
}

}  // namespace gatehouse::control
