#include "source/observe/log_thread.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"
#include "source/base/status.h"

namespace gatehouse::observe {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// After so many passes without a line the thread sleeps until a worker wakes it. A wake-up can be
// missed, since a worker makes no fence to look whether one is due; then this is the delay.
constexpr uint32_t kEmptyPassesToIdle = 3;
constexpr milliseconds kIdleTimeout{1000};
// Stop gives the thread that much longer than its own deadline to say that it ended.
constexpr milliseconds kGrace{50};

// To stderr, unless that would block (it is often the pipe that the log is blocked on).
void Report(std::string_view path, std::string_view what) {
  pollfd wait{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&wait, 1, 0) != 1 || (wait.revents & POLLOUT) == 0) return;
  const std::string line = fmt::format("gatehouse: access log {}: {}\n", path, what);
  [[maybe_unused]] const ssize_t size = write(STDERR_FILENO, line.data(), line.size());
}

// Lines are long: finding each end costs less than looking at each byte.
uint64_t CountLines(std::string_view text) {
  uint64_t lines = 0;
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    ++lines;
  }
  return lines;
}

void AddTo(std::atomic<uint64_t>& total, uint64_t lines) {
  total.store(total.load(std::memory_order_relaxed) + lines, std::memory_order_relaxed);
}

bool HasLines(const std::vector<std::unique_ptr<LogRing>>& rings) {
  return std::any_of(rings.begin(), rings.end(),
                     [](const auto& ring) { return !ring->Readable().empty(); });
}

}  // namespace

LogThread::~LogThread() {
  if (event_ >= 0) close(event_);
}

// ---- main ----

absl::Status LogThread::Start() {
  event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_ < 0) {
    return Unavailable(fmt::format("cannot start the access log: {}", std::strerror(errno)));
  }
  // Signals are for main; SIGPIPE and SIGXFSZ become errors of write(2).
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([self = shared_from_this()] { self->Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "log");
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<LogOutput>> LogThread::Open(std::string_view path,
                                                           size_t ring_bytes) {
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) {
    if (entry->output->path() != path) continue;
    if (auto handle = entry->handle.lock()) return handle;
  }
  auto entry = std::make_unique<Entry>();
  entry->output.reset(new LogOutput(std::string(path), this));
  if (const int error = entry->sink.Open(entry->output->path()); error != 0) {
    return Unavailable(fmt::format("cannot open access log {}: {}", path, std::strerror(error)));
  }
  const absl::Status status = entry->output->MakeRings(
      options_.workers, ring_bytes == 0 ? options_.ring_bytes : ring_bytes);
  if (!status.ok()) return status;
  std::shared_ptr<LogOutput> handle(
      entry->output.get(), [self = shared_from_this()](LogOutput* output) { self->Close(output); });
  entry->handle = handle;
  entries_.push_back(std::move(entry));
  return handle;
}

void LogThread::Close(LogOutput* output) {
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) {
    if (entry->output.get() == output) entry->closing = true;
  }
  ended_ ? EraseClosed() : Wake();
}

void LogThread::Reopen() {
  const std::lock_guard lock(mutex_);
  reopen_ = true;
  Wake();
}

bool LogThread::Flush(milliseconds deadline) {
  std::unique_lock lock(mutex_);
  const uint64_t asked = ++flush_asked_;
  Wake();
  changed_.wait_for(lock, deadline, [&] { return flush_done_ >= asked || ended_; });
  return flush_done_ >= asked;
}

bool LogThread::Stop(milliseconds deadline) {
  std::unique_lock lock(mutex_);
  if (!thread_.joinable()) return ended_ && lost_at_stop_ == 0;
  stop_ = true;
  stop_by_ = steady_clock::now() + deadline;
  Wake();
  changed_.wait_for(lock, deadline + kGrace, [&] { return ended_; });
  if (!ended_) {
    // It hangs in write(2). It holds what it needs; the process may end without it.
    thread_.detach();
    return false;
  }
  lock.unlock();
  thread_.join();
  return lost_at_stop_ == 0;
}

LogWriter::Totals LogThread::totals() const {
  const std::lock_guard lock(mutex_);
  LogWriter::Totals totals = closed_;
  for (const auto& entry : entries_) {
    totals.lines_written += entry->output->lines_written_.load(std::memory_order_relaxed);
    totals.lines_dropped += entry->output->lines_dropped();
    totals.failing_outputs += entry->output->failing_.load(std::memory_order_relaxed) ? 1 : 0;
  }
  return totals;
}

