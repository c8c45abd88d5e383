// XdsMetrics: counters of the xDS server, as Prometheus text.
//
// Owner: the XdsServer. Any thread; relaxed atomics, so that counting costs nothing.
//
//   metrics.acks[type].Add();
//   metrics.push_to_ack.Observe(now - sent);
//   std::string text = metrics.Render({.revision = 7, ...});
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/response_cache.h"

namespace gatehouse::control {

class Counter {
 public:
  void Add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Of times, from 1 ms to a minute.
class LatencyHistogram {
 public:
  void Observe(std::chrono::steady_clock::duration time);
  // Lines without # HELP and # TYPE.
  void Render(std::string_view name, std::string& out) const;

 private:
  static constexpr std::array<double, 15> kBounds = {
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter nanoseconds_;
};

// Why a stream ended.
enum class StreamEnd : uint8_t {
  kGateway,      // closed it, or went away
  kShutdown,     // of this control plane
  kDenied,       // may not have what it asks for
  kTooMany,      // streams
  kBadRequest,   // cannot be read, or asks for too much
  kNoRequest,    // in time
  kDoesNotRead,  // in time
};
inline constexpr size_t kStreamEnds = 7;
[[nodiscard]] std::string_view NameOf(StreamEnd end);

struct XdsMetrics {
  std::array<Counter, 2> streams;  // by Protocol
  std::array<Counter, kStreamEnds> ends;
  std::array<Counter, kResourceTypes> requests;
  std::array<Counter, kResourceTypes> responses;
  std::array<Counter, kResourceTypes> response_bytes;
  std::array<Counter, kResourceTypes> acks;
  std::array<Counter, kResourceTypes> nacks;
  std::array<Counter, kResourceTypes> rejected;
  Counter stale_answers;
  Counter unknown_types;
  Counter publishes;
  LatencyHistogram push_to_ack;
  LatencyHistogram publish_to_accepted;

  struct Gauges {
    uint64_t revision = 0;
    size_t open_streams = 0;
    Fleet::Totals fleet;
    ResponseCache::Size cache;
  };
  [[nodiscard]] std::string Render(const Gauges& gauges) const;
};

}  // namespace gatehouse::control
