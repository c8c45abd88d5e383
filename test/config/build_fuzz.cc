// Any text, loaded and built, then built again on top of itself: no crash, errors or a snapshot,
// and what has not changed is the same snapshot.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/config/build.h"
#include "source/config/dump.h"
#include "source/config/load.h"
#include "source/filters/builtin.h"

namespace gatehouse::config {
namespace {

constexpr size_t kMaxText = size_t{32} << 10;
// A limit may ask for gigabytes of buckets, which an operator may well have.
constexpr uint32_t kMaxKeys = 1000;

const filters::Registry& Filters() {
  static const filters::Registry& registry = *[] {
    auto* made = new filters::Registry;
    filters::RegisterBuiltinFilters(*made);
    return made;
  }();
  return registry;
}

std::optional<std::string> Variable(const std::string& name) {
  if (name == "TOKEN") return "token";
  return std::nullopt;
}

// For tests alone; it ends in 2100.
constexpr std::string_view kTestPair = R"(
-----BEGIN CERTIFICATE-----
MIIBmDCCAT6gAwIBAgIUfDxASWHHexHhSBHYzwR7b8kXp/cwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJdGVzdCBvbmx5MCAXDTI2MTEyMjA4MTgwNloYDzIxMDAxMDI1
MDgxODA2WjAUMRIwEAYDVQQDDAl0ZXN0IG9ubHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQWnSJKUqRhcWiYa0HWjSHXbwDn8q+sb8+uEiRQruNy94I2pev4EHei
8cWUj+vLZMmZHyqRmcQa+QgW2Ebdt3TYo2wwajAdBgNVHQ4EFgQUyXyWyVkO/4y2
0zCw5I45Wru7ioIwHwYDVR0jBBgwFoAUyXyWyVkO/4y20zCw5I45Wru7ioIwDwYD
VR0TAQH/BAUwAwEB/zAXBgNVHREEEDAOggx0ZXN0LmV4YW1wbGUwCgYIKoZIzj0E
AwIDSAAwRQIhALQm1OI3dKi659h+pA/vjo56ryund6GW7UIEhkUymSArAiB2LV8s
CbIQbfZOQIQ5/VAOuufide4n+lbixezm2q0wdw==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgr9QC3BIQfoM78X3f
v9bg31cBsSBCKnnI4lej+tl7PyOhRANCAAQWnSJKUqRhcWiYa0HWjSHXbwDn8q+s
b8+uEiRQruNy94I2pev4EHei8cWUj+vLZMmZHyqRmcQa+QgW2Ebdt3TY
-----END PRIVATE KEY-----
)";

// No file of this machine is read.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t) {
  if (path.ends_with("page.html")) return "<html>";
  if (path.ends_with("site.pem")) return std::string(kTestPair);
  return NotFound("cannot be read: there is no such file");
}

void LimitKeys(v1::Bootstrap* bootstrap) {
  for (v1::RateLimit& limit : *bootstrap->mutable_rate_limits()) {
    if (limit.max_keys() == 0 || limit.max_keys() > kMaxKeys) limit.set_max_keys(kMaxKeys);
  }
}

void BuildTwice(std::string_view text) {
  const LoadedBootstrap loaded = LoadBootstrapText(text, "fuzz.yaml", Variable);
  if (loaded.bootstrap == nullptr) {
    CHECK(!loaded.errors.ok());
    return;
  }
  auto bootstrap = std::make_shared<v1::Bootstrap>(*loaded.bootstrap);
  LimitKeys(bootstrap.get());
  Resources resources = ResourcesOf(bootstrap, loaded.source);
  resources.folder = "/config";

  observe::MetricRegistry metrics;
  upstream::ClusterSlots slots;
  filters::StateStore states;
  const BuildEnvironment environment{.filters = Filters(),
                                     .metrics = metrics,
                                     .cluster_slots = slots,
                                     .states = states,
                                     .variables = Variable,
                                     .read_file = ReadFile};
  const BuildResult first = Build(resources, environment, nullptr);
  CHECK((first.snapshot != nullptr) == first.errors.ok());
  CHECK(first.rejections.empty() == first.errors.ok());
  static_cast<void>(first.errors.ToString());
  if (first.snapshot == nullptr) return;

  // Equal messages, other objects.
  const Resources copies =
      ResourcesOf(std::make_shared<const v1::Bootstrap>(*bootstrap), SourceMap());
  Resources again = copies;
  again.folder = resources.folder;
  const BuildResult second = Build(again, environment, first.snapshot);
  CHECK(second.snapshot == first.snapshot);
  CHECK(!DumpYaml(*first.snapshot, loaded.settings).empty());

  // Less of it: what refers to the rest is found out, and nothing dangles.
  if (bootstrap->clusters().empty()) return;
  auto less = std::make_shared<v1::Bootstrap>(*bootstrap);
  less->mutable_clusters()->RemoveLast();
  if (less->route_tables_size() > 0 && less->route_tables(0).routes_size() > 0) {
    less->mutable_route_tables(0)->mutable_routes()->SwapElements(
        0, less->route_tables(0).routes_size() - 1);
  }
  again = ResourcesOf(less, SourceMap());
  again.folder = resources.folder;
  const BuildResult third = Build(again, environment, first.snapshot);
  if (third.snapshot == nullptr) return;
  for (const auto& listener : third.snapshot->listeners) {
    for (const auto& route : listener->routes) {
      for (const Target& target : route->targets) {
        bool known = false;
        for (const auto& cluster : third.snapshot->clusters)
          known |= cluster.get() == target.cluster;
        CHECK(known);
      }
    }
  }
}

}  // namespace
}  // namespace gatehouse::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > gatehouse::config::kMaxText) return 0;
  gatehouse::config::BuildTwice({reinterpret_cast<const char*>(data), size});
  return 0;
}
