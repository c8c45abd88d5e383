// MakeServerCredentials: TLS of the xDS server, from files that are read again when they change.
//
//   auto credentials = MakeServerCredentials(options);
//   if (!credentials.ok()) return credentials.status();
#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "grpcpp/security/server_credentials.h"
#include "source/control_plane/xds_server.h"

namespace gatehouse::control {

// INVALID_ARGUMENT when the options open all secrets to anybody (see XdsServerOptions::insecure),
// do not fit together, or name a file that cannot be read or is no PEM.
[[nodiscard]] absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const XdsServerOptions& options);

}  // namespace gatehouse::control
