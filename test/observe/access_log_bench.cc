#include <array>
#include <memory>
#include <utility>

#include "benchmark/benchmark.h"
#include "source/base/random.h"
#include "source/observe/access_log.h"
#include "source/observe/trace_context.h"

namespace gatehouse::observe {
namespace {

LogRecord Sample() {
  LogRecord record;
  record.wall_us = 1'767'323'045'678'901;
  record.method = "GET";
  record.scheme = "https";
  record.host = "api.example.com";
  record.path = "/users/7/orders";
  record.query = "page=2&sort=date";
  record.protocol = "HTTP/1.1";
  record.status = 200;
  record.listener = "edge";
  record.table = "main";
  record.route = "users";
  record.cluster = "users-v1";
  record.upstream_address = "10.0.0.7:8080";
  record.upstream_status = 200;
  record.attempts = 1;
  record.response_bytes = 1024;
  record.duration_us = 1234;
  record.gateway_us = 34;
  record.upstream_us = 1200;
  record.client_ip = "192.0.2.1";
  record.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  record.request_id = "2b0f8b9e-0c4a-4a3e-8d1b-1f2e3d4c5b6a";
  record.user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0";
  record.referer = "https://example.com/start";
  return record;
}

void Format(benchmark::State& state, const LogFormat& format) {
  LogRecord record = Sample();
  LogClock clock;
  std::array<char, LogFormat::kMaxLine> buffer;
  size_t size = 0;
  for (auto _ : state) {
    record.wall_us += 10;
    size = format.Write(record, clock, buffer);
    benchmark::DoNotOptimize(buffer.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = static_cast<double>(size);
}
void BM_FormatText(benchmark::State& state) {
  Format(state, *LogFormat::Compile(LogFormat::kDefaultText));
}
BENCHMARK(BM_FormatText);
void BM_FormatJson(benchmark::State& state) { Format(state, *LogFormat::DefaultJson()); }
BENCHMARK(BM_FormatJson);

// With the ring and the thread that drains it, to /dev/null; a burst of 1000 lines, then a rest.
void BM_WriteJson(benchmark::State& state) {
  auto writer = *LogWriter::Create({.workers = 1});
  const AccessLog log(*LogFormat::DefaultJson(), *writer->Open("/dev/null"));
  const LogRecord record = Sample();
  int lines = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(log.Write(0, record));
    if (++lines % 1000 == 0) {
      state.PauseTiming();
      (void)writer->Flush(std::chrono::seconds(10));
      state.ResumeTiming();
    }
  }
  state.counters["dropped"] = static_cast<double>(writer->totals().lines_dropped);
}
BENCHMARK(BM_WriteJson);

void BM_JoinTrace(benchmark::State& state) {
  Random random(1);
  std::array<char, kTraceparentSize> buffer;
  for (auto _ : state) {
    const TraceIds ids =
        TraceIds::Join("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", random);
    benchmark::DoNotOptimize(ids.WriteTraceparent(buffer));
  }
}
BENCHMARK(BM_JoinTrace);

void BM_NewTrace(benchmark::State& state) {
  Random random(1);
  std::array<char, kTraceparentSize> buffer;
  for (auto _ : state) {
    const TraceIds ids = TraceIds::Join("", "", random);
    benchmark::DoNotOptimize(ids.WriteTraceparent(buffer));
  }
}
BENCHMARK(BM_NewTrace);

void BM_RequestId(benchmark::State& state) {
  Random random(1);
  std::array<char, kRequestIdSize> buffer;
  for (auto _ : state) benchmark::DoNotOptimize(WriteRequestId(random, buffer));
}
BENCHMARK(BM_RequestId);

}  // namespace
}  // namespace gatehouse::observe
