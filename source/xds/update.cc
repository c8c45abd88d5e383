#include "source/xds/update.h"

#include "api/gatehouse/v1/cluster.pb.h"
#include "api/gatehouse/v1/listener.pb.h"
#include "api/gatehouse/v1/rate_limit.pb.h"
#include "api/gatehouse/v1/route.pb.h"
#include "api/gatehouse/v1/secret.pb.h"

namespace gatehouse::xds {
namespace {

constexpr std::string_view kUrlPrefix = "type.googleapis.com/gatehouse.v1.";

// By number.
constexpr std::array<std::string_view, kTypes> kUrls = {
    "type.googleapis.com/gatehouse.v1.Secret",     "type.googleapis.com/gatehouse.v1.RateLimit",
    "type.googleapis.com/gatehouse.v1.Cluster",    "type.googleapis.com/gatehouse.v1.Endpoints",
    "type.googleapis.com/gatehouse.v1.RouteTable", "type.googleapis.com/gatehouse.v1.Listener",
};

}  // namespace

std::string_view TypeName(Type type) { return TypeUrl(type).substr(kUrlPrefix.size()); }

std::string_view TypeUrl(Type type) { return kUrls[IndexOf(type)]; }

std::optional<Type> TypeOfName(std::string_view name) {
  for (const Type type : kAllTypes) {
    if (TypeName(type) == name) return type;
  }
  return std::nullopt;
}

std::optional<Type> TypeOfUrl(std::string_view url) {
  for (const Type type : kAllTypes) {
    if (TypeUrl(type) == url) return type;
  }
  return std::nullopt;
}

const google::protobuf::Message& PrototypeOf(Type type) {
  switch (type) {
    case Type::kSecret:
      return v1::Secret::default_instance();
    case Type::kRateLimit:
      return v1::RateLimit::default_instance();
    case Type::kCluster:
      return v1::Cluster::default_instance();
    case Type::kEndpoints:
      return v1::Endpoints::default_instance();
    case Type::kRouteTable:
      return v1::RouteTable::default_instance();
    case Type::kListener:
      break;
  }
  return v1::Listener::default_instance();
}

}  // namespace gatehouse::xds
