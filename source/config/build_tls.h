// v1::ListenerTls and v1::ClusterTls -> contexts of net. Inside config/ only; main thread.
//
// What a context is made of is remembered as a digest: one that comes to the same is the
// predecessor's context, and no key's text outlives the build.
#pragma once

#include <memory>
#include <string>

#include "api/gatehouse/v1/cluster.pb.h"
#include "api/gatehouse/v1/listener.pb.h"
#include "source/config/build_scope.h"
#include "source/config/field.h"
#include "source/net/tls_context.h"
#include "source/upstream/cluster.h"

namespace gatehouse::config {

// A context and the digest of what it is made of.
template <typename Context>
struct BuiltTls {
  std::shared_ptr<const Context> context;  // null: there were errors
  std::string digest;
};
using BuiltServerTls = BuiltTls<net::TlsServerContext>;
using BuiltClientTls = BuiltTls<net::TlsClientContext>;

// `field`: of listener.tls. `old`: of the listener of that name before, or empty.
[[nodiscard]] BuiltServerTls BuildServerTls(const v1::Listener& listener, const BuildScope& scope,
                                            const BuiltServerTls& old, const Field& field);
// `field`: of cluster.tls.
[[nodiscard]] BuiltClientTls BuildClientTls(const v1::ClusterTls& tls, upstream::Protocol protocol,
                                            const BuildScope& scope, const BuiltClientTls& old,
                                            const Field& field);

}  // namespace gatehouse::config
