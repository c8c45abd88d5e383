// RedisMetrics: what a worker met at a store of shared state; one label set for each cluster.
//
// Owner: the MetricRegistry keeps them for as long as a RedisTarget lives. docs/metrics.md has all.
#pragma once

#include <array>
#include <cstddef>

#include "source/observe/counters.h"
#include "source/observe/metric_registry.h"

namespace gatehouse::upstream {

// In the order of RedisFailure.
inline constexpr std::array<const char*, 6> kRedisResultNames = {"ok",     "timeout", "unreachable",
                                                                 "broken", "refused", "error"};

struct RedisMetrics {
  static constexpr const char* kGroup = "redis";
  static constexpr std::array<const char*, 1> kLabels = {"cluster"};

  observe::CounterId calls[kRedisResultNames.size()];
  observe::CounterId cancelled;
  observe::CounterId moved;
  observe::CounterId asked;
  observe::CounterId scripts_loaded;
  observe::CounterId connects;
  observe::CounterId connect_failures;
  observe::CounterId lost;
  observe::CounterId lookups;
  observe::CounterId lookup_failures;
  observe::GaugeId active;
  observe::GaugeId connections;
  observe::GaugeId open_circuits;
  observe::HistogramId latency;

  template <typename Visitor>
  void Visit(Visitor& visit) {
    for (size_t i = 0; i < kRedisResultNames.size(); ++i) {
      visit(calls[i], "gatehouse_redis_calls_total", "Calls of Redis, by result.",
            {"result", kRedisResultNames[i]});
    }
    visit(cancelled, "gatehouse_redis_calls_cancelled_total", "Calls given up by who made them.");
    visit(moved, "gatehouse_redis_redirects_total", "Redirections by a Redis Cluster, by kind.",
          {"kind", "moved"});
    visit(asked, "gatehouse_redis_redirects_total", "Redirections by a Redis Cluster, by kind.",
          {"kind", "ask"});
    visit(scripts_loaded, "gatehouse_redis_scripts_loaded_total",
          "Scripts sent as text because a server did not know them.");
    visit(connects, "gatehouse_redis_connects_total", "Connections tried.");
    visit(connect_failures, "gatehouse_redis_connect_failures_total",
          "Connections that did not come to be usable.");
    visit(lost, "gatehouse_redis_connections_lost_total", "Connections that ended while usable.");
    visit(lookups, "gatehouse_redis_lookups_total",
          "Questions who the master is, or who has which slots.");
    visit(lookup_failures, "gatehouse_redis_lookup_failures_total",
          "Questions that nobody answered.");
    visit(active, "gatehouse_redis_active_calls", "Calls under way.");
    visit(connections, "gatehouse_redis_connections", "Usable connections.");
    visit(open_circuits, "gatehouse_redis_open_circuits",
          "Servers, summed over the workers, that calls are not sent to because they failed.");
    visit(latency, "gatehouse_redis_latency_seconds",
          "From a call's start to its answer, errors included.");
  }
};

}  // namespace gatehouse::upstream
