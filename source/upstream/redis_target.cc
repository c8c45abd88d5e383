#include "source/upstream/redis_target.h"

#include <atomic>
#include <utility>

#include "fmt/format.h"
#include "source/base/check.h"
#include "source/base/status.h"
#include "source/observe/notices.h"

namespace gatehouse::upstream {
namespace {

uint64_t NextId() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void Post(std::string line) { observe::Notices::Process().Post(std::move(line)); }

absl::Status Check(const RedisSpec& spec) {
  if (spec.connections == 0 || spec.connections > RedisTarget::kMaxConnections) {
    return InvalidArgument(
        fmt::format("connections: must be from 1 to {}", RedisTarget::kMaxConnections));
  }
  if (!spec.username.empty() && spec.password.empty()) {
    return InvalidArgument("username: a user needs a password");
  }
  const bool sentinel = spec.topology == RedisTopology::kSentinel;
  if (sentinel && spec.sentinel_master.empty()) {
    return InvalidArgument("sentinel_master: the sentinels have to be asked for a name");
  }
  if (!sentinel && !spec.sentinel_master.empty()) {
    return InvalidArgument("sentinel_master: only for sentinels");
  }
  if (!sentinel && !spec.sentinel_password.empty()) {
    return InvalidArgument("sentinel_password: only for sentinels");
  }
  if (spec.topology == RedisTopology::kCluster && spec.database != 0) {
    return InvalidArgument("database: a Redis Cluster has database 0 alone");
  }
  if (spec.cluster->options().proxy_header != ProxyHeader::kNone) {
    return InvalidArgument(fmt::format(
        "cluster: '{}' sends a PROXY header, which Redis does not take", spec.cluster->name()));
  }
  if (spec.cluster->options().protocol == Protocol::kHttp2) {
    return InvalidArgument(fmt::format(
        "cluster: '{}' speaks http2, which Redis does not: leave protocol out, or name the cluster "
        "of the Redis servers",
        spec.cluster->name()));
  }
  return absl::OkStatus();
}

}  // namespace

void RedisNews::Say(Loss& loss, const std::string& server, std::string_view why, TimePoint now) {
  loss.said = true;
  loss.said_at = now;
  Post(fmt::format("redis of cluster '{}': {} cannot be used: {}", name_, server, why));
}

void RedisNews::Lost(const std::string& server, std::string_view why, TimePoint now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(losses_, [&](const auto& loss) {
    return loss.second.workers == 0 && now - loss.second.said_at >= kRelapse;
  });
  const auto [found, is_new] = losses_.try_emplace(server);
  Loss& loss = found->second;
  if (++loss.workers > 1) return;
  loss.since = now;
  if (is_new) Say(loss, server, why, now);
}

void RedisNews::StillLost(const std::string& server, std::string_view why, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto found = losses_.find(server);
  if (found == losses_.end() || found->second.workers == 0 || found->second.said) return;
  if (now - found->second.since >= kAway) Say(found->second, server, why, now);
}

void RedisNews::Back(const std::string& server, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto found = losses_.find(server);
  if (found == losses_.end()) return;
  Loss& loss = found->second;
  if (loss.workers == 0 || --loss.workers > 0 || !std::exchange(loss.said, false)) return;
  const double away = std::chrono::duration<double>(now - loss.since).count();
  Post(fmt::format("redis of cluster '{}': {} is back after {:.1f} s", name_, server, away));
}

void RedisNews::Forget(const std::string& server) {
  const std::lock_guard lock(mutex_);
  const auto found = losses_.find(server);
  if (found == losses_.end()) return;
  if (found->second.workers > 0) --found->second.workers;
  if (found->second.workers == 0) losses_.erase(found);
}

void RedisNews::Wrong(std::string_view server, std::string_view what, TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (wrong_at_ && now - *wrong_at_ < kWrongs) return;
  wrong_at_ = now;
  Post(fmt::format("redis of cluster '{}'{}{} answered a call with {} (said once a minute)", name_,
                   server.empty() ? "" : ": ", server, what));
}

void RedisNews::Master(const std::string& server) {
  const std::lock_guard lock(mutex_);
  if (master_ == server) return;
  if (!master_.empty()) {
    Post(
        fmt::format("redis of cluster '{}': the master is {} now, not {}", name_, server, master_));
  }
  master_ = server;
}

RedisTarget::RedisTarget(const RedisSpec& spec)
    : id_(NextId()),
      name_(spec.cluster->name()),
      spec_(spec),
      key_(spec.cluster->key()),
      endpoints_(spec.cluster->endpoints()),
      tls_(spec.cluster->options().tls),
      connect_timeout_(spec.cluster->options().connect_timeout),
      news_(name_) {
  spec_.cluster = nullptr;
}

absl::StatusOr<std::shared_ptr<const RedisTarget>> RedisTarget::Make(
    const RedisSpec& spec, observe::MetricRegistry& registry) {
  CHECK(spec.cluster != nullptr);
  if (absl::Status status = Check(spec); !status.ok()) return status;
  const std::shared_ptr<RedisTarget> target(new RedisTarget(spec));
  target->metrics_ = registry.AcquireFor<RedisMetrics>({target->name_}, target);
  return std::shared_ptr<const RedisTarget>(target);
}

std::string RedisTarget::Fingerprint(const RedisSpec& spec) {
  const ClusterKey key = spec.cluster->key();
  std::string text = fmt::format("{}.{} {} {} {}", key.slot, key.generation,
                                 static_cast<int>(spec.topology), spec.database, spec.connections);
  for (const std::string* part :
       {&spec.sentinel_master, &spec.username, &spec.password, &spec.sentinel_password}) {
    text += fmt::format(" {}:{}", part->size(), *part);
  }
  return text;
}

std::unique_ptr<net::Transport> RedisTarget::Connect(net::Loop& loop, const net::Address& address,
                                                     std::string_view host,
                                                     net::TlsSessions& sessions, int* error) const {
  if (tls_ == nullptr) return net::PlainTransport::Connect(loop, address, error);
  return tls_->Connect(loop, address, host, sessions, error);
}

}  // namespace gatehouse::upstream
