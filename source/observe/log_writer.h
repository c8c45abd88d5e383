// LogWriter: the one thread that writes log lines to files, so that no worker ever does.
//
// A worker puts a line into the output's ring of its own; the thread writes all that waits with few
// large writes, every 100 ms while lines come, sooner when a ring is a quarter full. A worker makes
// a system call only in the latter case. An output that is slow, blocked, full or gone makes lines
// wait in the rings, then drop and be counted; it is tried again each second and the change of
// state is told on stderr once. A line is never torn by a short write: what is left of it is
// written first when the output works again; a file that ends in half a line gets its end of line.
//
// Owner: the server; it outlives the workers' use of its outputs. Thread: all calls on main but
// LogOutput::Write (workers). Outputs are shared by path: two listeners may log to one file.
//
//   auto writer = LogWriter::Create({.workers = 4});
//   auto output = (*writer)->Open("/var/log/gatehouse/access.log");    // or "stdout", "stderr"
//   (*output)->Write(worker_index, format, record);                    // worker
//   (*writer)->Reopen();                                               // on SIGUSR1
//   (*writer)->Stop(std::chrono::seconds(2));
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "source/observe/log_format.h"
#include "source/observe/log_record.h"
#include "source/observe/log_ring.h"

namespace gatehouse::observe {

class LogThread;

// One file or stream, with a ring for each worker. Held by shared_ptr (snapshots); when the last
// holder lets go, what waits is written and the file closed.
class LogOutput {
 public:
  // Worker `worker` only. False when the line was dropped (and counted).
  bool Write(uint32_t worker, const LogFormat& format, const LogRecord& record);

  [[nodiscard]] const std::string& path() const { return path_; }
  // Dropped by workers for want of room, and lost by the thread.
  [[nodiscard]] uint64_t lines_dropped() const;

 private:
  friend class LogWriter;
  friend class LogThread;
  LogOutput(std::string path, LogThread* thread) : path_(std::move(path)), thread_(thread) {}
  [[nodiscard]] absl::Status MakeRings(uint32_t workers, size_t bytes);
  [[gnu::noinline]] void WakeThread(LogRing& ring, uint64_t waiting);

  const std::string path_;
  LogThread* const thread_;
  std::vector<std::unique_ptr<LogRing>> rings_;
  // The thread tells.
  std::atomic<uint64_t> lines_written_{0};
  std::atomic<uint64_t> lines_lost_{0};
  std::atomic<bool> failing_{false};
  std::atomic<bool> stalled_{false};  // the thread waits for the file itself: do not wake it
};

class LogWriter {
 public:
  struct Options {
    uint32_t workers = 1;
    size_t ring_bytes = 1 << 20;  // per worker and output
    // How long a line may wait, and how soon a failing output is tried again.
    std::chrono::milliseconds flush_interval{100};
    std::chrono::milliseconds retry_interval{1000};
  };
  struct Totals {
    uint64_t lines_written = 0;
    uint64_t lines_dropped = 0;
    uint64_t failing_outputs = 0;
  };

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LogWriter>> Create(const Options& options);
  // Stops without a deadline to speak of (100 ms) when Stop was not called.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // A path, "stdout" or "stderr". An output that is open already is shared. Fails when the file
  // cannot be opened or made; once open, errors do not fail any more but drop and count.
  // `ring_bytes` per worker, for an output that is not open yet; 0: that of the options.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<LogOutput>> Open(std::string_view path,
                                                                size_t ring_bytes = 0);

  // Makes the thread open every path anew, soon: a rotated or vanished file is left for a new one.
  void Reopen();
  // Writes what waits until now. True when all was written before the deadline. For tests and Stop.
  [[nodiscard]] bool Flush(std::chrono::milliseconds deadline);
  // Flushes and ends the thread. Workers must have stopped writing. What is left counts as dropped.
  // True when nothing was.
  bool Stop(std::chrono::milliseconds deadline);

  // Since the start, outputs closed since then included.
  [[nodiscard]] Totals totals() const;

 private:
  LogWriter() = default;

  std::shared_ptr<LogThread> thread_;  // shared with the thread itself: it may outlive a deadline
};

}  // namespace gatehouse::observe