void LogThread::Wake() {
  // Several wakes before the thread looks are one: workers write only the first.
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t size = write(event_, &one, sizeof(one));
}

// ---- the thread ----

void LogThread::Run() {
  bool found = false;
  while (true) {
    WaitForWork(NextTimeout(found));
    now_ = steady_clock::now();
    uint64_t asked = 0;
    {
      const std::lock_guard lock(mutex_);
      current_.clear();
      for (const auto& entry : entries_) {
        current_.push_back(entry.get());
        if (reopen_) entry->reopen = true;
        if (reopen_) entry->reopen_at = now_;
      }
      reopen_ = false;
      stopping_ = stop_;
      asked = flush_asked_;
    }
    bool complete = true;
    found = Pass(complete);
    const std::lock_guard lock(mutex_);
    if (complete) flush_done_ = asked;
    EraseClosed();
    if (stopping_ && (complete || steady_clock::now() >= stop_by_)) break;
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) lost_at_stop_ += LoseAll(*entry);
  ended_ = true;
  changed_.notify_all();
}

milliseconds LogThread::NextTimeout(bool found_lines) {
  empty_passes_ = found_lines ? 0 : empty_passes_ + 1;
  milliseconds timeout = options_.flush_interval;
  if (empty_passes_ < kEmptyPassesToIdle) {
    idle_.store(false, std::memory_order_relaxed);
  } else if (!idle_.load(std::memory_order_relaxed)) {
    // Lines that came before a worker could see this are met by one more pass, at once.
    idle_.store(true, std::memory_order_seq_cst);
    timeout = milliseconds(0);
  } else {
    timeout = kIdleTimeout;
  }
  const auto not_after = [&](SteadyTime when) {
    const auto left = std::chrono::ceil<milliseconds>(when - steady_clock::now());
    timeout = std::clamp(left, milliseconds(0), timeout);
  };
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) {
    if (entry->reopen) not_after(entry->reopen_at);
    if (entry->error == EAGAIN) not_after(now_ + options_.flush_interval);
    if (entry->error != 0 && entry->error != EAGAIN) not_after(entry->retry_at);
  }
  if (stop_) not_after(stop_by_);
  return timeout;
}

void LogThread::WaitForWork(milliseconds timeout) {
  std::vector<pollfd> waits;
  waits.push_back({.fd = event_, .events = POLLIN, .revents = 0});
  {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : entries_) {
      if (entry->error != EAGAIN) continue;
      waits.push_back({.fd = entry->sink.fd(), .events = POLLOUT, .revents = 0});
    }
  }
  poll(waits.data(), waits.size(), static_cast<int>(timeout.count()));
  if ((waits[0].revents & POLLIN) != 0) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t size = read(event_, &count, sizeof(count));
    // From here on a wake-up writes again; what it is for is found by the pass that follows.
    woken_.store(false, std::memory_order_seq_cst);
  }
}

bool LogThread::Pass(bool& complete) {
  bool found = false;
  for (Entry* entry : current_) {
    ReopenWhenAsked(*entry);
    found = Drain(*entry, complete) || found;
  }
  return found;
}

// Whether it is time to try a file that failed; opens it anew when that may help.
bool LogThread::MayTry(Entry& entry) {
  if (entry.error == 0 || entry.error == EAGAIN) return true;
  if (stopping_) {
    if (std::exchange(entry.gave_up, true)) return false;
  } else if (now_ < entry.retry_at) {
    return false;
  }
  const bool moved = entry.sink.PathMoved(entry.output->path());
  const bool full = entry.error == ENOSPC || entry.error == EDQUOT || entry.error == EFBIG;
  if (full && !moved) return true;
  const int error = ReplaceFile(entry, moved);
  if (error != 0) Failed(entry, error);
  return error == 0;
}

bool LogThread::Drain(Entry& entry, bool& complete) {
  if (!HasLines(entry.output->rings_)) return false;
  if (!MayTry(entry)) {
    if (!entry.gave_up) complete = false;
    // They are not found: nothing is to be done about them before the retry.
    return false;
  }
  bool good = entry.unfinished == nullptr || DrainRing(entry, *entry.unfinished);
  for (const auto& ring : entry.output->rings_) good = good && DrainRing(entry, *ring);
  if (good) {
    Recovered(entry);
  } else if (entry.error == EAGAIN || !stopping_) {
    complete = false;
  }
  return true;
}

