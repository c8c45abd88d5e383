#include "source/control_plane/xds_server.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "api/envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "fmt/format.h"
#include "grpcpp/grpcpp.h"
#include "source/base/status.h"
#include "source/control_plane/gateway_stream.h"
#include "source/control_plane/response_cache.h"
#include "source/control_plane/server_credentials.h"
#include "source/control_plane/xds_metrics.h"

namespace gatehouse::control {

namespace {

using Discovery = envoy::service::discovery::v3::AggregatedDiscoveryService;
// Messages as bytes: one buffer is written to many streams.
using RawDiscovery = Discovery::WithRawCallbackMethod_DeltaAggregatedResources<
    Discovery::WithRawCallbackMethod_StreamAggregatedResources<Discovery::Service>>;
using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

constexpr int kMaxStreamsOfConnection = 100;
// A gateway may ping more often than gRPC likes by default.
constexpr int kMinPingInterval = 5'000;

}  // namespace

class XdsServer::Service final : public RawDiscovery {
 public:
  Service(XdsServerOptions options, Fleet& fleet)
      : options_(std::move(options)), fleet_(fleet), cache_(fleet.instance()) {}
  ~Service() override { Stop(std::chrono::milliseconds(0)); }

  absl::Status Listen();
  void Publish(std::shared_ptr<const ResourceSet> set);
  void Stop(std::chrono::milliseconds deadline);
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string RenderMetrics() const;

  Reactor* DeltaAggregatedResources(grpc::CallbackServerContext* call) override {
    return Open(Protocol::kDelta, *call);
  }
  Reactor* StreamAggregatedResources(grpc::CallbackServerContext* call) override {
    return Open(Protocol::kStateOfTheWorld, *call);
  }

 private:
  Reactor* Open(Protocol protocol, grpc::CallbackServerContext& call);
  void Done(uint64_t id);
  // Of thread_: gives revisions to streams, and looks at their times.
  void Run();
  [[nodiscard]] std::chrono::milliseconds CheckInterval() const;
  [[nodiscard]] std::vector<std::shared_ptr<GatewayStream>> Streams() const;
  [[nodiscard]] Published CurrentSet() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return published_;
  }

  const XdsServerOptions options_;
  Fleet& fleet_;
  ResponseCache cache_;
  XdsMetrics metrics_;
  StreamContext context_{.options = options_,
                         .fleet = fleet_,
                         .cache = cache_,
                         .metrics = metrics_,
                         .published = [this] { return CurrentSet(); },
                         .done = [this](uint64_t id) { Done(id); }};
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::thread thread_;

  mutable std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  Published published_;
  bool unseen_ = false;  // published_ has not been given to all streams
  bool stopping_ = false;
  uint64_t last_id_ = 0;
  std::map<uint64_t, std::shared_ptr<GatewayStream>> streams_;
};

absl::Status XdsServer::Service::Listen() {
  auto credentials = MakeServerCredentials(options_);
  if (!credentials.ok()) return credentials.status();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.address, *credentials, &port_);
  builder.RegisterService(this);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options_.max_request_bytes));
  builder.SetMaxSendMessageSize(-1);
  const auto keepalive = static_cast<int>(options_.keepalive.count());
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsOfConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingInterval);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return Unavailable(fmt::format(
        "{}: cannot be listened on: is another process there, or is it no address of this machine?",
        options_.address));
  }
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

Reactor* XdsServer::Service::Open(Protocol protocol, grpc::CallbackServerContext& call) {
  metrics_.streams[static_cast<size_t>(protocol)].Add();
  std::shared_ptr<GatewayStream> stream;
  absl::Status refused;
  StreamEnd end = StreamEnd::kGateway;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) {
      refused = Unavailable("this control plane is shutting down; another one will serve you");
      end = StreamEnd::kShutdown;
    } else if (streams_.size() >= options_.max_streams) {
      refused = MakeStatus(
          absl::StatusCode::kResourceExhausted,
          fmt::format("this control plane has its {} streams; try another one, or let it have more",
                      options_.max_streams));
      end = StreamEnd::kTooMany;
    }
    const uint64_t id = ++last_id_;
    stream = std::make_shared<GatewayStream>(context_, id, protocol, call);
    streams_[id] = stream;
  }
  stream->Start(refused, end);
  return stream.get();
}

