// LogThread: the inside of LogWriter. Drains the rings of all outputs into their files.
//
// Owner: shared by the LogWriter, the outputs' handles and the thread itself, since a thread that
// hangs in a dead disk's write(2) can be left behind but not ended. Threads: main calls everything
// that takes the mutex; Run and what it calls is the thread's own; WakeFromWorker is the workers'.
//
//   idle -> wait for the event        a worker that meets the thread idle wakes it
//   busy -> pass, wait flush_interval, pass, ... -> idle after some empty passes
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

#include "source/observe/log_sink.h"
#include "source/observe/log_writer.h"

namespace gatehouse::observe {

class LogThread : public std::enable_shared_from_this<LogThread> {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  // One output and its file. Made on main; what follows `closing` is the thread's own.
  struct Entry {
    std::unique_ptr<LogOutput> output;
    std::weak_ptr<LogOutput> handle;  // to share it
    bool closing = false;             // nobody holds it any more
    LogSink sink;
    LogRing* unfinished = nullptr;  // the ring whose line is half written
    int error = 0;                  // of the last write; EAGAIN: the file would block
    SteadyTime since{};             // of the last progress while it blocks
    SteadyTime retry_at{};          // not before, after any other error
    bool reopen = false;            // asked for and not done yet
    bool reopen_told = false;       // its failure is reported
    SteadyTime reopen_at{};
    bool gave_up = false;         // had its last try while stopping
    uint64_t dropped_before = 0;  // when it began to fail
  };

  explicit LogThread(const LogWriter::Options& options) : options_(options) {}
  ~LogThread();

  [[nodiscard]] absl::Status Start();
  [[nodiscard]] absl::StatusOr<std::shared_ptr<LogOutput>> Open(std::string_view path,
                                                                size_t ring_bytes);
  void Reopen();
  [[nodiscard]] bool Flush(std::chrono::milliseconds deadline);
  [[nodiscard]] bool Stop(std::chrono::milliseconds deadline);
  [[nodiscard]] LogWriter::Totals totals() const;

  [[nodiscard]] bool idle() const { return idle_.load(std::memory_order_relaxed); }
  void WakeFromWorker() {
    if (!woken_.load(std::memory_order_relaxed)) Wake();
  }

 private:
  void Wake();
  void Close(LogOutput* output);

  // The thread.
  void Run();
  void WaitForWork(std::chrono::milliseconds timeout);
  [[nodiscard]] std::chrono::milliseconds NextTimeout(bool found_lines);
  // Writes what waits in all rings. True when it met lines; clears `complete` when some of them
  // could not be written.
  bool Pass(bool& complete);
  bool Drain(Entry& entry, bool& complete);
  // False when the file takes no more now.
  bool DrainRing(Entry& entry, LogRing& ring);
  [[nodiscard]] bool MayTry(Entry& entry);
  void ReopenWhenAsked(Entry& entry);
  [[nodiscard]] int ReplaceFile(Entry& entry, bool moved);
  void FinishLine(Entry& entry);
  void Failed(Entry& entry, int error);
  void Recovered(Entry& entry);
  void EraseClosed();
  // Returns how many lines.
  uint64_t LoseAll(Entry& entry);

  const LogWriter::Options options_;
  int event_ = -1;
  std::thread thread_;
  std::atomic<bool> woken_{false};
  std::atomic<bool> idle_{false};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Entry>> entries_;  // erased by the thread alone while it runs
  LogWriter::Totals closed_;                     // of outputs that are gone
  bool reopen_ = false;
  bool stop_ = false;
  SteadyTime stop_by_{};
  bool ended_ = false;
  uint64_t flush_asked_ = 0;
  uint64_t flush_done_ = 0;

  // The thread's own.
  std::vector<Entry*> current_;
  SteadyTime now_{};
  bool stopping_ = false;
  uint32_t empty_passes_ = 0;
  uint64_t lost_at_stop_ = 0;
};

}  // namespace gatehouse::observe
