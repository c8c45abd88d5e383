// DnsTracker: keeps the endpoints of clusters with names up to date, by TTL.
//
// Owner: the server. Thread: main. A name is looked up once for all clusters that have it, so a new
// generation of a cluster starts with what the old one knew. An answer is used until the next good
// one: failures, empty answers and NXDOMAIN keep the last good addresses, and are tried again with
// backoff and jitter. `publish` is called from the loop and only when a cluster's set has changed.
//
//   DnsTracker tracker(loop, [&](ClusterKey key, shared_ptr<const EndpointSet> set) {
//     for (Worker& worker : workers) worker.Post(...UpdateEndpoints(key, set));
//   });
//   tracker.Watch(cluster);
//   tracker.WhenResolved(std::chrono::seconds(5), [&] { Publish(snapshot); });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/base/time.h"
#include "source/base/timer_wheel.h"
#include "source/net/loop.h"
#include "source/net/resolver.h"
#include "source/upstream/cluster.h"

namespace gatehouse::upstream {

class DnsTracker {
 public:
  using Publish = std::function<void(ClusterKey, std::shared_ptr<const EndpointSet>)>;

  // Waits between tries after the nth failure in a row: uniform in [w/2, w], w = first * 2^n <=
  // max.
  struct Options {
    Duration first_backoff = std::chrono::seconds(1);
    Duration max_backoff = std::chrono::seconds(60);
  };

  DnsTracker(net::Loop& loop, Publish publish) : DnsTracker(loop, std::move(publish), Options()) {}
  DnsTracker(net::Loop& loop, Publish publish, Options options);
  ~DnsTracker();
  DnsTracker(const DnsTracker&) = delete;
  DnsTracker& operator=(const DnsTracker&) = delete;

  // Nothing to do for a cluster without names, or one that is watched already. The tracker keeps
  // the cluster alive until Unwatch().
  void Watch(std::shared_ptr<const Cluster> cluster);
  void Unwatch(ClusterKey key);
  // Watches exactly these from now on.
  void WatchOnly(const std::vector<std::shared_ptr<const Cluster>>& clusters);

  // Calls `done` once, from the loop, as soon as every name that is watched now has been answered
  // (well or not), or after `deadline`. A later call replaces an earlier one, whose `done` is lost.
  void WhenResolved(Duration deadline, std::function<void()> done);
  // Every name of every watched cluster has been answered, and what came of it published.
  [[nodiscard]] bool resolved() const;

  // The set published last, or null. For admin, and for workers that come later.
  [[nodiscard]] std::shared_ptr<const EndpointSet> EndpointsOf(ClusterKey key) const;
  // Why the last lookup of one of the cluster's names failed: "name: reason". Empty when all is
  // well.
  [[nodiscard]] std::string FailureOf(ClusterKey key) const;

 private:
  struct Name;
  struct Watched;

  std::shared_ptr<Name> NameOf(const std::string& host, const DnsSpec& spec);
  std::shared_ptr<net::Resolver> ResolverOf(const DnsSpec& spec, std::string* why_not);
  void Resolve(Name& name);
  void OnAnswer(Name& name, const net::DnsAnswer& answer);
  void OnFailure(Name& name, std::string_view why);
  void PublishLater();
  // End of turn: publishes what has changed, then tells who waits.
  void Settle();

  net::Loop& loop_;
  Publish publish_;
  Options options_;
  std::map<std::string, std::weak_ptr<net::Resolver>> resolvers_;  // by servers and timeout
  std::map<std::string, std::weak_ptr<Name>> names_;               // by host and options
  std::map<uint32_t, std::unique_ptr<Watched>> watched_;           // by generation
  net::Flushable settle_later_;
  Timer deadline_;
  bool deadline_passed_ = false;
  std::function<void()> when_resolved_;
};

}  // namespace gatehouse::upstream
