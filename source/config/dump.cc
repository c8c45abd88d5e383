#include "source/config/dump.h"

#include "api/gatehouse/v1/bootstrap.pb.h"
#include "source/config/build_record.h"
#include "source/config/text.h"

namespace gatehouse::config {
namespace {

template <typename Message>
void CopyAll(const Messages<Message>& from, google::protobuf::RepeatedPtrField<Message>* to) {
  for (const auto& message : from) *to->Add() = *message;
}

v1::Bootstrap BootstrapOf(const Snapshot& snapshot, const Settings& settings) {
  v1::Bootstrap bootstrap;
  WriteSettings(settings, &bootstrap);
  if (snapshot.record == nullptr) return bootstrap;
  const BuildRecord& record = *snapshot.record;
  CopyAll(record.listeners, bootstrap.mutable_listeners());
  CopyAll(record.route_tables, bootstrap.mutable_route_tables());
  CopyAll(record.clusters, bootstrap.mutable_clusters());
  CopyAll(record.endpoints, bootstrap.mutable_endpoints());
  CopyAll(record.rate_limits, bootstrap.mutable_rate_limits());
  CopyAll(record.secrets, bootstrap.mutable_secrets());
  return bootstrap;
}

}  // namespace

std::string DumpYaml(const Snapshot& snapshot, const Settings& settings) {
  return ToYaml(BootstrapOf(snapshot, settings));
}

std::string DumpJson(const Snapshot& snapshot, const Settings& settings) {
  return ToJson(BootstrapOf(snapshot, settings));
}

}  // namespace gatehouse::config
