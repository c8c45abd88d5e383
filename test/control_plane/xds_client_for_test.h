// A gateway's end of a real discovery stream on grpc++, for tests of the server: synchronous.
//
//   XdsClient client(port);
//   client.Sends(Type::kCluster, {"*"}, {.node = "edge-1", .group = "edge"});
//   auto response = client.Reads();   // nothing: the stream has ended, see Status()
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "fmt/format.h"
#include "grpcpp/grpcpp.h"
#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

// Asks again until it holds; the test's own time limit ends it.
inline void Await(const std::function<bool()>& holds) {
  while (!holds()) std::this_thread::yield();
}

struct Asks {
  std::string node = {};
  std::string group = {};
};

class XdsClient {
 public:
  using Service = envoy::service::discovery::v3::AggregatedDiscoveryService;
  using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
  using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;

  explicit XdsClient(int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                                   grpc::InsecureChannelCredentials())
      : XdsClient(Connect(port, credentials)) {}
  explicit XdsClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(Service::NewStub(channel)), stream_(stub_->DeltaAggregatedResources(&context_)) {}
  static std::shared_ptr<grpc::Channel> Connect(
      int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                    grpc::InsecureChannelCredentials()) {
    grpc::ChannelArguments arguments;
    // A connection of its own, as another process has.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(fmt::format("localhost:{}", port), credentials, arguments);
  }
  ~XdsClient() { context_.TryCancel(); }
  XdsClient(const XdsClient&) = delete;
  XdsClient& operator=(const XdsClient&) = delete;

  bool Sends(const Request& request) { return stream_->Write(request); }
  bool Sends(ResourceType type, const std::vector<std::string>& names, const Asks& asks = {}) {
    Request request;
    request.mutable_node()->set_id(asks.node);
    request.mutable_node()->set_cluster(asks.group);
    request.mutable_node()->set_user_agent_version("1.2.3");
    request.set_type_url(std::string(TypeUrl(type)));
    for (const auto& name : names) request.add_resource_names_subscribe(name);
    return Sends(request);
  }
  std::optional<Response> Reads() {
    Response response;
    if (!stream_->Read(&response)) return std::nullopt;
    return response;
  }
  bool Acks(const Response& response) {
    Request request;
    request.set_type_url(response.type_url());
    request.set_response_nonce(response.nonce());
    return Sends(request);
  }
  void Closes() { stream_->WritesDone(); }
  // Waits for the end.
  grpc::Status Status() {
    Response ignored;
    while (stream_->Read(&ignored)) {
    }
    return stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<Service::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_;
};

}  // namespace gatehouse::control
