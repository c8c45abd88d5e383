// RedisTarget: which Redis servers, how to reach them and how to log in. Const.
//
// Owner: shared by the policies that use it and by each worker's RedisClient, whichever lives
// longest. Thread: made on main, used by workers, destroyed on any: it holds nothing of main's. It
// copies what it needs of the Cluster, which may go before it; endpoints come from the worker's
// Upstreams, which hears of their changes.
//
//   absl::StatusOr<std::shared_ptr<const RedisTarget>> target =
//       RedisTarget::Make({.cluster = &cluster, .password = secret}, registry);
//   call.Start(upstreams.Redis(**target), request, this, &OnReply);
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "source/base/time.h"
#include "source/net/address.h"
#include "source/net/loop.h"
#include "source/net/tls_context.h"
#include "source/net/transport.h"
#include "source/observe/metric_registry.h"
#include "source/upstream/cluster.h"
#include "source/upstream/endpoint.h"
#include "source/upstream/redis_client.h"
#include "source/upstream/redis_metrics.h"

namespace gatehouse::upstream {

// Tells the operator, once for all workers, when a server is lost and when it is back. Who comes
// and goes, as a server without memory that can still read, is told of now and then. Thread-safe;
// asked only when something changes or is wrong.
class RedisNews {
 public:
  // A server that is lost again within so long of what was said of it last is not worth a line,
  static constexpr Duration kRelapse = std::chrono::seconds(10);
  // unless it stays away for so long.
  static constexpr Duration kAway = std::chrono::seconds(1);
  // Between lines on single answers.
  static constexpr Duration kWrongs = std::chrono::minutes(1);

  explicit RedisNews(std::string name) : name_(std::move(name)) {}

  // One more worker finds that `server` cannot be used.
  void Lost(const std::string& server, std::string_view why, TimePoint now);
  // One of these has tried again, in vain.
  void StillLost(const std::string& server, std::string_view why, TimePoint now);
  // One of these can use it again, or has no use for it any more.
  void Back(const std::string& server, TimePoint now);
  void Forget(const std::string& server);
  // It answered a call with what is of no use: one key may be broken, others may be fine.
  void Wrong(std::string_view server, std::string_view what, TimePoint now);
  // The sentinels name this one.
  void Master(const std::string& server);

 private:
  struct Loss {
    uint32_t workers = 0;
    TimePoint since;
    bool said = false;
    TimePoint said_at;  // that it is lost, this time or the last
  };

  void Say(Loss& loss, const std::string& server, std::string_view why, TimePoint now);

  const std::string name_;
  std::mutex mutex_;
  // Those that are lost, and those that were not long ago.
  std::map<std::string, Loss> losses_;
  std::optional<TimePoint> wrong_at_;
  std::string master_;
};

class RedisTarget : public std::enable_shared_from_this<RedisTarget> {
 public:
  static constexpr uint32_t kMaxConnections = 64;

  // The spec is checked: such as that a Redis Cluster has no database but 0.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const RedisTarget>> Make(
      const RedisSpec& spec, observe::MetricRegistry& registry);
  // Specs of equal text may share a target. For the same StateStore only: it has the passwords.
  [[nodiscard]] static std::string Fingerprint(const RedisSpec& spec);
  RedisTarget(const RedisTarget&) = delete;
  RedisTarget& operator=(const RedisTarget&) = delete;

  // Of the cluster.
  [[nodiscard]] const std::string& name() const { return name_; }
  // Never used again in this process.
  [[nodiscard]] uint64_t id() const { return id_; }
  // Its `cluster` is null.
  [[nodiscard]] const RedisSpec& spec() const { return spec_; }
  [[nodiscard]] ClusterKey key() const { return key_; }
  // The cluster's when the target was made.
  [[nodiscard]] const std::shared_ptr<const EndpointSet>& endpoints() const { return endpoints_; }
  [[nodiscard]] Duration connect_timeout() const { return connect_timeout_; }
  [[nodiscard]] const RedisMetrics& metrics() const { return metrics_; }
  [[nodiscard]] RedisNews& news() const { return news_; }
  [[nodiscard]] bool has_tls() const { return tls_ != nullptr; }

  // As net::PlainTransport::Connect().
  [[nodiscard]] std::unique_ptr<net::Transport> Connect(net::Loop& loop,
                                                        const net::Address& address,
                                                        std::string_view host,
                                                        net::TlsSessions& sessions,
                                                        int* error) const;

 private:
  explicit RedisTarget(const RedisSpec& spec);

  const uint64_t id_;
  const std::string name_;
  RedisSpec spec_;
  const ClusterKey key_;
  const std::shared_ptr<const EndpointSet> endpoints_;
  const std::shared_ptr<const net::TlsClientContext> tls_;
  const Duration connect_timeout_;
  RedisMetrics metrics_;
  mutable RedisNews news_;
};

}  // namespace gatehouse::upstream