bool LogThread::DrainRing(Entry& entry, LogRing& ring) {
  const std::string_view text = ring.Readable();
  if (text.empty()) return true;
  const LogSink::Result result = entry.sink.Write(text);
  const std::string_view written = text.substr(0, result.written);
  if (!written.empty()) {
    AddTo(entry.output->lines_written_, CountLines(written));
    // The rest of a line must come next, whatever other rings hold.
    entry.unfinished = written.back() == '\n' ? nullptr : &ring;
    entry.since = now_;
    ring.Consume(written.size());
  }
  if (result.error == 0) return true;
  Failed(entry, result.error);
  return false;
}

void LogThread::ReopenWhenAsked(Entry& entry) {
  if (!entry.reopen || now_ < entry.reopen_at) return;
  const bool moved = entry.sink.PathMoved(entry.output->path());
  const int error = moved ? ReplaceFile(entry, moved) : 0;
  entry.reopen = error != 0;
  if (error == 0) {
    entry.reopen_told = false;
    return;
  }
  // The file that is open goes on taking lines.
  entry.reopen_at = now_ + options_.retry_interval;
  if (std::exchange(entry.reopen_told, true)) return;
  Report(entry.output->path(),
         fmt::format("cannot open it anew: {}; trying again", std::strerror(error)));
}

// Opens the path again. A line half written is finished in the old file when that is another one.
// Returns 0 or an errno value.
int LogThread::ReplaceFile(Entry& entry, bool moved) {
  LogSink next;
  if (const int error = next.Open(entry.output->path()); error != 0) return error;
  if (entry.unfinished != nullptr) {
    moved ? FinishLine(entry) : next.ContinueLine();
  }
  entry.sink.Swap(next);
  return 0;
}

void LogThread::FinishLine(Entry& entry) {
  LogRing& ring = *std::exchange(entry.unfinished, nullptr);
  const std::string_view text = ring.Readable();
  const std::string_view rest = text.substr(0, text.find('\n') + 1);
  const bool written = entry.sink.Write(rest).written == rest.size();
  AddTo(written ? entry.output->lines_written_ : entry.output->lines_lost_, 1);
  ring.Consume(rest.size());
}

void LogThread::Failed(Entry& entry, int error) {
  LogOutput& output = *entry.output;
  if (error == EAGAIN && entry.error != EAGAIN) entry.since = now_;
  entry.error = error;
  entry.retry_at = now_ + options_.retry_interval;
  output.stalled_.store(true, std::memory_order_relaxed);
  // A reader that is merely slow is no failure.
  if (error == EAGAIN && now_ - entry.since < options_.retry_interval) return;
  if (output.failing_.load(std::memory_order_relaxed)) return;
  entry.dropped_before = output.lines_dropped();
  Report(output.path(),
         fmt::format("{}; lines wait in memory, then are dropped, until it works again",
                     error == EAGAIN ? "its reader does not read" : std::strerror(error)));
  output.failing_.store(true, std::memory_order_release);
}

void LogThread::Recovered(Entry& entry) {
  LogOutput& output = *entry.output;
  if (entry.error == 0) return;
  entry.error = 0;
  output.stalled_.store(false, std::memory_order_relaxed);
  if (!output.failing_.load(std::memory_order_relaxed)) return;
  Report(output.path(), fmt::format("works again; {} lines were dropped",
                                    output.lines_dropped() - entry.dropped_before));
  output.failing_.store(false, std::memory_order_release);
}

void LogThread::EraseClosed() {
  std::erase_if(entries_, [this](const std::unique_ptr<Entry>& entry) {
    LogOutput& output = *entry->output;
    if (!entry->closing) return false;
    const bool failing = output.failing_.load(std::memory_order_relaxed);
    if (!ended_ && !failing && HasLines(output.rings_)) return false;
    LoseAll(*entry);
    closed_.lines_written += output.lines_written_.load(std::memory_order_relaxed);
    closed_.lines_dropped += output.lines_dropped();
    return true;
  });
}

uint64_t LogThread::LoseAll(Entry& entry) {
  uint64_t lost = 0;
  for (const auto& ring : entry.output->rings_) {
    const std::string_view text = ring->Readable();
    lost += CountLines(text);
    ring->Consume(text.size());
  }
  AddTo(entry.output->lines_lost_, lost);
  return lost;
}

}  // namespace gatehouse::observe