void XdsServer::Service::Done(uint64_t id) {
  std::shared_ptr<GatewayStream> stream;  // freed outside of the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  stream = std::move(found->second);
  streams_.erase(found);
}

std::vector<std::shared_ptr<GatewayStream>> XdsServer::Service::Streams() const {
  std::vector<std::shared_ptr<GatewayStream>> streams;
  const std::lock_guard<std::mutex> lock(mutex_);
  streams.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) streams.push_back(stream);
  return streams;
}

void XdsServer::Service::Publish(std::shared_ptr<const ResourceSet> set) {
  if (set == nullptr || set->revision() == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (set == published_.set) return;
  metrics_.publishes.Add();
  published_ = {.set = std::move(set), .at = std::chrono::steady_clock::now()};
  unseen_ = true;
  changed_.notify_one();
}

std::chrono::milliseconds XdsServer::Service::CheckInterval() const {
  const auto shortest = std::min(options_.first_request_timeout, options_.write_timeout) / 4;
  return std::clamp(shortest, std::chrono::milliseconds(10), std::chrono::milliseconds(1000));
}

void XdsServer::Service::Run() {
  const auto interval = CheckInterval();
  auto next_check = std::chrono::steady_clock::now() + interval;
  while (true) {
    Published published;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_until(lock, next_check, [this] { return unseen_ || stopping_; });
      if (stopping_) return;
      if (unseen_) published = published_;
      unseen_ = false;
    }
    if (published.set != nullptr) {
      cache_.Keep(*published.set);
      for (const auto& stream : Streams()) stream->Publish(published);
    }
    const auto now = std::chrono::steady_clock::now();
    if (now < next_check) continue;
    next_check = now + interval;
    for (const auto& stream : Streams()) stream->CheckTime(now);
  }
}

void XdsServer::Service::Stop(std::chrono::milliseconds deadline) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  if (server_ == nullptr) return;
  for (const auto& stream : Streams()) {
    stream->End(Unavailable("this control plane is shutting down; another one will serve you"),
                StreamEnd::kShutdown);
  }
  // Cancels what is left after the deadline, and waits for every OnDone().
  server_->Shutdown(std::chrono::system_clock::now() + deadline);
  server_->Wait();
}

std::string XdsServer::Service::RenderMetrics() const {
  XdsMetrics::Gauges gauges;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    gauges.revision = published_.set == nullptr ? 0 : published_.set->revision();
    gauges.open_streams = streams_.size();
  }
  gauges.fleet = fleet_.totals();
  gauges.cache = cache_.size();
  return metrics_.Render(gauges);
}

absl::StatusOr<std::unique_ptr<XdsServer>> XdsServer::Start(XdsServerOptions options,
                                                            Fleet& fleet) {
  auto service = std::make_unique<Service>(std::move(options), fleet);
  const absl::Status status = service->Listen();
  if (!status.ok()) return status;
  return std::unique_ptr<XdsServer>(new XdsServer(std::move(service)));
}

XdsServer::XdsServer(std::unique_ptr<Service> service) : service_(std::move(service)) {}
XdsServer::~XdsServer() = default;

void XdsServer::Publish(std::shared_ptr<const ResourceSet> set) {
  service_->Publish(std::move(set));
}
void XdsServer::Stop(std::chrono::milliseconds deadline) { service_->Stop(deadline); }
int XdsServer::port() const { return service_->port(); }
std::string XdsServer::RenderMetrics() const { return service_->RenderMetrics(); }

}  // namespace gatehouse::control
