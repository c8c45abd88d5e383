// How long a config takes from resources to a snapshot: all of it, after one thing has changed, and
// when nothing has; after a reload of a file, and after a push.
#include <malloc.h>

#include <cstdint>
#include <memory>
#include <string>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "benchmark/benchmark.h"
#include "fmt/format.h"
#include "source/base/check.h"
#include "source/config/build.h"
#include "source/config/load.h"
#include "source/config/text.h"
#include "source/filters/builtin.h"

namespace gatehouse::config {
namespace {

constexpr int kClusters = 100;

// A table with filters, and routes that look like those of many small services.
std::shared_ptr<v1::Bootstrap> MakeConfig(int64_t routes) {
  auto bootstrap = std::make_shared<v1::Bootstrap>();
  for (int i = 0; i < kClusters; ++i) {
    v1::Cluster* cluster = bootstrap->add_clusters();
    cluster->set_name(fmt::format("service-{}", i));
    cluster->add_endpoints()->set_address(fmt::format("10.0.0.{}:8080", i + 1));
  }
  v1::RouteTable* table = bootstrap->add_route_tables();
  table->set_name("shop");
  table->add_domains("*");
  table->add_filters()->mutable_cors()->add_allow_origins("https://shop.example");
  (*table->add_filters()->mutable_headers()->mutable_request()->mutable_set())["X-Route"] =
      "$(route)";
  for (int64_t i = 0; i < routes; ++i) {
    v1::Route* route = table->add_routes();
    route->set_name(fmt::format("route-{}", i));
    switch (i % 4) {
      case 0:
        route->mutable_match()->set_path(fmt::format("/exact/{}/of/{}", i % 97, i));
        break;
      case 1:
        route->mutable_match()->set_path_prefix(fmt::format("/team-{}/service-{}", i % 97, i));
        break;
      case 2:
        route->mutable_match()->set_path_template(fmt::format("/team-{}/{}/{{id}}", i % 97, i));
        break;
      default:
        route->mutable_match()->set_path_prefix(fmt::format("/api/v1/resource-{}", i));
        route->mutable_match()->add_methods("GET");
    }
    route->mutable_forward()->set_cluster(fmt::format("service-{}", i % kClusters));
    route->mutable_timeout()->set_seconds(2);
  }
  v1::Listener* listener = bootstrap->add_listeners();
  listener->set_name("edge");
  listener->set_address("127.0.0.1:0");
  listener->add_route_tables("shop");
  return bootstrap;
}

struct Gateway {
  Gateway() { filters::RegisterBuiltinFilters(filters); }

  void Build(const std::shared_ptr<const v1::Bootstrap>& bootstrap) {
    Build(ResourcesOf(bootstrap, SourceMap()));
  }
  void Build(const Resources& resources) {
    const BuildEnvironment environment{
        .filters = filters, .metrics = metrics, .cluster_slots = slots, .states = states};
    BuildResult result = config::Build(resources, environment, snapshot);
    CHECK(result.snapshot != nullptr);
    snapshot = std::move(result.snapshot);
  }

