// Exact: checks per second of one worker, with a real redis-server on this machine, and what
// redis-benchmark makes of the same script with as many calls under way. Synced: a decision by the
// mirror, and the same by the table of a local limit.
//
//   bazel run -c opt //test/filters/rate_limit:redis_limit_bench
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "source/base/check.h"
#include "source/base/random.h"
#include "source/filters/rate_limit/limit_script.h"
#include "source/filters/rate_limit/redis_limit.h"
#include "source/http/h1_parser.h"
#include "source/net/loop.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"
#include "source/upstream/redis_target.h"
#include "source/upstream/upstreams.h"
#include "test/fakes/redis_process.h"

namespace gatehouse::filters {
namespace {

using std::chrono::seconds;

RedisProcess& Redis() {
  static RedisProcess redis;
  return redis;
}

LimitRules Rules(int64_t kind) {
  const LimitSpec bucket = {.kind = LimitKind::kTokenBucket,
                            .amount = 1'000'000,
                            .per = seconds(1),
                            .capacity = 1'000'000};
  const LimitSpec window = {
      .kind = LimitKind::kFixedWindow, .amount = 1'000'000'000, .per = seconds(3600)};
  const std::vector<LimitSpec> specs =
      kind == 0 ? std::vector{bucket} : std::vector{bucket, window};
  return *LimitRules::Make(specs);
}

struct Bench {
  Bench() {
    upstream::ClusterSpec spec{.name = "store", .endpoints = {{"127.0.0.1", Redis().port(), 1}}};
    cluster = *upstream::Cluster::Make(spec, nullptr, slots, registry);
    target = *upstream::RedisTarget::Make({.cluster = cluster.get()}, registry);
  }
  RedisLimitSpec Spec(int64_t kind) {
    RedisLimitSpec spec;
    spec.policy = "bench";
    spec.rules = Rules(kind);
    spec.max_keys = 1'000'000;
    spec.target = target;
    spec.timeout = seconds(10);
    return spec;
  }

  SystemClock clock;
  observe::MetricRegistry registry;
  observe::CounterBlock* counters = registry.NewBlock();
  upstream::ClusterSlots slots;
  net::Loop loop{clock};
  http::H1HeadScratch scratch;
  std::shared_ptr<const upstream::Cluster> cluster;
  std::shared_ptr<const upstream::RedisTarget> target;
  upstream::Upstreams upstreams{loop, *counters, scratch};
  std::unique_ptr<RedisLimit> limit;
  uint64_t done = 0;
  uint64_t failed = 0;
};

// Asks again in the turn after it is answered.
struct Asker {
  void Start() {
    request.micros = bench->loop.WallMicros();
    check.emplace(*bench->limit, bench->upstreams, request);
    check->Start({this, [](void* of) {
                    auto& self = *static_cast<Asker*>(of);
                    ++self.bench->done;
                    if (!self.check->takes().allowed) ++self.bench->failed;
                    self.Start();
                  }});
  }
  Bench* bench = nullptr;
  std::string key;
  LimitRequest request;
  std::optional<RedisCheck> check;
};

// Seconds of processor that the server has used.
double ServerSeconds() {
  const std::string info = Redis().Run({"INFO", "cpu"});
  double sum = 0;
  for (const std::string_view name : {"used_cpu_sys:", "used_cpu_user:"}) {
    sum += std::atof(info.c_str() + info.find(name) + name.size());
  }
  return sum;
}

void Exact(benchmark::State& state) {
  Bench bench;
  bench.limit = std::make_unique<RedisLimit>(bench.Spec(state.range(0)), bench.registry);
  std::vector<std::unique_ptr<Asker>> askers;
  for (int64_t i = 0; i < state.range(1); ++i) {
    askers.push_back(std::make_unique<Asker>());
    Asker& asker = *askers.back();
    asker.bench = &bench;
    asker.key = "key:" + std::to_string(i);
    asker.request = {.key = asker.key, .hash = static_cast<uint64_t>(i), .cost = 1};
    asker.Start();
  }
  while (bench.done < 1000) bench.loop.RunTurn(true);
  const uint64_t before = bench.done;
  const double server = ServerSeconds();
  for (auto _ : state) {
    const uint64_t until = bench.done + 1000;
    while (bench.done < until) bench.loop.RunTurn(true);
  }
  CHECK(bench.failed == 0);
  state.counters["server_us"] =
      (ServerSeconds() - server) * 1e6 / static_cast<double>(bench.done - before);
  state.SetItemsProcessed(static_cast<int64_t>(bench.done - before));
}

void Replace(std::string& text, std::string_view what, std::string_view by) {
  const size_t at = text.find(what);
  CHECK(at != std::string::npos);
  text.replace(at, what.size(), by);
}

// Its arguments are text, so the rules are a constant of the script.
void RedisBenchmark(benchmark::State& state) {
  std::string rules = "'";
  for (const char c : RulesText(Rules(state.range(0)))) {
    rules += fmt::format("\\{:03}", static_cast<unsigned char>(c));
  }
  rules += "'";
  std::string text(TakeScript().text());
  Replace(text, "ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3] or 0)",
          rules + ", tonumber(ARGV[1]), 0");
  Replace(text, "#ARGV[1]", "#desc");
  const std::string sha = Redis().Run({"SCRIPT", "LOAD", text});
  const std::string key = fmt::format("gatehouse:limit:{{bench{}:AAAAAAAA-", state.range(0));
  const std::string command = fmt::format(
      "redis-benchmark --csv -r 100 -n 400000 -p {} -c 1 -P {} EVALSHA {} 1 '{}__rand_int__}}' 1 "
      "2>/dev/null",
      Redis().port(), state.range(1), sha, key);
  double rate = 0;
  const double server = ServerSeconds();
  for (auto _ : state) {
    FILE* pipe = popen(command.c_str(), "r");
    CHECK(pipe != nullptr);
    char line[1024];
    while (std::fgets(line, sizeof(line), pipe) != nullptr) {
      const std::string row(line);
      const size_t at = row.find("\",\"");
      if (at != std::string::npos) rate = std::max(rate, std::atof(row.c_str() + at + 3));
    }
    pclose(pipe);
    CHECK(rate > 0);
    // It has counted something.
    CHECK(Redis().Run({"INFO", "commandstats"}).find("cmdstat_set:") != std::string::npos);
    state.SetIterationTime(400000 / rate);
  }
  state.counters["server_us"] = (ServerSeconds() - server) * 1e6 / 400000;
  state.SetItemsProcessed(state.iterations() * 400000);
}

BENCHMARK(Exact)->Args({0, 100})->Args({1, 100})->UseRealTime()->MinTime(3);
BENCHMARK(RedisBenchmark)->Args({0, 100})->Args({1, 100})->UseManualTime()->Iterations(1);

std::vector<uint64_t> Hashes(int64_t keys) {
  Random random(1);
  std::vector<uint64_t> hashes(1 << 16);
  for (uint64_t& hash : hashes)
    hash = random.Below(static_cast<uint64_t>(keys)) * 0x9e3779b97f4a7c15;
  return hashes;
}

// Number of limits, number of keys.
void Local(benchmark::State& state) {
  LimitTable table(Rules(state.range(0)), 1'000'000);
  const std::vector<uint64_t> hashes = Hashes(state.range(1));
  LimitTakes takes;
  size_t i = 0;
  int64_t micros = 1'700'000'000'000'000;
  for (auto _ : state) {
    table.Take(hashes[++i & 0xffff], 1, ++micros, takes);
    benchmark::DoNotOptimize(takes);
  }
}

void Synced(benchmark::State& state) {
  Bench bench;
  RedisLimitSpec spec = bench.Spec(state.range(0));
  spec.sync_interval = seconds(3600);
  spec.max_unsynced = UINT64_MAX;
  bench.limit = std::make_unique<RedisLimit>(spec, bench.registry);
  const std::vector<uint64_t> hashes = Hashes(state.range(1));
  LimitTakes takes;
  LimitRequest request = {.key = "key", .cost = 1, .micros = 1'700'000'000'000'000};
  for (const uint64_t hash : hashes) {
    request.hash = hash;
    (void)bench.limit->Take(bench.upstreams, request, takes);
  }
  size_t i = 0;
  for (auto _ : state) {
    request.hash = hashes[++i & 0xffff];
    ++request.micros;
    benchmark::DoNotOptimize(bench.limit->Take(bench.upstreams, request, takes));
    benchmark::DoNotOptimize(takes);
  }
}

BENCHMARK(Local)->Args({0, 1})->Args({0, 1000})->Args({0, 1'000'000})->Args({1, 1000});
BENCHMARK(Synced)->Args({0, 1})->Args({0, 1000})->Args({0, 1'000'000})->Args({1, 1000});

}  // namespace
}  // namespace gatehouse::filters
