// GatewayStream: one discovery stream of a gateway on grpc++: who it is, its XdsStream, its timers.
//
// Owner: GatewayStreams, until gRPC says that it is done. gRPC's threads call On*(), the server's
// thread the rest. One write at a time: what is sent next is decided when the last is written.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "grpcpp/grpcpp.h"
#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"
#include "source/control_plane/response_cache.h"
#include "source/control_plane/xds_metrics.h"
#include "source/control_plane/xds_server.h"
#include "source/control_plane/xds_stream.h"

namespace gatehouse::control {

// The newest set, and when it became that.
struct Published {
  std::shared_ptr<const ResourceSet> set;  // null: nothing yet
  SteadyTime at;
};

// What all streams of a server share. Outlives them.
struct StreamContext {
  const XdsServerOptions& options;
  Fleet& fleet;
  ResponseCache& cache;
  XdsMetrics& metrics;
  std::function<Published()> published;
  std::function<void(uint64_t stream)> done;  // its last word
};

class GatewayStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  GatewayStream(StreamContext& context, uint64_t id, Protocol protocol,
                grpc::CallbackServerContext& call);
  ~GatewayStream() override;

  // Once: it reads, or ends with `refused`.
  void Start(const absl::Status& refused, StreamEnd end);
  void Publish(const Published& published);
  // Ends it if it has been waited for too long.
  void CheckTime(SteadyTime now);
  void End(const absl::Status& status, StreamEnd end);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // All with mutex_ held.
  template <typename Request>
  [[nodiscard]] absl::Status Handle(SteadyTime now);
  template <typename Node>
  [[nodiscard]] absl::Status Admit(const Node& node, bool has_node, WallTime now);
  [[nodiscard]] absl::Status CheckGroup(const std::string& group) const;
  void Count(const RequestOutcome& outcome, SteadyTime now);
  void Pump();
  void EndLocked(const absl::Status& status, StreamEnd end);

  StreamContext& context_;
  const uint64_t id_;
  const SteadyTime opened_;
  grpc::CallbackServerContext& call_;

  std::mutex mutex_;
  XdsStream stream_;
  bool admitted_ = false;
  bool writing_ = false;
  bool ended_ = false;  // Finish() was called: nothing may be started any more
  StreamEnd end_ = StreamEnd::kGateway;
  SteadyTime write_started_;
  SteadyTime admitted_at_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
};

// "10.0.0.7:51234" of gRPC's "ipv4:10.0.0.7:51234", "[::1]:80" of "ipv6:%5B::1%5D:80".
[[nodiscard]] std::string PeerAddress(const std::string& peer);
// A SAN of a certificate says that its holder is of `group`.
[[nodiscard]] bool NamesGroup(const std::string& san, const std::string& group);

}  // namespace gatehouse::control
