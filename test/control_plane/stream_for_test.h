// A gateway's end of an XdsStream, in few words: what it sends, and what it gets as text.
//
//   DeltaGateway gateway(cache);
//   gateway.Gets(SetOf(1, ...));
//   gateway.Subscribes(Type::kCluster, {"*"});
//   EXPECT_THAT(gateway.Reads(), ElementsAre("Cluster +a@1 +b@1"));   // ACKs them
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "api/gatehouse/v1/rejection.pb.h"
#include "source/control_plane/xds_stream.h"
#include "test/control_plane/resources_for_test.h"

namespace gatehouse::control {

struct ForDelta {
  static constexpr Protocol kProtocol = Protocol::kDelta;
  using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
  using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;
  static std::string Show(const Response& response) {
    std::string text;
    for (const auto& resource : response.resources()) {
      text += " +" + resource.name() + "@" + resource.version();
    }
    for (const auto& name : response.removed_resources()) text += " -" + name;
    return text;
  }
};

struct ForWorld {
  static constexpr Protocol kProtocol = Protocol::kStateOfTheWorld;
  using Request = envoy::service::discovery::v3::DiscoveryRequest;
  using Response = envoy::service::discovery::v3::DiscoveryResponse;
  static std::string Show(const Response& response) {
    std::string text;
    for (const auto& resource : response.resources()) {
      std::string value = resource.value();
      value[value.find('=')] = '@';
      text += " " + value;
    }
    return text;
  }
};

template <typename Kind>
class TestGateway {
 public:
  using Request = typename Kind::Request;
  using Response = typename Kind::Response;

  explicit TestGateway(ResponseCache& cache, std::string group = "")
      : stream_(Kind::kProtocol, cache), group_(std::move(group)) {}

  void Gets(const std::shared_ptr<const ResourceSet>& set) {
    stream_.SetTarget(set->OfGroup(group_));
  }
  RequestOutcome Sends(const Request& request) { return stream_.OnRequest(request, now_, wall_); }

  // One response, not answered.
  std::optional<Response> Takes() {
    const std::optional<XdsResponse> response = stream_.Next(now_);
    if (!response.has_value()) return std::nullopt;
    Response parsed;
    EXPECT_TRUE(parsed.ParseFromString(response->body->bytes + response->tail));
    return parsed;
  }
  static std::string Show(const Response& response) {
    return std::string(TypeName(TypeOf(response.type_url()).value())) + Kind::Show(response);
  }
  // All that there is without an answer.
  std::vector<Response> TakesAll() {
    std::vector<Response> all;
    while (auto response = Takes()) all.push_back(*response);
    return all;
  }
  static std::vector<std::string> Show(const std::vector<Response>& responses) {
    std::vector<std::string> shown;
    for (const Response& response : responses) shown.push_back(Show(response));
    return shown;
  }
  // All, each ACKed at once.
  std::vector<std::string> Reads() {
    std::vector<std::string> shown;
    while (auto response = Takes()) {
      shown.push_back(Show(*response));
      Acks(*response);
    }
    return shown;
  }

  Request Answer(const Response& response) {
    Request request;
    request.set_type_url(response.type_url());
    request.set_response_nonce(response.nonce());
    if constexpr (Kind::kProtocol == Protocol::kStateOfTheWorld) {
      request.set_version_info(response.version_info());
      for (const std::string& name : wanted_[response.type_url()]) {
        request.add_resource_names(name);
      }
    }
    return request;
  }
  RequestOutcome Acks(const Response& response) { return Sends(Answer(response)); }
  // By name: what is wrong, with a path and a message.
  RequestOutcome Nacks(const Response& response,
                       const std::map<std::string, std::pair<std::string, std::string>>& errors) {
    Request request = Answer(response);
    request.mutable_error_detail()->set_message("refused");
    for (const auto& [name, error] : errors) {
      gatehouse::v1::Rejection rejection;
      rejection.set_type(std::string(TypeName(TypeOf(response.type_url()).value())));
      rejection.set_name(name);
      auto* added = rejection.add_errors();
      added->set_path(error.first);
      added->set_message(error.second);
      request.mutable_error_detail()->add_details()->PackFrom(rejection);
    }
    return Sends(request);
  }

  // Delta.
  RequestOutcome Subscribes(Type type, const std::vector<std::string>& names,
                            const std::map<std::string, std::string>& held = {}) {
    return Changes(type, names, {}, held);
  }
  RequestOutcome Unsubscribes(Type type, const std::vector<std::string>& names) {
    return Changes(type, {}, names, {});
  }
  RequestOutcome Changes(Type type, const std::vector<std::string>& subscribe,
                         const std::vector<std::string>& unsubscribe,
                         const std::map<std::string, std::string>& held,
                         const std::string& nonce = {}) {
    Request request;
    request.set_type_url(std::string(TypeUrl(type)));
    request.set_response_nonce(nonce);
    for (const auto& name : subscribe) request.add_resource_names_subscribe(name);
    for (const auto& name : unsubscribe) request.add_resource_names_unsubscribe(name);
    for (const auto& [name, version] : held) {
      (*request.mutable_initial_resource_versions())[name] = version;
    }
    return Sends(request);
  }
  // State of the world.
  RequestOutcome Wants(Type type, const std::vector<std::string>& names,
                       const std::string& nonce = {}) {
    Request request;
    request.set_type_url(std::string(TypeUrl(type)));
    request.set_response_nonce(nonce);
    wanted_[request.type_url()] = names;
    for (const auto& name : names) request.add_resource_names(name);
    return Sends(request);
  }

  GatewayStatus& status() { return stream_.status(); }
  XdsStream& stream() { return stream_; }

 private:
  XdsStream stream_;
  const std::string group_;
  std::map<std::string, std::vector<std::string>> wanted_;
  SteadyTime now_ = SteadyTime(std::chrono::seconds(100));
  WallTime wall_ = WallTime(std::chrono::seconds(1000));
};
using DeltaGateway = TestGateway<ForDelta>;
using WorldGateway = TestGateway<ForWorld>;

}  // namespace gatehouse::control
