#include "source/xds/update.h"

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

std::string_view TypeUrl(Type type) { return kUrls[static_cast<size_t>(type)]; }

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

}  // namespace gatehouse::xds
