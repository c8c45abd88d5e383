// Calls per second of one worker, pipelined to a real redis-server on this machine, and what
// redis-benchmark makes of the same script with the same number of calls under way. Both share the
// machine with the server.
//
//   bazel run -c opt //test/upstream:redis_client_bench
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "benchmark/benchmark.h"
#include "source/base/check.h"
#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_target.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/redis_process.h"

namespace gatehouse::upstream {
namespace {

// As much work as a token bucket's.
const RedisScript kTake(R"lua(
local state = redis.call('HMGET', KEYS[1], 't', 'n')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens = burst
if state[1] then
  tokens = math.min(burst, tonumber(state[2]) + (now - tonumber(state[1])) * rate / 1000000)
end
local allowed = 0
if tokens >= 1 then
  tokens = tokens - 1
  allowed = 1
end
redis.call('HSET', KEYS[1], 't', now, 'n', tokens)
redis.call('PEXPIRE', KEYS[1], 60000)
return {allowed, math.floor(tokens)}
)lua");
const RedisScript kNothing("return 1");
constexpr std::array kScripts = {&kTake, &kNothing};

RedisProcess& Redis() {
  static RedisProcess redis;
  return redis;
}

struct Bench {
  explicit Bench(uint32_t connections) {
    ClusterSpec spec{.name = "store", .endpoints = {{"127.0.0.1", Redis().port(), 1}}};
    cluster = *Cluster::Make(spec, nullptr, slots, registry);
    target = *RedisTarget::Make({.cluster = cluster.get(), .connections = connections}, registry);
  }

  SystemClock clock;
  observe::MetricRegistry registry;
  observe::CounterBlock* counters = registry.NewBlock();
  ClusterSlots slots;
  net::Loop loop{clock};
  http::H1HeadScratch scratch;
  std::shared_ptr<const Cluster> cluster;
  std::shared_ptr<const RedisTarget> target;
  Upstreams upstreams{loop, *counters, scratch};
  const RedisScript* script = nullptr;
  uint64_t done = 0;
  uint64_t failed = 0;
};

// Asks again as soon as it is answered.
struct Asker {
  void Start() {
    const std::string_view args[] = {"100", "100"};
    call.Start(
        bench->upstreams.Redis(*bench->target),
        {.script = bench->script, .key = key, .args = args, .timeout = std::chrono::seconds(10)},
        this, [](void* self, const RedisResult& result) {
          auto& asker = *static_cast<Asker*>(self);
          ++asker.bench->done;
          if (!result.ok()) ++asker.bench->failed;
          asker.Start();
        });
  }
  Bench* bench = nullptr;
  std::string key;
  RedisCall call;
};

void Client(benchmark::State& state) {
  Bench bench(static_cast<uint32_t>(state.range(2)));
  bench.script = kScripts[static_cast<size_t>(state.range(0))];
  std::vector<std::unique_ptr<Asker>> askers;
  for (int64_t i = 0; i < state.range(1); ++i) {
    askers.push_back(std::make_unique<Asker>());
    askers.back()->bench = &bench;
    askers.back()->key = "key:" + std::to_string(i);
    askers.back()->Start();
  }
  while (bench.done < 1000) bench.loop.RunTurn(true);
  const uint64_t before = bench.done;
  for (auto _ : state) {
    const uint64_t until = bench.done + 1000;
    while (bench.done < until) bench.loop.RunTurn(true);
  }
  CHECK(bench.failed == 0);
  state.SetItemsProcessed(static_cast<int64_t>(bench.done - before));
}

// Its rate is in `items_per_second`.
void RedisBenchmark(benchmark::State& state) {
  const RedisScript& script = *kScripts[static_cast<size_t>(state.range(0))];
  (void)Redis().Run({"SCRIPT", "LOAD", std::string(script.text())});
  const std::string command =
      "redis-benchmark --csv -r 100 -n 400000 -p " + std::to_string(Redis().port()) + " -c " +
      std::to_string(state.range(2)) + " -P " + std::to_string(state.range(1) / state.range(2)) +
      " EVALSHA " + std::string(script.sha1()) + " 1 key:__rand_int__ 100 100 2>/dev/null";
  double rate = 0;
  for (auto _ : state) {
    FILE* pipe = popen(command.c_str(), "r");
    CHECK(pipe != nullptr);
    char line[1024];
    while (std::fgets(line, sizeof(line), pipe) != nullptr) {
      const std::string text(line);
      const size_t at = text.find("\",\"");
      if (at != std::string::npos) rate = std::max(rate, std::atof(text.c_str() + at + 3));
    }
    pclose(pipe);
    state.SetIterationTime(400000 / rate);
  }
  state.SetItemsProcessed(state.iterations() * 400000);
}

// Script, calls under way, connections.
#define GATEHOUSE_CASES \
  Args({0, 1, 1})->Args({0, 100, 1})->Args({0, 100, 2})->Args({1, 100, 1})->Args({1, 400, 4})

BENCHMARK(Client)->GATEHOUSE_CASES->UseRealTime()->MinTime(3);
BENCHMARK(RedisBenchmark)->GATEHOUSE_CASES->UseManualTime()->Iterations(1);

}  // namespace
}  // namespace gatehouse::upstream
