#include "source/config/settings.h"

#include <sys/un.h>

#include <string_view>

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "fmt/format.h"
#include "source/config/field.h"
#include "source/config/text_scalars.h"
#include "source/net/address.h"

namespace gatehouse::config {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr uint64_t kMaxWorkers = 1024;
constexpr uint64_t kMinBuffers = uint64_t{1} << 20;
constexpr uint64_t kMaxSeries = 1'000'000;

void CheckSocketPath(std::string_view path, const Field& field) {
  constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;
  if (!path.starts_with('/') || path.ends_with('/') || path.find('\0') != path.npos) {
    field.Error("must be the absolute path of a socket");
  } else if (path.size() > kMaxPath) {
    field.Error(
        fmt::format("has {} bytes; a socket's path has {} at the most", path.size(), kMaxPath));
  }
}

void ReadAdmin(const std::string& address, Settings& settings, const Field& field) {
  if (address.empty()) return;
  settings.admin_address = address;
  if (address == "off") return;
  if (address.starts_with(kUnix)) {
    return CheckSocketPath(std::string_view(address).substr(kUnix.size()), field);
  }
  field.Error(net::Address::Parse(address).status());
}

}  // namespace

Settings ReadSettings(const v1::Bootstrap& bootstrap, const SourceMap& source, ErrorList& errors) {
  const Field root(source, errors);
  Settings settings;
  settings.node_id = bootstrap.node().id();
  settings.node_group = bootstrap.node().group();
  ReadAdmin(bootstrap.admin().address(), settings, root.Below("admin.address"));
  settings.workers = static_cast<uint32_t>(
      ReadNumber(bootstrap.workers(), {.fallback = 0, .max = kMaxWorkers}, root.Below("workers")));
  settings.max_connections = bootstrap.overload().max_connections();
  settings.max_buffer_bytes =
      ReadSize(bootstrap.overload().max_buffer_bytes(),
               {.fallback = settings.max_buffer_bytes, .min = kMinBuffers, .max = INT64_MAX},
               root.Below("overload.max_buffer_bytes"));
  if (settings.max_buffer_bytes < settings.workers * kMinWorkerBuffers) {
    root.Below("overload.max_buffer_bytes")
        .Error(fmt::format("is less than {} for each of {} workers", FormatSize(kMinWorkerBuffers),
                           settings.workers));
  }
  settings.drain_timeout = ReadDuration(bootstrap.has_drain_timeout(), bootstrap.drain_timeout(),
                                        {.fallback = settings.drain_timeout, .zero_is_none = true},
                                        root.Below("drain_timeout"));
  settings.upgrade_socket = bootstrap.upgrade_socket();
  if (!settings.upgrade_socket.empty()) {
    CheckSocketPath(settings.upgrade_socket, root.Below("upgrade_socket"));
  }
  settings.state_folder = bootstrap.state_folder();
  if (!settings.state_folder.empty() && !bootstrap.has_control_plane()) {
    root.Below("state_folder")
        .Error("has no use without a control_plane: what this file says is read from it");
  }
  settings.max_series_per_family = static_cast<uint32_t>(
      ReadNumber(bootstrap.metrics().max_series_per_family(),
                 {.fallback = settings.max_series_per_family, .max = kMaxSeries},
                 root.Below("metrics.max_series_per_family")));
  return settings;
}

void WriteSettings(const Settings& settings, v1::Bootstrap* bootstrap) {
  if (!settings.node_id.empty()) bootstrap->mutable_node()->set_id(settings.node_id);
  if (!settings.node_group.empty()) bootstrap->mutable_node()->set_group(settings.node_group);
  bootstrap->mutable_admin()->set_address(settings.admin_address);
  bootstrap->set_workers(settings.workers);
  bootstrap->mutable_overload()->set_max_connections(settings.max_connections);
  bootstrap->mutable_overload()->set_max_buffer_bytes(settings.max_buffer_bytes);
  const int64_t micros = settings.drain_timeout.count();
  bootstrap->mutable_drain_timeout()->set_seconds(micros / 1'000'000);
  bootstrap->mutable_drain_timeout()->set_nanos(static_cast<int32_t>(micros % 1'000'000 * 1000));
  bootstrap->set_upgrade_socket(settings.upgrade_socket);
  bootstrap->set_state_folder(settings.state_folder);
  bootstrap->mutable_metrics()->set_max_series_per_family(settings.max_series_per_family);
}

}  // namespace gatehouse::config