  filters::Registry filters;
  observe::MetricRegistry metrics{{.max_label_sets = 10000}};
  upstream::ClusterSlots slots;
  filters::StateStore states;
  std::shared_ptr<const Snapshot> snapshot;
};

void BM_BuildAll(benchmark::State& state) {
  const auto config = MakeConfig(state.range(0));
  for (auto _ : state) {
    Gateway gateway;
    gateway.Build(config);
  }
}
BENCHMARK(BM_BuildAll)->Arg(1000)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

// The messages are equal copies, as after a file was read again.
void BM_NothingChanged(benchmark::State& state) {
  Gateway gateway;
  gateway.Build(MakeConfig(state.range(0)));
  const auto config = MakeConfig(state.range(0));
  for (auto _ : state) gateway.Build(config);
}
BENCHMARK(BM_NothingChanged)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

template <typename Change>
void Rebuild(benchmark::State& state, Change change) {
  Gateway gateway;
  std::shared_ptr<v1::Bootstrap> configs[2] = {MakeConfig(state.range(0)),
                                               MakeConfig(state.range(0))};
  change(configs[1]->mutable_route_tables(0)->mutable_routes(5));
  gateway.Build(configs[0]);
  size_t turn = 0;
  for (auto _ : state) gateway.Build(configs[++turn % 2]);
}

void BM_OneActionChanged(benchmark::State& state) {
  Rebuild(state, [](v1::Route* route) { route->mutable_timeout()->set_seconds(3); });
}
BENCHMARK(BM_OneActionChanged)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

void BM_OneMatchChanged(benchmark::State& state) {
  Rebuild(state, [](v1::Route* route) { route->mutable_match()->set_path("/changed"); });
}
BENCHMARK(BM_OneMatchChanged)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

// ---- pushed: what is not replaced keeps its pointer ----

// The layouts of 10 000 routes: all in one table, and 100 tables of 100.
struct Layout {
  int tables;
  int routes;  // of each
};

std::shared_ptr<v1::Route> MakeRoute(int64_t i, int64_t clusters) {
  auto route = std::make_shared<v1::Route>();
  route->set_name(fmt::format("route-{}", i));
  if (i % 2 == 0) {
    route->mutable_match()->set_path_prefix(fmt::format("/team-{}/service-{}", i % 97, i));
  } else {
    route->mutable_match()->set_path_template(fmt::format("/team-{}/{}/{{id}}", i % 97, i));
  }
  route->mutable_forward()->set_cluster(fmt::format("service-{}", i % clusters));
  route->mutable_timeout()->set_seconds(2);
  return route;
}

struct Pushed {
  Pushed(Layout layout, int clusters) {
    for (int i = 0; i < clusters; ++i) {
      auto cluster = std::make_shared<v1::Cluster>();
      cluster->set_name(fmt::format("service-{}", i));
      resources.clusters.push_back({cluster, SourceMap()});
      auto endpoints = std::make_shared<v1::Endpoints>();
      endpoints->set_cluster(cluster->name());
      for (int j = 0; j < 3; ++j) {
        endpoints->add_endpoints()->set_address(
            fmt::format("10.{}.{}.{}:8080", i / 250, i % 250, j + 1));
      }
      resources.endpoints.push_back({endpoints, SourceMap()});
    }
    auto listener = std::make_shared<v1::Listener>();
    listener->set_name("edge");
    listener->set_address("127.0.0.1:0");
    int64_t next = 0;
    for (int i = 0; i < layout.tables; ++i) {
      auto table = std::make_shared<v1::RouteTable>();
      table->set_name(fmt::format("table-{}", i));
      table->add_domains(fmt::format("{}.example.com", i));
      table->add_filters()->mutable_cors()->add_allow_origins("https://shop.example");
      for (int j = 0; j < layout.routes; ++j) *table->add_routes() = *MakeRoute(next++, clusters);
      listener->add_route_tables(table->name());
      resources.route_tables.push_back({table, SourceMap()});
    }
    resources.listeners.push_back({listener, SourceMap()});
  }

  // As after a push: another message in the place of one.
  template <typename Message, typename Change>
  static void Replace(Resource<Message>& resource, Change change) {
    auto message = std::make_shared<Message>(*resource.message);
    change(*message);
    resource.message = std::move(message);
  }

