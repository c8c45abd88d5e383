// Messages of xDS in a test's words: responses are built, requests are one line of text.
//
//   DeltaOf(Type::kCluster, "n1").Has("users", "v1").Lacks("orders")
//   "Cluster +* has{users=v1}"    "Cluster ack n1"    "Cluster nack n1: Cluster \"users\": ..."
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "api/envoy/service/discovery/v3/discovery.pb.h"
#include "api/gatehouse/v1/cluster.pb.h"
#include "api/gatehouse/v1/listener.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "api/gatehouse/v1/route.pb.h"
#include "api/gatehouse/v1/secret.pb.h"
#include "source/xds/update.h"

namespace gatehouse::xds {

// A resource that says nothing but its name.
inline std::string BytesOf(Type type, const std::string& name) {
  switch (type) {
    case Type::kSecret: {
      v1::Secret message;
      message.set_name(name);
      return message.SerializeAsString();
    }
    case Type::kEndpoints: {
      v1::Endpoints message;
      message.set_cluster(name);
      return message.SerializeAsString();
    }
    default: {
      // All of them have the name in field 1.
      v1::Cluster message;
      message.set_name(name);
      return message.SerializeAsString();
    }
  }
}

inline google::protobuf::Any AnyOf(Type type, const std::string& bytes) {
  google::protobuf::Any any;
  any.set_type_url(std::string(TypeUrl(type)));
  any.set_value(bytes);
  return any;
}

class DeltaOf {
 public:
  DeltaOf(Type type, const std::string& nonce) : type_(type) {
    message_.set_type_url(std::string(TypeUrl(type)));
    message_.set_nonce(nonce);
  }
  DeltaOf& Has(const std::string& name, const std::string& version = "v1", int ttl = 0) {
    return HasBytes(name, version, BytesOf(type_, name), ttl);
  }
  DeltaOf& HasBytes(const std::string& name, const std::string& version, const std::string& bytes,
                    int ttl = 0) {
    auto* resource = message_.add_resources();
    resource->set_name(name);
    resource->set_version(version);
    if (ttl != 0) resource->mutable_ttl()->set_seconds(ttl);
    *resource->mutable_resource() = AnyOf(type_, bytes);
    return *this;
  }
  DeltaOf& Renews(const std::string& name, const std::string& version, int ttl) {
    auto* resource = message_.add_resources();
    resource->set_name(name);
    resource->set_version(version);
    resource->mutable_ttl()->set_seconds(ttl);
    return *this;
  }
  DeltaOf& Lacks(const std::string& name) {
    message_.add_removed_resources(name);
    return *this;
  }
  DeltaOf& OfUrl(const std::string& url) {
    message_.set_type_url(url);
    return *this;
  }
  envoy::service::discovery::v3::DeltaDiscoveryResponse* operator->() { return &message_; }
  [[nodiscard]] std::string Bytes() const { return message_.SerializeAsString(); }

 private:
  Type type_;
  envoy::service::discovery::v3::DeltaDiscoveryResponse message_;
};

class SotwOf {
 public:
  using Resource = envoy::service::discovery::v3::Resource;

  SotwOf(Type type, const std::string& version, const std::string& nonce) : type_(type) {
    message_.set_type_url(std::string(TypeUrl(type)));
    message_.set_version_info(version);
    message_.set_nonce(nonce);
  }
  SotwOf& Has(const std::string& name) {
    *message_.add_resources() = AnyOf(type_, BytesOf(type_, name));
    return *this;
  }
  SotwOf& HasBytes(const std::string& bytes) {
    *message_.add_resources() = AnyOf(type_, bytes);
    return *this;
  }
  SotwOf& HasWrapped(const std::string& name, const std::string& version, int ttl = 0) {
    return Wrap(name, version, ttl, true);
  }
  SotwOf& Renews(const std::string& name, const std::string& version, int ttl) {
    return Wrap(name, version, ttl, false);
  }
  envoy::service::discovery::v3::DiscoveryResponse* operator->() { return &message_; }
  [[nodiscard]] std::string Bytes() const { return message_.SerializeAsString(); }

 private:
  SotwOf& Wrap(const std::string& name, const std::string& version, int ttl, bool content) {
    Resource resource;
    resource.set_name(name);
    resource.set_version(version);
    if (ttl != 0) resource.mutable_ttl()->set_seconds(ttl);
    if (content) *resource.mutable_resource() = AnyOf(type_, BytesOf(type_, name));
    message_.add_resources()->PackFrom(resource);
    return *this;
  }

  Type type_;
  envoy::service::discovery::v3::DiscoveryResponse message_;
};

inline std::string TypeText(const std::string& url) {
  const auto type = TypeOfUrl(url);
  return type ? std::string(TypeName(*type)) : url;
}

template <typename Request>
std::string IntroductionOf(const Request& request) {
  if (!request.has_node()) return "";
  const auto& node = request.node();
  return "[" + node.id() + " of " + node.cluster() + ", " + node.user_agent_name() + " " +
         node.user_agent_version() + "] ";
}

inline std::string TextOf(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request) {
  std::string text = IntroductionOf(request) + TypeText(request.type_url());
  for (const std::string& name : request.resource_names_subscribe()) text += " +" + name;
  for (const std::string& name : request.resource_names_unsubscribe()) text += " -" + name;
  if (request.initial_resource_versions_size() > 0) {
    const auto& held = request.initial_resource_versions();
    text += " has{";
    for (const auto& [name, version] : std::map(held.begin(), held.end())) {
      text += (text.back() == '{' ? "" : " ") + name + "=" + version;
    }
    text += "}";
  }
  const bool spontaneous =
      request.resource_names_subscribe_size() + request.resource_names_unsubscribe_size() > 0;
  if (request.has_error_detail()) {
    text += " nack " + request.response_nonce() + ": " + request.error_detail().message();
  } else if (!spontaneous || !request.response_nonce().empty()) {
    text += " ack " + request.response_nonce();
  }
  return text;
}

// "Cluster [a b] at v1 nonce n1"
inline std::string TextOf(const envoy::service::discovery::v3::DiscoveryRequest& request) {
  std::string text = IntroductionOf(request) + TypeText(request.type_url()) + " [";
  for (const std::string& name : request.resource_names()) {
    text += (text.back() == '[' ? "" : " ") + name;
  }
  text += "]";
  if (!request.version_info().empty()) text += " at " + request.version_info();
  if (!request.response_nonce().empty()) text += " nonce " + request.response_nonce();
  if (request.has_error_detail()) text += " refused: " + request.error_detail().message();
  return text;
}

}  // namespace gatehouse::xds
