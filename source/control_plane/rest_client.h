// RestClient: asks a control plane's REST API. The one door to the HTTP library on the client's
// side.
//
// Owner: one command. One thread.
//
//   RestClient client({.server = "http://127.0.0.1:18001"});
//   absl::StatusOr<RestAnswer> answer = client.Get("/v1/status", {});
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "source/control_plane/resource_file.h"

namespace gatehouse::control {

struct RestClientOptions {
  std::string server = "http://127.0.0.1:18001";  // or https://..., or unix:/path
  std::string token_file;
  std::string ca_file;  // default: those of the system
  // A certificate of our own, for a server that wants one.
  std::string certificate_file;
  std::string key_file;
};

struct RestAnswer {
  int status = 0;
  std::string body;
  [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
};

class RestClient {
 public:
  using Query = std::multimap<std::string, std::string>;

  explicit RestClient(RestClientOptions options) : options_(std::move(options)) {}

  // UNAVAILABLE: there was no answer. INVALID_ARGUMENT: the options are wrong.
  [[nodiscard]] absl::StatusOr<RestAnswer> Get(const std::string& path, const Query& query) const;
  [[nodiscard]] absl::StatusOr<RestAnswer> Post(const std::string& path, const Query& query,
                                                const std::vector<ResourceFile>& files) const;
  [[nodiscard]] absl::StatusOr<RestAnswer> Delete(const std::string& path,
                                                  const Query& query) const;

 private:
  class Connection;
  const RestClientOptions options_;
};

// For a path: "a b" is "a%20b".
[[nodiscard]] std::string EscapePathPart(const std::string& text);

}  // namespace gatehouse::control
