// What a look-up costs by kind of route and number of routes.
//
//   bazel run -c opt //test/route:route_table_bench
//
// "hot": the same 64 requests again and again, spread over the whole table: what the search itself
// costs. "spread": a request to every route in turn, which shows what cache misses add when all of
// a big table is in use at once.
//
// The argument is the number of routes. `lookup` is the time of one (the others are of 256);
// `bytes_per_route` is RouteTable::MemoryBytes() over it.
#include <time.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "benchmark/benchmark.h"
#include "fmt/format.h"
#include "source/base/arena.h"
#include "source/base/check.h"
#include "source/http/header_map.h"
#include "source/http/message.h"
#include "source/route/route_table.h"
#include "source/route/route_table_builder.h"

namespace gatehouse::route {
namespace {

enum class Shape { kExact, kPrefix, kTemplate, kMixed };

std::string PathOf(int i) { return fmt::format("/team-{}/v{}/resource-{}", i / 200, i % 2 + 1, i); }

RouteSpec RouteOf(Shape shape, int i) {
  RouteSpec route{.name = fmt::format("route-{}", i), .action = static_cast<uint32_t>(i)};
  if (shape == Shape::kMixed) {
    constexpr Shape kShapes[] = {Shape::kExact, Shape::kPrefix, Shape::kTemplate};
    shape = kShapes[i % 3];
    if (i % 5 == 0) route.methods = {"GET", "POST"};
  }
  switch (shape) {
    case Shape::kExact:
      route.path = PathMatch::Exact(PathOf(i));
      break;
    case Shape::kPrefix:
      route.path = PathMatch::Prefix(PathOf(i));
      break;
    case Shape::kTemplate:
    case Shape::kMixed:
      route.path = PathMatch::Template(PathOf(i) + "/{id}/orders");
      break;
  }
  return route;
}

// CPU time of this thread: other load on the machine shows less in it.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Bench {
  std::unique_ptr<const RouteTable> table;
  std::vector<std::string> paths;

