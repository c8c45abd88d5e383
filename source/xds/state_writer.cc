#include "source/xds/state_writer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace gatehouse::xds {
namespace {

// Workers come first.
constexpr int kNice = 10;

using std::chrono::steady_clock;

}  // namespace

StateWriter::StateWriter(StateFolder& folder, Options options,
                         std::function<void(std::string)> report)
    : folder_(folder), options_(options), report_(std::move(report)), retry_(options_.first_retry) {
  // Signals are for main; SIGXFSZ becomes an error of write(2).
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "state");
}

StateWriter::~StateWriter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StateWriter::Own(bool ours) {
  const std::lock_guard lock(mutex_);
  ours_ = ours;
  changed_.notify_all();
}

void StateWriter::Save(SavedConfig config, bool proven) {
  std::optional<Item> dropped = Item{std::move(config), proven};
  const std::lock_guard lock(mutex_);
  std::swap(next_, dropped);
  not_before_ = std::min(not_before_, last_start_ + options_.min_interval);
  changed_.notify_all();
}

void StateWriter::Proven() {
  const std::lock_guard lock(mutex_);
  newest_proven_ = true;
  writing_proven_ = true;
  if (next_) next_->proven = true;
}

void StateWriter::Found(int64_t saved_unix, bool newest_is_proven, Renames set_aside) {
  const std::lock_guard lock(mutex_);
  state_.saved_unix = saved_unix;
  newest_proven_ = newest_is_proven;
  set_aside_ = std::move(set_aside);
}

bool StateWriter::Flush() {
  std::unique_lock lock(mutex_);
  const uint64_t started = started_;
  ++flushing_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return (!writing_ && (!next_ || !ours_)) || failed_ > started; });
  --flushing_;
  return !writing_ && !next_;
}

StateWriter::State StateWriter::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

// ---- the writer's thread ----

void StateWriter::Run() {
  // Of this thread alone, on Linux.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool work = next_ && ours_;
    if (stop_) {
      if (work) WriteOnce(lock);
      return;
    }
    if (work && (flushing_ > 0 || steady_clock::now() >= not_before_)) {
      WriteOnce(lock);
    } else if (work) {
      changed_.wait_until(lock, not_before_);
    } else {
      changed_.wait(lock);
    }
  }
}

void StateWriter::WriteOnce(std::unique_lock<std::mutex>& lock) {
  Item item = std::move(*next_);
  next_.reset();
  writing_ = true;
  writing_proven_ = item.proven;
  const uint64_t attempt = ++started_;
  const bool keep_newest = newest_proven_;
  Renames set_aside = std::exchange(set_aside_, {});
  const steady_clock::time_point start = steady_clock::now();
  lock.unlock();
  const absl::Status written = Write(item.config, keep_newest, &set_aside);
  lock.lock();
  writing_ = false;
  last_start_ = start;
  set_aside_ = std::move(set_aside);
  std::string report;
  if (written.ok()) {
    newest_proven_ = writing_proven_;
    state_.saved_unix = item.config.accepted_unix;
    ++state_.saves;
    if (!state_.failure.empty()) report = "the accepted config can be saved again";
    state_.failure.clear();
    not_before_ = start + options_.min_interval;
    retry_ = options_.first_retry;
  } else {
    ++state_.failures;
    if (state_.failure.empty()) {
      report = fmt::format(
          "the accepted config cannot be saved: {}; what was saved before stays, and a restart "
          "would use that; trying again",
          MessageOf(written));
    }
    state_.failure = MessageOf(written);
    item.proven = writing_proven_;
    if (!next_) next_ = std::move(item);
    not_before_ = start + std::max(retry_, options_.min_interval);
    retry_ = std::min(retry_ * 2, options_.max_retry);
    failed_ = attempt;
  }
  if (!report.empty()) {
    lock.unlock();
    report_(std::move(report));
    lock.lock();
  }
  changed_.notify_all();
}

absl::Status StateWriter::Write(const SavedConfig& config, bool keep_newest, Renames* set_aside) {
  std::string digest;
  const std::string file = WriteSavedConfig(config, &digest);
  // It was renamed, and the folder's own write failed.
  if (digest == on_disk_) return folder_.Sync();
  if (absl::Status status = folder_.WriteWhole(kNext, file); !status.ok()) return status;
  const auto rename_if_there = [&](const std::string& from, const std::string& to) {
    absl::Status status = folder_.Rename(from, to);
    return status.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : status;
  };
  for (; !set_aside->empty(); set_aside->pop_back()) {
    const auto& [from, to] = set_aside->back();
    if (absl::Status status = rename_if_there(from, to); !status.ok()) return status;
  }
  // Between the two renames the one before is the newest: as if this save had not begun.
  if (keep_newest) {
    if (absl::Status status = rename_if_there(kNewest, kBefore); !status.ok()) return status;
    on_disk_.clear();
  }
  if (absl::Status status = folder_.Rename(kNext, kNewest); !status.ok()) return status;
  on_disk_ = std::move(digest);
  return folder_.Sync();
}

}  // namespace gatehouse::xds
