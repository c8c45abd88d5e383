// RestServer: the Api over HTTP. The one door to the HTTP library on the server's side.
//
// Who reaches it can change every gateway and see every resource. Without TLS and a token (or
// client certificates) it listens on loopback or a unix socket only. Requests with an Origin, and,
// where nothing proves who asks, with a Host that is a name other than localhost, are refused: a
// web page must not lead a browser on this machine here. Each connection is for one request. Bodies
// are at most 64 MiB.
//
// Owner: main(). Threads: its own; the Api is called by any of them.
//
//   auto rest = RestServer::Start({.address = "127.0.0.1:18001"}, api);
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "source/control_plane/api.h"

namespace gatehouse::control {

struct RestOptions {
  std::string address = "127.0.0.1:18001";  // host:port, port 0: any; or unix:/path
  // PEM files. No certificate: no TLS.
  std::string certificate_file;
  std::string key_file;
  std::string client_ca_file;
  // Read for each request, so that it can be changed: "Authorization: Bearer <its first line>".
  std::string token_file;
};

class RestServer {
 public:
  // INVALID_ARGUMENT: options that do not fit together. UNAVAILABLE: the address cannot be had.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RestServer>> Start(RestOptions options,
                                                                         Api& api);
  ~RestServer();
  RestServer(const RestServer&) = delete;
  RestServer& operator=(const RestServer&) = delete;

  // Requests that are under way are answered.
  void Stop();
  [[nodiscard]] int port() const;

 private:
  class Service;
  explicit RestServer(std::unique_ptr<Service> service);
  std::unique_ptr<Service> service_;
};

}  // namespace gatehouse::control
