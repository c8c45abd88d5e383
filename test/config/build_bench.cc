// How long a config takes from resources to a snapshot: all of it, after one route has changed, and
// when nothing has.
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
    const BuildEnvironment environment{
        .filters = filters, .metrics = metrics, .cluster_slots = slots, .states = states};
    BuildResult result = config::Build(ResourcesOf(bootstrap, SourceMap()), environment, snapshot);
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
