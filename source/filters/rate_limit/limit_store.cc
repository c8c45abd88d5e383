#include "source/filters/rate_limit/limit_store.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "api/gatehouse/v1/rate_limit.pb.h"
#include "fmt/format.h"
#include "source/filters/build_context.h"
#include "source/filters/rate_limit/limit_build.h"
#include "source/upstream/cluster.h"
#include "source/upstream/redis_target.h"

namespace gatehouse::filters {

namespace {

using Config = gatehouse::v1::RateLimit;
using gatehouse::v1::RedisStore;

constexpr uint32_t kMostGateways = 1'000'000;

// Reads from top to bottom, notes all that is wrong, and returns the first of it.
class StoreReader {
 public:
  StoreReader(const Config& config, std::string_view field, BuildContext& build)
      : config_(config), field_(field), build_(build) {}

  absl::StatusOr<LimitStore> Run() {
    if (config_.store().has_redis()) {
      field_ = FieldOf(field_, "store.redis");
      Redis(config_.store().redis());
    } else if (config_.store().has_service()) {
      field_ = FieldOf(field_, "store.service");
      Service(config_.store().service());
    } else {
      store_.identity = "local";
    }
    if (!wrong_.ok()) return wrong_;
    return std::move(store_);
  }

 private:
  [[nodiscard]] bool has_algorithm() const {
    return config_.algorithm_case() != Config::ALGORITHM_NOT_SET;
  }
  void Error(std::string_view inner, std::string_view message) {
    wrong_.Update(build_.Error(FieldOf(field_, inner), message));
  }
  // Zero stays `standard`.
  void Time(const google::protobuf::Duration& from, std::string_view inner, Duration* to) {
    const absl::StatusOr<Duration> read = ReadDuration(from, FieldOf(field_, inner), build_);
    wrong_.Update(read.status());
    if (read.ok() && *read > Duration::zero()) *to = *read;
  }
  std::string Secret(const std::string& name, std::string_view inner) {
    if (name.empty()) return {};
    const absl::StatusOr<std::string_view> text = build_.Secret(FieldOf(field_, inner), name);
    wrong_.Update(text.status());
    return std::string(text.value_or(std::string_view()));
  }
  const upstream::Cluster* Cluster(const std::string& name) {
    if (name.empty()) {
      Error("cluster", "must not be empty");
      return nullptr;
    }
    const auto cluster = build_.Cluster(FieldOf(field_, "cluster"), name);
    wrong_.Update(cluster.status());
    return cluster.value_or(nullptr);
  }
  void Failure(gatehouse::v1::StoreFailure failure, uint32_t gateways);
  void Redis(const RedisStore& redis);
  void Target(const RedisStore& redis);
  void Service(const gatehouse::v1::ServiceStore& service);

