#include "source/config/control_plane.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/config/field.h"
#include "source/net/address.h"

namespace gatehouse::config {
namespace {

using std::chrono::seconds;

constexpr std::array<std::string_view, 6> kTypeNames = {"Secret",    "RateLimit",  "Cluster",
                                                        "Endpoints", "RouteTable", "Listener"};
constexpr uint64_t kMinMessage = uint64_t{64} << 10;
constexpr uint64_t kMaxMessage = uint64_t{1} << 30;
constexpr Duration kPingInterval = seconds(10);
constexpr Duration kPingTimeout = seconds(5);

void SetDuration(Duration value, google::protobuf::Duration* out) {
  out->set_seconds(value.count() / 1'000'000);
  out->set_nanos(static_cast<int32_t>(value.count() % 1'000'000 * 1000));
}

void ReadOnly(const v1::ControlPlane& message, ControlPlaneSettings& settings, const Field& field) {
  for (int i = 0; i < message.only_size(); ++i) {
    const v1::ResourceNames& only = message.only(i);
    const Field item = field.Item(static_cast<size_t>(i));
    const Field type = item.Below("type");
    if (std::ranges::find(kTypeNames, only.type()) == kTypeNames.end()) {
      type.Unknown("type of resource", only.type(), kTypeNames);
    } else if (settings.only.contains(only.type())) {
      type.Error(fmt::format("\"{}\" is there twice", only.type()));
    } else {
      settings.only[only.type()] = {only.names().begin(), only.names().end()};
    }
    for (int j = 0; j < only.names_size(); ++j) {
      const Field names = item.Below("names");
      const Field name = names.Item(static_cast<size_t>(j));
      if (only.names(j) == "*") {
        name.Error("means everything, which is what types get that are not listed here");
      } else {
        CheckName(only.names(j), name);
      }
    }
  }
}

}  // namespace

ControlPlaneSettings ReadControlPlane(const v1::Bootstrap& bootstrap, const SourceMap& source,
                                      ErrorList& errors) {
  ControlPlaneSettings settings;
  if (!bootstrap.has_control_plane()) return settings;
  const v1::ControlPlane& message = bootstrap.control_plane();
  const Field root(source, errors);
  const Field field = root.Below("control_plane");
  const Field addresses = field.Below("addresses");
  for (int i = 0; i < message.addresses_size(); ++i) {
    const Field item = addresses.Item(static_cast<size_t>(i));
    item.Error(net::ParseHostPort(message.addresses(i), /*zero_port_ok=*/false).status());
    settings.addresses.push_back(message.addresses(i));
  }
  switch (message.protocol()) {
    case v1::ControlPlane::PROTOCOL_DELTA:
      break;
    case v1::ControlPlane::PROTOCOL_STATE_OF_THE_WORLD:
      settings.state_of_the_world = true;
      break;
    default:
      field.Below("protocol").Error("is not a protocol that this version knows");
  }
  settings.fetch_timeout = ReadDuration(message.has_fetch_timeout(), message.fetch_timeout(),
                                        {.fallback = settings.fetch_timeout, .zero_is_none = true},
                                        field.Below("fetch_timeout"));
  settings.warm_timeout =
      ReadDuration(message.has_warm_timeout(), message.warm_timeout(),
                   {.fallback = settings.warm_timeout}, field.Below("warm_timeout"));
  settings.max_backoff =
      ReadDuration(message.has_max_backoff(), message.max_backoff(),
                   {.fallback = settings.max_backoff}, field.Below("max_backoff"));
  settings.max_message_bytes =
      ReadSize(message.max_message_bytes(),
               {.fallback = settings.max_message_bytes, .min = kMinMessage, .max = kMaxMessage},
               field.Below("max_message_bytes"));
  static_cast<void>(ReadDuration(message.has_ping_interval(), message.ping_interval(),
                                 {.fallback = kPingInterval}, field.Below("ping_interval")));
  static_cast<void>(ReadDuration(message.has_ping_timeout(), message.ping_timeout(),
                                 {.fallback = kPingTimeout}, field.Below("ping_timeout")));
  ReadOnly(message, settings, field.Below("only"));
  return settings;
}

BuildResult BuildControlPlane(const v1::Bootstrap& bootstrap, const SourceMap& source,
                              const Resources& resources, const BuildEnvironment& environment,
                              const std::shared_ptr<const Snapshot>& previous) {
  const v1::ControlPlane& message = bootstrap.control_plane();
  auto cluster = std::make_shared<v1::Cluster>();
  cluster->set_name(kControlPlaneCluster);
  for (const std::string& address : message.addresses()) {
    cluster->add_endpoints()->set_address(address);
  }
  cluster->set_protocol(v1::Cluster::PROTOCOL_HTTP2);
  if (message.has_tls()) *cluster->mutable_tls() = message.tls();
  v1::Http2ClientOptions& http2 = *cluster->mutable_http2();
  // A connection that is gone is noticed by nothing else: a control plane may be silent for days.
  SetDuration(kPingInterval, http2.mutable_ping_interval());
  if (message.has_ping_interval()) *http2.mutable_ping_interval() = message.ping_interval();
  SetDuration(kPingTimeout, http2.mutable_ping_timeout());
  if (message.has_ping_timeout()) *http2.mutable_ping_timeout() = message.ping_timeout();

  Resources own;
  own.clusters.push_back({std::move(cluster), source.Below("control_plane")});
  own.secrets = resources.secrets;
  own.folder = resources.folder;
  return Build(own, environment, previous);
}

}  // namespace gatehouse::config
