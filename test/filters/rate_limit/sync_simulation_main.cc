// Prints how much more than the limit fifty synced gateways let through, beside the bound:
// docs/rate_limits_accuracy.md.
#include <array>
#include <cstdio>
#include <string>
#include <utility>

#include "test/filters/rate_limit/sync_simulation.h"

int main() {
  using namespace gatehouse::filters;
  using std::chrono::milliseconds;
  constexpr std::array<const char*, 4> kNames = {"all at once", "steady", "skewed", "moving"};
  for (const auto& [amount, max_unsynced] :
       {std::pair<uint64_t, uint64_t>{100, 0}, {1000, 0}, {1000, 5}, {10000, 0}}) {
    std::printf("\nlimit %llu/s, %llu at once, 50 gateways, max_unsynced %s\n\n",
                static_cast<unsigned long long>(amount), static_cast<unsigned long long>(amount),
                max_unsynced == 0 ? "by default" : std::to_string(max_unsynced).c_str());
    std::printf(
        "| traffic | sync | most above the limit | bound | admitted / one counter | "
        "waited for Redis | syncs/s of a gateway |\n|---|---|---|---|---|---|---|\n");
    for (size_t traffic = 0; traffic < kNames.size(); ++traffic) {
      for (const int interval : {1000, 200, 50}) {
        SyncOptions options;
        options.limit.amount = options.limit.capacity = amount;
        options.max_unsynced = max_unsynced;
        options.interval = milliseconds(interval);
        options.traffic = static_cast<Traffic>(traffic);
        const SyncResult result = SyncSimulation(options).Run();
        std::printf(
            "| %s | %d ms | %llu | %llu | %.1f %% | %.1f %% | %.1f |\n", kNames[traffic], interval,
            static_cast<unsigned long long>(result.over),
            static_cast<unsigned long long>(result.bound),
            100.0 * static_cast<double>(result.admitted) / static_cast<double>(result.ideal),
            100.0 * static_cast<double>(result.asked) / static_cast<double>(result.requests),
            static_cast<double>(result.pushes) / 50 / 20);
      }
    }
  }
}