  const Config& config_;
  std::string field_;
  BuildContext& build_;
  LimitStore store_;
  absl::Status wrong_;
};

void StoreReader::Failure(gatehouse::v1::StoreFailure failure, uint32_t gateways) {
  store_.gateways = std::max<uint32_t>(gateways, 1);
  if (gateways > kMostGateways) Error("gateways", fmt::format("is at most {}", kMostGateways));
  switch (failure) {
    case gatehouse::v1::STORE_FAILURE_ALLOW:
      store_.on_failure = StoreFailure::kAllow;
      return;
    case gatehouse::v1::STORE_FAILURE_DENY:
      store_.on_failure = StoreFailure::kDeny;
      return;
    case gatehouse::v1::STORE_FAILURE_LOCAL:
      if (!has_algorithm()) Error("on_failure", "local needs an algorithm to count by");
      return;
    default:
      store_.on_failure = has_algorithm() ? StoreFailure::kLocal : StoreFailure::kAllow;
  }
}

void StoreReader::Redis(const RedisStore& redis) {
  store_.kind = LimitStore::Kind::kRedis;
  // It stands between the policy and its plan in the names of keys.
  if (config_.name().find('|') != std::string::npos) {
    Error("", "the name of a rate limit in Redis must not hold a |");
  }
  Failure(redis.on_failure(), redis.gateways());
  RedisLimitSpec& spec = store_.redis;
  if (!redis.key_prefix().empty()) spec.key_prefix = redis.key_prefix();
  Time(redis.timeout(), "timeout", &spec.timeout);
  Time(redis.sync_interval(), "sync_interval", &spec.sync_interval);
  spec.max_unsynced = redis.max_unsynced();
  spec.on_failure = store_.on_failure;
  spec.gateways = store_.gateways;
  Target(redis);
  if (spec.target == nullptr) return;
  store_.identity = fmt::format("redis {} {}", spec.target->id(), spec.key_prefix);
}

// Policies that say the same share one, and its connections.
void StoreReader::Target(const RedisStore& redis) {
  upstream::RedisSpec spec;
  spec.cluster = Cluster(redis.cluster());
  switch (redis.topology()) {
    case RedisStore::TOPOLOGY_CLUSTER:
      spec.topology = upstream::RedisTopology::kCluster;
      break;
    case RedisStore::TOPOLOGY_SENTINEL:
      spec.topology = upstream::RedisTopology::kSentinel;
      break;
    default:
      break;
  }
  spec.sentinel_master = redis.sentinel_master();
  spec.username = redis.username();
  spec.password = Secret(redis.password(), "password");
  spec.sentinel_password = Secret(redis.sentinel_password(), "sentinel_password");
  spec.database = redis.database();
  if (redis.connections() != 0) spec.connections = redis.connections();
  if (spec.cluster == nullptr) return;
  absl::Status status;
  store_.redis.target = build_.states().Get<upstream::RedisTarget>(
      redis.cluster(), upstream::RedisTarget::Fingerprint(spec),
      [&]() -> std::shared_ptr<upstream::RedisTarget> {
        auto made = upstream::RedisTarget::Make(spec, build_.metrics());
        status = made.status();
        return made.ok() ? std::const_pointer_cast<upstream::RedisTarget>(*made) : nullptr;
      });
  if (!status.ok()) wrong_.Update(ErrorBelow(status, field_, build_));
}

void StoreReader::Service(const gatehouse::v1::ServiceStore& service) {
  store_.kind = LimitStore::Kind::kService;
  store_.identity = "service";
  Failure(service.on_failure(), service.gateways());
  ServiceLimit& limit = store_.service;
  limit.cluster = Cluster(service.cluster());
  if (!service.domain().empty()) limit.domain = service.domain();
  Time(service.timeout(), "timeout", &limit.timeout);
  if (!config_.plans().empty() || config_.has_plan()) {
    wrong_.Update(build_.Error(
        field_, "has limits of its own for plans: make the plan a part of the key instead"));
  }
  if (limit.cluster == nullptr) return;
  // One without any is a stand-in for one with errors of its own.
  const bool known = limit.cluster->has_dns() || !limit.cluster->endpoints()->empty();
  if (known && limit.cluster->options().protocol == upstream::Protocol::kHttp1) {
    Error("cluster",
          fmt::format("cluster \"{}\" must speak gRPC: protocol: http2", limit.cluster->name()));
  }
  limit.circuit = build_.states().Get<ServiceCircuit>(
      service.cluster(), "", [] { return std::make_shared<ServiceCircuit>(); });
  store_.text =
      fmt::format("asked of service \"{}\", domain \"{}\"", limit.cluster->name(), limit.domain);
}

}  // namespace

absl::StatusOr<LimitStore> LimitStore::Build(const Config& config, std::string_view field,
                                             BuildContext& build) {
  return StoreReader(config, field, build).Run();
}

absl::Status ErrorBelow(const absl::Status& status, std::string_view field, BuildContext& build) {
  const std::string_view text(status.message().data(), status.message().size());
  const size_t colon = text.find(": ");
  if (colon == std::string_view::npos ||
      text.substr(0, colon).find(' ') != std::string_view::npos) {
    return build.Error(field, text);
  }
  return build.Error(FieldOf(field, text.substr(0, colon)), text.substr(colon + 2));
}

}  // namespace gatehouse::filters