  void Build(const TableSpec& spec) {
    RouteTableBuilder builder;
    builder.Add(spec);
    RouteTableBuilder::Result built = builder.Build();
    CHECK(built.errors.empty());
    table = std::move(built.table);
  }
  // Paths are taken into a small buffer before the clock starts: a proxy has just parsed them.
  void Run(benchmark::State& state, size_t routes, bool expected, const http::HeaderMap* headers) {
    constexpr size_t kBatch = 256;
    char texts[kBatch][96];
    std::string_view batch[kBatch];
    size_t next = 0;
    for (auto _ : state) {
      for (size_t i = 0; i < kBatch; ++i) {
        const std::string& path = paths[next];
        if (++next == paths.size()) next = 0;
        CHECK(path.size() <= sizeof texts[i]);
        path.copy(texts[i], path.size());
        batch[i] = {texts[i], path.size()};
      }
      const double start = ThreadSeconds();
      for (std::string_view path : batch) {
        const Match match =
            table->Find({http::Method::kGet, "GET", "api.shop.example", path, {}, headers});
        CHECK(static_cast<bool>(match) == expected);
        benchmark::DoNotOptimize(match);
      }
      state.SetIterationTime(ThreadSeconds() - start);
    }
    state.counters["lookup"] = benchmark::Counter(
        kBatch, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    state.counters["bytes_per_route"] =
        static_cast<double>(table->MemoryBytes()) / static_cast<double>(routes);
  }
};

TableSpec TableOf(Shape shape, int count) {
  TableSpec spec{.name = "bench", .domains = {"api.shop.example"}};
  for (int i = 0; i < count; ++i) spec.routes.push_back(RouteOf(shape, i));
  return spec;
}

std::string RequestPath(Shape shape, int i) {
  if (shape == Shape::kMixed)
    shape =
        std::vector{Shape::kExact, Shape::kPrefix, Shape::kTemplate}[static_cast<size_t>(i % 3)];
  if (shape == Shape::kExact) return PathOf(i);
  return PathOf(i) + "/1234567/orders";
}

void Lookup(benchmark::State& state, Shape shape, bool hot, bool hit) {
  const int count = static_cast<int>(state.range(0));
  Bench bench;
  bench.Build(TableOf(shape, count));
  std::mt19937 random(1);
  for (int i = 0; i < (hot ? 64 : count); ++i) {
    const int route = static_cast<int>(random() % static_cast<uint32_t>(count));
    bench.paths.push_back(hit ? RequestPath(shape, route)
                              : fmt::format("/team-{}/v1/nothing-{}/orders", route / 200, i));
  }
  bench.Run(state, static_cast<size_t>(count), hit, nullptr);
}

#define SIZES ->Arg(10)->Arg(1000)->Arg(100000)->UseManualTime()
BENCHMARK_CAPTURE(Lookup, exact_hot, Shape::kExact, true, true) SIZES;
BENCHMARK_CAPTURE(Lookup, prefix_hot, Shape::kPrefix, true, true) SIZES;
BENCHMARK_CAPTURE(Lookup, template_hot, Shape::kTemplate, true, true) SIZES;
BENCHMARK_CAPTURE(Lookup, mixed_hot, Shape::kMixed, true, true) SIZES;
BENCHMARK_CAPTURE(Lookup, mixed_miss_hot, Shape::kMixed, true, false) SIZES;
BENCHMARK_CAPTURE(Lookup, exact_spread, Shape::kExact, false, true) SIZES;
BENCHMARK_CAPTURE(Lookup, prefix_spread, Shape::kPrefix, false, true) SIZES;
BENCHMARK_CAPTURE(Lookup, template_spread, Shape::kTemplate, false, true) SIZES;
BENCHMARK_CAPTURE(Lookup, mixed_spread, Shape::kMixed, false, true) SIZES;

// Many routes with one path that differ by one header's value.
void ManyByHeader(benchmark::State& state) {
  const int count = static_cast<int>(state.range(0));
  TableSpec spec{.name = "bench", .domains = {"*"}};
  for (int i = 0; i < count; ++i) {
    RouteSpec route{.path = PathMatch::Prefix("/api"), .action = static_cast<uint32_t>(i)};
    route.headers.push_back({.name = "X-Tenant",
                             .kind = ValueMatch::Kind::kExact,
                             .text = fmt::format("tenant-{}", i)});
    spec.routes.push_back(route);
  }
  Bench bench;
  bench.Build(spec);
  bench.paths = {"/api/orders"};
  Arena arena;
  http::HeaderMap headers(arena);
  for (int i = 0; i < 10; ++i) (void)headers.Add(fmt::format("X-Other-{}", i), "value");
  (void)headers.Add("X-Tenant", fmt::format("tenant-{}", count - 1));
  bench.Run(state, static_cast<size_t>(count), true, &headers);
}
BENCHMARK(ManyByHeader)->Arg(4)->Arg(100)->Arg(10000)->UseManualTime();

// Regexes without a literal part, all at one node; the last one matches.
void ManyRegexes(benchmark::State& state) {
  const int count = static_cast<int>(state.range(0));
  TableSpec spec{.name = "bench", .domains = {"*"}};
  for (int i = 0; i < count; ++i) {
    spec.routes.push_back({.path = PathMatch::Regex(fmt::format("/[a-z]+/v[0-9]/kind{}/.*", i))});
  }
  Bench bench;
  bench.Build(spec);
  bench.paths = {fmt::format("/orders/v2/kind{}/123", count - 1)};
  bench.Run(state, static_cast<size_t>(count), true, nullptr);
}
BENCHMARK(ManyRegexes)->Arg(1)->Arg(8)->Arg(64)->Arg(512)->UseManualTime();

// One table per host: exact hosts and wildcards.
void ManyHosts(benchmark::State& state) {
  const int count = static_cast<int>(state.range(0));
  std::vector<TableSpec> specs;
  for (int i = 0; i < count; ++i) {
    specs.push_back(
        {.name = fmt::format("t{}", i),
         .domains = {i % 2 == 0 ? fmt::format("h{}.example", i) : fmt::format("*.h{}.example", i)},
         .routes = {{.path = PathMatch::Prefix("/")}}});
  }
  RouteTableBuilder builder;
  for (const TableSpec& spec : specs) builder.Add(spec);
  const RouteTableBuilder::Result built = builder.Build();
  CHECK(built.errors.empty());
  std::vector<std::string> hosts;
  std::mt19937 random(1);
  for (int i = 0; i < 64; ++i) {
    const uint32_t host = random() % static_cast<uint32_t>(count);
    hosts.push_back(fmt::format("{}h{}.example", host % 2 == 0 ? "" : "a.b.", host));
  }
  size_t next = 0;
  for (auto _ : state) {
    next = (next + 1) % hosts.size();
    const Match match =
        built.table->Find({http::Method::kGet, "GET", hosts[next], "/x", {}, nullptr});
    CHECK(match);
    benchmark::DoNotOptimize(match);
  }
}
BENCHMARK(ManyHosts)->Arg(10)->Arg(1000)->Arg(100000);

void Build(benchmark::State& state) {
  const TableSpec spec = TableOf(Shape::kMixed, static_cast<int>(state.range(0)));
  for (auto _ : state) {
    RouteTableBuilder builder;
    builder.Add(spec);
    benchmark::DoNotOptimize(builder.Build());
  }
}
BENCHMARK(Build)->Arg(1000)->Arg(100000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gatehouse::route