  Resources resources;
};

// What changes between one build and the next, back and forth.
enum class Push : int8_t { kNothing, kTimeout, kMatch, kNewRoute, kWeight, kCluster, kNewCluster };

void Apply(Push push, Resources& resources) {
  const auto change_table = [&](auto change) {
    Pushed::Replace(resources.route_tables[0], change);
  };
  switch (push) {
    case Push::kNothing:
      break;
    case Push::kTimeout:
      change_table([](v1::RouteTable& table) {
        table.mutable_routes(5)->mutable_timeout()->set_seconds(3);
      });
      break;
    case Push::kMatch:
      change_table([](v1::RouteTable& table) {
        table.mutable_routes(5)->mutable_match()->set_path("/changed");
      });
      break;
    case Push::kNewRoute:
      change_table([](v1::RouteTable& table) {
        *table.add_routes() = *MakeRoute(1'000'000, 2);
        table.mutable_routes()->SwapElements(0, table.routes_size() - 1);
      });
      break;
    case Push::kWeight:
      Pushed::Replace(resources.endpoints[7], [](v1::Endpoints& endpoints) {
        endpoints.mutable_endpoints(0)->set_weight(3);
      });
      break;
    case Push::kCluster:
      Pushed::Replace(resources.clusters[7], [](v1::Cluster& cluster) {
        cluster.mutable_connect_timeout()->set_seconds(1);
      });
      break;
    case Push::kNewCluster: {
      auto cluster = std::make_shared<v1::Cluster>();
      cluster->set_name("new");
      cluster->add_endpoints()->set_address("10.9.9.9:80");
      resources.clusters.push_back({cluster, SourceMap()});
      break;
    }
  }
}

void RunPushed(benchmark::State& state, Push push) {
  const int tables = static_cast<int>(state.range(0));
  Gateway gateway;
  const Pushed pushed({tables, 10'000 / tables}, 2000);
  Resources resources[2] = {pushed.resources, pushed.resources};
  Apply(push, resources[1]);
  gateway.Build(resources[0]);
  size_t turn = 0;
  for (auto _ : state) gateway.Build(resources[++turn % 2]);
}

void BM_PushNothing(benchmark::State& state) { RunPushed(state, Push::kNothing); }
void BM_PushTimeout(benchmark::State& state) { RunPushed(state, Push::kTimeout); }
void BM_PushMatch(benchmark::State& state) { RunPushed(state, Push::kMatch); }
void BM_PushNewRoute(benchmark::State& state) { RunPushed(state, Push::kNewRoute); }
void BM_PushWeight(benchmark::State& state) { RunPushed(state, Push::kWeight); }
void BM_PushCluster(benchmark::State& state) { RunPushed(state, Push::kCluster); }
void BM_PushNewCluster(benchmark::State& state) { RunPushed(state, Push::kNewCluster); }
void BM_PushFirst(benchmark::State& state) {
  const int tables = static_cast<int>(state.range(0));
  const Pushed pushed({tables, 10'000 / tables}, 2000);
  for (auto _ : state) {
    Gateway gateway;
    gateway.Build(pushed.resources);
  }
}
BENCHMARK(BM_PushFirst)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushNothing)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushTimeout)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushMatch)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushNewRoute)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushWeight)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushCluster)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PushNewCluster)->Arg(1)->Arg(100)->Unit(benchmark::kMillisecond);

// What one more resource costs: all that the heap holds for it once its config is served, messages,
// metrics of two workers and the record for the next build included.
size_t HeapBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

void BM_MemoryPerResource(benchmark::State& state) {
  const bool routes = state.range(0) != 0;
  constexpr int kMany = 100'000;
  for (auto _ : state) {
    Gateway gateway;
    for (int block = 0; block < 3; ++block) benchmark::DoNotOptimize(gateway.metrics.NewBlock());
    const size_t before = HeapBytes();
    {
      const Pushed pushed(routes ? Layout{1000, kMany / 1000} : Layout{1, 1}, routes ? 1 : kMany);
      gateway.Build(pushed.resources);
    }
    state.counters["bytes_each"] = static_cast<double>(HeapBytes() - before) / kMany;
  }
}
BENCHMARK(BM_MemoryPerResource)->ArgName("routes")->Arg(0)->Arg(1)->Iterations(1);

// From the text on, as `gatehouse run` does.
void BM_LoadText(benchmark::State& state) {
  const std::string text = ToYaml(*MakeConfig(state.range(0)));
  for (auto _ : state) {
    const LoadedBootstrap loaded = LoadBootstrapText(text, "bench.yaml");
    CHECK(loaded.errors.ok());
  }
  state.SetBytesProcessed(static_cast<int64_t>(text.size()) * state.iterations());
}
BENCHMARK(BM_LoadText)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gatehouse::config
