#include "source/observe/access_log.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"

#include "source/observe/metric_registry.h"
#include "source/observe/standard_metrics.h"

// Counts the allocations of each thread.
namespace {
thread_local uint64_t allocations = 0;
}  // namespace
// Not inlined, else g++ takes free() for a mistake.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace gatehouse::observe {
namespace {

LogRecord Sample() {
  LogRecord record;
  record.wall_us = 1'767'323'045'678'901;
  record.method = "GET";
  record.host = "api.example.com";
  record.path = "/users/\"7\"\xff";
  record.query = "page=2&access_token=abc";
  record.status = 200;
  record.flags.Add(LogFlag::kUpstreamTimeout);
  record.header = [](const void*, bool, std::string_view name) { return name; };
  return record;
}

TEST(AccessLogTest, AWarmWorkerAllocatesNothing) {
  auto writer = LogWriter::Create({.workers = 1, .ring_bytes = 1});
  ASSERT_TRUE(writer.ok());
  auto output = (*writer)->Open("/dev/null");
  ASSERT_TRUE(output.ok());
  auto format = LogFormat::DefaultJson({{{"via", "request.header.via"}}});
  ASSERT_TRUE(format.ok());
  const AccessLog log(*std::move(format), *std::move(output));
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto metrics = registry.Acquire<RouteMetrics>({"main", "users"});
  LogRecord record = Sample();
  block->Record(metrics->latency, 1000);

  const uint64_t before = allocations;
  for (int i = 0; i < 10'000; ++i) {
    block->Add(metrics->RequestsFor(200));
    block->Gauge(metrics->active, 1);
    block->Record(metrics->latency, 1000);
    record.wall_us += 100'000;
    // The ring fills up on the way, so dropping is met as well.
    (void)log.Write(0, record);
  }
  EXPECT_EQ(allocations, before);
  (void)(*writer)->Flush(std::chrono::seconds(60));
  EXPECT_EQ((*writer)->totals().lines_written + log.output().lines_dropped(), 10'000u);
}

}  // namespace
}  // namespace gatehouse::observe
