#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "source/base/random.h"
#include "source/observe/metric_registry.h"
#include "source/observe/scrape.h"
#include "source/observe/standard_metrics.h"

namespace gatehouse::observe {
namespace {

void BM_Add(benchmark::State& state) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto metrics = registry.Acquire<RouteMetrics>({"main", "users"});
  for (auto _ : state) {
    block->Add(metrics->requests[1]);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_Add);

void BM_Record(benchmark::State& state) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto metrics = registry.Acquire<RouteMetrics>({"main", "users"});
  Random random(1);
  std::vector<uint64_t> values(1024);
  for (uint64_t& value : values) value = 200 + random.Below(5000);
  size_t i = 0;
  for (auto _ : state) {
    block->Record(metrics->latency, values[++i % values.size()]);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_Record);

// What a request adds on its route and cluster.
void BM_Request(benchmark::State& state) {
  MetricRegistry registry;
  CounterBlock* block = registry.NewBlock();
  const auto route = registry.Acquire<RouteMetrics>({"main", "users"});
  const auto cluster = registry.Acquire<ClusterMetrics>({"users"});
  uint64_t time = 300;
  for (auto _ : state) {
    block->Gauge(route->active, 1);
    block->Gauge(cluster->active, 1);
    block->Add(cluster->pool_hits);
    block->Add(cluster->RequestsFor(200));
    block->Add(cluster->response_bytes, 1024);
    block->Record(cluster->latency, time);
    block->Gauge(cluster->active, -1);
    block->Add(route->RequestsFor(200));
    block->Add(route->response_bytes, 1024);
    block->Record(route->latency, time + 40);
    block->Record(route->gateway_latency, 40);
    block->Gauge(route->active, -1);
    time = 300 + (time * 7) % 900;
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_Request);

void BM_Scrape(benchmark::State& state) {
  const auto routes = static_cast<uint32_t>(state.range(0));
  MetricRegistry registry({.max_label_sets = routes});
  std::vector<CounterBlock*> blocks = {registry.NewBlock(), registry.NewBlock()};
  std::vector<MetricHandle<RouteMetrics>> handles;
  for (uint32_t i = 0; i < routes; ++i) {
    handles.push_back(registry.Acquire<RouteMetrics>({"main", "route-" + std::to_string(i)}));
    for (CounterBlock* block : blocks) {
      block->Record(handles.back()->latency, 500 + i);
      block->Record(handles.back()->gateway_latency, 50);
    }
  }
  size_t bytes = 0;
  for (auto _ : state) {
    Scrape scrape(registry);
    std::string out;
    bytes = 0;
    while (scrape.Append(out, 64 * 1024)) {
      bytes += out.size();
      out.clear();
    }
    bytes += out.size();
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_Scrape)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gatehouse::observe
