// LogRing: bytes from one worker to the log writer. Bounded, lock-free, one producer, one consumer.
//
// The buffer is mapped twice in a row, so that a line never wraps: it is formatted in place and
// written to the file from there. When there is no room the line is dropped and counted.
//
// Owner: a LogOutput. Threads: Reserve, Commit and Drop by one worker; Readable and Consume by the
// writer; counts by anyone.
//
//   std::span<char> room = ring.Reserve(LogFormat::kMaxLine);
//   if (room.empty()) ring.Drop(); else ring.Commit(format.Write(record, clock, room));
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/observe/log_format.h"

namespace gatehouse::observe {

class LogRing {
 public:
  // `bytes` is rounded up to a power of two, 32 KiB at least. Memory is taken as it first fills.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LogRing>> Create(size_t bytes);
  ~LogRing();
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;

  // Producer. Empty when fewer than `bytes` are free.
  [[nodiscard]] std::span<char> Reserve(size_t bytes) {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - seen_tail_ + bytes > size_) {
      seen_tail_ = tail_.load(std::memory_order_acquire);
      if (head - seen_tail_ + bytes > size_) return {};
    }
    return {data_ + (head & (size_ - 1)), bytes};
  }
  // Publishes the first `bytes` of what was reserved: whole lines. Returns the bytes that wait, by
  // what the producer knows (it may be fewer).
  uint64_t Commit(size_t bytes) {
    const uint64_t head = head_.load(std::memory_order_relaxed) + bytes;
    head_.store(head, std::memory_order_release);
    return head - seen_tail_;
  }
  void Drop() {
    dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  // What really waits.
  [[nodiscard]] uint64_t Waiting() {
    seen_tail_ = tail_.load(std::memory_order_acquire);
    return head_.load(std::memory_order_relaxed) - seen_tail_;
  }
  [[nodiscard]] LogClock& clock() { return clock_; }

  // Consumer. Everything that waits, in one piece; whole lines but for what was consumed of one.
  [[nodiscard]] std::string_view Readable() const {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    const uint64_t head = head_.load(std::memory_order_acquire);
    return {data_ + (tail & (size_ - 1)), static_cast<size_t>(head - tail)};
  }
  void Consume(size_t bytes) {
    tail_.store(tail_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  LogRing(char* data, size_t size) : data_(data), size_(size) {}

  char* const data_;
  const uint64_t size_;
  // Producer's cache line.
  alignas(64) std::atomic<uint64_t> head_{0};
  uint64_t seen_tail_ = 0;
  std::atomic<uint64_t> dropped_{0};
  LogClock clock_;
  // Consumer's.
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace gatehouse::observe
