// v1::Cluster and v1::Endpoints -> upstream::Cluster. Inside config/ only; main thread.
#pragma once

#include <memory>
#include <vector>

#include "source/config/build_record.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"
#include "source/upstream/cluster.h"

namespace gatehouse::config {

// Checked; with errors the specs are incomplete.
[[nodiscard]] std::vector<upstream::EndpointSpec> ReadEndpoints(
    const google::protobuf::RepeatedPtrField<v1::Endpoint>& endpoints, const Field& field);
// All but the endpoints and TLS.
[[nodiscard]] upstream::ClusterSpec ReadCluster(const v1::Cluster& cluster, const Field& field);

}  // namespace gatehouse::config
