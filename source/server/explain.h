// Explain: what a snapshot makes of a request, by the same functions that serve it: the HTTP/1
// parser, normalisation, the listener's matcher, the route's rewrites. Nothing is sent, counted or
// logged.
//
// Thread: main. Filters are asked what they would do, not run: what they change in a request (a
// header that a split goes by, say) is not seen. A request over HTTP/2 is routed alike.
//
//   absl::StatusOr<Explained> why = Explain({.method = "GET", .url = "http://a.example/x"},
//                                           {.snapshot = *current, .loop = loop});
//   std::cout << ToText(*why);
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "source/config/snapshot.h"
#include "source/net/loop.h"
#include "source/server/explained.h"
#include "source/upstream/cluster.h"

namespace gatehouse::server {

struct ExplainRequest {
  std::string method = "GET";
  std::string url;                   // http://..., https://..., or /path with a Host header
  std::vector<std::string> headers;  // "name: value"
  std::string listener;              // empty: by the URL's port, or the only one
  std::string client = "127.0.0.1";  // the address that connects
};

struct ExplainScene {
  const config::Snapshot& snapshot;
  net::Loop& loop;  // filters may ask for the time
  // What is known of a cluster now, null for nothing. Empty: nothing is known of names.
  std::function<std::shared_ptr<const upstream::EndpointSet>(const upstream::Cluster&)> endpoints =
      {};
  // Where a listener listens. Empty: as it is configured.
  std::function<std::string(const config::Listener&)> address = {};
};

// INVALID_ARGUMENT: the request cannot be asked. NOT_FOUND: there is no listener.
[[nodiscard]] absl::StatusOr<Explained> Explain(const ExplainRequest& request,
                                                const ExplainScene& scene);

}  // namespace gatehouse::server
