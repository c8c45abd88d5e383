#include "source/observe/log_writer.h"

#include <utility>

#include "source/base/check.h"
#include "source/observe/log_thread.h"

namespace gatehouse::observe {
namespace {

constexpr std::chrono::milliseconds kDefaultStop{100};

}  // namespace

absl::Status LogOutput::MakeRings(uint32_t workers, size_t bytes) {
  for (uint32_t i = 0; i < workers; ++i) {
    auto ring = LogRing::Create(bytes);
    if (!ring.ok()) return ring.status();
    rings_.push_back(*std::move(ring));
  }
  return absl::OkStatus();
}

bool LogOutput::Write(uint32_t worker, const LogFormat& format, const LogRecord& record) {
  DCHECK(worker < rings_.size());
  LogRing& ring = *rings_[worker];
  const std::span<char> room = ring.Reserve(LogFormat::kMaxLine);
  if (__builtin_expect(room.empty(), 0)) {
    ring.Drop();
    WakeThread(ring, ring.size());
    return false;
  }
  const uint64_t waiting = ring.Commit(format.Write(record, ring.clock(), room));
  if (__builtin_expect(waiting > ring.size() / 4 || thread_->idle(), 0)) WakeThread(ring, waiting);
  return true;
}

void LogOutput::WakeThread(LogRing& ring, uint64_t waiting) {
  // What the thread cannot write now is no reason to wake it.
  if (stalled_.load(std::memory_order_relaxed)) return;
  if (waiting > ring.size() / 4) waiting = ring.Waiting();
  if (waiting > ring.size() / 4 || thread_->idle()) thread_->WakeFromWorker();
}

uint64_t LogOutput::lines_dropped() const {
  uint64_t lines = lines_lost_.load(std::memory_order_relaxed);
  for (const auto& ring : rings_) lines += ring->dropped();
  return lines;
}

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Create(const Options& options) {
  auto thread = std::make_shared<LogThread>(options);
  const absl::Status status = thread->Start();
  if (!status.ok()) return status;
  auto writer = std::unique_ptr<LogWriter>(new LogWriter);
  writer->thread_ = std::move(thread);
  return writer;
}

LogWriter::~LogWriter() { Stop(kDefaultStop); }

absl::StatusOr<std::shared_ptr<LogOutput>> LogWriter::Open(std::string_view path,
                                                           size_t ring_bytes) {
  return thread_->Open(path, ring_bytes);
}

void LogWriter::Reopen() { thread_->Reopen(); }

bool LogWriter::Flush(std::chrono::milliseconds deadline) { return thread_->Flush(deadline); }

bool LogWriter::Stop(std::chrono::milliseconds deadline) { return thread_->Stop(deadline); }

LogWriter::Totals LogWriter::totals() const { return thread_->totals(); }

}  // namespace gatehouse::observe
