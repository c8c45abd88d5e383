// XdsServer: serves the resources to gateways: AggregatedDiscoveryService, version 3, delta and
// state of the world, on grpc++. Each gateway gets the newest revision of its group (Node.cluster),
// in an order in which nothing refers to what is not there.
//
// Owner: the control plane's main(). Threads: its methods are called by any thread; the work is
// done on gRPC's threads and on one of its own. What it is given must outlive it. Publish() returns
// at once. Revision 0 is not pushed: a control plane that has lost its store takes nothing away
// from its gateways.
//
//   Fleet fleet("control-1");
//   auto server = XdsServer::Start({.address = "127.0.0.1:18000"}, fleet);
//   if (!server.ok()) ...
//   store->Watch([&](std::shared_ptr<const ResourceSet> set) { (*server)->Publish(set); });
//   ...
//   (*server)->Stop(std::chrono::seconds(5));
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "source/control_plane/fleet.h"
#include "source/control_plane/resource_set.h"

namespace gatehouse::control {

struct XdsServerOptions {
  std::string address = "127.0.0.1:18000";  // host:port; port 0: any, see port()
  // PEM files, read again when they change (looked at every second). No certificate: no TLS, which
  // is for loopback only, see `insecure`.
  std::string certificate_file;
  std::string key_file;
  // Gateways must show a certificate that one of these has signed.
  std::string client_ca_file;
  // Another address than loopback although anyone who reaches it can read all secrets: without TLS,
  // or without `client_ca_file`.
  bool insecure = false;
  // The certificate of a gateway names its group: a SAN (DNS or URI) that is the group's name or
  // ends in "/group/NAME". One that was stolen opens no other group's secrets. Needs
  // `client_ca_file`.
  bool require_group_in_certificate = false;

  size_t max_streams = 10'000;                              // of all gateways
  size_t max_request_bytes = size_t{16} << 20;              // of one message of a gateway
  std::chrono::milliseconds first_request_timeout{10'000};  // then the stream is ended
  std::chrono::milliseconds write_timeout{60'000};  // a gateway that does not read for so long
  std::chrono::milliseconds keepalive{30'000};      // between pings on a connection
};

class XdsServer {
 public:
  // Serves when this returns, but answers no request before the first Publish(). INVALID_ARGUMENT
  // when the options do not fit together or a file is not what it should be; UNAVAILABLE when the
  // address cannot be had.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<XdsServer>> Start(XdsServerOptions options,
                                                                        Fleet& fleet);
  // Stop()s at once.
  ~XdsServer();
  XdsServer(const XdsServer&) = delete;
  XdsServer& operator=(const XdsServer&) = delete;

  // To be given to all gateways from now on. Gateways that are busy with an older revision skip to
  // the newest.
  void Publish(std::shared_ptr<const ResourceSet> set);
  // Ends all streams (UNAVAILABLE: gateways go to another control plane) and waits for that, at
  // most so long. Not from a thread of gRPC. Once.
  void Stop(std::chrono::milliseconds deadline);

  [[nodiscard]] int port() const;
  // Prometheus text of the xDS side: gatehouse_control_*.
  [[nodiscard]] std::string RenderMetrics() const;

 private:
  class Service;
  explicit XdsServer(std::unique_ptr<Service> service);
  std::unique_ptr<Service> service_;
};

}  // namespace gatehouse::control
